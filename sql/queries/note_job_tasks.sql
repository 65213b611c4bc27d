-- Writes down what the processes of a job did.
-- $1 bigint: the job
-- $2 integer[], $3 text[]: the worker and the description of each task
-- $4 bigint[], $5 bigint[]: when each began and ended, in microseconds since 2000
INSERT INTO pgcopy_internal.job_task (job, worker, task, started, finished)
SELECT $1, t.worker, t.task, timestamptz '2000-01-01 00:00+00' + t.started * interval '1 microsecond',
       timestamptz '2000-01-01 00:00+00' + t.finished * interval '1 microsecond'
FROM unnest($2, $3, $4, $5) t(worker, task, started, finished)
