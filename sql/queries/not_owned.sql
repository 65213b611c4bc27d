-- Those of some relations that the current user does not own, with their owners.
-- $1 oid[]: the relations
SELECT coalesce(pg_catalog.json_agg(pg_catalog.format('%I.%I, owned by %I', n.nspname, c.relname,
                                    pg_catalog.pg_get_userbyid(c.relowner)) ORDER BY n.nspname, c.relname),
                '[]'::pg_catalog.json)::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1) AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
