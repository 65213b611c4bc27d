-- Those of some sequences that columns of tables outside of the pull own or use in their defaults, too.
-- $1 oid[]: the sequences
-- $2 oid[]: the tables of the pull
SELECT coalesce(json_agg(DISTINCT u.sequence::bigint), '[]'::json)::text
FROM (
    SELECT d.objid AS sequence, d.refobjid AS relation
    FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.objid = ANY ($1) AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid, f.adrelid
    FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = ANY ($1) AND d.deptype = 'n'
) u
JOIN pg_class c ON c.oid = u.relation
WHERE u.relation <> ALL ($2)
  AND (c.relkind <> 'p'
       OR EXISTS (SELECT FROM pg_partition_tree(c.oid) p WHERE p.isleaf AND p.relid <> ALL ($2)))
