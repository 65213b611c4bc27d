COMMENT ON FUNCTION pgcopy.pull(text, text[], text[], boolean, integer, integer, boolean, boolean, boolean, boolean, text) IS
    'replaces the rows of local tables with those of another server, all or nothing';
COMMENT ON FUNCTION pgcopy.start_pull(text, text[], text[], boolean, integer, integer, boolean, boolean, boolean, boolean, text) IS
    'starts a pgcopy.pull that runs on its own, and returns the number of the job';
COMMENT ON FUNCTION pgcopy.wait(bigint, interval, boolean) IS 'waits until a job is over and returns its state, or raises what it failed with';
COMMENT ON FUNCTION pgcopy.cancel(bigint) IS 'cancels a running job';
COMMENT ON FUNCTION pgcopy.prune(interval) IS 'forgets jobs that ended so long ago and returns their number';
COMMENT ON FUNCTION pgcopy.live_jobs() IS 'what pgcopy.jobs shows of running jobs';
COMMENT ON FUNCTION pgcopy.live_tables() IS 'what pgcopy.job_tables shows of running jobs';
COMMENT ON FUNCTION pgcopy.live_tasks() IS 'what pgcopy.timeline shows of running jobs';
COMMENT ON FUNCTION pgcopy.progress_lines() IS 'what pgcopy.progress shows';
COMMENT ON FUNCTION pgcopy.plan(text, text[], text[], boolean, integer, integer, boolean, boolean, boolean, boolean, text) IS
    'shows what pgcopy.pull with the same arguments would do; touches nothing';
COMMENT ON FUNCTION pgcopy.list(text, text, boolean) IS 'lists the tables of another server with their rows and sizes';
COMMENT ON FUNCTION pgcopy.cleanup() IS 'removes what dead jobs left behind and returns their number';
COMMENT ON FUNCTION pgcopy.version() IS 'the version of this library';
COMMENT ON FUNCTION pgcopy.parquet_files(text, text) IS 'lists the Parquet files that a path, a pattern or a URL means';
COMMENT ON FUNCTION pgcopy.parquet_files(text[], text) IS 'lists the Parquet files that paths, patterns and URLs mean';
COMMENT ON FUNCTION pgcopy.store_options_validator(text[], oid) IS 'checks the options of object stores and of their users';
COMMENT ON FUNCTION pgcopy.load_parquet(text, text, text, text, text, jsonb, text[], boolean, integer, text, text, text) IS
    'loads Parquet files into a table; one row for each file';
COMMENT ON FUNCTION pgcopy.load_parquet(text[], text, text, text, text, jsonb, text[], boolean, integer, text, text, text) IS
    'loads Parquet files into a table; one row for each file';
COMMENT ON FUNCTION pgcopy.start_load_parquet(text, text, text, text, text, jsonb, text[], boolean, integer, text, text, text) IS
    'starts a pgcopy.load_parquet that runs on its own, and returns the number of the job';
COMMENT ON FUNCTION pgcopy.start_load_parquet(text[], text, text, text, text, jsonb, text[], boolean, integer, text, text, text) IS
    'starts a pgcopy.load_parquet that runs on its own, and returns the number of the job';
COMMENT ON FUNCTION pgcopy.parquet_schema(text, text) IS
    'describes the columns of a Parquet file and the table that would be made for it';
COMMENT ON FUNCTION pgcopy.fdw_validator(text[], oid) IS
    'checks the options of foreign servers and user mappings of the foreign-data wrapper pgcopy';
