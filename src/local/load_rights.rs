//! What the caller may do with a table that files go into.

use super::{rights, spi};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// As COPY FROM: the right to insert, into the table or all the columns; and no policies that would hide rows.
pub fn refuse_insert(relation: u32, columns: &[i16]) -> Result<()> {
    let numbers: Vec<String> = columns.iter().map(i16::to_string).collect();
    let denied = spi::query_text(&format!(
        "SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c
         WHERE c.oid = {relation} AND NOT pg_catalog.has_table_privilege(c.oid, 'INSERT')
           AND EXISTS (SELECT FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.int2[]) a
                       WHERE NOT pg_catalog.has_column_privilege({relation}::pg_catalog.oid, a, 'INSERT'))",
        numbers.join(", ")
    ))?;
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

/// As TRUNCATE, before it waits for its lock.
pub fn refuse_truncate(relation: u32) -> Result<()> {
    let denied = spi::query_text(&format!(
        "SELECT c.relname::text FROM pg_class c
         WHERE c.oid = {relation} AND NOT has_table_privilege(c.oid, 'TRUNCATE')"
    ))?;
    match denied {
        Some(name) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for table {name}"),
        )),
        None => Ok(()),
    }
}

/// Whether somebody would notice that rows come without being inserted: triggers on INSERT or TRUNCATE, policies.
pub fn fires_or_filters(relation: u32) -> Result<bool> {
    // `TRIGGER_TYPE_INSERT` and `TRIGGER_TYPE_TRUNCATE` of `catalog/pg_trigger.h`
    let answer = spi::query_text(&format!(
        "SELECT (EXISTS (SELECT FROM pg_catalog.pg_trigger t
                         WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & (4 | 32) <> 0)
                 OR c.relrowsecurity)::pg_catalog.text
         FROM pg_catalog.pg_class c WHERE c.oid = {relation}"
    ))?;
    Ok(answer.as_deref() == Some("true"))
}

/// Whether changes of a relation that was made by this transaction are logged. Where they are not, its files are synced at
/// commit, and only those that the transaction itself made.
pub fn logs_new_relations() -> bool {
    // SAFETY: reads a setting that is fixed when the server starts.
    unsafe { pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32 }
}
