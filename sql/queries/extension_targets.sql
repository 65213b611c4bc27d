-- Tables and sequences of the extensions here that a source's have counterparts among, by their positions.
-- $1 text[]: extensions, $2 text[]: schemas, $3 text[]: names, each of the source
-- $4 boolean[]: whether a relation is in the schema of its extension, which may be another one here
SELECT coalesce(json_agg(r ORDER BY r.position), '[]'::json)::text
FROM (
    SELECT w.position - 1 AS position, c.oid::bigint AS relation, n.nspname AS schema, c.relname AS name, c.relkind = 'S' AS is_sequence,
           c.relowner::bigint AS owner,
           has_schema_privilege(n.oid, 'USAGE')
           AND CASE c.relkind WHEN 'S' THEN pg_has_role(c.relowner, 'USAGE')
                              ELSE has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                                   AND NOT row_security_active(c.oid) END AS may_write,
           (SELECT coalesce(json_agg(json_build_array(a.attname, a.attgenerated <> '') ORDER BY a.attnum), '[]'::json)
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
    FROM unnest($1, $2, $3, $4) WITH ORDINALITY w(extension, schema, name, is_in_its_schema, position)
    JOIN pg_extension e ON e.extname = w.extension
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
                    AND d.classid = 'pg_class'::regclass AND d.objsubid = 0
    JOIN pg_class c ON c.oid = d.objid AND c.relname = w.name AND c.relkind IN ('r', 'S')
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE e.extname <> 'pgcopy' AND CASE WHEN w.is_in_its_schema THEN n.oid = e.extnamespace ELSE n.nspname = w.schema END
) r
