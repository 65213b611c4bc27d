-- What a server's lock table is made for, and what of it is in use.
SELECT json_build_object(
    'per_transaction', current_setting('max_locks_per_transaction')::int,
    'transactions',
        (SELECT sum(setting::int) FROM pg_settings
         WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions'))
        + (SELECT max(setting::int) FROM pg_settings
           WHERE name IN ('autovacuum_max_workers', 'autovacuum_worker_slots')) + 1,
    'used', (SELECT count(*) FROM pg_locks WHERE NOT fastpath))::text
