-- What keeps this user of the source from reading all rows of tables, in words that follow the table's name.
-- Placeholder relations: the tables, as a constant of type oid[]
SELECT coalesce(json_agg(json_build_object('relation', r.oid::bigint, 'reason', r.reason, 'right', r.wanted)), '[]'::json)::text
FROM (
    SELECT c.oid,
           CASE WHEN NOT has_schema_privilege(c.relnamespace, 'USAGE')
                THEN format('user %s has no USAGE on schema %s of the source', current_user,
                            c.relnamespace::regnamespace)
                WHEN NOT has_table_privilege(c.oid, 'SELECT')
                THEN format('user %s may not read it on the source', current_user)
                WHEN row_security_active(c.oid)
                THEN format('row-level security of the source may hide rows from user %s', current_user)
           END AS reason,
           CASE WHEN NOT has_schema_privilege(c.relnamespace, 'USAGE') THEN 'schema'
                WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'table'
                ELSE 'policies'
           END AS wanted
    FROM pg_class c WHERE c.oid = ANY ({relations})
) r WHERE r.reason IS NOT NULL
