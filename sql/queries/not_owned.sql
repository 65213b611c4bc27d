-- Those of some relations that the current user does not own, with their owners.
-- $1 oid[]: the relations
SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                    'relation', c.oid::pg_catalog.int8,
                    'name', pg_catalog.format('%I.%I', n.nspname, c.relname),
                    'owner', pg_catalog.quote_ident(r.rolname),
                    'owner_is_superuser', r.rolsuper,
                    'user', pg_catalog.quote_ident(current_user)) ORDER BY n.nspname, c.relname),
                '[]'::pg_catalog.json)::pg_catalog.text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
WHERE c.oid = ANY ($1) AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
