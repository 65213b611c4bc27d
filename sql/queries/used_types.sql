-- The beginning of queries over the types of columns, on either side.
-- Placeholder relations: the relations, as a constant of type oid[]
--
-- a are the columns, and used(root, type) the types inside their types.
WITH RECURSIVE a AS (
    SELECT attrelid, attnum, attname, atttypid, atttypmod, attgenerated, attnotnull, atthasdef, attidentity
    FROM pg_attribute
    WHERE attrelid = ANY ({relations}) AND attnum > 0 AND NOT attisdropped
), used(root, type) AS (
    SELECT DISTINCT atttypid, atttypid FROM a
    UNION
    SELECT u.root, inner_type.oid
    FROM used u
    JOIN pg_type t ON t.oid = u.type
    CROSS JOIN LATERAL (
        SELECT t.typelem WHERE t.typelem <> 0
        UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_range r
                  -- Multiranges are known since version 14.
                  WHERE r.rngtypid = t.oid OR t.oid = (to_jsonb(r) ->> 'rngmultitypid')::oid
        UNION ALL SELECT ta.atttypid FROM pg_attribute ta
                  WHERE ta.attrelid = t.typrelid AND t.typtype = 'c' AND ta.attnum > 0 AND NOT ta.attisdropped
    ) inner_type(oid)
)
