-- The owners of relations.
-- $1 oid[]: the relations
SELECT coalesce(json_agg(json_build_array(c.oid::bigint, c.relowner::bigint)), '[]'::json)::text
FROM pg_class c WHERE c.oid = ANY ($1)
