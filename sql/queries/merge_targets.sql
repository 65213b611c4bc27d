-- What is to know of tables that rows are merged into: columns that only the database gives values to, rules, and the unique
-- indexes, each with the reason why it cannot tell rows apart, if there is one.
-- $1 oid[]: the tables
SELECT coalesce(json_agg(json_build_object(
           'relation', c.oid::bigint,
           'has_rules', EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid),
           'always_identity', (SELECT coalesce(json_agg(a.attnum), '[]'::json) FROM pg_attribute a
                               WHERE a.attrelid = c.oid AND a.attidentity = 'a' AND NOT a.attisdropped),
           'keys', (SELECT coalesce(json_agg(json_build_object(
                        'oid', i.indexrelid::bigint, 'name', ic.relname,
                        -- An index of a partition goes by the names of those above it, too.
                        'names', (SELECT json_agg(DISTINCT o.relname) FROM pg_class o
                                  WHERE o.oid = i.indexrelid
                                     OR o.oid IN (SELECT a.relid FROM pg_partition_ancestors(i.indexrelid) a)),
                        'is_primary', i.indisprimary,
                        'unfit', CASE WHEN i.indexprs IS NOT NULL THEN 'is over expressions'
                                      WHEN i.indpred IS NOT NULL THEN 'does not cover all rows'
                                      WHEN NOT i.indimmediate THEN 'is deferrable'
                                      WHEN NOT i.indisvalid OR NOT i.indisready THEN 'is not valid'
                                      WHEN m.amname <> 'btree' THEN 'is not a B-tree' END,
                        -- ON CONFLICT takes every unique index over the columns, in whatever order, and refuses these.
                        'has_deferrable_twin', EXISTS (
                            SELECT FROM pg_index o
                            WHERE o.indrelid = i.indrelid AND o.indisunique AND NOT o.indimmediate AND o.indpred IS NULL
                              AND ARRAY(SELECT u FROM unnest((o.indkey::int2[])[0:o.indnkeyatts - 1]) u ORDER BY u)
                                  = ARRAY(SELECT u FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) u ORDER BY u)),
                        'columns', k.columns) ORDER BY i.indisprimary DESC, ic.relname), '[]'::json)
                    FROM pg_index i
                    JOIN pg_class ic ON ic.oid = i.indexrelid
                    JOIN pg_am m ON m.oid = ic.relam
                    CROSS JOIN LATERAL (
                        SELECT json_agg(json_build_object(
                                   'number', a.attnum, 'name', a.attname, 'is_nullable', NOT a.attnotnull,
                                   'operator', format('OPERATOR(%I.%s)', opn.nspname, op.oprname),
                                   'collation', CASE WHEN u.collating <> a.attcollation
                                                     THEN format('%I.%I', coln.nspname, col.collname) END,
                                   -- Whether equal values are the same bytes, as indexes need it that keep such values once.
                                   'is_exact', coalesce(same.proname = 'btequalimage'
                                       OR same.proname = 'btvarstrequalimage' AND col.collisdeterministic, false)
                                   ) ORDER BY u.position) AS columns
                        FROM unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[])
                             WITH ORDINALITY u(number, class, collating, position)
                        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
                        JOIN pg_opclass oc ON oc.oid = u.class
                        JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
                                       AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
                        JOIN pg_operator op ON op.oid = ao.amopopr
                        JOIN pg_namespace opn ON opn.oid = op.oprnamespace
                        LEFT JOIN pg_collation col ON col.oid = u.collating
                        LEFT JOIN pg_namespace coln ON coln.oid = col.collnamespace
                        LEFT JOIN LATERAL (
                            SELECT p.proname FROM pg_amproc ap JOIN pg_proc p ON p.oid = ap.amproc
                            WHERE ap.amprocfamily = oc.opcfamily AND ap.amproclefttype = oc.opcintype
                              AND ap.amprocrighttype = oc.opcintype AND ap.amprocnum = 4
                              AND p.pronamespace = 'pg_catalog'::regnamespace
                        ) same ON true
                        WHERE u.position <= i.indnkeyatts
                    ) k
                    WHERE i.indrelid = c.oid AND i.indisunique AND i.indislive)
       ) ORDER BY c.oid), '[]'::json)::text
FROM pg_class c
WHERE c.oid = ANY ($1)
