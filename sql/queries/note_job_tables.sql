-- Writes down what became of the tables of a job.
-- $1 bigint: the job
-- $2 text[], $3 text[]: the schema and the name of each table
-- $4 bigint[], $5 bigint[], $6 double precision[]: the rows, bytes and seconds of each
INSERT INTO pgcopy_internal.job_table (job, position, schema, "table", rows, bytes, seconds)
SELECT $1, t.position - 1, t.schema, t.name, t.rows, t.bytes, t.seconds
FROM unnest($2, $3, $4, $5, $6) WITH ORDINALITY t(schema, name, rows, bytes, seconds, position)
ON CONFLICT (job, schema, "table") DO UPDATE
SET rows = excluded.rows, bytes = excluded.bytes, seconds = excluded.seconds
