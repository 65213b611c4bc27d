-- Tables over which a query would run, while it is planned, functions of roles that are neither the user of the source nor
-- superusers: those in the expressions of indexes, partition keys and statistics, with the rights of who asks.
-- Placeholder relations: the tables, as a constant of type oid[]
WITH RECURSIVE asking AS (
    SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user
), members AS (
    SELECT t.oid AS relation, t.oid AS member FROM pg_class t WHERE t.oid = ANY ({relations})
    UNION
    SELECT m.relation, i.inhrelid
    FROM members m
    JOIN pg_class t ON t.oid = m.member AND t.relkind = 'p'
    JOIN pg_inherits i ON i.inhparent = m.member
), expressions AS (
    SELECT m.relation, 'pg_class'::regclass AS class, i.indexrelid AS object
    FROM members m JOIN pg_index i ON i.indrelid = m.member WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT m.relation, 'pg_class'::regclass, p.partrelid
    FROM members m JOIN pg_partitioned_table p ON p.partrelid = m.member WHERE p.partexprs IS NOT NULL
    UNION ALL
    -- Versions before 14 have none over expressions.
    SELECT m.relation, 'pg_statistic_ext'::regclass, s.oid
    FROM members m JOIN pg_statistic_ext s ON s.stxrelid = m.member
)
SELECT coalesce(json_agg(r), '[]'::json)::text
FROM (
    SELECT e.relation::bigint AS relation, string_agg(DISTINCT quote_ident(r.rolname), ', ') AS authors
    FROM expressions e
    JOIN pg_depend d ON d.classid = e.class AND d.objid = e.object
    -- What the server itself brings is not among these.
    LEFT JOIN pg_proc f ON d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
    LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
    LEFT JOIN pg_type y ON d.refclassid = 'pg_type'::regclass AND y.oid = d.refobjid
    JOIN pg_roles r ON r.oid = coalesce(f.proowner, o.oprowner, y.typowner) AND NOT r.rolsuper
    CROSS JOIN asking
    WHERE r.oid <> asking.oid
    GROUP BY e.relation
) r
