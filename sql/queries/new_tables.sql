-- The definitions of tables for processes that do not see them: what stage tables and their indexes are made of.
-- $1 oid[]: the tables
--
-- A NOT NULL constraint that is not valid does not hold for new rows, and a column that is computed when it is read holds
-- NULL in the stage table.
SELECT coalesce(json_agg(json_build_object(
           'oid', c.oid::bigint,
           'columns', (SELECT coalesce(json_agg(json_build_object(
                           'name', a.attname, 'type_oid', a.atttypid::bigint, 'typmod', a.atttypmod,
                           'collation', a.attcollation::bigint, 'dimensions', a.attndims, 'length', a.attlen,
                           'by_value', a.attbyval, 'alignment', a.attalign, 'storage', a.attstorage,
                           'compression', a.attcompression, 'dropped', a.attisdropped,
                           'not_null', a.attnotnull AND a.attgenerated <> 'v' AND NOT EXISTS (
                               SELECT FROM pg_constraint k
                               WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated
                                 AND k.conkey = ARRAY[a.attnum])) ORDER BY a.attnum), '[]'::json)
                       FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
           'indexes', (SELECT coalesce(json_agg(json_build_object(
                           'access_method', ic.relam::bigint, 'tablespace', ic.reltablespace::bigint,
                           'unique', i.indisunique AND i.indisvalid, 'nulls_not_distinct', i.indnullsnotdistinct,
                           'key_columns', i.indnkeyatts,
                           'columns', (SELECT json_agg(json_build_object(
                                           'number', k.number, 'name', ia.attname,
                                           'collation', coalesce(k.collation_oid, 0)::bigint,
                                           'class', coalesce(k.class_oid, 0)::bigint,
                                           'class_options', coalesce(to_json(ia.attoptions), '[]'::json),
                                           'ordering', coalesce(k.ordering, 0)) ORDER BY k.position)
                                       FROM unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[], i.indoption::int2[])
                                            WITH ORDINALITY k(number, collation_oid, class_oid, ordering, position)
                                       JOIN pg_attribute ia ON ia.attrelid = i.indexrelid AND ia.attnum = k.position),
                           'expressions', i.indexprs::text, 'predicate', i.indpred::text,
                           'options', coalesce(to_json(ic.reloptions), '[]'::json),
                           'excludes', i.indisexclusion) ORDER BY i.indexrelid), '[]'::json)
                       FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
                       WHERE i.indrelid = c.oid AND i.indislive),
           'tablespace', c.reltablespace::bigint, 'access_method', c.relam::bigint, 'persistence', c.relpersistence,
           'options', coalesce(to_json(c.reloptions), '[]'::json),
           'toast', (SELECT json_build_object('oid', t.oid::bigint, 'options', coalesce(to_json(t.reloptions), '[]'::json))
                     FROM pg_class t WHERE t.oid = c.reltoastrelid))
       ORDER BY c.oid), '[]'::json)::text
FROM pg_class c
WHERE c.oid = ANY ($1)
