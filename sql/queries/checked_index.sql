-- An index to check: the expressions of its key, for those indexes whose duplicates GROUP BY finds. NULL where it is not there any
-- more, or not valid.
-- $1 oid: the index
-- $2 oid: the table; the index may be that of its TOAST table
SELECT coalesce((
    SELECT json_build_object(
               'is_unique', i.indisunique,
               'groups_alike', i.indisunique AND i.indrelid = $2 AND NOT EXISTS (
                   SELECT FROM unnest(i.indclass::oid[]) WITH ORDINALITY u(class, position) JOIN pg_opclass o ON o.oid = u.class
                   WHERE u.position <= i.indnkeyatts AND NOT o.opcdefault),
               'nulls_differ', NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
               'key', (SELECT json_agg(concat('(', pg_get_indexdef(i.indexrelid, u.position::int, false), ')',
                                              CASE WHEN l.oid IS NOT NULL THEN format(' COLLATE %I.%I', ln.nspname, l.collname) END)
                                       ORDER BY u.position)
                       FROM unnest(i.indcollation::oid[]) WITH ORDINALITY u(collating, position)
                       LEFT JOIN pg_collation l ON l.oid = u.collating
                       LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
                       WHERE u.position <= i.indnkeyatts),
               'predicate', pg_get_expr(i.indpred, i.indrelid))
    FROM pg_index i WHERE i.indexrelid = $1 AND i.indisvalid AND i.indisready AND i.indislive), 'null'::json)::text
