-- What the storage of targets must be made of, and what their rows must satisfy.
-- $1 oid[]: the targets
--
-- 16384 is FirstNormalObjectId (access/transam.h): older objects came with the server. The view pg_publication_tables would
-- fail when a publication that its snapshot still shows has been dropped.
WITH listed AS MATERIALIZED (
    SELECT prpubid AS publication, prrelid AS relation FROM pg_publication_rel
    UNION
    SELECT s.pnpubid, c.oid FROM pg_publication_namespace s JOIN pg_class c ON c.relnamespace = s.pnnspid
    WHERE c.relkind IN ('r', 'p')
),
published AS MATERIALIZED (
    SELECT p.pubname, p.puballtables, p.pubviaroot, p.pubinsert AND p.pubtruncate AS publishes_all, l.relation AS oid
    FROM pg_publication p
    LEFT JOIN listed l ON l.publication = p.oid AND NOT p.puballtables
    WHERE (p.pubinsert OR p.pubupdate OR p.pubdelete OR p.pubtruncate)
      AND current_setting('wal_level') = 'logical' AND (p.puballtables OR l.relation IS NOT NULL)
      -- Through the root means through the topmost of the tables that are listed.
      AND NOT (p.pubviaroot AND EXISTS (
          SELECT FROM pg_partition_ancestors(l.relation) x JOIN listed a ON a.relation = x.relid
          WHERE a.publication = p.oid AND a.relation <> l.relation))
)
SELECT coalesce(json_agg(r ORDER BY r.oid), '[]'::json)::text
FROM (
    SELECT c.oid::bigint AS oid, c.relowner::bigint AS owner,
           concat_ws(' ', c.relnamespace, c.relname, c.relkind, c.relpersistence, c.relam, c.reltablespace, c.reloptions,
                     (SELECT md5(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attlen,
                                            a.attalign, a.attstorage, a.attcompression, a.attnotnull,
                                            a.attgenerated, a.attisdropped, a.attcollation), ',' ORDER BY a.attnum))
                      FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
                     -- Which rows a partition takes: by its bounds and those above it, and a default one by
                     -- those of its siblings.
                     (SELECT md5(string_agg(concat_ws(' ', x.relid, b.relpartbound, p.partstrat, p.partattrs,
                                            p.partclass, p.partcollation, p.partexprs), ',' ORDER BY x.relid))
                      FROM pg_partition_ancestors(c.oid) x JOIN pg_class b ON b.oid = x.relid
                      LEFT JOIN pg_partitioned_table p ON p.partrelid = x.relid),
                     (SELECT md5(string_agg(concat_ws(' ', b.oid, b.relpartbound), ',' ORDER BY b.oid))
                      FROM pg_partition_ancestors(c.oid) x JOIN pg_partitioned_table p ON p.partdefid = x.relid
                      JOIN pg_inherits i ON i.inhparent = p.partrelid JOIN pg_class b ON b.oid = i.inhrelid)
                    ) AS layout,
           coalesce((SELECT json_agg(json_build_object('oid', i.indexrelid::bigint, 'name', ic.relname,
                                                       'has_expressions', i.indexprs IS NOT NULL,
                                                       'valid', i.indisvalid,
                                                       'whole_rows', concat(i.indexprs, i.indpred) LIKE '%:varattno 0 %')
                                     ORDER BY i.indexrelid)
                     FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
                     WHERE i.indrelid = c.oid AND i.indislive), '[]'::json) AS indexes,
           coalesce((SELECT json_agg(json_build_object('name', k.conname, 'expression', k.conbin::text)
                                     ORDER BY k.conname)
                     FROM pg_constraint k
                     WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated), '[]'::json) AS checks,
           c.relispartition AS is_partition,
           c.relispartition AND EXISTS (
               SELECT FROM pg_partition_ancestors(c.oid) x JOIN pg_partitioned_table p ON p.partrelid = x.relid
               WHERE p.partexprs IS NOT NULL
                  OR EXISTS (SELECT FROM unnest(p.partclass::oid[]) o WHERE o >= 16384)
           ) AS computes_partition_key,
           coalesce((SELECT json_agg(json_build_object('number', d.adnum, 'expression', d.adbin::text)
                                     ORDER BY d.adnum)
                     FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                     WHERE d.adrelid = c.oid AND a.attgenerated = 's'), '[]'::json) AS generated,
           coalesce((SELECT json_agg(json_build_object('number', d.adnum, 'expression', d.adbin::text,
                                                       'not_null', a.attnotnull AND NOT EXISTS (
                                         SELECT FROM pg_constraint k
                                         WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated
                                           AND k.conkey = ARRAY[d.adnum])) ORDER BY d.adnum)
                     FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                     WHERE d.adrelid = c.oid AND a.attgenerated = 'v'), '[]'::json) AS virtuals,
           coalesce((SELECT json_agg(json_build_object(
                                'relation', a.attrelid::bigint, 'number', a.attnum, 'name', a.attname,
                                'statistics', CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END,
                                'options', o.text) ORDER BY a.attrelid, a.attnum)
                     FROM pg_attribute a
                     LEFT JOIN LATERAL (
                         -- Some minor versions keep a number of their own there.
                         SELECT string_agg(n.option, ', ') AS text FROM unnest(a.attoptions) n(option)
                         WHERE a.attrelid = c.oid AND n.option LIKE 'n_distinct%'
                     ) o ON true
                     WHERE a.attrelid IN (SELECT c.oid UNION ALL
                                          SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = c.oid AND i.indislive)
                       AND a.attnum > 0 AND NOT a.attisdropped
                       AND (a.attstattarget >= 0 OR o.text IS NOT NULL)), '[]'::json) AS column_options,
           coalesce((SELECT json_agg(json_build_object(
                                'oid', s.oid::bigint,
                                'definition', concat_ws(' ', s.stxkind, s.stxkeys, s.stxexprs),
                                'statistics', CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget END)
                                     ORDER BY s.oid)
                     FROM pg_statistic_ext s WHERE s.stxrelid = c.oid), '[]'::json) AS extended_statistics,
           CASE WHEN c.relpersistence = 'p' AND EXISTS (SELECT FROM published) THEN
               (SELECT coalesce(json_agg(DISTINCT jsonb_build_object(
                           'name', p.pubname, 'publishes_all', p.publishes_all,
                           'root', quote_ident(n.nspname) || '.' || quote_ident(root.relname),
                           'leaves', (SELECT jsonb_agg(t.relid::oid::bigint ORDER BY t.relid)
                                      FROM pg_partition_tree(root.oid) t WHERE t.isleaf))
                           - CASE WHEN root.oid IS NULL THEN '{root,leaves}'::text[] ELSE '{}' END), '[]'::json)
                FROM published p
                LEFT JOIN pg_class root
                       ON root.oid = CASE WHEN NOT (p.pubviaroot AND c.relispartition) THEN NULL
                                          WHEN p.puballtables THEN pg_partition_root(c.oid) ELSE p.oid END
                      AND root.oid <> c.oid
                LEFT JOIN pg_namespace n ON n.oid = root.relnamespace
                WHERE p.puballtables OR p.oid = c.oid
                   OR (c.relispartition AND p.oid IN (SELECT a.relid FROM pg_partition_ancestors(c.oid) a)))
           ELSE '[]'::json END AS publications
    FROM pg_class c
    WHERE c.oid = ANY ($1)
) r
