-- Tables of the source that inherit from others without being partitions of them: pairs of the table and what it inherits from.
-- Placeholder relations: the tables, as a constant of type oid[]
WITH RECURSIVE above AS (
    SELECT i.inhrelid AS heir, i.inhparent AS parent
    FROM pg_inherits i
    WHERE i.inhrelid = ANY ({relations})
    UNION
    SELECT a.heir, i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.parent
)
SELECT coalesce(json_agg(json_build_array(a.heir::bigint, a.parent::bigint) ORDER BY a.heir, a.parent), '[]'::json)::text
FROM above a
JOIN pg_class p ON p.oid = a.parent AND p.relkind <> 'p'
