-- Whether somebody would notice that rows of a table come without being inserted: triggers on INSERT or TRUNCATE
-- (TRIGGER_TYPE_INSERT and TRIGGER_TYPE_TRUNCATE of catalog/pg_trigger.h), policies.
-- $1 oid: the table
SELECT (EXISTS (SELECT FROM pg_catalog.pg_trigger t
                WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & (4 | 32) <> 0)
        OR c.relrowsecurity)::pg_catalog.text
FROM pg_catalog.pg_class c WHERE c.oid = $1
