-- The SQL surface that is not a function.

-- Stage tables are owned by the owners of their targets, but what is in them must not be changed on the way: without
-- USAGE on the schema their owners cannot name them.
CREATE SCHEMA pgcopy_stage;
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
    detail          text,
    hint            text,
    leader_pid      integer,
    leader_xid      xid8,
    leader_started  timestamptz,
    segment         bigint,
    steward_pid     integer,
    steward_started timestamptz
);
CREATE INDEX ON pgcopy.job (job) WHERE state IN ('running', 'prepared');
COMMENT ON TABLE pgcopy.job IS 'running and past jobs, written by their stewards';
COMMENT ON COLUMN pgcopy.job.leader_started IS 'of a background process that leads the job';
COMMENT ON COLUMN pgcopy.job.segment IS 'the shared memory of a running job';

CREATE TABLE pgcopy.job_table (
    job      bigint NOT NULL REFERENCES pgcopy.job ON DELETE CASCADE,
    position integer NOT NULL,
    schema   text NOT NULL,
    "table"  text NOT NULL,
    rows     bigint NOT NULL,
    bytes    bigint NOT NULL,
    seconds  double precision NOT NULL,
    PRIMARY KEY (job, schema, "table")
);
COMMENT ON TABLE pgcopy.job_table IS 'the tables of running and past jobs';

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

-- A publication FOR ALL TABLES covers these tables too, but what is in them concerns this server alone: the rows of
-- relations that seem to be made for a rewrite are not decoded. (Jobs see to it that it stays so.)
UPDATE pg_catalog.pg_class SET relrewrite = oid
WHERE oid IN ('pgcopy.job'::regclass, 'pgcopy.job_table'::regclass, 'pgcopy.job_task'::regclass, 'pgcopy.job_swap'::regclass);
-- Or such a publication would forbid to delete from it.
ALTER TABLE pgcopy.job_task REPLICA IDENTITY FULL;
