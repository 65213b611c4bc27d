-- Who may see a job: its role, members of it, and whoever may signal other people's backends. The latter see of an error
-- the SQLSTATE alone, because its texts may quote rows.
CREATE VIEW pgcopy.jobs WITH (security_barrier) AS
SELECT j.job, coalesce(r.rolname::pg_catalog.text, j.role_name) AS role, j.source, coalesce(l.state, j.state) AS state, l.phase,
       CASE WHEN l.phase IS NULL OR l.tables OPERATOR(pg_catalog.=) 0 THEN j.tables ELSE l.tables END AS tables,
       CASE WHEN l.phase IS NOT NULL THEN l.tables_done
            WHEN coalesce(l.state, j.state) OPERATOR(pg_catalog.=) 'completed' THEN j.tables END AS tables_done,
       CASE WHEN l.phase IS NOT NULL THEN l.tables_copied
            WHEN coalesce(l.state, j.state) OPERATOR(pg_catalog.=) 'completed' THEN j.tables END AS tables_copied,
       coalesce(j.rows, CASE WHEN l.phase IS NOT NULL THEN l.rows END) AS rows,
       coalesce(j.bytes, CASE WHEN l.phase IS NOT NULL THEN l.bytes END) AS bytes,
       CASE WHEN l.phase IS NOT NULL THEN pg_catalog.trunc((l.fraction OPERATOR(pg_catalog.*) 100)::pg_catalog.numeric, 1)
            WHEN coalesce(l.state, j.state) OPERATOR(pg_catalog.=) 'completed' THEN 100 END AS percent,
       j.started, j.finished,
       CASE WHEN j.finished IS NOT NULL THEN extract(epoch FROM j.finished OPERATOR(pg_catalog.-) j.started)
            WHEN l.state OPERATOR(pg_catalog.=) ANY (ARRAY['running', 'prepared'])
            THEN extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) j.started)
       END::pg_catalog.float8 AS seconds,
       l.seconds_left,
       j.sqlstate,
       CASE WHEN j.error IS NULL THEN CASE WHEN l.state OPERATOR(pg_catalog.=) 'failed'
                                           THEN 'the processes of the job ended before it did' END
            WHEN m.is_own THEN j.error
            ELSE pg_catalog.concat('an error with SQLSTATE ', j.sqlstate) END AS error,
       CASE WHEN m.is_own THEN j.detail END AS detail,
       CASE WHEN m.is_own THEN j.hint END AS hint,
       j.leader_pid,
       CASE WHEN m.is_own THEN j.warnings END AS warnings,
       CASE WHEN m.is_own THEN j.arguments END AS arguments
FROM pgcopy_internal.job j
CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(j.role::pg_catalog.oid, 'USAGE') AS is_own) m
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) j.role::pg_catalog.oid
LEFT JOIN pgcopy.live_jobs() l ON l.job OPERATOR(pg_catalog.=) j.job
WHERE m.is_own OR pg_catalog.pg_has_role('pg_signal_backend'::pg_catalog.name, 'USAGE');
COMMENT ON VIEW pgcopy.jobs IS 'running and past pulls';
GRANT SELECT ON pgcopy.jobs TO PUBLIC;

CREATE VIEW pgcopy.job_tables WITH (security_barrier) AS
SELECT t.job, t.schema, t."table", coalesce(l.state, 'ended') AS state, coalesce(l.rows, t.rows) AS rows,
       coalesce(l.bytes, t.bytes) AS bytes, coalesce(l.seconds, t.seconds) AS seconds,
       t.inserted, t.updated, t.deleted, t.unchanged,
       coalesce(l.wire_bytes, t.wire_bytes) AS wire_bytes, coalesce(l.codec, t.codec) AS codec
FROM pgcopy_internal.job_table t
LEFT JOIN pgcopy.live_tables() l
    ON l.job OPERATOR(pg_catalog.=) t.job AND l.position OPERATOR(pg_catalog.=) t.position
WHERE t.job OPERATOR(pg_catalog.=) ANY (SELECT j.job FROM pgcopy.jobs j);
COMMENT ON VIEW pgcopy.job_tables IS 'the tables of running and past pulls';
GRANT SELECT ON pgcopy.job_tables TO PUBLIC;

CREATE VIEW pgcopy.progress WITH (security_barrier) AS
SELECT job, phase, copied, done, rows, bytes, rate, eta, bar FROM pgcopy.progress_lines();
COMMENT ON VIEW pgcopy.progress IS 'how far running pulls are, for \watch in a terminal of 80 columns';
GRANT SELECT ON pgcopy.progress TO PUBLIC;

CREATE VIEW pgcopy.job_tasks WITH (security_barrier) AS
SELECT h.job, h.worker, h.task, h.started, h.finished,
       extract(epoch FROM h.finished OPERATOR(pg_catalog.-) h.started)::pg_catalog.float8 AS seconds
FROM pgcopy_internal.job_task h
WHERE h.job OPERATOR(pg_catalog.=) ANY (SELECT j.job FROM pgcopy.jobs j)
UNION ALL
SELECT l.job, l.worker, l.task, l.started, l.finished,
       extract(epoch FROM l.finished OPERATOR(pg_catalog.-) l.started)::pg_catalog.float8
FROM pgcopy.live_tasks() l;
COMMENT ON VIEW pgcopy.job_tasks IS 'what each process of a pull did, and when; worker 0 is the leader';
GRANT SELECT ON pgcopy.job_tasks TO PUBLIC;

-- What was found may quote rows: the role of the job and its members see it, and nobody else.
CREATE VIEW pgcopy.job_findings WITH (security_barrier) AS
SELECT f.job, f.schema, f."table", f.kind, f.object, f.finding, f.place
FROM pgcopy_internal.job_finding f JOIN pgcopy_internal.job j ON j.job OPERATOR(pg_catalog.=) f.job
WHERE pg_catalog.pg_has_role(j.role::pg_catalog.oid, 'USAGE');
COMMENT ON VIEW pgcopy.job_findings IS 'what checks of local tables have found';
GRANT SELECT ON pgcopy.job_findings TO PUBLIC;

CREATE VIEW pgcopy.timeline WITH (security_barrier) AS
SELECT p.job, p.worker,
       -- For a terminal of 80 columns: 24 characters, and 16 for the chart.
       CASE WHEN pg_catalog.length(p.task) OPERATOR(pg_catalog.>) 24
            THEN pg_catalog.concat(pg_catalog.left(p.task, 21), '...') ELSE p.task END AS task,
       p.begins::pg_catalog.numeric(12,2) AS begins, p.seconds::pg_catalog.numeric(12,2) AS seconds,
       pg_catalog.concat(
           pg_catalog.repeat(' ', least(15, pg_catalog.floor(p.begins OPERATOR(pg_catalog.*) p.scale)::pg_catalog.int4)),
           pg_catalog.repeat('#', greatest(1, least(
               pg_catalog.round(p.seconds OPERATOR(pg_catalog.*) p.scale)::pg_catalog.int4,
               16 OPERATOR(pg_catalog.-) pg_catalog.floor(p.begins OPERATOR(pg_catalog.*) p.scale)::pg_catalog.int4)))
       ) AS chart
FROM (
    SELECT t.job, t.worker,
           pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
               t.task, 'creating the stage table of ', 'creating '), 'building index ', 'index '),
               'checking foreign key', 'checking key') AS task,
           extract(epoch FROM t.started OPERATOR(pg_catalog.-) pg_catalog.min(t.started) OVER w) AS begins,
           extract(epoch FROM t.finished OPERATOR(pg_catalog.-) t.started) AS seconds,
           -- Characters for each second.
           16 OPERATOR(pg_catalog./) greatest(0.000001, extract(
               epoch FROM pg_catalog.max(t.finished) OVER w OPERATOR(pg_catalog.-) pg_catalog.min(t.started) OVER w
           )) AS scale
    FROM pgcopy.job_tasks t
    WINDOW w AS (PARTITION BY t.job)
) p;
COMMENT ON VIEW pgcopy.timeline IS 'what each process of a pull did, and when, as a chart for a terminal of 80 columns; worker 0 is the leader';
GRANT SELECT ON pgcopy.timeline TO PUBLIC;
