-- The SQL surface that is not a function.
--
-- Types, functions and operators are written with their schema: the extension's own is first on the search path here.

-- A schema that somebody else could reach into, or has put something into, is not taken over: functions there would be
-- called in the place of the extension's own, and operators there bound into its views. At this point nothing there can
-- be trusted, and it is first on the search path.
DO $$
DECLARE
    fact pg_catalog.text;
BEGIN
    SELECT CASE
               WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_roles r
                                WHERE r.oid OPERATOR(pg_catalog.=) n.nspowner
                                  AND (r.rolsuper OR r.rolname OPERATOR(pg_catalog.=) CURRENT_USER))
               THEN pg_catalog.format('It is owned by role "%s".', pg_catalog.pg_get_userbyid(n.nspowner))
               WHEN c.others IS NOT NULL THEN pg_catalog.format('Others than its owner may create objects in it: %s.', c.others)
               WHEN o.objects IS NOT NULL THEN pg_catalog.format('It holds objects: %s.', o.objects)
           END
    INTO fact
    FROM pg_catalog.pg_namespace n
    CROSS JOIN LATERAL (
        SELECT pg_catalog.string_agg(
                   CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'
                        ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, ', ') AS others
        FROM pg_catalog.aclexplode(n.nspacl) a
        WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
          AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) a.grantee AND r.rolsuper)
    ) c
    CROSS JOIN LATERAL (
        SELECT pg_catalog.string_agg(d.object, ', ') AS objects
        FROM (SELECT pg_catalog.format('%s %s', i.type, i.identity) AS object
              FROM pg_catalog.pg_depend d
              CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i
              WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
                AND d.refobjid OPERATOR(pg_catalog.=) n.oid
                AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                         AND EXISTS (SELECT FROM pg_catalog.pg_extension e
                                     WHERE e.oid OPERATOR(pg_catalog.=) d.objid
                                       AND e.extname OPERATOR(pg_catalog.=) 'pgcopy'))
              LIMIT 5) d
    ) o
    WHERE n.nspname OPERATOR(pg_catalog.=) 'pgcopy';
    IF fact IS NOT NULL THEN
        RAISE EXCEPTION 'schema "pgcopy" exists and cannot become the extension''s'
            USING ERRCODE = 'duplicate_schema', DETAIL = fact,
                  HINT = 'Drop the schema or rename it, or make an empty one in which nobody else may create objects.';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'pgcopy_stage') THEN
        RAISE EXCEPTION 'schema "pgcopy_stage" exists and cannot become the extension''s'
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Drop the schema or rename it.';
    END IF;
END
$$;

-- Stage tables are owned by the owners of their targets, but what is in them must not be changed on the way: without
-- USAGE on the schema their owners cannot name them.
CREATE SCHEMA pgcopy_stage;
GRANT USAGE ON SCHEMA pgcopy TO PUBLIC;
COMMENT ON SCHEMA pgcopy_stage IS 'transient tables of running pulls';

CREATE SEQUENCE pgcopy.job_id;

CREATE TABLE pgcopy.job (
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
    steward_started pg_catalog.timestamptz
);
CREATE INDEX ON pgcopy.job (job) WHERE state OPERATOR(pg_catalog.=) ANY (ARRAY['running', 'prepared']);
COMMENT ON TABLE pgcopy.job IS 'running and past jobs, written by their stewards';
COMMENT ON COLUMN pgcopy.job.role IS 'decides who sees the job; 0 once the role is gone, because its number may be given out again';
COMMENT ON COLUMN pgcopy.job.role_name IS 'the name that the role had';
COMMENT ON COLUMN pgcopy.job.leader_started IS 'of a background process that leads the job';
COMMENT ON COLUMN pgcopy.job.segment IS 'the shared memory of a running job';

CREATE TABLE pgcopy.job_table (
    job      pg_catalog.int8 NOT NULL REFERENCES pgcopy.job ON DELETE CASCADE,
    position pg_catalog.int4 NOT NULL,
    schema   pg_catalog.text NOT NULL,
    "table"  pg_catalog.text NOT NULL,
    rows     pg_catalog.int8 NOT NULL,
    bytes    pg_catalog.int8 NOT NULL,
    seconds  pg_catalog.float8 NOT NULL,
    PRIMARY KEY (job, schema, "table")
);
COMMENT ON TABLE pgcopy.job_table IS 'the tables of running and past jobs';

CREATE TABLE pgcopy.job_task (
    job      pg_catalog.int8 NOT NULL REFERENCES pgcopy.job ON DELETE CASCADE,
    worker   pg_catalog.int4 NOT NULL,
    task     pg_catalog.text NOT NULL,
    started  pg_catalog.timestamptz NOT NULL,
    finished pg_catalog.timestamptz NOT NULL
);
CREATE INDEX ON pgcopy.job_task (job);
COMMENT ON TABLE pgcopy.job_task IS 'what each worker of a past job did, and when';

CREATE TABLE pgcopy.job_swap (
    job pg_catalog.int8 PRIMARY KEY
);
COMMENT ON TABLE pgcopy.job_swap IS 'jobs whose swap was committed, written by their leaders';

-- A publication FOR ALL TABLES covers these tables too, but what is in them concerns this server alone: the rows of
-- relations that seem to be made for a rewrite are not decoded. (Jobs see to it that it stays so.)
UPDATE pg_catalog.pg_class SET relrewrite = oid
WHERE relnamespace OPERATOR(pg_catalog.=) 'pgcopy'::pg_catalog.regnamespace AND relkind OPERATOR(pg_catalog.=) 'r';
-- Or such a publication would forbid to delete from it.
ALTER TABLE pgcopy.job_task REPLICA IDENTITY FULL;

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
            SELECT pg_catalog.format('pgcopy.%I', c.relname) AS object, c.relacl AS acl, c.relowner AS owner
            FROM pg_catalog.pg_class c
            WHERE c.relnamespace OPERATOR(pg_catalog.=) 'pgcopy'::pg_catalog.regnamespace
              AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'S']::pg_catalog."char"[])
            UNION ALL
            SELECT 'SCHEMA pgcopy_stage', n.nspacl, n.nspowner
            FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'pgcopy_stage'
        ) o
        CROSS JOIN LATERAL (SELECT DISTINCT e.grantee FROM pg_catalog.aclexplode(o.acl) e
                            WHERE e.grantee OPERATOR(pg_catalog.<>) o.owner) a
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
