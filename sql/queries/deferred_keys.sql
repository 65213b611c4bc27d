-- Unique and exclusion constraints that are looked at when the transaction ends, schema-qualified.
-- $1 oid[]: their tables
SELECT coalesce(json_agg(DISTINCT format('%I.%I', n.nspname, k.conname)), '[]'::json)::text
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
WHERE k.conrelid = ANY ($1) AND k.contype IN ('p', 'u', 'x') AND k.condeferred
