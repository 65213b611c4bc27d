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
            ('wait', 'waits until a job is over and returns its state, or raises what it failed with'),
            ('cancel', 'cancels a running job'),
            ('cleanup', 'removes what dead jobs left behind and returns their number'),
            ('prune', 'forgets jobs that ended so long ago and returns their number'),
            ('live_jobs', 'what pgcopy.jobs shows of running jobs'),
            ('live_tables', 'what pgcopy.job_tables shows of running jobs'),
            ('live_tasks', 'what pgcopy.timeline shows of running jobs'),
            ('progress_lines', 'what pgcopy.progress shows'),
            ('load_parquet', 'loads Parquet files into a table; one row for each file'),
            ('start_load_parquet', 'starts a pgcopy.load_parquet that runs on its own, and returns the number of the job'),
            ('parquet_schema', 'describes the columns of a Parquet file and the table that would be made for it'),
            ('store_options_validator', 'checks the options of object stores and of their users'),
            ('fdw_validator', 'checks the options of foreign servers and user mappings of the foreign-data wrapper pgcopy'),
            ('version', 'the version of this library')
        ) AS comments (name, text)
    LOOP
        FOR signature IN
            SELECT pg_catalog.format('pgcopy.%I(%s)', p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
            FROM pg_catalog.pg_proc p
            JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
            WHERE n.nspname OPERATOR(pg_catalog.=) 'pgcopy' AND p.proname OPERATOR(pg_catalog.=) described.name
        LOOP
            EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', signature, described.text);
        END LOOP;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'function pgcopy.% does not exist', described.name;
        END IF;
    END LOOP;
END $$;

COMMENT ON FUNCTION pgcopy.parquet_files(text, text) IS 'lists the Parquet files that a path, a pattern or a URL means';
COMMENT ON FUNCTION pgcopy.parquet_files(text[], text) IS 'lists the Parquet files that paths, patterns and URLs mean';
