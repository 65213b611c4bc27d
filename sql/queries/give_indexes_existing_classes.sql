-- Gives indexes whose operator class or access method is gone another, under which they can be dropped: 1978 is the class of
-- B-trees over integers.
-- $1 oid[]: the tables of the indexes
WITH bereft AS MATERIALIZED (
    SELECT i.indexrelid, i.indnkeyatts FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY ($1)
      AND (EXISTS (SELECT FROM unnest(i.indclass::oid[]) k(oid)
                   WHERE NOT EXISTS (SELECT FROM pg_opclass o WHERE o.oid = k.oid))
           OR NOT EXISTS (SELECT FROM pg_am m WHERE m.oid = c.relam))
), classes AS (
    UPDATE pg_index i
    SET indclass = (SELECT string_agg('1978', ' ') FROM generate_series(1, b.indnkeyatts))::oidvector
    FROM bereft b WHERE i.indexrelid = b.indexrelid
), options AS (
    UPDATE pg_attribute a SET attoptions = NULL
    FROM bereft b WHERE a.attrelid = b.indexrelid AND a.attoptions IS NOT NULL
)
UPDATE pg_class c SET relam = 403 FROM bereft b WHERE c.oid = b.indexrelid
