//! SQL statements on this server.
//!
//! Every statement but those of [`execute_in_session`], [`execute_of_script`] and [`query_of_script`] runs with the catalogs
//! alone on its search path. It sees all that is committed when it begins, at every isolation level of the caller's
//! transaction: a decision about a table must not rest on a snapshot that is older than the lock on the table.

use super::identity::{Role, run_as};
use super::{encoding, settings};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use serde::de::DeserializeOwned;
use std::ffi::CStr;

/// The value of a statement's parameter, of the type that its name says.
#[derive(Debug, Clone, Copy)]
pub enum Param<'a> {
    Bool(bool),
    Int4(i32),
    Int8(i64),
    OptionalInt8(Option<i64>),
    Oid(u32),
    Text(&'a str),
    OptionalText(Option<&'a str>),
    OidArray(&'a [u32]),
    Int4Array(&'a [i32]),
    BoolArray(&'a [bool]),
    Int8Array(&'a [i64]),
    Float8Array(&'a [f64]),
    TextArray(&'a [&'a str]),
}

/// The extension's own statements. Their texts are fixed, so that no text of a user is parsed, planned or executed with
/// the rights of the bootstrap superuser. They read and write the catalogs and the extension's own tables.
pub mod extension {
    use super::{Param, Role, parsed, run, run_as};
    use crate::error::Result;
    use serde::de::DeserializeOwned;

    pub fn execute(sql: &'static str, parameters: &[Param<'_>]) -> Result<()> {
        run_as(Role::Extension, || run(sql, parameters, 0).map(drop))
    }

    /// Returns the first column of the first row, as text.
    pub fn query_text(sql: &'static str, parameters: &[Param<'_>]) -> Result<Option<String>> {
        run_as(Role::Extension, || run(sql, parameters, 1))
    }

    /// Runs a query that returns one JSON value.
    pub fn query_json<T: DeserializeOwned>(sql: &'static str, parameters: &[Param<'_>]) -> Result<T> {
        parsed(run_as(Role::Extension, || run(sql, parameters, 1))?)
    }
}

/// Statements with fixed texts and the rights of the current user. Longer ones are in `sql/queries/`.
pub mod fixed {
    use super::{Param, parsed, run};
    use crate::error::Result;
    use serde::de::DeserializeOwned;

    /// Returns the first column of the first row, as text.
    pub fn query_text(sql: &'static str, parameters: &[Param<'_>]) -> Result<Option<String>> {
        run(sql, parameters, 1)
    }

    /// Runs a query that returns one JSON value.
    pub fn query_json<T: DeserializeOwned>(sql: &'static str, parameters: &[Param<'_>]) -> Result<T> {
        parsed(run(sql, parameters, 1)?)
    }
}

/// Runs a query that returns one JSON value.
pub fn query_json<T: DeserializeOwned>(sql: &str) -> Result<T> {
    parsed(run(sql, &[], 1)?)
}

pub fn execute(sql: &str) -> Result<()> {
    run(sql, &[], 0).map(drop)
}

/// Executes a utility command whose functions, such as those of triggers and views, expect the caller's search path. All
/// names in it are schema-qualified.
pub fn execute_in_session(sql: &str) -> Result<()> {
    run_in_session(sql, &[], 0).map(drop)
}

/// Executes a statement of a script with the settings that the script is meant for, which the caller of this function has made.
pub fn execute_of_script(sql: &str) -> Result<()> {
    run_in_session(sql, &[], 0).map(drop)
}

/// Runs a query that returns one JSON value, with the settings that a script is meant for, which the caller of this function
/// has made. It may change rows.
pub fn query_of_script<T: DeserializeOwned>(sql: &str, parameters: &[Param<'_>]) -> Result<T> {
    parsed(run_in_session(sql, parameters, 1)?)
}

/// One moment that several queries see: that of the caller's transaction, or the present one where each of its statements
/// has one of its own.
pub struct Moment(pg_sys::Snapshot);

impl Moment {
    pub fn of_transaction() -> Self {
        // SAFETY: a registered snapshot lives until it is given back, by `drop` or by the end of the transaction.
        Self(unsafe { pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()) })
    }

    /// The present one, whatever the caller's transaction sees.
    pub fn newest() -> Self {
        // SAFETY: as above; what is registered is a copy.
        Self(unsafe { pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot()) })
    }

    /// The snapshot, which lives as long as the moment does.
    pub fn snapshot(&self) -> pg_sys::Snapshot {
        self.0
    }

    /// The first column of the only row of a query that may be computed by parallel workers.
    pub fn query_text(&self, sql: &str) -> Result<Option<String>> {
        let command = encoding::to_database(sql)?;
        settings::scoped(|| {
            settings::use_catalog_settings()?;
            // SAFETY: as for `run_in_session`. Without a limit to the number of rows, and read-only, the server may use
            // parallel workers.
            unsafe {
                pg_sys::SPI_connect();
                let parallel = pg_sys::CURSOR_OPT_PARALLEL_OK as i32;
                let plan = pg_sys::SPI_prepare_cursor(command.as_ptr(), 0, std::ptr::null_mut(), parallel);
                if plan.is_null() {
                    let code = pg_sys::SPI_result;
                    pg_sys::SPI_finish();
                    return Err(Error::internal(format!("SPI could not prepare a query: error {code}")));
                }
                let (values, nulls) = (std::ptr::null_mut(), std::ptr::null());
                let code =
                    pg_sys::SPI_execute_snapshot(plan, values, nulls, self.0, std::ptr::null_mut(), true, false, 0);
                let text = first_value();
                pg_sys::SPI_finish();
                if code >= 0 { Ok(text) } else { Err(Error::internal(format!("SPI: error {code}"))) }
            }
        })
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        // After an ERROR the end of the (sub)transaction gives it back.
        if !std::thread::panicking() {
            // SAFETY: registered once, and given back once.
            unsafe { pg_sys::UnregisterSnapshot(self.0) }
        }
    }
}

fn parsed<T: DeserializeOwned>(text: Option<String>) -> Result<T> {
    let text = text.ok_or_else(|| Error::internal("a catalog query returned nothing"))?;
    serde_json::from_str(&text).map_err(|error| Error::internal(format!("unexpected catalog answer: {error}")))
}

/// Returns the first column of the first row. `most` is the number of rows to fetch, or 0 for all.
fn run(sql: &str, parameters: &[Param<'_>], most: i64) -> Result<Option<String>> {
    settings::scoped(|| {
        settings::use_catalog_settings()?;
        run_in_session(sql, parameters, most)
    })
}

/// Executes a statement that changes rows as one of the session's own, with its settings, and returns the number of these rows.
/// All names in it are schema-qualified.
pub fn execute_counting(sql: &str) -> Result<u64> {
    Ok(run_counting(sql, &[], 0)?.1)
}

fn run_in_session(sql: &str, parameters: &[Param<'_>], most: i64) -> Result<Option<String>> {
    Ok(run_counting(sql, parameters, most)?.0)
}

/// Returns the first column of the first row, and the number of rows.
fn run_counting(sql: &str, parameters: &[Param<'_>], most: i64) -> Result<(Option<String>, u64)> {
    let command = encoding::to_database(sql)?;
    // SAFETY: connected and finished in pairs, which the end of the (sub)transaction does after an ERROR. All that is made
    // here belongs to the connection, which is open until the text has been copied. The arrays are as long as their count
    // says.
    unsafe {
        pg_sys::SPI_connect();
        let mut types: Vec<pg_sys::Oid> = parameters.iter().map(Param::type_oid).collect();
        let mut values = Vec::with_capacity(parameters.len());
        let mut nulls = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let value = parameter.datum()?;
            nulls.push(if value.is_some() { b' ' } else { b'n' } as std::ffi::c_char);
            values.push(value.unwrap_or(pg_sys::Datum::from(0usize)));
        }
        let plan = pg_sys::SPI_prepare(command.as_ptr(), types.len() as i32, types.as_mut_ptr());
        if plan.is_null() {
            let code = pg_sys::SPI_result;
            pg_sys::SPI_finish();
            return Err(Error::internal(format!("SPI could not prepare a statement: error {code}")));
        }
        let code = pg_sys::SPI_execute_snapshot(
            plan,
            values.as_mut_ptr(),
            nulls.as_ptr(),
            pg_sys::GetLatestSnapshot(),
            std::ptr::null_mut(),
            false,
            true,
            most,
        );
        let (text, rows) = (first_value(), pg_sys::SPI_processed);
        pg_sys::SPI_finish();
        if code >= 0 { Ok((text, rows)) } else { Err(Error::internal(format!("SPI: error {code}"))) }
    }
}

/// # Safety
/// The connection that the result belongs to is open.
unsafe fn first_value() -> Option<String> {
    // SAFETY: promised by the caller; a result has as many rows as are counted.
    unsafe {
        let rows = pg_sys::SPI_tuptable;
        if pg_sys::SPI_processed == 0 || rows.is_null() {
            return None;
        }
        let text = pg_sys::SPI_getvalue(*(*rows).vals, (*rows).tupdesc, 1);
        (!text.is_null()).then(|| encoding::from_database(CStr::from_ptr(text)))
    }
}

impl Param<'_> {
    fn type_oid(&self) -> pg_sys::Oid {
        match self {
            Self::Bool(_) => pg_sys::BOOLOID,
            Self::Int4(_) => pg_sys::INT4OID,
            Self::Int8(_) | Self::OptionalInt8(_) => pg_sys::INT8OID,
            Self::Oid(_) => pg_sys::OIDOID,
            Self::Text(_) | Self::OptionalText(_) => pg_sys::TEXTOID,
            Self::OidArray(_) => pg_sys::OIDARRAYOID,
            Self::Int4Array(_) => pg_sys::INT4ARRAYOID,
            Self::BoolArray(_) => pg_sys::BOOLARRAYOID,
            Self::Int8Array(_) => pg_sys::INT8ARRAYOID,
            Self::Float8Array(_) => pg_sys::FLOAT8ARRAYOID,
            Self::TextArray(_) => pg_sys::TEXTARRAYOID,
        }
    }

    /// Returns the value in the current memory context; `None` for NULL.
    pub fn datum(&self) -> Result<Option<pg_sys::Datum>> {
        // SAFETY: text is copied; arrays are made of as many elements of the type as are given.
        unsafe {
            Ok(Some(match *self {
                Self::Bool(value) => value.into(),
                Self::Int4(value) => value.into(),
                Self::Int8(value) | Self::OptionalInt8(Some(value)) => value.into(),
                Self::Oid(value) => pg_sys::Oid::from(value).into(),
                Self::Text(text) | Self::OptionalText(Some(text)) => text_datum(text)?,
                Self::OptionalInt8(None) | Self::OptionalText(None) => return Ok(None),
                Self::OidArray(values) => {
                    array(values.iter().map(|&value| pg_sys::Oid::from(value).into()), pg_sys::OIDOID, 4)
                }
                Self::Int4Array(values) => array(values.iter().map(|&value| value.into()), pg_sys::INT4OID, 4),
                Self::BoolArray(values) => array(values.iter().map(|&value| value.into()), pg_sys::BOOLOID, 1),
                Self::Int8Array(values) => array(values.iter().map(|&value| value.into()), pg_sys::INT8OID, 8),
                Self::Float8Array(values) => {
                    array(values.iter().map(|&value| value.to_bits().into()), pg_sys::FLOAT8OID, 8)
                }
                Self::TextArray(texts) => {
                    let texts = texts.iter().map(|text| text_datum(text)).collect::<Result<Vec<_>>>()?;
                    array(texts.into_iter(), pg_sys::TEXTOID, -1)
                }
            }))
        }
    }
}

fn text_datum(text: &str) -> Result<pg_sys::Datum> {
    let text = encoding::to_database(text)?;
    // SAFETY: the text is copied to the current context.
    Ok(unsafe { pg_sys::cstring_to_text(text.as_ptr()) }.into())
}

/// Makes an array of one dimension in the current context. `length` is the type's, -1 for text.
///
/// # Safety
/// The values are of the type, whose length and alignment are those of a built-in number or of text.
unsafe fn array(values: impl Iterator<Item = pg_sys::Datum>, element: pg_sys::Oid, length: i32) -> pg_sys::Datum {
    let mut values: Vec<pg_sys::Datum> = values.collect();
    let (by_value, alignment) = match length {
        8 => (true, pg_sys::TYPALIGN_DOUBLE),
        4 => (true, pg_sys::TYPALIGN_INT),
        1 => (true, pg_sys::TYPALIGN_CHAR),
        _ => (false, pg_sys::TYPALIGN_INT),
    };
    // SAFETY: promised by the caller; the values are copied.
    let array = unsafe {
        pg_sys::construct_array(
            values.as_mut_ptr(),
            values.len() as i32,
            element,
            length,
            by_value,
            alignment as std::ffi::c_char,
        )
    };
    array.into()
}
