-- Constraints that wait for the end of the transaction and look at what happens to rows of tables: unique and exclusion constraints,
-- foreign keys from and to them, and constraint triggers.
-- $1 oid[]: the tables
SELECT coalesce(json_agg(r ORDER BY r.name), '[]'::json)::text
FROM (
    SELECT DISTINCT format('%I.%I', n.nspname, k.conname) AS name, k.contype AS kind,
           -- A name may be that of constraints of several tables and domains, which are told to wait together.
           NOT EXISTS (SELECT FROM pg_constraint o
                       WHERE o.connamespace = k.connamespace AND o.conname = k.conname AND NOT o.condeferrable) AS can_be_told_to_wait
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    WHERE k.condeferred AND (k.conrelid = ANY ($1) OR k.confrelid = ANY ($1))
) r
