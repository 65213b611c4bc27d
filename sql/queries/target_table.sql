-- A table that files go into, with its columns: an array of one, or of none where it is not there.
-- $1 oid: the table
SELECT coalesce(json_agg(json_build_object(
           'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
           'owner', c.relowner::bigint, 'is_owner', pg_has_role(c.relowner, 'USAGE'),
           'columns', (SELECT coalesce(json_agg(json_build_object(
                                  'number', a.attnum, 'name', a.attname, 'type_oid', a.atttypid::bigint,
                                  'typmod', a.atttypmod, 'generated', a.attgenerated <> '',
                                  'type_name', format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum),
                               '[]'::json)
                       FROM pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))), '[]'::json)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1
