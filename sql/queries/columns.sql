-- The columns of relations, on either side.
-- Placeholder used_types: the columns a of the relations, and used(root, type), the types inside their types
-- Placeholder unlike: types whose binary form differs between the two sides, after a comma
{used_types}, types AS (
    SELECT u.root,
           bool_and(t.typsend <> 0 AND t.typreceive <> 0 AND t.oid NOT IN
                    (22, 24, 30, 2202, 2203, 2204, 2205, 2206, 3615, 3734, 3769, 4089, 4096, 4191{unlike})) AS binary,
           array_agg(DISTINCT e.extname || ' ' || e.extversion) FILTER (WHERE e.extname IS NOT NULL) AS extensions,
           string_agg(DISTINCT s.text COLLATE "C", '; ' ORDER BY s.text COLLATE "C") AS structure
    FROM used u
    JOIN pg_type t ON t.oid = u.type
    LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
                         AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid
    LEFT JOIN LATERAL (
        SELECT format('%s (%s)', format_type(t.oid, NULL),
                      string_agg(format('%I %s', ta.attname, format_type(ta.atttypid, ta.atttypmod)), ', '
                                 ORDER BY ta.attnum)) AS text
        FROM pg_attribute ta
        WHERE t.typtype = 'c' AND ta.attrelid = t.typrelid AND ta.attnum > 0 AND NOT ta.attisdropped
        HAVING t.typtype = 'c'
        UNION ALL
        SELECT format('%s over %s', format_type(t.oid, NULL), format_type(t.typbasetype, t.typtypmod))
        WHERE t.typtype = 'd'
        UNION ALL
        SELECT format('%s is a range over %s', format_type(t.oid, NULL), format_type(r.rngsubtype, NULL))
        FROM pg_range r WHERE t.typtype = 'r' AND r.rngtypid = t.oid AND t.typnamespace <> 'pg_catalog'::regnamespace
    ) s ON true
    GROUP BY u.root
)
SELECT coalesce(json_agg(r ORDER BY r.relation, r.number), '[]'::json)::text
FROM (
    SELECT a.attrelid::bigint AS relation, a.attnum AS number, a.attname AS name,
           format_type(a.atttypid, a.atttypmod) AS type_name, format_type(a.atttypid, NULL) AS base_type,
           a.attgenerated <> '' AS generated,
           a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL
               OR NOT (a.attnotnull OR t.typnotnull) AS optional,
           -- Since version 18 a constraint can be NOT VALID.
           t.typnotnull OR a.attnotnull AND NOT EXISTS (
               SELECT FROM pg_constraint k
               WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated) AS not_null,
           types.binary, coalesce(types.extensions, '{}') AS extensions, types.structure
    FROM a JOIN types ON types.root = a.atttypid JOIN pg_type t ON t.oid = a.atttypid
) r
