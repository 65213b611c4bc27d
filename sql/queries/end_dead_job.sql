-- Writes down how a job ended whose processes have ended before it did.
-- $1 bigint: the job
-- $2 boolean: whether the targets have their new rows
UPDATE pgcopy_internal.job
SET state = CASE WHEN $2 THEN 'completed' WHEN state = 'prepared' THEN 'rolled back' ELSE 'failed' END,
    sqlstate = CASE WHEN state = 'running' AND NOT $2 THEN '57P02' END,
    error = CASE WHEN state = 'running' AND NOT $2 THEN 'the processes of the job ended before it did' END,
    finished = clock_timestamp(), segment = NULL
WHERE job = $1 AND state IN ('running', 'prepared')
