-- Partitions and tables above them whose owner's code would run as somebody else.
-- $1 oid[]: tables that rows go through to their partitions
-- $2 oid[]: partitions whose rows are compared with bounds that the tables above them compute
SELECT coalesce(json_agg(DISTINCT format('%I.%I: functions of %I would run as %I', n.nspname, c.relname,
                                         pg_get_userbyid(c.relowner), pg_get_userbyid(r.runs_as))), '[]'::json)::text
FROM (
    SELECT p.relid::oid AS oid, t.relowner AS runs_as
    FROM pg_class t CROSS JOIN LATERAL pg_partition_tree(t.oid) p WHERE t.oid = ANY ($1)
    UNION ALL
    SELECT a.relid, t.relowner
    FROM pg_class t CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a WHERE t.oid = ANY ($2)
) r
JOIN pg_class c ON c.oid = r.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT pg_has_role(c.relowner, r.runs_as, 'USAGE')
