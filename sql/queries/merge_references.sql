-- The enforced foreign keys between tables that rows are merged into, those above them and their partitions, and those of other
-- tables that change rows there when rows here go.
-- $1 oid[]: the tables, those above them and their partitions
SELECT coalesce(json_agg(json_build_object(
           'name', format('%I.%I', n.nspname, k.conname), 'referencing', k.conrelid::bigint, 'referenced', k.confrelid::bigint,
           'referencing_name', k.conrelid::regclass::text,
           -- Those of one name are told to wait together, or not at all.
           'deferrable', NOT EXISTS (SELECT FROM pg_constraint o
                                     WHERE o.connamespace = k.connamespace AND o.conname = k.conname AND NOT o.condeferrable),
           'changes_on_delete', k.confdeltype IN ('c', 'n', 'd'))
       ORDER BY n.nspname, k.conname, k.oid), '[]'::json)::text
FROM pg_constraint k
JOIN pg_namespace n ON n.oid = k.connamespace
WHERE k.contype = 'f' AND (k.conrelid = ANY ($1) OR k.confrelid = ANY ($1))
  -- Known since version 18.
  AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
