-- Tables and sequences of the source's extensions with what is not the extension's own, which a dump of the database takes along.
-- Those that the user cannot read in full are not among them.
SELECT coalesce(json_agg(r ORDER BY r.schema, r.name), '[]'::json)::text
FROM (
    SELECT c.oid::bigint AS oid, e.extname AS extension, n.nspname AS schema, c.relname AS name, c.relkind = 'S' AS is_sequence,
           c.relnamespace = e.extnamespace AS is_in_its_schema, coalesce(t.condition, '') AS condition,
           (SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]'::json)
            FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
    FROM pg_catalog.pg_extension e
    CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) t(relation, condition)
    JOIN pg_catalog.pg_class c ON c.oid = t.relation AND c.relkind IN ('r', 'S')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE e.extname <> 'pgcopy' AND has_schema_privilege(n.oid, 'USAGE')
      AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                         ELSE has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid) END
) r
