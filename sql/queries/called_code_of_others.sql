-- Functions and types, among those with these names, whose code would run as the current user and is neither its own nor a
-- superuser's: words for people, or NULL.
-- $1 text[]: schemas
-- $2 text[]: names in them
SELECT string_agg(DISTINCT format('%I.%I is code of %I', n.nspname, o.name, r.rolname), ', ')
FROM unnest($1, $2) c(schema, name)
JOIN pg_namespace n ON n.nspname = c.schema
CROSS JOIN LATERAL (
    SELECT f.proname AS name, f.proowner AS owner FROM pg_proc f WHERE f.pronamespace = n.oid AND f.proname = c.name
    UNION ALL
    SELECT y.typname, y.typowner FROM pg_type y WHERE y.typnamespace = n.oid AND y.typname = c.name AND y.typtype <> 'e'
) o
JOIN pg_roles r ON r.oid = o.owner AND NOT r.rolsuper
WHERE r.rolname <> current_user
