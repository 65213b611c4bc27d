-- Who holds locks on a table that a pull cannot share.
-- $1 oid: the table
-- $2 oid: the role that asks
SELECT json_build_object('table', $1::regclass::text, 'holders', (
    SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                                    WHEN j.job IS NULL THEN format('process %s', l.pid)
                                    ELSE format('job %s, process %s', j.job, l.pid) END, '; ')
    FROM pg_locks l
    LEFT JOIN pgcopy_internal.job j
        ON j.leader_pid = l.pid AND j.state = 'running'
           AND (pg_has_role($2, j.role, 'USAGE') OR pg_has_role($2, 'pg_signal_backend', 'USAGE'))
    WHERE l.locktype = 'relation' AND l.relation = $1 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.mode <> 'AccessShareLock'))::text
