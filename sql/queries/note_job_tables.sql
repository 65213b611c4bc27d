-- Writes down what became of the tables of a job.
-- $1 bigint: the job
-- $2 text[], $3 text[]: the schema and the name of each table
-- $4 bigint[], $5 bigint[], $6 double precision[]: the rows, bytes and seconds of each
-- $7 bigint[] to $10 bigint[]: the rows of each that were inserted, updated, deleted, and left as they were; -1 for what is not known
-- $11 bigint[], $12 text[]: the bytes of each that travelled in frames, and the codec of most of them; -1 and empty for none
INSERT INTO pgcopy_internal.job_table (job, position, schema, "table", rows, bytes, seconds, inserted, updated, deleted, unchanged,
                                       wire_bytes, codec)
SELECT $1, t.position - 1, t.schema, t.name, t.rows, t.bytes, t.seconds,
       nullif(t.inserted, -1), nullif(t.updated, -1), nullif(t.deleted, -1), nullif(t.unchanged, -1),
       nullif(t.wire_bytes, -1), nullif(t.codec, '')
FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) WITH ORDINALITY
     t(schema, name, rows, bytes, seconds, inserted, updated, deleted, unchanged, wire_bytes, codec, position)
ON CONFLICT (job, schema, "table") DO UPDATE
SET rows = excluded.rows, bytes = excluded.bytes, seconds = excluded.seconds, inserted = excluded.inserted,
    updated = excluded.updated, deleted = excluded.deleted, unchanged = excluded.unchanged,
    wire_bytes = excluded.wire_bytes, codec = excluded.codec
