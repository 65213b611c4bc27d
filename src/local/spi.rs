//! SQL on this side.

use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde::de::DeserializeOwned;
use std::ffi::{CStr, CString};

/// The first column of the first row, as text.
pub fn query_text(sql: &str) -> Result<Option<String>> {
    Spi::get_one::<String>(sql).or_else(|error| match error {
        pgrx::spi::Error::InvalidPosition => Ok(None),
        error => Err(spi_error(&error)),
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
    let command = CString::new(sql).map_err(|_| Error::internal("a query holds a NUL"))?;
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
                text = Some(CStr::from_ptr(value).to_string_lossy().into_owned());
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
    Spi::run(sql).map_err(|error| spi_error(&error))
}

fn spi_error(error: &pgrx::spi::Error) -> Error {
    Error::internal(format!("SPI: {error}"))
}
