-- The name of a table that the current user may insert into neither as a whole nor by all of some columns.
-- $1 oid: the table
-- $2 integer[]: the numbers of the columns
SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c
WHERE c.oid = $1 AND NOT pg_catalog.has_table_privilege(c.oid, 'INSERT')
  AND EXISTS (SELECT FROM pg_catalog.unnest($2) a
              WHERE NOT pg_catalog.has_column_privilege(c.oid, a::pg_catalog.int2, 'INSERT'))
