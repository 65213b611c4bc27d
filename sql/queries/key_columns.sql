-- The columns of foreign keys between tables, on the source: for each key the pairs of referencing and referenced column.
-- Placeholder relations: the tables, as a constant of type oid[]
SELECT coalesce(json_agg(r ORDER BY r.referencing, r.name), '[]'::json)::text
FROM (
    SELECT k.conrelid::bigint AS referencing, k.confrelid::bigint AS referenced, k.conname AS name,
           k.convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) AS enforced,
           (SELECT json_agg(json_build_array(ca.attname, fa.attname) ORDER BY u.position)
            FROM unnest(k.conkey, k.confkey) WITH ORDINALITY u(ck, fk, position)
            JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.ck
            JOIN pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = u.fk) AS columns
    FROM pg_constraint k
    -- Those of partitions that belong to a key of the partitioned table are the same key.
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ({relations}) AND k.confrelid = ANY ({relations})
) r
