-- The SQL surface that is not a function.
--
-- Types, functions and operators are written with their schema: the extension's own is first on the search path here.

-- The schemas belong to the extension, and go with it. One that exists is not taken over: functions in it would be called in the
-- place of the extension's own, and operators bound into its views.
DO $$
DECLARE
    existing pg_catalog.record;
BEGIN
    SELECT n.nspname, pg_catalog.pg_get_userbyid(n.nspowner) AS owner INTO existing
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['pgcopy', 'pgcopy_internal', 'pgcopy_stage']::pg_catalog.name[])
    ORDER BY n.nspname LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'schema "%" exists and cannot become the extension''s', existing.nspname
            USING ERRCODE = 'duplicate_schema',
                  DETAIL = pg_catalog.format('It is owned by role "%s".', existing.owner),
                  HINT = 'Drop the schema or rename it.';
    END IF;
END
$$;

CREATE SCHEMA pgcopy;
COMMENT ON SCHEMA pgcopy IS 'functions and views of the extension pgcopy';
-- Names that nobody should come across who only wants to use the extension. Views and functions find what is in it without
-- their callers' having USAGE.
CREATE SCHEMA pgcopy_internal;
COMMENT ON SCHEMA pgcopy_internal IS 'tables and functions behind those of the schema pgcopy';
-- Stage tables are owned by the owners of their targets, but what is in them must not be changed on the way: without
-- USAGE on the schema their owners cannot name them.
CREATE SCHEMA pgcopy_stage;
COMMENT ON SCHEMA pgcopy_stage IS 'transient tables of running pulls';

-- For the functions, whose statements are generated without a schema.
SET LOCAL search_path = pgcopy, pg_temp;

CREATE SEQUENCE pgcopy_internal.job_id;

CREATE TABLE pgcopy_internal.job (
    job             pg_catalog.int8 PRIMARY KEY,
    role            pg_catalog.regrole NOT NULL,
    role_name       pg_catalog.text NOT NULL,
    source          pg_catalog.text NOT NULL,
    state           pg_catalog.text NOT NULL CHECK (
        state OPERATOR(pg_catalog.=) ANY (ARRAY['running', 'prepared', 'completed', 'rolled back', 'failed'])),
    tables          pg_catalog.int4 NOT NULL,
    rows            pg_catalog.int8,
    bytes           pg_catalog.int8,
    started         pg_catalog.timestamptz NOT NULL,
    finished        pg_catalog.timestamptz,
    sqlstate        pg_catalog.text,
    error           pg_catalog.text,
    detail          pg_catalog.text,
    hint            pg_catalog.text,
    leader_pid      pg_catalog.int4,
    leader_xid      pg_catalog.xid8,
    leader_started  pg_catalog.timestamptz,
    segment         pg_catalog.int8,
    steward_pid     pg_catalog.int4,
    steward_started pg_catalog.timestamptz,
    arguments       pg_catalog.jsonb,
    warnings        pg_catalog.text[],
    expected        pg_catalog.int8
);
CREATE INDEX ON pgcopy_internal.job (job) WHERE state OPERATOR(pg_catalog.=) ANY (ARRAY['running', 'prepared']);
COMMENT ON TABLE pgcopy_internal.job IS 'running and past jobs, written by their stewards';
COMMENT ON COLUMN pgcopy_internal.job.role IS 'decides who sees the job; 0 once the role is gone, because its number may be given out again';
COMMENT ON COLUMN pgcopy_internal.job.role_name IS 'the name that the role had';
COMMENT ON COLUMN pgcopy_internal.job.leader_started IS 'of a background process that leads the job';
COMMENT ON COLUMN pgcopy_internal.job.expected IS 'the bytes that the plan expected';
COMMENT ON COLUMN pgcopy_internal.job.segment IS 'the shared memory of a running job';

CREATE TABLE pgcopy_internal.job_table (
    job      pg_catalog.int8 NOT NULL REFERENCES pgcopy_internal.job ON DELETE CASCADE,
    position pg_catalog.int4 NOT NULL,
    schema   pg_catalog.text NOT NULL,
    "table"  pg_catalog.text NOT NULL,
    rows     pg_catalog.int8 NOT NULL,
    bytes    pg_catalog.int8 NOT NULL,
    seconds  pg_catalog.float8 NOT NULL,
    inserted pg_catalog.int8,
    updated  pg_catalog.int8,
    deleted  pg_catalog.int8,
    unchanged pg_catalog.int8,
    wire_bytes pg_catalog.int8,
    codec    pg_catalog.text,
    PRIMARY KEY (job, schema, "table")
);
COMMENT ON TABLE pgcopy_internal.job_table IS 'the tables of running and past jobs';

CREATE TABLE pgcopy_internal.job_task (
    job      pg_catalog.int8 NOT NULL REFERENCES pgcopy_internal.job ON DELETE CASCADE,
    worker   pg_catalog.int4 NOT NULL,
    task     pg_catalog.text NOT NULL,
    started  pg_catalog.timestamptz NOT NULL,
    finished pg_catalog.timestamptz NOT NULL
);
CREATE INDEX ON pgcopy_internal.job_task (job);
COMMENT ON TABLE pgcopy_internal.job_task IS 'what each worker of a past job did, and when';

-- Without a foreign key: a leader whose snapshot is older than the record of its job writes here, too.
CREATE TABLE pgcopy_internal.job_finding (
    job     pg_catalog.int8 NOT NULL,
    schema  pg_catalog.text NOT NULL,
    "table" pg_catalog.text NOT NULL,
    kind    pg_catalog.text NOT NULL,
    object  pg_catalog.text,
    finding pg_catalog.text NOT NULL,
    place   pg_catalog.text
);
CREATE INDEX ON pgcopy_internal.job_finding (job);
COMMENT ON TABLE pgcopy_internal.job_finding IS 'what checks have found, written by their workers';

CREATE TABLE pgcopy_internal.job_swap (
    job pg_catalog.int8 PRIMARY KEY
);
COMMENT ON TABLE pgcopy_internal.job_swap IS 'jobs whose swap was committed, written by their leaders';

-- A publication FOR ALL TABLES covers these tables too, but what is in them concerns this server alone: the rows of
-- relations that seem to be made for a rewrite are not decoded. (Jobs see to it that it stays so.)
UPDATE pg_catalog.pg_class SET relrewrite = oid
WHERE relnamespace OPERATOR(pg_catalog.=) 'pgcopy_internal'::pg_catalog.regnamespace AND relkind OPERATOR(pg_catalog.=) 'r';
-- Or such a publication would forbid to delete from it.
ALTER TABLE pgcopy_internal.job_task REPLICA IDENTITY FULL;
ALTER TABLE pgcopy_internal.job_finding REPLICA IDENTITY FULL;

-- Default privileges that somebody has set for the installer's tables and schemas are not meant for these.
DO $$
DECLARE
    statement pg_catalog.text;
BEGIN
    FOR statement IN
        SELECT pg_catalog.format('REVOKE ALL ON %s FROM %s', o.object,
                                 CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'
                                      ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
        FROM (
            SELECT pg_catalog.format('pgcopy_internal.%I', c.relname) AS object, c.relacl AS acl, c.relowner AS owner
            FROM pg_catalog.pg_class c
            WHERE c.relnamespace OPERATOR(pg_catalog.=) 'pgcopy_internal'::pg_catalog.regnamespace
              AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'S']::pg_catalog."char"[])
            UNION ALL
            SELECT pg_catalog.format('SCHEMA %I', n.nspname), n.nspacl, n.nspowner
            FROM pg_catalog.pg_namespace n
            WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['pgcopy', 'pgcopy_internal', 'pgcopy_stage']::pg_catalog.name[])
        ) o
        CROSS JOIN LATERAL (SELECT DISTINCT e.grantee FROM pg_catalog.aclexplode(o.acl) e
                            WHERE e.grantee OPERATOR(pg_catalog.<>) o.owner) a
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA pgcopy TO PUBLIC;
