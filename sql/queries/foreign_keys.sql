-- The foreign keys that must hold when tables have new rows, those of other tables included.
-- $1 oid[]: the tables
--
-- Periods are known since version 18.
WITH targets AS (
    SELECT t.oid FROM unnest($1) t(oid)
    UNION SELECT a.relid::oid FROM unnest($1) t(oid) CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a
)
SELECT coalesce(json_agg(r ORDER BY r.oid), '[]'::json)::text
FROM (
    SELECT k.oid::bigint AS oid, k.conname AS name, k.confmatchtype = 'f' AS match_full, coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false) AS has_period,
           c.oid::bigint AS referencing, c.relowner::bigint AS referencing_owner, c.relname AS referencing_name,
           f.oid::bigint AS referenced, f.relowner::bigint AS referenced_owner, f.relname AS referenced_name,
           CASE WHEN f.relkind = 'p' THEN
               (SELECT coalesce(json_agg(pt.relid::oid::bigint ORDER BY pt.relid), '[]'::json)
                FROM pg_partition_tree(f.oid) pt WHERE pt.isleaf)
           ELSE json_build_array(f.oid::bigint) END AS referenced_leaves,
           (SELECT json_agg(json_build_object(
                       'referencing', ca.attname, 'referenced', fa.attname,
                       'referencing_number', ca.attnum, 'referenced_number', fa.attnum,
                       'are_integers', o.oprname = '=' AND opn.nspname = 'pg_catalog'
                                       AND ca.atttypid IN (20, 21, 23) AND fa.atttypid IN (20, 21, 23),
                       'operator', format('OPERATOR(%I.%s)', opn.nspname, o.oprname),
                       'operator_owner', op.proowner::bigint,
                       'referenced_type', (CASE WHEN lt.typtype = 'p' THEN fa.atttypid ELSE lt.oid END)::bigint,
                       'referencing_type', (CASE WHEN rt.typtype = 'p' THEN ca.atttypid ELSE rt.oid END)::bigint,
                       'collation', fa.attcollation::bigint,
                       'referenced_column_type', fa.atttypid::bigint,
                       'referencing_column_type', ca.atttypid::bigint,
                       -- NULL where another server may compare otherwise, and for what is computed here.
                       'compared_as', CASE WHEN ca.attgenerated = '' AND fa.attgenerated = ''
                            AND coalesce((to_jsonb(cc) ->> 'collisdeterministic')::boolean, true)
                            AND coalesce((to_jsonb(fc) ->> 'collisdeterministic')::boolean, true) THEN
                           CASE WHEN ct.typtype = 'e' AND ct.oid = ft.oid THEN 'enum'
                                WHEN ct.oid IN (20, 21, 23) AND ft.oid IN (20, 21, 23) THEN 'integer'
                                WHEN ct.oid IN (25, 1043) AND ft.oid IN (25, 1043) THEN 'text'
                                WHEN ct.oid = ft.oid AND ct.typtype = 'b' AND ct.oid < 16384 THEN ct.oid::text END
                       END,
                       'type_owners', (SELECT json_agg(DISTINCT t.typowner::bigint) FROM pg_type t
                                       WHERE t.oid IN (ct.oid, ct.typelem, ft.oid, ft.typelem)))
                     ORDER BY u.position)
            FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u(ck, fk, op, position)
            JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.ck
            JOIN pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = u.fk
            JOIN pg_type ct ON ct.oid = ca.atttypid
            JOIN pg_type ft ON ft.oid = fa.atttypid
            JOIN pg_operator o ON o.oid = u.op
            JOIN pg_namespace opn ON opn.oid = o.oprnamespace
            JOIN pg_proc op ON op.oid = o.oprcode
            JOIN pg_type lt ON lt.oid = o.oprleft
            JOIN pg_type rt ON rt.oid = o.oprright
            LEFT JOIN pg_collation cc ON cc.oid = ca.attcollation
            LEFT JOIN pg_collation fc ON fc.oid = fa.attcollation) AS keys
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_class f ON f.oid = k.confrelid
    LEFT JOIN pg_constraint parent ON parent.oid = k.conparentid
    WHERE k.contype = 'f' AND k.convalidated AND c.relkind = 'r'
      AND (k.conrelid IN (SELECT oid FROM targets) OR k.confrelid IN (SELECT oid FROM targets))
      AND (parent.oid IS NULL OR parent.confrelid = k.confrelid)
) r
