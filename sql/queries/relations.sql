-- The relations that a pull may copy from or to, with their sizes and places among partitions, on either side.
WITH this_database AS (
    SELECT d.oid, pg_encoding_to_char(d.encoding) AS encoding,
           concat_ws(' ', coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), d.datcollate,
                     coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')) AS sorted_by
    FROM pg_database d WHERE d.datname = current_database()
), keys AS (
    SELECT t.partrelid AS relation,
           string_agg(CASE
               WHEN y.typtype = 'e' AND t.partstrat <> 'l' THEN
                   (SELECT string_agg(concat_ws(' ', e.enumlabel, CASE WHEN t.partstrat = 'h' THEN e.oid END), ','
                                      ORDER BY e.enumsortorder)
                    FROM pg_enum e WHERE e.enumtypid = y.oid)
               WHEN t.partstrat = 'h' AND (y.typtype <> 'b' OR y.typcategory = 'A') THEN
                   concat_ws(' ', b.oid, pg_postmaster_start_time())
               WHEN l.oid IS NOT NULL AND (t.partstrat = 'r' OR NOT l.collisdeterministic) THEN
                   concat_ws(' ', b.encoding,
                             CASE WHEN l.collprovider = 'd' THEN b.sorted_by
                                  ELSE concat_ws(' ', l.collname, l.collprovider, l.collcollate,
                                                 coalesce(to_jsonb(l) ->> 'colllocale', to_jsonb(l) ->> 'colliculocale'))
                             END)
               WHEN l.oid IS NOT NULL AND t.partstrat = 'h' THEN b.encoding
               END, '; ' ORDER BY u.position) AS meaning
    FROM pg_partitioned_table t
    CROSS JOIN this_database b
    CROSS JOIN LATERAL unnest(t.partattrs::int2[], t.partcollation::oid[]) WITH ORDINALITY u(number, collating, position)
    LEFT JOIN pg_attribute a ON a.attrelid = t.partrelid AND a.attnum = u.number AND u.number > 0
    LEFT JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = u.collating
    GROUP BY t.partrelid
), taken AS (
    -- To ask for the size of a table is to wait for who has it for himself, be it in the pull or not.
    SELECT DISTINCT l.relation AS oid FROM pg_locks l CROSS JOIN pg_database d
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND d.datname = current_database() AND l.database = d.oid
)
SELECT coalesce(json_agg(r ORDER BY r.schema, r.name), '[]'::json)::text
FROM (
    SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
           c.relpersistence AS persistence, am.amname AS access_method, e.extname AS extension,
           p.root::oid::bigint AS partition_root, p.ancestors AS partition_ancestors, p.layout AS partition_layout,
           beside.bounds AS bounds_beside_default,
           s.heap / s.page AS pages, s.toast / s.page AS toast_pages, s.heap + s.toast AS bytes,
           c.reltuples::float8 AS tuples
    FROM pg_class c
    LEFT JOIN taken ON taken.oid = c.oid
    LEFT JOIN taken taken_toast ON taken_toast.oid = c.reltoastrelid
    CROSS JOIN LATERAL (
        SELECT current_setting('block_size')::bigint AS page,
               CASE WHEN c.relkind NOT IN ('r', 'm') THEN 0
                    WHEN taken.oid IS NOT NULL THEN greatest(c.relpages, 1) * current_setting('block_size')::bigint
                    ELSE coalesce(pg_relation_size(c.oid), 0) END AS heap,
               CASE WHEN c.reltoastrelid = 0 OR taken_toast.oid IS NOT NULL OR taken.oid IS NOT NULL THEN 0
                    ELSE coalesce(pg_relation_size(c.reltoastrelid), 0) END AS toast
    ) s
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_am am ON am.oid = c.relam
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                         AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid
    LEFT JOIN LATERAL (
        SELECT pg_partition_root(c.oid) AS root, json_agg(a.oid::bigint ORDER BY f.level) AS ancestors,
               string_agg(concat_ws(' ', pg_get_expr(a.relpartbound, a.oid),
                                    CASE WHEN a.relkind = 'p' THEN pg_get_partkeydef(a.oid) END, k.meaning),
                          ' in ' ORDER BY f.level) AS layout
        FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS f(oid, level)
        JOIN pg_class a ON a.oid = f.oid
        LEFT JOIN keys k ON k.relation = a.oid
    ) p ON c.relispartition
    LEFT JOIN LATERAL (
        SELECT json_agg(concat_ws(' ', f.level, pg_get_expr(b.relpartbound, b.oid))) AS bounds
        FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS f(oid, level)
        JOIN pg_partitioned_table t ON t.partdefid = f.oid
        JOIN pg_inherits i ON i.inhparent = t.partrelid AND i.inhrelid <> f.oid
        JOIN pg_class b ON b.oid = i.inhrelid
    ) beside ON c.relispartition
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', 'pgcopy', 'pgcopy_internal', 'pgcopy_stage')
) r
