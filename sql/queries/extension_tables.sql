-- Tables of the source's extensions with rows that are not the extension's own: the extension, the schema-qualified name, and the
-- condition for those rows. Tables that the user cannot read in full are not among them.
SELECT coalesce(json_agg(json_build_array(e.extname, format('%I.%I', n.nspname, c.relname), coalesce(t.condition, ''))
                         ORDER BY n.nspname, c.relname), '[]'::json)::text
FROM pg_catalog.pg_extension e
CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) t(relation, condition)
JOIN pg_catalog.pg_class c ON c.oid = t.relation AND c.relkind = 'r'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE e.extname <> 'pgcopy'
  AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AND NOT row_security_active(c.oid)
