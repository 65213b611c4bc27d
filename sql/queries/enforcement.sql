-- The foreign keys and triggers that must not fire while the rows of tables are replaced.
-- $1 oid[]: the tables
-- $2 oid: the role that replaces them
--
-- Triggers of tables above are fired by TRUNCATE where such a table publishes it.
SELECT json_build_object(
    'keys', (SELECT coalesce(json_agg(k.oid::bigint), '[]') FROM pg_constraint k
             WHERE k.contype = 'f' AND k.confrelid IN (
                 SELECT t.oid FROM unnest($1) t(oid)
                 UNION SELECT a.relid FROM unnest($1) t(oid) CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a)),
    'triggers', (SELECT coalesce(json_agg(json_build_object(
                            'oid', t.oid::bigint, 'table', t.tgrelid::bigint, 'enabled', t.tgenabled)), '[]')
                 FROM pg_trigger t
                 LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint
                 WHERE t.tgenabled <> 'D'
                   AND (t.tgrelid = ANY ($1)
                            -- Those of unique and exclusion constraints check the new rows.
                            AND NOT (t.tgisinternal AND coalesce(k.contype IN ('p', 'u', 'x'), false))
                        OR t.tgrelid IN (
                               -- Which TRUNCATE fires where a partitioned table above publishes it.
                               SELECT a.relid FROM unnest($1) o(oid) CROSS JOIN LATERAL pg_partition_ancestors(o.oid) a
                               JOIN pg_class c ON c.oid = a.relid WHERE pg_has_role($2, c.relowner, 'USAGE'))
                            AND NOT t.tgisinternal AND (t.tgtype & 32) <> 0)))::text
