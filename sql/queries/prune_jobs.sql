-- Removes jobs that ended long ago and returns their number.
-- $1 oid: the role whose jobs, and those of roles that it is a member of, are removed
-- $2 bigint: how long ago they ended, in microseconds
WITH pruned AS (
    DELETE FROM pgcopy_internal.job j
    WHERE j.state NOT IN ('running', 'prepared')
      AND j.finished <= clock_timestamp() - $2 * interval '1 microsecond'
      AND pg_has_role($1, j.role, 'USAGE')
    RETURNING j.job), findings AS (
    DELETE FROM pgcopy_internal.job_finding f USING pruned p WHERE f.job = p.job)
SELECT count(*)::text FROM pruned
