-- The triggers of tables that users have made and that would fire.
-- $1 oid[]: the tables
SELECT coalesce(json_agg(json_build_object('oid', t.oid::bigint, 'table', t.tgrelid::bigint, 'enabled', t.tgenabled)), '[]')::text
FROM pg_trigger t
WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal AND t.tgenabled <> 'D'
