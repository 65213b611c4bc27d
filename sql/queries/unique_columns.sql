-- Columns of tables of the source that are unique by themselves, NULL or not: pairs of table and name.
-- Placeholder relations: the tables, as a constant of type oid[]
SELECT coalesce(json_agg(DISTINCT json_build_array(i.indrelid::bigint, a.attname)::jsonb), '[]'::json)::text
FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = ANY ({relations}) AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
  AND i.indexprs IS NULL AND i.indpred IS NULL
