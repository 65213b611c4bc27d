-- The name of a table that the current user may not truncate.
-- $1 oid: the table
SELECT c.relname::text FROM pg_class c
WHERE c.oid = $1 AND NOT has_table_privilege(c.oid, 'TRUNCATE')
