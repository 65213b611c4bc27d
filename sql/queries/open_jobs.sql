-- Jobs that are written down as running or prepared, and that a role may see.
-- $1 oid: the role
-- $2 boolean, $3 bigint[]: whether all are wanted, and if not, which
SELECT coalesce(json_agg(json_build_object(
    'job', j.job, 'state', j.state, 'segment', j.segment, 'leader_pid', j.leader_pid,
    'in_background', j.leader_started IS NOT NULL, 'is_attended', j.steward_pid IS NOT NULL,
    'is_alive', pg_is_in_recovery()
        OR EXISTS (SELECT FROM pg_stat_get_activity(NULL) a
                   WHERE (a.pid, a.backend_start) = (j.steward_pid, j.steward_started)
                      OR (a.pid, a.backend_start) = (j.leader_pid, j.leader_started))
        OR coalesce(pg_xact_status(j.leader_xid) = 'in progress', false),
    'was_swapped', EXISTS (SELECT FROM pgcopy_internal.job_swap s WHERE s.job = j.job)) ORDER BY j.job), '[]')::text
FROM pgcopy_internal.job j
WHERE j.state IN ('running', 'prepared') AND ($2 OR j.job = ANY ($3))
  AND (pg_has_role($1, 'pg_signal_backend', 'USAGE') OR pg_has_role($1, j.role, 'USAGE'))
