-- Forgets the oldest jobs of each role that has more than it may leave behind.
-- $1 bigint: how many it may leave
WITH forgotten AS (
DELETE FROM pgcopy_internal.job j
WHERE j.job IN (
    SELECT e.job FROM pgcopy_internal.job e
    WHERE e.job IN (
        SELECT n.job
        FROM (SELECT o.job, row_number() OVER (PARTITION BY o.role ORDER BY o.job DESC) AS number
              FROM pgcopy_internal.job o WHERE o.state NOT IN ('running', 'prepared')) n
        WHERE n.number > $1)
    FOR UPDATE SKIP LOCKED)
RETURNING j.job)
DELETE FROM pgcopy_internal.job_finding f USING forgotten g WHERE f.job = g.job
