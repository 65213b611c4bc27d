-- Functions that others than people call.
DO $$
DECLARE
    signature pg_catalog.text;
BEGIN
    FOR signature IN
        SELECT pg_catalog.format('%I(%s)', p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
        FROM pg_catalog.pg_proc p
        WHERE p.pronamespace OPERATOR(pg_catalog.=) 'pgcopy'::pg_catalog.regnamespace
          AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY['live_jobs', 'live_tables', 'live_tasks', 'progress_lines',
                                                          'store_options_validator', 'fdw_validator']::pg_catalog.name[])
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION pgcopy.%s SET SCHEMA pgcopy_internal', signature);
    END LOOP;
END $$;

-- Comments on the functions, by name: functions of one name do the same, and src/api/ alone lists their parameters.
DO $$
DECLARE
    described pg_catalog.record;
    signature pg_catalog.text;
BEGIN
    FOR described IN
        SELECT * FROM (VALUES
            ('pull', 'replaces the rows of local tables with those of another server, all or nothing'),
            ('start_pull', 'starts a pgcopy.pull that runs on its own, and returns the number of the job'),
            ('plan', 'shows what pgcopy.pull with the same arguments would do; touches nothing'),
            ('list', 'lists the tables of another server with their rows and sizes'),
            ('list_databases', 'lists the databases of another server'),
            ('migrate', 'creates what another database holds and this one does not, and pulls all rows, all or nothing'),
            ('start_migrate', 'starts a pgcopy.migrate that runs on its own, and returns the number of the job'),
            ('plan_migrate', 'shows what pgcopy.migrate with the same arguments would create; touches nothing'),
            ('verify', 'compares local tables with those of another server, by digests that each side computes; one row for each table'),
            ('check_local', 'checks local tables: pages and indexes with the extension amcheck, and whether constraints hold; one row for each fault'),
            ('start_check_local', 'starts a pgcopy.check_local that runs on its own, and returns the number of the job'),
            ('wait', 'waits until a job is over and returns its state, or raises what it failed with'),
            ('cancel', 'cancels a running job'),
            ('cleanup', 'removes what dead jobs left behind and returns their number'),
            ('prune', 'forgets jobs that ended so long ago and returns their number'),
            ('live_jobs', 'what pgcopy.jobs shows of running jobs'),
            ('live_tables', 'what pgcopy.job_tables shows of running jobs'),
            ('live_tasks', 'what pgcopy.job_tasks shows of running jobs'),
            ('progress_lines', 'what pgcopy.progress shows'),
            ('load_parquet', 'loads Parquet files into a table; one row for each file'),
            ('start_load_parquet', 'starts a pgcopy.load_parquet that runs on its own, and returns the number of the job'),
            ('dump', 'has pg_dump write a script into a file of the server, complete or not at all'),
            ('start_dump', 'starts a pgcopy.dump that runs on its own, and returns the number of the job'),
            ('backup_create', 'has pg_basebackup take a backup of this server, complete in its directory or not there'),
            ('start_backup_create', 'starts a pgcopy.backup_create that runs on its own, and returns the number of the job'),
            ('backup_list', 'lists the backups in a directory, with the moments that they can be restored to'),
            ('backup_validate', 'compares a backup with its manifest, or starts a server from a copy of it; one row for each fault'),
            ('backup_restore', 'makes a new data directory of a backup, ready to start and to recover to a moment'),
            ('backup_prune', 'shows which backups and which WAL a policy keeps, and removes the others with dry_run => false'),
            ('wal_archive_enable', 'has this server archive its WAL beside its backups, by basic_archive; one row for each setting'),
            ('wal_archive_status', 'how the archive of this server''s WAL is doing'),
            ('load_sql', 'runs a script of SQL as pg_dump writes it, all or nothing; one row for each table, kind of object and statement passed over'),
            ('start_load_sql', 'starts a pgcopy.load_sql that runs on its own, and returns the number of the job'),
            ('parquet_schema', 'describes the columns of a Parquet file and the table that would be made for it'),
            ('store_options_validator', 'checks the options of object stores and of their users'),
            ('fdw_validator', 'checks the options of foreign servers and user mappings of the foreign-data wrapper pgcopy'),
            ('send_frames', 'sends the rows of a query in compressed frames to pgcopy on another server, which calls it'),
            ('send_stored_frames', 'sends the rows of a part of a table as they are stored to pgcopy on another server, which calls it'),
            ('stored_form', 'describes what the form of stored rows depends on'),
            ('wire_versions', 'the versions of frames that pgcopy.send_frames knows'),
            ('mask_text', 'returns the mask of a text'),
            ('mask_character', 'returns the mask of a text without the spaces at its end'),
            ('mask_uuid', 'returns the mask of a UUID'),
            ('mask_hash', 'returns the number that masks make of a value'),
            ('mask_integer_near', 'returns the mask of a whole number that stays near it'),
            ('mask_integer_between', 'returns the mask of a whole number between two'),
            ('mask_numeric_near', 'returns the mask of a number with fixed decimals that stays near it'),
            ('mask_numeric_between', 'returns the mask of a number with fixed decimals between two'),
            ('mask_date_near', 'returns the mask of a date that stays near it'),
            ('mask_date_between', 'returns the mask of a date between two'),
            ('mask_timestamp_near', 'returns the mask of a timestamp that stays near it'),
            ('mask_timestamp_between', 'returns the mask of a timestamp between two days'),
            ('mask_versions', 'the versions of masks that the functions for masks know'),
            ('version', 'the version of this library')
        ) AS comments (name, text)
    LOOP
        FOR signature IN
            SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
            FROM pg_catalog.pg_proc p
            JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
            WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['pgcopy', 'pgcopy_internal']::pg_catalog.name[])
              AND p.proname OPERATOR(pg_catalog.=) described.name
        LOOP
            EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', signature, described.text);
        END LOOP;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'function % does not exist', described.name;
        END IF;
    END LOOP;
END $$;

COMMENT ON FUNCTION pgcopy.parquet_files(text, text) IS 'lists the Parquet files that a path, a pattern or a URL means';
COMMENT ON FUNCTION pgcopy.parquet_files(text[], text) IS 'lists the Parquet files that paths, patterns and URLs mean';

COMMENT ON COLUMN pgcopy.jobs.job IS 'the number of the job';
COMMENT ON COLUMN pgcopy.jobs.role IS 'the role that the job works for';
COMMENT ON COLUMN pgcopy.jobs.source IS 'where the rows come from, without secrets';
COMMENT ON COLUMN pgcopy.jobs.state IS 'running, prepared, completed, rolled back or failed';
COMMENT ON COLUMN pgcopy.jobs.phase IS 'what a running job does; NULL for others';
COMMENT ON COLUMN pgcopy.jobs.tables IS 'the number of tables to replace';
COMMENT ON COLUMN pgcopy.jobs.tables_done IS 'of them, those that are ready to take their places';
COMMENT ON COLUMN pgcopy.jobs.tables_copied IS 'of them, those whose rows are all there';
COMMENT ON COLUMN pgcopy.jobs.rows IS 'rows stored so far, or in all';
COMMENT ON COLUMN pgcopy.jobs.bytes IS 'bytes received so far, or in all';
COMMENT ON COLUMN pgcopy.jobs.percent IS 'how much of the work is done, by estimate';
COMMENT ON COLUMN pgcopy.jobs.started IS 'when the job was called for';
COMMENT ON COLUMN pgcopy.jobs.finished IS 'when the job was over';
COMMENT ON COLUMN pgcopy.jobs.seconds IS 'how long the job has taken so far, or in all';
COMMENT ON COLUMN pgcopy.jobs.seconds_left IS 'how long a running job will take, by estimate';
COMMENT ON COLUMN pgcopy.jobs.sqlstate IS 'SQLSTATE of the error that the job failed with';
COMMENT ON COLUMN pgcopy.jobs.error IS 'message of that error; the texts are for the role of the job and its members alone';
COMMENT ON COLUMN pgcopy.jobs.detail IS 'DETAIL of that error';
COMMENT ON COLUMN pgcopy.jobs.hint IS 'HINT of that error';
COMMENT ON COLUMN pgcopy.jobs.leader_pid IS 'the process that leads, or has led, the job';
COMMENT ON COLUMN pgcopy.jobs.warnings IS 'NOTICEs and WARNINGs of the job; for the role of the job and its members alone';
COMMENT ON COLUMN pgcopy.jobs.arguments IS 'the arguments of the call, without the source and without secrets; for the role of the job and its members alone';
COMMENT ON COLUMN pgcopy.job_tables.job IS 'the number of the job';
COMMENT ON COLUMN pgcopy.job_tables.schema IS 'the schema of the table';
COMMENT ON COLUMN pgcopy.job_tables."table" IS 'the name of the table';
COMMENT ON COLUMN pgcopy.job_tables.state IS 'waiting, running or done while the job runs, then ended';
COMMENT ON COLUMN pgcopy.job_tables.rows IS 'rows stored so far, or in all';
COMMENT ON COLUMN pgcopy.job_tables.bytes IS 'bytes received so far, or in all';
COMMENT ON COLUMN pgcopy.job_tables.seconds IS 'from the first task of the table to its last so far';
COMMENT ON COLUMN pgcopy.job_tables.inserted IS 'rows that were added to those of the table, where the mode keeps them';
COMMENT ON COLUMN pgcopy.job_tables.updated IS 'rows of the table that got other values';
COMMENT ON COLUMN pgcopy.job_tables.deleted IS 'rows of the table that the source did not have';
COMMENT ON COLUMN pgcopy.job_tables.unchanged IS 'rows of the source that changed nothing';
COMMENT ON COLUMN pgcopy.job_tables.wire_bytes IS 'bytes that travelled, where pgcopy on the source sent the rows; bytes are those of the rows';
COMMENT ON COLUMN pgcopy.job_tables.codec IS 'what most of them were compressed with, or none';
COMMENT ON COLUMN pgcopy.job_tasks.job IS 'the number of the job';
COMMENT ON COLUMN pgcopy.job_tasks.worker IS 'the number of the worker; 0 is the leader';
COMMENT ON COLUMN pgcopy.job_tasks.task IS 'what the process did';
COMMENT ON COLUMN pgcopy.job_tasks.started IS 'when the task began';
COMMENT ON COLUMN pgcopy.job_tasks.finished IS 'when the task was over; now for one that is not';
COMMENT ON COLUMN pgcopy.job_tasks.seconds IS 'how long the task took, or has taken so far';
COMMENT ON COLUMN pgcopy.job_findings.job IS 'the number of the job';
COMMENT ON COLUMN pgcopy.job_findings.schema IS 'the schema of the table';
COMMENT ON COLUMN pgcopy.job_findings."table" IS 'the name of the table';
COMMENT ON COLUMN pgcopy.job_findings.kind IS 'heap, toast, index, unique, not null, check, partition, foreign key, or rows for rows that could not be read';
COMMENT ON COLUMN pgcopy.job_findings.object IS 'the name of the index, the constraint or the column';
COMMENT ON COLUMN pgcopy.job_findings.finding IS 'what is wrong';
COMMENT ON COLUMN pgcopy.job_findings.place IS 'where, as far as it is known';
COMMENT ON COLUMN pgcopy.timeline.job IS 'the number of the job';
COMMENT ON COLUMN pgcopy.timeline.worker IS 'the number of the worker; 0 is the leader';
COMMENT ON COLUMN pgcopy.timeline.task IS 'what the process did, cut off after 24 characters';
COMMENT ON COLUMN pgcopy.timeline.begins IS 'seconds from the beginning of the job to that of the task';
COMMENT ON COLUMN pgcopy.timeline.seconds IS 'how long the task took, or has taken so far';
COMMENT ON COLUMN pgcopy.timeline.chart IS 'the task as a bar, the whole job being as wide as the chart';
COMMENT ON COLUMN pgcopy.progress.job IS 'the number of the job';
COMMENT ON COLUMN pgcopy.progress.phase IS 'what the job does';
COMMENT ON COLUMN pgcopy.progress.copied IS 'tables whose rows are all there, of all';
COMMENT ON COLUMN pgcopy.progress.done IS 'tables that are ready to take their places';
COMMENT ON COLUMN pgcopy.progress.rows IS 'rows stored so far';
COMMENT ON COLUMN pgcopy.progress.bytes IS 'bytes received so far';
COMMENT ON COLUMN pgcopy.progress.rate IS 'bytes received in a second, lately';
COMMENT ON COLUMN pgcopy.progress.eta IS 'how long the job will still take, by estimate';
COMMENT ON COLUMN pgcopy.progress.bar IS 'how much of the work is done, by estimate';
