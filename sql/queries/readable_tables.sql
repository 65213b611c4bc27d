-- Those of some tables whose rows the current user may see.
-- $1 oid[]: the tables
SELECT coalesce(json_agg(r::int8), '[]'::json)::text
FROM unnest($1) r WHERE has_table_privilege(r, 'SELECT') AND NOT row_security_active(r)
