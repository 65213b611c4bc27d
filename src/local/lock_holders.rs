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
        include_str!("../../sql/queries/lock_holders.sql"),
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
        include_str!("../../sql/queries/lock_readers.sql"),
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
