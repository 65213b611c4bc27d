-- The sequences that columns of relations own or use in their defaults, on either side.
-- Placeholder relations: the relations, as a constant of type oid[]
SELECT coalesce(json_agg(r ORDER BY r.relation, r.number, r.oid), '[]'::json)::text
FROM (
    SELECT DISTINCT a.attrelid::bigint AS relation, format('%I.%I', tn.nspname, t.relname) AS "table",
           a.attnum AS number, a.attname AS column, s.oid::bigint AS oid,
           n.nspname AS schema, s.relname AS name, q.seqmin AS min, q.seqmax AS max,
           has_sequence_privilege(s.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable,
           EXISTS (SELECT FROM pg_depend o
                   WHERE o.classid = 'pg_class'::regclass AND o.objid = s.oid AND o.refclassid = 'pg_class'::regclass
                     AND o.refobjid = a.attrelid AND o.refobjsubid = a.attnum AND o.deptype IN ('a', 'i')) AS owned
    FROM (
        SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number
        FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = ANY ({relations}) AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
        UNION ALL
        SELECT d.refobjid, f.adrelid, f.adnum
        FROM pg_attrdef f
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                        AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
        WHERE f.adrelid = ANY ({relations})
    ) u
    JOIN pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
    JOIN pg_namespace n ON n.oid = s.relnamespace
    JOIN pg_sequence q ON q.seqrelid = s.oid
    JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.number
    JOIN pg_class t ON t.oid = a.attrelid
    JOIN pg_namespace tn ON tn.oid = t.relnamespace
) r
