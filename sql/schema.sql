-- The SQL surface that is not a function.

-- Stage tables are owned by the owners of their targets, who must be able to reach them.
CREATE SCHEMA pgcopy_stage;
GRANT USAGE ON SCHEMA pgcopy_stage TO PUBLIC;
GRANT USAGE ON SCHEMA pgcopy TO PUBLIC;
COMMENT ON SCHEMA pgcopy_stage IS 'transient tables of running pulls';

CREATE SEQUENCE pgcopy.job_id;

CREATE TABLE pgcopy.job (
    job             bigint PRIMARY KEY,
    role            text NOT NULL,
    source          text NOT NULL,
    state           text NOT NULL CHECK (state IN ('running', 'prepared', 'completed', 'rolled back', 'failed')),
    tables          integer NOT NULL,
    rows            bigint,
    bytes           bigint,
    started         timestamptz NOT NULL,
    finished        timestamptz,
    error           text,
    leader_pid      integer,
    leader_xid      xid8,
    steward_pid     integer,
    steward_started timestamptz
);
COMMENT ON TABLE pgcopy.job IS 'running and past jobs, written by their stewards';

CREATE TABLE pgcopy.job_table (
    job     bigint NOT NULL REFERENCES pgcopy.job ON DELETE CASCADE,
    schema  text NOT NULL,
    "table" text NOT NULL,
    rows    bigint NOT NULL,
    bytes   bigint NOT NULL,
    seconds double precision NOT NULL,
    PRIMARY KEY (job, schema, "table")
);
COMMENT ON TABLE pgcopy.job_table IS 'the tables of past jobs';

CREATE TABLE pgcopy.job_task (
    job      bigint NOT NULL REFERENCES pgcopy.job ON DELETE CASCADE,
    worker   integer NOT NULL,
    task     text NOT NULL,
    started  timestamptz NOT NULL,
    finished timestamptz NOT NULL
);
CREATE INDEX ON pgcopy.job_task (job);
COMMENT ON TABLE pgcopy.job_task IS 'what each worker of a past job did, and when';

CREATE TABLE pgcopy.job_swap (
    job bigint PRIMARY KEY
);
COMMENT ON TABLE pgcopy.job_swap IS 'jobs whose swap was committed, written by their leaders';

-- Who may see a job: its role, members of it, and whoever may signal or watch other people's backends.
CREATE VIEW pgcopy.jobs AS
SELECT j.job, j.role, j.source, j.state, j.tables, j.rows, j.bytes, j.started, j.finished,
       extract(epoch FROM coalesce(j.finished, clock_timestamp()) - j.started)::double precision AS seconds,
       j.error, j.leader_pid
FROM pgcopy.job j
WHERE pg_has_role('pg_signal_backend', 'USAGE')
   OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = j.role AND pg_has_role(r.oid, 'USAGE'));
COMMENT ON VIEW pgcopy.jobs IS 'running and past pulls';
GRANT SELECT ON pgcopy.jobs TO PUBLIC;

CREATE VIEW pgcopy.job_tables AS
SELECT t.job, t.schema, t."table", t.rows, t.bytes, t.seconds
FROM pgcopy.job_table t
WHERE t.job IN (SELECT j.job FROM pgcopy.jobs j);
COMMENT ON VIEW pgcopy.job_tables IS 'the tables of past pulls';
GRANT SELECT ON pgcopy.job_tables TO PUBLIC;

CREATE VIEW pgcopy.timeline AS
SELECT t.job, t.worker, t.task, extract(epoch FROM t.started - s.first)::numeric(12,3) AS begins,
       extract(epoch FROM t.finished - t.started)::numeric(12,3) AS seconds,
       repeat(' ', (59 * extract(epoch FROM t.started - s.first) / s.total)::integer)
           || repeat('#', greatest(1, (59 * extract(epoch FROM t.finished - t.started) / s.total)::integer)) AS chart
FROM pgcopy.job_task t
JOIN (SELECT job, min(started) AS first, greatest(extract(epoch FROM max(finished) - min(started)), 0.000001) AS total
      FROM pgcopy.job_task GROUP BY job) s USING (job)
WHERE t.job IN (SELECT j.job FROM pgcopy.jobs j);
COMMENT ON VIEW pgcopy.timeline IS 'what each worker of a past pull did, and when, as rows and as a chart';
GRANT SELECT ON pgcopy.timeline TO PUBLIC;
