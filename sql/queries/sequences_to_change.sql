-- Those of some sequences that do not stand where they are to continue.
-- $1 oid[]: the sequences
-- $2 bigint[], $3 boolean[]: their last values, and whether those were given out
-- $4 boolean[]: whether they may not go back
SELECT coalesce(json_agg(v.sequence::bigint ORDER BY v.sequence), '[]'::json)::text
FROM unnest($1, $2, $3, $4) v(sequence, value, is_called, never_back)
JOIN pg_sequence s ON s.seqrelid = v.sequence
CROSS JOIN LATERAL (SELECT CASE WHEN has_sequence_privilege(v.sequence, 'SELECT')
                                THEN pg_sequence_last_value(v.sequence) END AS value) here
WHERE CASE WHEN v.never_back AND here.value IS NOT NULL
           THEN sign(here.value::numeric - v.value) * sign(s.seqincrement) < 0
           WHEN v.is_called THEN here.value IS DISTINCT FROM v.value ELSE true END
