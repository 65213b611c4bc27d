-- Whether a transaction uses a table, or waits for one, and sees the catalogs as they were before a transaction ended.
-- $1 oid[]: the tables
-- $2 text: the transaction
SELECT EXISTS (
    SELECT FROM pg_locks l JOIN pg_stat_get_activity(NULL) a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.mode = 'AccessShareLock' AND l.relation = ANY ($1)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND age(a.backend_xmin) >= age($2::xid8::xid))::text
