-- The rights on tables that the current user lacks for the statements that merge rows into them.
-- $1 oid[]: the tables
-- $2 oid[], $3 integer[]: tables and the numbers of their columns that the statements name
-- $4 text[]: the rights
SELECT coalesce(json_agg(json_build_object(
           'relation', c.oid::bigint, 'name', format('%I.%I', n.nspname, c.relname), 'schema', quote_ident(n.nspname),
           'user', quote_ident(current_user), 'privileges', m.privileges, 'lacks_schema', m.lacks_schema)
       ORDER BY n.nspname, c.relname), '[]'::json)::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT json_agg(p.name ORDER BY p.position) FROM unnest($4) WITH ORDINALITY p(name, position)
                     WHERE NOT has_table_privilege(c.oid, p.name)
                       AND (p.name = 'DELETE' OR NOT has_any_column_privilege(c.oid, p.name)
                            OR EXISTS (SELECT FROM unnest($2, $3) u(relation, number)
                                       WHERE u.relation = c.oid
                                         AND NOT has_column_privilege(c.oid, u.number::int2, p.name)))), '[]'::json) AS privileges,
           NOT has_schema_privilege(n.oid, 'USAGE') AS lacks_schema
) m
WHERE c.oid = ANY ($1) AND (m.lacks_schema OR json_array_length(m.privileges) > 0)
