-- What each row of a table must be like, as SQL conditions over its columns that are true for a row which is not: no condition is
-- one that the planner could prove from the constraint.
-- $1 oid: the table
SELECT coalesce(json_agg(json_build_object('kind', r.kind, 'name', r.name, 'violated', r.violated) ORDER BY r.kind, r.position), '[]'::json)::text
FROM (
    SELECT 'not null' AS kind, a.attname AS name, format('num_nulls(%I) > 0', a.attname) AS violated, a.attnum::bigint AS position
    FROM pg_attribute a
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
      AND NOT EXISTS (SELECT FROM pg_constraint k
                      WHERE k.conrelid = $1 AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)
    UNION ALL
    SELECT 'check', k.conname, format('(%s) IS FALSE', pg_get_expr(k.conbin, k.conrelid)), k.oid::bigint
    FROM pg_constraint k WHERE k.conrelid = $1 AND k.contype = 'c' AND k.convalidated
    UNION ALL
    SELECT 'partition', NULL, format('(%s) IS FALSE', pg_get_partition_constraintdef($1)), 0
    FROM pg_class c WHERE c.oid = $1 AND c.relispartition AND pg_get_partition_constraintdef($1) IS NOT NULL
) r
