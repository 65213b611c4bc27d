//! SQL on this side.

use super::encoding;
use super::identity::{Role, run_as};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde::de::DeserializeOwned;
use std::ffi::CStr;

/// The first column of the first row, as text.
pub fn query_text(sql: &str) -> Result<Option<String>> {
    Spi::connect_mut(|_| {
        run(sql, 1)?;
        // SAFETY: the result belongs to the connection, which is open until the text has been copied.
        unsafe {
            if pg_sys::SPI_processed == 0 || pg_sys::SPI_tuptable.is_null() {
                return Ok(None);
            }
            let rows = pg_sys::SPI_tuptable;
            let text = pg_sys::SPI_getvalue(*(*rows).vals, (*rows).tupdesc, 1);
            Ok((!text.is_null()).then(|| encoding::from_database(CStr::from_ptr(text))))
        }
    })
}

/// The same, with the rights of one role, while the functions in it run as another.
pub fn query_text_as(rights_of: Role, runs_as: Role, sql: &str) -> Result<Option<String>> {
    let command = encoding::to_database(sql)?;
    Spi::connect_mut(|_| {
        // SAFETY: all that is made here belongs to the connection, which is open until the text has been copied.
        unsafe {
            // Rights are checked, and policies applied, before the first row is asked for.
            let cursor = run_as(rights_of, || {
                let plan = pg_sys::SPI_prepare(command.as_ptr(), 0, std::ptr::null_mut());
                if plan.is_null() {
                    return Err(Error::internal("SPI could not prepare a query"));
                }
                let none = std::ptr::null_mut();
                Ok(pg_sys::SPI_cursor_open(std::ptr::null(), plan, none, std::ptr::null(), false))
            })?;
            run_as(runs_as, || pg_sys::SPI_cursor_fetch(cursor, true, 1));
            let mut text = None;
            if pg_sys::SPI_processed > 0 && !pg_sys::SPI_tuptable.is_null() {
                let rows = pg_sys::SPI_tuptable;
                let value = pg_sys::SPI_getvalue(*(*rows).vals, (*rows).tupdesc, 1);
                text = (!value.is_null()).then(|| encoding::from_database(CStr::from_ptr(value)));
            }
            pg_sys::SPI_cursor_close(cursor);
            Ok(text)
        }
    })
}

/// A query that returns one JSON value.
pub fn query_json<T: DeserializeOwned>(sql: &str) -> Result<T> {
    let text = query_text(sql)?.ok_or_else(|| Error::internal("a catalog query returned nothing"))?;
    serde_json::from_str(&text).map_err(|error| Error::internal(format!("unexpected catalog answer: {error}")))
}

/// A query that returns one JSON value, read with the newest snapshot whatever the transaction's isolation. The
/// transaction does not become one that writes, so that it works on a standby too.
pub fn read_json<T: DeserializeOwned>(sql: &str) -> Result<T> {
    let command = encoding::to_database(sql)?;
    // SAFETY: connected and finished in pairs, which the end of the (sub)transaction does after an ERROR; the row stays
    // until then.
    let text = unsafe {
        pg_sys::SPI_connect();
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let code = pg_sys::SPI_execute(command.as_ptr(), true, 1);
        let mut text = None;
        if code == pg_sys::SPI_OK_SELECT as i32 && pg_sys::SPI_processed == 1 {
            let table = pg_sys::SPI_tuptable;
            let value = pg_sys::SPI_getvalue(*(*table).vals, (*table).tupdesc, 1);
            if !value.is_null() {
                text = Some(encoding::from_database(CStr::from_ptr(value)));
            }
        }
        pg_sys::PopActiveSnapshot();
        pg_sys::SPI_finish();
        text
    };
    let text = text.ok_or_else(|| Error::internal("a catalog query returned nothing"))?;
    serde_json::from_str(&text).map_err(|error| Error::internal(format!("unexpected catalog answer: {error}")))
}

pub fn execute(sql: &str) -> Result<()> {
    Spi::connect_mut(|_| run(sql, 0))
}

/// In an open connection. `most` is the number of rows to fetch, or 0 for all.
fn run(sql: &str, most: i64) -> Result<()> {
    let text = encoding::to_database(sql)?;
    // SAFETY: the text outlives the call.
    let code = unsafe { pg_sys::SPI_execute(text.as_ptr(), false, most) };
    if code >= 0 { Ok(()) } else { Err(Error::internal(format!("SPI: error {code}"))) }
}
