-- The validated foreign keys between tables whose triggers are enabled. Keys that are not enforced, or that end with periods,
-- are known since version 18.
-- Placeholder relations: the tables, as a constant of type oid[]
SELECT coalesce(json_agg(r), '[]'::json)::text
FROM (
    SELECT k.conrelid::bigint AS referencing, k.confrelid::bigint AS referenced,
           k.confmatchtype = 'f' AS match_full,
           -- What the values are compared as: NULL where that may be something else on another server.
           (SELECT json_agg(json_build_array(ca.attname, fa.attname,
                  CASE WHEN coalesce((to_jsonb(cc) ->> 'collisdeterministic')::boolean, true)
                       AND coalesce((to_jsonb(fc) ->> 'collisdeterministic')::boolean, true) THEN
                      CASE WHEN ct.typtype = 'e' AND ct.oid = ft.oid THEN 'enum'
                           WHEN ct.oid IN (20, 21, 23) AND ft.oid IN (20, 21, 23) THEN 'integer'
                           WHEN ct.oid IN (25, 1043) AND ft.oid IN (25, 1043) THEN 'text'
                           WHEN ct.oid = ft.oid AND ct.typtype = 'b' AND ct.oid < 16384 THEN ct.oid::text END
                  END))
            FROM unnest(k.conkey, k.confkey) u(ck, fk)
            JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.ck
            JOIN pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = u.fk
            JOIN pg_type ct ON ct.oid = ca.atttypid
            JOIN pg_type ft ON ft.oid = fa.atttypid
            LEFT JOIN pg_collation cc ON cc.oid = ca.attcollation
            LEFT JOIN pg_collation fc ON fc.oid = fa.attcollation) AS columns
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
      AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false)
      AND k.conrelid = ANY ({relations}) AND k.confrelid = ANY ({relations})
      AND NOT EXISTS (SELECT FROM pg_trigger t
                      WHERE t.tgconstraint = k.oid AND t.tgenabled NOT IN ('O', 'A'))
) r
