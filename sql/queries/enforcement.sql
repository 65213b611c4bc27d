-- The constraints and triggers that must not act while the rows of tables are replaced.
-- $1 oid[]: the tables
-- $2 oid: the role that replaces them
--
-- Foreign keys are checked when all rows are there. What is NOT VALID holds for the rows of others, not for those of the
-- source. Triggers of tables above are fired by TRUNCATE where such a table publishes it.
SELECT json_build_object(
    'constraints', (SELECT coalesce(json_agg(json_build_object('oid', k.oid::bigint, 'kind', k.contype)), '[]')
                    FROM pg_constraint k
                    WHERE k.contype = 'f' AND k.confrelid IN (
                              SELECT t.oid FROM unnest($1) t(oid)
                              UNION SELECT a.relid FROM unnest($1) t(oid) CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a)
                       OR k.contype IN ('c', 'n') AND NOT k.convalidated AND k.conrelid = ANY ($1)),
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
