-- The number of tables that are not as the snapshot shows them, which was taken before they were locked: others have emptied,
-- rewritten or renamed them, or given them other partitions.
-- Placeholders relations and names: the tables, as a constant of type oid[], and their qualified names, as one of type text[]
SELECT count(*)::text
FROM unnest({relations}, {names}) t(oid, name)
LEFT JOIN pg_class c ON c.oid = t.oid
-- The functions see what is there now, and the tables of the catalog what the snapshot shows.
WHERE c.oid IS NULL OR to_regclass(t.name) IS DISTINCT FROM t.oid::regclass
   OR pg_relation_filenode(t.oid) IS DISTINCT FROM nullif(c.relfilenode, 0::oid)
   OR EXISTS (SELECT FROM pg_partition_tree(t.oid) m
              LEFT JOIN pg_class p ON p.oid = m.relid
              LEFT JOIN pg_inherits i ON i.inhrelid = m.relid
              WHERE pg_relation_filenode(m.relid) IS DISTINCT FROM nullif(p.relfilenode, 0::oid)
                 OR m.relid <> t.oid AND i.inhparent IS DISTINCT FROM m.parentrelid)
   OR EXISTS (SELECT FROM pg_partition_tree(t.oid) m
              JOIN pg_inherits i ON i.inhparent = m.relid
              -- Since version 14 a partition can be on its way out.
              WHERE NOT coalesce((to_jsonb(i) ->> 'inhdetachpending')::boolean, false)
                AND NOT EXISTS (SELECT FROM pg_partition_tree(t.oid) o WHERE o.relid = i.inhrelid))
