-- Those of some jobs that no other clean-up is at.
-- $1 bigint[]: the jobs
WITH locked AS MATERIALIZED (SELECT j.job FROM pgcopy_internal.job j WHERE j.job = ANY ($1) FOR UPDATE SKIP LOCKED)
SELECT coalesce(json_agg(d.job ORDER BY d.job), '[]'::json)::text
FROM unnest($1) d(job)
WHERE d.job IN (SELECT job FROM locked) OR NOT EXISTS (SELECT FROM pgcopy_internal.job j WHERE j.job = d.job)
