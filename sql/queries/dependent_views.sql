-- Materialized views whose content depends on tables, and how: pairs of a relation and one that reads it.
-- $1 oid[]: the tables
WITH RECURSIVE filled(oid) AS (
    SELECT t.oid FROM unnest($1) t(oid)
    UNION SELECT i.inhparent FROM filled f JOIN pg_inherits i ON i.inhrelid = f.oid
), reads(relation, reader) AS (
    SELECT DISTINCT d.refobjid, r.ev_class
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid <> r.ev_class AND v.relkind IN ('v', 'm')
), found(relation, reader) AS (
    SELECT r.relation, r.reader FROM reads r WHERE r.relation IN (SELECT oid FROM filled)
    UNION SELECT r.relation, r.reader FROM found f JOIN reads r ON r.relation = f.reader
)
SELECT json_build_object(
           'views', coalesce((SELECT json_agg(json_build_object('oid', v.oid::bigint,
                                                                'name', format('%I.%I', n.nspname, v.relname))
                                              ORDER BY n.nspname, v.relname)
                              FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace
                              WHERE v.relkind = 'm' AND v.relispopulated
                                AND v.oid IN (SELECT reader FROM found)), '[]'::json),
           'reads', coalesce((SELECT json_agg(json_build_array(relation::bigint, reader::bigint)) FROM found),
                             '[]'::json))::text
