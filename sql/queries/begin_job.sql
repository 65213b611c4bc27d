-- Writes a job down as running, with this process as its steward.
-- $1 bigint: the job
-- $2 oid, $3 text: the role and its name
-- $4 text: the source
-- $5 integer: the number of its tables
-- $6 bigint: when it was called, in microseconds since 2000
-- $7 integer, $8 text: the process that leads it, and its transaction
-- $9 bigint: its shared memory
-- $10 text: its other arguments, as a JSON object
-- $11 text[]: what it had to say so far
-- $12 bigint: the bytes that it expects
INSERT INTO pgcopy_internal.job (job, role, role_name, source, state, tables, started, leader_pid, leader_xid, segment,
                        steward_pid, steward_started, arguments, warnings, expected)
SELECT $1, $2, $3, $4, 'running', $5, timestamptz '2000-01-01 00:00+00' + $6 * interval '1 microsecond', $7,
       $8::xid8, $9, a.pid, a.backend_start, $10::jsonb, nullif($11, '{}'), $12
FROM pg_stat_get_activity(pg_backend_pid()) a
ON CONFLICT (job) DO UPDATE
SET source = excluded.source, tables = excluded.tables, leader_xid = excluded.leader_xid, segment = excluded.segment,
    steward_pid = excluded.steward_pid, steward_started = excluded.steward_started,
    warnings = excluded.warnings, expected = excluded.expected
