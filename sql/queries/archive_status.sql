-- Returns what the server's archiver has done, as a JSON object. No parameters. Times are in seconds since 1970.
SELECT json_build_object(
    'last_archived_wal', a.last_archived_wal,
    'last_archived', extract(epoch FROM a.last_archived_time)::float8,
    'failed_count', a.failed_count,
    'last_failed_wal', a.last_failed_wal,
    'last_failed', extract(epoch FROM a.last_failed_time)::float8,
    'position', CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn()::text END,
    'segment', CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END,
    'system_identifier', (SELECT c.system_identifier FROM pg_control_system() c),
    'segment_size', pg_size_bytes(current_setting('wal_segment_size')),
    'now', extract(epoch FROM clock_timestamp())::float8
)::text
FROM pg_stat_get_archiver() a
