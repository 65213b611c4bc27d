-- What there is to check of tables.
-- $1 oid[]: ordinary tables and materialized views
SELECT coalesce(json_agg(r ORDER BY r.oid), '[]'::json)::text
FROM (
    SELECT c.oid::bigint AS oid, c.relowner::bigint AS owner, coalesce(am.amname = 'heap', false) AS is_heap,
           nullif(c.reltoastrelid, 0)::bigint AS toast,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull)
               OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated)
               OR c.relispartition AS has_conditions,
           (SELECT coalesce(json_agg(json_build_object(
                       'oid', i.indexrelid::bigint, 'name', ic.relname, 'is_btree', ia.amname = 'btree', 'is_gin', ia.amname = 'gin',
                       'is_valid', i.indisvalid AND i.indisready, 'is_unique', i.indisunique AND i.indrelid = c.oid, 'pages', ic.relpages::bigint) ORDER BY i.indexrelid), '[]'::json)
            FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am ia ON ia.oid = ic.relam
            WHERE i.indrelid IN (c.oid, c.reltoastrelid) AND ic.relkind = 'i') AS indexes,
           (SELECT coalesce(json_agg(json_build_object(
                       'oid', k.oid::bigint, 'name', k.conname, 'referenced', k.confrelid::bigint,
                       'referenced_name', k.confrelid::regclass::text) ORDER BY k.oid), '[]'::json)
            FROM pg_constraint k LEFT JOIN pg_constraint parent ON parent.oid = k.conparentid
            WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.convalidated
              AND (parent.oid IS NULL OR parent.confrelid = k.confrelid)) AS foreign_keys
    FROM pg_class c LEFT JOIN pg_am am ON am.oid = c.relam
    WHERE c.oid = ANY ($1)
) r
