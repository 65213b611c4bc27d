-- Indexes and exclusion constraints of the source that call functions which are not compiled: the OIDs of catalog and object.
SELECT coalesce(json_agg(json_build_array(o.class, o.oid)), '[]'::json)::text
FROM (
    SELECT DISTINCT i.indexrelid
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
    JOIN pg_catalog.pg_proc f ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.oid = d.refobjid
    JOIN pg_catalog.pg_language l ON l.oid = f.prolang
    WHERE l.lanname NOT IN ('internal', 'c')
) c
CROSS JOIN LATERAL (
    SELECT 1259::pg_catalog.int8 AS class, c.indexrelid::pg_catalog.int8 AS oid
    UNION ALL
    SELECT 2606, k.oid::pg_catalog.int8 FROM pg_catalog.pg_constraint k WHERE k.conindid = c.indexrelid AND k.contype = 'x'
) o
