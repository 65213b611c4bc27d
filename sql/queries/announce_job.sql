-- Writes a job down before anything is known of its tables, with this process as the one that leads it.
-- $1 bigint: the job
-- $2 oid, $3 text: the role and its name
-- $4 text: the source
-- $5 bigint: when it was called, in microseconds since 2000
-- $6 text: its other arguments, as a JSON object
INSERT INTO pgcopy_internal.job (job, role, role_name, source, state, tables, started, leader_pid, leader_started, arguments)
SELECT $1, $2, $3, $4, 'running', 0, timestamptz '2000-01-01 00:00+00' + $5 * interval '1 microsecond', a.pid,
       a.backend_start, $6::jsonb
FROM pg_stat_get_activity(pg_backend_pid()) a
