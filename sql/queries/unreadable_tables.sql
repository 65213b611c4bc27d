-- What keeps the current user from reading all rows of tables of this side, or the tables' owners, as whom they are read, in
-- words that follow the table's name.
-- $1 oid[]: the tables
SELECT coalesce(json_agg(json_build_object('relation', r.oid::bigint, 'reason', r.reason)), '[]'::json)::text
FROM (
    SELECT c.oid,
           CASE WHEN NOT has_schema_privilege(c.relnamespace, 'USAGE')
                THEN format('user %s has no USAGE on schema %s', current_user, c.relnamespace::regnamespace)
                WHEN NOT has_table_privilege(c.oid, 'SELECT')
                     AND EXISTS (SELECT FROM pg_attribute a
                                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                                   AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))
                THEN format('user %s may not read it', current_user)
                WHEN NOT has_schema_privilege(o.oid, c.relnamespace, 'USAGE')
                THEN format('its owner %s, as whom it is read, has no USAGE on schema %s', quote_ident(o.rolname), c.relnamespace::regnamespace)
                WHEN NOT has_table_privilege(o.oid, c.oid, 'SELECT')
                THEN format('its owner %s, as whom it is read, may not read it', quote_ident(o.rolname))
                WHEN row_security_active(c.oid)
                THEN format('row-level security may hide rows from user %s', current_user)
                WHEN c.relrowsecurity AND c.relforcerowsecurity AND NOT (o.rolsuper OR o.rolbypassrls)
                THEN format('row-level security is forced on its owner %s, as whom it is read', quote_ident(o.rolname))
           END AS reason
    FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner WHERE c.oid = ANY ($1)
) r WHERE r.reason IS NOT NULL
