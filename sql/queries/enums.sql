-- The enums inside the types of the columns of relations, on either side.
-- Placeholder used_types: the columns a of the relations, and used(root, type), the types inside their types
{used_types}
SELECT coalesce(json_agg(r ORDER BY r.name), '[]'::json)::text
FROM (
    SELECT format_type(t.oid, NULL) AS name, min(format('%s.%I', a.attrelid::regclass, a.attname)) AS used_by,
           json_agg(DISTINCT a.attrelid::bigint) AS users,
           (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels,
           (SELECT json_agg(e.oid::bigint ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS numbers
    FROM used u JOIN pg_type t ON t.oid = u.type AND t.typtype = 'e' JOIN a ON a.atttypid = u.root
    GROUP BY t.oid
) r
