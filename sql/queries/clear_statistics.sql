-- Clears the statistics of the columns of tables, and of the expressions of their indexes, as the current user may. Returns their number.
-- $1 oid[]: the tables
--
-- The function is there since 18.
SELECT to_json(count(pg_clear_attribute_stats(n.nspname, c.relname, a.attname, false)))::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = ANY ($1) OR c.oid IN (SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = ANY ($1) AND i.indexprs IS NOT NULL)
