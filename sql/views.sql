-- Who may see a job: its role, members of it, and whoever may signal other people's backends. The latter do not see what
-- an error says of rows.
CREATE VIEW pgcopy.jobs WITH (security_barrier) AS
SELECT j.job, j.role, j.source, coalesce(l.state, j.state) AS state, l.phase,
       CASE WHEN l.phase IS NULL OR l.tables = 0 THEN j.tables ELSE l.tables END AS tables,
       CASE WHEN l.phase IS NULL THEN
           CASE coalesce(l.state, j.state) WHEN 'completed' THEN j.tables END
       ELSE l.tables_done END AS tables_done,
       coalesce(j.rows, CASE WHEN l.phase IS NOT NULL THEN l.rows END) AS rows,
       coalesce(j.bytes, CASE WHEN l.phase IS NOT NULL THEN l.bytes END) AS bytes,
       CASE WHEN l.phase IS NULL THEN CASE coalesce(l.state, j.state) WHEN 'completed' THEN 100 END
            ELSE trunc((100 * l.fraction)::numeric, 1) END AS percent,
       j.started, j.finished,
       CASE WHEN j.finished IS NOT NULL THEN extract(epoch FROM j.finished - j.started)
            WHEN l.state IN ('running', 'prepared') THEN extract(epoch FROM clock_timestamp() - j.started)
       END::double precision AS seconds,
       l.seconds_left,
       coalesce(j.error, CASE WHEN l.state = 'failed' THEN 'the processes of the job ended before it did' END) AS error,
       CASE WHEN m.is_own THEN j.detail END AS detail, j.hint, j.leader_pid
FROM pgcopy.job j
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles r WHERE r.rolname = j.role),
                    false) AS is_own
) m
LEFT JOIN pgcopy.live_jobs() l ON l.job = j.job
WHERE m.is_own OR pg_has_role('pg_signal_backend', 'USAGE');
COMMENT ON VIEW pgcopy.jobs IS 'running and past pulls';
GRANT SELECT ON pgcopy.jobs TO PUBLIC;

CREATE VIEW pgcopy.job_tables WITH (security_barrier) AS
SELECT t.job, t.schema, t."table", coalesce(l.state, 'ended') AS state, coalesce(l.rows, t.rows) AS rows,
       coalesce(l.bytes, t.bytes) AS bytes, coalesce(l.seconds, t.seconds) AS seconds
FROM pgcopy.job_table t
LEFT JOIN pgcopy.live_tables() l ON l.job = t.job AND l.position = t.position
WHERE t.job IN (SELECT j.job FROM pgcopy.jobs j);
COMMENT ON VIEW pgcopy.job_tables IS 'the tables of running and past pulls';
GRANT SELECT ON pgcopy.job_tables TO PUBLIC;

CREATE VIEW pgcopy.progress WITH (security_barrier) AS
SELECT job, phase, tables, rows, bytes, rate, eta, bar FROM pgcopy.progress_lines();
COMMENT ON VIEW pgcopy.progress IS 'how far running pulls are, for \watch in a terminal of 80 columns';
GRANT SELECT ON pgcopy.progress TO PUBLIC;

CREATE VIEW pgcopy.timeline WITH (security_barrier) AS
SELECT t.job, t.worker, t.task, extract(epoch FROM t.started - s.first)::numeric(12,3) AS begins,
       extract(epoch FROM t.finished - t.started)::numeric(12,3) AS seconds,
       repeat(' ', (59 * extract(epoch FROM t.started - s.first) / s.total)::integer)
           || repeat('#', greatest(1, (59 * extract(epoch FROM t.finished - t.started) / s.total)::integer)) AS chart
FROM (SELECT job, worker, task, started, finished FROM pgcopy.job_task
      WHERE job IN (SELECT j.job FROM pgcopy.jobs j)
      UNION ALL
      SELECT job, worker, task, started, finished FROM pgcopy.live_tasks()) t
JOIN (SELECT job, min(started) AS first, greatest(extract(epoch FROM max(finished) - min(started)), 0.000001) AS total
      FROM (SELECT job, started, finished FROM pgcopy.job_task
            UNION ALL
            SELECT job, started, finished FROM pgcopy.live_tasks()) b
      GROUP BY job) s USING (job);
COMMENT ON VIEW pgcopy.timeline IS 'what each process of a pull did, and when, as rows and as a chart; worker 0 is the leader';
GRANT SELECT ON pgcopy.timeline TO PUBLIC;
