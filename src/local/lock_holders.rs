//! Errors that name the sessions whose locks are in the way of a pull.

use super::identity::Caller;
use super::spi::{Param, extension};
use crate::error::{Error, Result};
use pgrx::prelude::*;

/// Returns the error of a pull that should not wait for a lock.
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

/// Returns the error of a session that has waited for a lock for as long as `lock_timeout` allows.
pub fn waited_too_long(relation: u32, readers_count: bool) -> Result<Error> {
    let users = Users::of(relation, readers_count)?;
    let error = Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!(
            "could not obtain the lock on {} {} within lock_timeout; nothing was touched",
            users.kind(),
            users.table
        ),
    );
    Ok(users.in_detail_of(error).hint(format!("End what holds the {}, or raise lock_timeout.", users.kind())))
}

/// Returns the error of a pull whose swap was kept waiting for too long.
pub fn kept_by_readers(relation: u32) -> Result<Error> {
    let users = Users::of(relation, true)?;
    let error = Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("could not get the readers out of table {} in time; nothing was touched", users.table),
    );
    Ok(users.in_detail_of(error).hint("End what reads the table, or raise pgcopy.swap_timeout and lock_timeout."))
}

/// Who has locks on a table.
#[derive(serde::Deserialize)]
struct Users {
    table: String,
    /// `table` or `sequence`; `None` where it is gone.
    kind: Option<String>,
    /// In lines.
    users: Option<String>,
}

impl Users {
    /// What others execute is for those to see who may see it in pg_stat_activity.
    fn of(relation: u32, readers_count: bool) -> Result<Self> {
        extension::query_json(
            include_str!("../../sql/queries/lock_users.sql"),
            &[Param::Oid(relation), Param::Oid(Caller::of_this_session().current), Param::Bool(readers_count)],
        )
    }

    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("table")
    }

    fn in_detail_of(&self, error: Error) -> Error {
        match &self.users {
            Some(users) => error.detail("It is in use by:").details(users.lines()),
            None => error,
        }
    }
}
