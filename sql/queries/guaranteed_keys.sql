-- The validated foreign keys between tables whose triggers are enabled. Keys that are not enforced, or that end with periods,
-- are known since version 18.
-- Placeholder relations: the tables, as a constant of type oid[]
SELECT coalesce(json_agg(r), '[]'::json)::text
FROM (
    SELECT k.conrelid::bigint AS referencing, k.confrelid::bigint AS referenced,
           k.confmatchtype = 'f' AS match_full,
           (SELECT json_agg(json_build_array(ca.attname, fa.attname))
            FROM unnest(k.conkey, k.confkey) u(ck, fk)
            JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.ck
            JOIN pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = u.fk) AS columns
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
      AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false)
      AND k.conrelid = ANY ({relations}) AND k.confrelid = ANY ({relations})
      AND NOT EXISTS (SELECT FROM pg_trigger t
                      WHERE t.tgconstraint = k.oid AND t.tgenabled NOT IN ('O', 'A'))
) r
