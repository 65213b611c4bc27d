-- Returns what is to be known of this server before a base backup of it, as a JSON object. $1: whether pg_hba.conf is read, too.
SELECT json_build_object(
    'wal_level', current_setting('wal_level'),
    'max_wal_senders', current_setting('max_wal_senders')::int4,
    'wal_senders', (SELECT count(*) FROM pg_stat_get_activity(NULL) a WHERE a.backend_type = 'walsender'),
    'max_replication_slots', current_setting('max_replication_slots')::int4,
    'replication_slots', (SELECT count(*) FROM pg_get_replication_slots() s),
    'replication_lines', CASE WHEN $1 THEN (SELECT count(*) FROM pg_hba_file_rules() r
                          WHERE r.error IS NULL AND 'replication' = ANY (r.database) AND r.auth_method <> 'reject') END,
    'bytes', (SELECT sum(pg_tablespace_size(t.oid))::int8 FROM pg_tablespace t),
    'system_identifier', (SELECT c.system_identifier FROM pg_control_system() c),
    'segment_size', pg_size_bytes(current_setting('wal_segment_size')),
    'started', extract(epoch FROM pg_postmaster_start_time())::text,
    'superuser', (SELECT a.rolname::text FROM pg_authid a WHERE a.oid = 10),
    'summarize_wal', coalesce(current_setting('summarize_wal', true), ''),
    'setting_files', (SELECT coalesce(json_agg(DISTINCT f.sourcefile), '[]') FROM pg_show_all_file_settings() f WHERE f.sourcefile IS NOT NULL),
    -- One without a directory of its own is in the data directory, and its path is relative to it.
    'tablespaces_in_place', (SELECT coalesce(json_agg(t.spcname::text ORDER BY t.oid), '[]')
                             FROM pg_tablespace t WHERE pg_tablespace_location(t.oid) LIKE 'pg\_tblspc/%'),
    'tablespaces', (SELECT coalesce(json_agg(json_build_object('oid', t.oid::int8, 'location', l.location) ORDER BY t.oid), '[]')
                    FROM pg_tablespace t, pg_tablespace_location(t.oid) l(location) WHERE l.location <> '' AND l.location NOT LIKE 'pg\_tblspc/%')
)::text
