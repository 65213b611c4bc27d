-- Functions and types of the source that an expression over a row must not use, with the reasons, in words that follow their names.
-- Placeholders schemas, names, uses: constants of type text[] with an element for each name in the expression, '' for no schema;
-- a use is 'call', or 'attribute' for a name behind a dot
-- Placeholder used_types: the columns a of the table, and used(root, type), the types inside their types
{used_types}, named AS (
    SELECT u.number, u.schema, u.name, u.used, s.oid AS namespace
    FROM unnest({schemas}, {names}, {uses}) WITH ORDINALITY u(schema, name, used, number)
    LEFT JOIN pg_namespace s ON s.nspname = CASE u.schema WHEN '' THEN 'pg_catalog' ELSE u.schema END
), asking AS (
    SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user
), trusted AS (
    SELECT r.oid, r.rolname, r.rolsuper OR r.oid = a.oid AS is_trusted FROM pg_roles r CROSS JOIN asking a
), functions AS (
    SELECT n.number, n.name, f.pronamespace, f.proname, f.provolatile, f.proowner,
           f.pronamespace = 'pg_catalog'::regnamespace
           AND (f.proargtypes::oid[] @> ARRAY['cstring'::regtype, 'oid'::regtype]::oid[] OR f.proname LIKE 'pg\_input\_%')
               AS makes_values
    FROM named n
    JOIN pg_proc f ON f.proname = n.name AND f.pronamespace = n.namespace
    WHERE n.used = 'call'
    UNION ALL
    -- A function of one argument can be written like a column of it, and is found by the search path then.
    SELECT n.number, n.name, f.pronamespace, f.proname, f.provolatile, f.proowner, false
    FROM named n
    JOIN pg_proc f ON f.proname = n.name AND f.pronamespace = 'pg_catalog'::regnamespace AND f.pronargs > 0
                  AND f.pronargs - f.pronargdefaults <= 1
    WHERE n.used = 'attribute'
), of_named(number, type) AS (
    -- The types that are named, and those that they consist of.
    SELECT n.number, y.oid
    FROM named n
    JOIN pg_type y ON y.typname = n.name AND y.typnamespace = n.namespace AND n.schema <> ''
    UNION
    SELECT o.number, i.oid
    FROM of_named o
    JOIN pg_type t ON t.oid = o.type
    CROSS JOIN LATERAL (
        SELECT t.typelem WHERE t.typelem <> 0
        UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid OR t.oid = (to_jsonb(r) ->> 'rngmultitypid')::oid
        UNION ALL SELECT ta.atttypid FROM pg_attribute ta
                  WHERE ta.attrelid = t.typrelid AND t.typtype = 'c' AND ta.attnum > 0 AND NOT ta.attisdropped
    ) i(oid)
), of_row AS (
    -- The types of the row, those that they consist of, and that of the row itself.
    SELECT min(a.attname) AS attname, u.type AS oid FROM used u JOIN a ON a.atttypid = u.root GROUP BY u.type
    UNION ALL
    SELECT NULL, t.reltype FROM pg_class t WHERE t.oid = ANY ({relations}) AND t.reltype <> 0
), reached AS (
    -- Values of these, and arrays and multiranges of them, can be made without naming a type.
    SELECT min(attname) AS attname, oid
    FROM (SELECT attname, oid FROM of_row
          UNION ALL
          SELECT r.attname, y.typarray FROM of_row r JOIN pg_type y ON y.oid = r.oid WHERE y.typarray <> 0
          UNION ALL
          SELECT r.attname, (to_jsonb(g) ->> 'rngmultitypid')::oid FROM of_row r JOIN pg_range g ON g.rngtypid = r.oid) m
    WHERE oid IS NOT NULL
    GROUP BY oid
), checking AS (
    -- Functions that checks of domains call; what is built in is not recorded.
    SELECT r.attname, y.oid AS type, y.typowner AS owner
    FROM reached r JOIN pg_type y ON y.oid = r.oid JOIN pg_constraint k ON k.contypid = y.oid
    WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                                            AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass))
    UNION ALL
    SELECT r.attname, r.oid, f.proowner
    FROM reached r JOIN pg_constraint k ON k.contypid = r.oid
    JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND d.refclassid = 'pg_proc'::regclass
    JOIN pg_proc f ON f.oid = d.refobjid
    UNION ALL
    SELECT r.attname, r.oid, f.proowner
    FROM reached r JOIN pg_range g ON g.rngtypid = r.oid JOIN pg_proc f ON f.oid = g.rngcanonical
)
SELECT coalesce(json_agg(r ORDER BY r.number), '[]'::json)::text
FROM (
    SELECT f.number - 1 AS number,
           min(CASE WHEN f.provolatile = 'v' THEN 'is volatile'
                    WHEN f.pronamespace = 'pg_catalog'::regnamespace
                         AND f.proname ~ '^(query|cursor|table|schema|database)_to_xml' THEN 'reads other tables'
                    WHEN f.pronamespace = 'pg_catalog'::regnamespace
                         AND f.proname IN ('txid_current', 'pg_current_xact_id') THEN 'assigns a transaction ID'
                    -- Input functions of domains, arrays, rows and ranges are told the type, whose code they run, by its OID.
                    WHEN f.makes_values THEN 'makes values of any type'
                    -- The key of masks is one.
                    WHEN f.pronamespace = 'pg_catalog'::regnamespace AND f.proname = 'current_setting' THEN 'reads settings'
                    WHEN NOT o.is_trusted
                    THEN format('is code of %I, which would run as the user of the source', o.rolname)
               END) AS reason
    FROM functions f
    JOIN trusted o ON o.oid = f.proowner
    GROUP BY f.number
    UNION ALL
    SELECT n.number - 1, format('is a type of %I, whose code would run as the user of the source', o.rolname)
    FROM named n
    JOIN pg_type y ON y.typname = n.name AND y.typnamespace = n.namespace AND y.typtype <> 'e' AND n.schema <> ''
    JOIN trusted o ON o.oid = y.typowner AND NOT o.is_trusted
    UNION ALL
    SELECT o.number - 1, format('has checks that are code of %I, which would run as the user of the source', r.rolname)
    FROM of_named o
    JOIN pg_constraint k ON k.contypid = o.type
    JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND d.refclassid = 'pg_proc'::regclass
    JOIN pg_proc f ON f.oid = d.refobjid
    JOIN trusted r ON r.oid = f.proowner AND NOT r.is_trusted
    UNION ALL
    SELECT NULL, format('type %s%s has a cast that is code of %I', format_type(r.oid, NULL), ' of column ' || quote_ident(r.attname),
                        o.rolname)
    FROM reached r
    JOIN pg_cast c ON r.oid IN (c.castsource, c.casttarget)
    JOIN pg_proc f ON f.oid = c.castfunc
    JOIN trusted o ON o.oid = f.proowner AND NOT o.is_trusted
    -- 16384 is FirstNormalObjectId: what is not built in must be at hand, too.
    WHERE (c.castsource < 16384 OR c.castsource IN (SELECT oid FROM reached))
      AND (c.casttarget < 16384 OR c.casttarget IN (SELECT oid FROM reached))
    UNION ALL
    SELECT NULL, format('type %s of column %I has code of %I, which would run as the user of the source',
                        format_type(k.type, NULL), k.attname, o.rolname)
    FROM checking k
    JOIN trusted o ON o.oid = k.owner AND NOT o.is_trusted
) r WHERE r.reason IS NOT NULL
