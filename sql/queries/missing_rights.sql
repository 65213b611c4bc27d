-- What keeps this user of the source from reading all rows of tables, or all of their columns, in words that follow the table's name.
-- Where some columns can be read, these are named, system columns among them.
-- Placeholder relations: the tables, as a constant of type oid[]
SELECT coalesce(json_agg(json_build_object(
           'relation', r.oid::bigint, 'right', r.wanted,
           'reason', CASE r.wanted
               WHEN 'schema' THEN format('user %s has no USAGE on schema %s of the source', current_user,
                                         r.relnamespace::regnamespace)
               WHEN 'table' THEN format('user %s may not read it on the source', current_user)
               WHEN 'policies' THEN format('row-level security of the source may hide rows from user %s', current_user)
               ELSE format('user %s may only read some columns of it on the source', current_user) END,
           'columns', CASE WHEN r.wanted = 'columns' THEN (
               SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]'::json) FROM pg_attribute a
               WHERE a.attrelid = r.oid AND NOT a.attisdropped AND has_column_privilege(r.oid, a.attnum, 'SELECT')) END
       )), '[]'::json)::text
FROM (
    SELECT c.oid, c.relnamespace,
           CASE WHEN NOT has_schema_privilege(c.relnamespace, 'USAGE') THEN 'schema'
                WHEN NOT has_any_column_privilege(c.oid, 'SELECT') THEN 'table'
                WHEN row_security_active(c.oid) THEN 'policies'
                WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'columns'
           END AS wanted
    FROM pg_class c WHERE c.oid = ANY ({relations})
) r WHERE r.wanted IS NOT NULL
