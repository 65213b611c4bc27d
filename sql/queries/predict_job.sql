-- predict_job
-- How many seconds the work of a job will take, going by the last one that completed with the same tables; null without one.
-- $1 bigint: the job
-- $2 oid: its role
-- $3 text: its source
-- $4 bigint: the bytes that it expects
-- $5 text[], $6 text[]: the schema and the name of each of its tables
SELECT coalesce((
    SELECT to_json(extract(epoch FROM w.took)::float8 * $4 / j.expected)
    FROM pgcopy_internal.job j
    CROSS JOIN LATERAL (SELECT max(t.finished) - min(t.started) AS took
                        FROM pgcopy_internal.job_task t WHERE t.job = j.job AND t.worker > 0) w
    WHERE j.job < $1 AND j.role = $2 AND j.source = $3 AND j.state = 'completed' AND j.expected > 0
      AND j.tables = cardinality($5) AND w.took IS NOT NULL
      AND NOT EXISTS (SELECT FROM unnest($5, $6) n(schema, name)
                      WHERE NOT EXISTS (SELECT FROM pgcopy_internal.job_table t
                                        WHERE (t.job, t.schema, t."table") = (j.job, n.schema, n.name)))
    ORDER BY j.job DESC LIMIT 1
), 'null')::text
