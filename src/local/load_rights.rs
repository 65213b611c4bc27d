//! The caller's rights on a table that files are loaded into.

use super::rights;
use super::spi::{self, Param};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// Refuses what COPY FROM refuses: the caller needs the right to insert into the table, or into all the columns, and no
/// policy may hide rows.
pub fn refuse_insert(relation: u32, columns: &[i16]) -> Result<()> {
    let numbers: Vec<i32> = columns.iter().map(|&number| number.into()).collect();
    let denied = spi::fixed::query_text(
        include_str!("../../sql/queries/insert_denied.sql"),
        &[Param::Oid(relation), Param::Int4Array(&numbers)],
    )?;
    if let Some(name) = denied {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for table {name}"),
        ));
    }
    if rights::row_security_applies(relation) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "files cannot be loaded into a table with row-level security",
        )
        .hint("Load them into another table, and use INSERT from there."));
    }
    Ok(())
}

/// Refuses what TRUNCATE refuses before it waits for its lock.
pub fn refuse_truncate(relation: u32) -> Result<()> {
    let denied =
        spi::fixed::query_text(include_str!("../../sql/queries/truncate_denied.sql"), &[Param::Oid(relation)])?;
    match denied {
        Some(name) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for table {name}"),
        )),
        None => Ok(()),
    }
}

/// Returns whether the table has triggers on INSERT or TRUNCATE, or policies, which an exchange of storage would pass
/// over.
pub fn fires_or_filters(relation: u32) -> Result<bool> {
    let answer =
        spi::fixed::query_text(include_str!("../../sql/queries/fires_or_filters.sql"), &[Param::Oid(relation)])?;
    Ok(answer.as_deref() == Some("true"))
}

/// Returns whether changes of a relation that was made by this transaction are logged. Where they are not, the commit
/// syncs its files, and only those that the transaction itself made.
pub fn logs_new_relations() -> bool {
    // SAFETY: reads a setting that is fixed when the server starts.
    unsafe { pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32 }
}

/// Returns whether changes are logged so that they can be decoded. Decoding would keep what is stored out of line for rows that
/// never come, except of tables that are marked as rewritten.
pub fn logs_for_decoding() -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_LOGICAL as i32 }
}
