-- Of some tables and the sequences that their columns use, the pairs whose sequence the table's owner may not set.
-- $1 oid[]: the tables
-- $2 oid[]: the sequence of each
SELECT coalesce(json_agg(json_build_array(u.relation::bigint, u.sequence::bigint)), '[]'::json)::text
FROM unnest($1, $2) u(relation, sequence)
JOIN pg_class c ON c.oid = u.relation
WHERE NOT has_sequence_privilege(c.relowner, u.sequence, 'UPDATE')
