//! Errors that tell who holds the locks that a pull could not get.

use super::identity::Caller;
use super::spi::{Param, extension};
use crate::error::{Error, Result};
use pgrx::prelude::*;

/// The error of a pull that should not wait for a lock.
pub fn locked_by_others(relation: u32) -> Result<Error> {
    #[derive(serde::Deserialize)]
    struct Holders {
        table: String,
        holders: Option<String>,
    }
    let found: Holders = extension::query_json(
        "SELECT json_build_object('table', $1::regclass::text, 'holders', (
             SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                                             WHEN j.job IS NULL THEN format('process %s', l.pid)
                                             ELSE format('job %s, process %s', j.job, l.pid) END, '; ')
             FROM pg_locks l
             LEFT JOIN pgcopy.job j
                 ON j.leader_pid = l.pid AND j.state = 'running'
                    AND (pg_has_role($2, j.role, 'USAGE') OR pg_has_role($2, 'pg_signal_backend', 'USAGE'))
             WHERE l.locktype = 'relation' AND l.relation = $1 AND l.granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.mode <> 'AccessShareLock'))::text",
        &[Param::Oid(relation), Param::Oid(Caller::of_this_session().current)],
    )?;
    let error = Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("could not obtain the lock on table {}; nothing was touched", found.table),
    );
    let error = match found.holders {
        Some(holders) => error.detail(format!("It is locked by {holders}.")),
        None => error,
    };
    Ok(error.hint("With wait => true the pull waits, for as long as lock_timeout allows."))
}

/// The error of a pull whose swap was kept waiting for too long.
pub fn kept_by_readers(relation: u32) -> Result<Error> {
    #[derive(serde::Deserialize)]
    struct Readers {
        table: String,
        readers: Option<String>,
    }
    // What others execute is for those to see who may see it in pg_stat_activity.
    let found: Readers = extension::query_json(
        "SELECT json_build_object('table', $1::regclass::text, 'readers', (
             SELECT string_agg(DISTINCT CASE
                        WHEN l.pid IS NULL THEN 'a prepared transaction'
                        WHEN a.query <> '' AND (pg_has_role($2, a.usesysid, 'USAGE')
                                                OR pg_has_role($2, 'pg_read_all_stats', 'USAGE'))
                        THEN format('process %s: %s', l.pid, left(regexp_replace(a.query, '[[:space:]]+', ' ', 'g'), 200))
                        ELSE format('process %s', l.pid) END, E'\n')
             FROM pg_locks l LEFT JOIN pg_stat_get_activity(NULL) a ON a.pid = l.pid
             WHERE l.locktype = 'relation' AND l.relation = $1 AND l.granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND l.pid IS DISTINCT FROM pg_backend_pid()
               AND NOT EXISTS (SELECT FROM pgcopy.job j WHERE j.leader_pid = pg_backend_pid() AND j.steward_pid = l.pid)))::text",
        &[Param::Oid(relation), Param::Oid(Caller::of_this_session().current)],
    )?;
    let error = Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("could not get the readers out of table {} in time; nothing was touched", found.table),
    );
    let error = match found.readers {
        Some(readers) => error.detail("It is in use by:").details(readers.lines()),
        None => error,
    };
    Ok(error.hint("End what reads the table, or raise pgcopy.swap_timeout and lock_timeout."))
}
