-- Who has locks on a table or a sequence, and what they execute where the asking role may see it in pg_stat_activity.
-- $1 oid: the table or the sequence
-- $2 oid: the role that asks
-- $3 boolean: whether those count who only read
SELECT json_build_object('table', $1::regclass::text, 'kind', (
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END FROM pg_class c WHERE c.oid = $1), 'users', (
    SELECT string_agg(DISTINCT CASE
               WHEN l.pid IS NULL THEN 'a prepared transaction'
               WHEN a.query <> '' AND (pg_has_role($2, a.usesysid, 'USAGE')
                                       OR pg_has_role($2, 'pg_read_all_stats', 'USAGE'))
                    -- What calls the extension may hold a password or a key.
                    AND a.query !~* '(pgcopy|password|mask_key|://)'
               THEN format('process %s: %s', l.pid, left(regexp_replace(a.query, '[[:space:]]+', ' ', 'g'), 200))
               WHEN a.query ~* 'pgcopy' AND (pg_has_role($2, a.usesysid, 'USAGE') OR pg_has_role($2, 'pg_read_all_stats', 'USAGE'))
               THEN format('process %s: a call of pgcopy', l.pid)
               ELSE format('process %s', l.pid) END, E'\n')
    FROM pg_locks l LEFT JOIN pg_stat_get_activity(NULL) a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.relation = $1 AND l.granted
      AND ($3 OR l.mode <> 'AccessShareLock')
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND NOT EXISTS (SELECT FROM pgcopy_internal.job j WHERE j.leader_pid = pg_backend_pid() AND j.steward_pid = l.pid)))::text
