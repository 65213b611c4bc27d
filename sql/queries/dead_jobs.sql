-- Jobs that nobody works on any more: of which something is left, and whose processes and transaction have ended.
SELECT coalesce(json_agg(DISTINCT d.job), '[]'::json)::text
FROM (
    SELECT j.job FROM pgcopy_internal.job j WHERE j.state IN ('running', 'prepared')
    UNION
    SELECT split_part(c.relname, '_', 2)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'pgcopy_stage' AND c.relkind = 'r' AND c.relname ~ '^job_[0-9]+_[0-9]+$'
) d
LEFT JOIN pgcopy_internal.job j ON j.job = d.job
WHERE NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL) a
                  WHERE a.pid = j.steward_pid AND a.backend_start = j.steward_started)
  AND NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL) a
                  WHERE a.pid = j.leader_pid AND a.backend_start = j.leader_started)
  AND pg_xact_status(j.leader_xid) IS DISTINCT FROM 'in progress'
