-- Tables with all their partitions, of every level.
-- $1 oid[]: the tables
SELECT coalesce(json_agg(DISTINCT coalesce(p.relid, r.oid::regclass)::oid::bigint), '[]'::json)::text
FROM unnest($1) r(oid) LEFT JOIN LATERAL pg_partition_tree(r.oid) p ON true
