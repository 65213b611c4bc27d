-- Columns that are unique and never NULL in relations, on either side: for each key the names in their order, primary keys first.
-- Placeholder relations: the relations, as a constant of type oid[]
SELECT coalesce(json_agg(json_build_object('relation', k.relation, 'columns', k.columns)
                         ORDER BY k.relation, k.is_primary DESC, k.width, k.columns::text), '[]'::json)::text
FROM (
    SELECT i.indrelid::bigint AS relation, i.indisprimary AS is_primary, count(*) AS width,
           json_agg(a.attname ORDER BY u.position) AS columns
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY u(number, position)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
    WHERE i.indrelid = ANY ({relations}) AND i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indexprs IS NULL AND i.indpred IS NULL AND u.position <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indrelid, i.indisprimary
    HAVING bool_and(a.attnotnull)
) k
