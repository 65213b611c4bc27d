//! Statements of a script, which are the caller's own: in any encoding, and with results that nobody looks at.

use super::encoding;
use super::memory;
use crate::compat;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::{CStr, CString};

/// An encoding that this server can convert from, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(i32);

impl Encoding {
    pub fn of_database() -> Self {
        // SAFETY: reads a backend-local variable.
        Self(unsafe { pg_sys::GetDatabaseEncoding() })
    }

    /// The encoding that `client_encoding` is set to.
    pub fn of_client() -> Self {
        // SAFETY: reads a backend-local variable.
        Self(unsafe { pg_sys::pg_get_client_encoding() })
    }

    pub fn name(self) -> String {
        compat::encoding_name(self.0).to_string_lossy().into_owned()
    }

    /// Returns a statement in the encoding of the database. Its memory is that of the text, where that is in this encoding.
    ///
    /// # Errors
    /// The text holds a NUL. The server raises an ERROR of its own for bytes that are no characters of the encoding.
    pub fn statement(self, mut text: Vec<u8>) -> Result<CString> {
        let too_long =
            || Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "a statement of the script is too long");
        let length = i32::try_from(text.len()).map_err(|_| too_long())?;
        // SAFETY: reads as many bytes as it is told; where there was something to do, the result is a NUL-terminated text in the
        // current context.
        unsafe {
            let result = pg_sys::pg_any_to_server(text.as_ptr().cast(), length, self.0).cast_const();
            if result != text.as_ptr().cast() {
                let converted = CStr::from_ptr(result).to_bytes();
                text.clear();
                memory::reserve(&mut text, converted.len() + 1);
                text.extend_from_slice(converted);
                pg_sys::pfree(result.cast_mut().cast());
            }
        }
        memory::reserve(&mut text, 1);
        CString::new(text).map_err(|_| {
            Error::new(PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, "a statement of the script holds a character with code 0")
        })
    }
}

/// Returns the beginning of a statement as UTF-8, as far as it is needed to see what it is about. Characters that cannot be
/// converted are lost.
pub fn outline(statement: &CStr) -> String {
    const MOST_BYTES: usize = 1 << 18;
    let bytes = statement.to_bytes();
    if bytes.len() <= MOST_BYTES {
        return encoding::for_people_here(statement);
    }
    let beginning = CString::new(&bytes[..MOST_BYTES]).unwrap_or_default();
    encoding::for_people_here(&beginning)
}

/// Executes a statement with the session's own settings, and returns the number of rows that it has processed.
pub fn execute(statement: &CStr) -> Result<u64> {
    // SAFETY: connected and finished in pairs, which the end of the (sub)transaction does after an ERROR. The receiver is a
    // constant of the server.
    let (code, rows) = unsafe {
        pg_sys::SPI_connect();
        let options = pg_sys::SPIExecuteOptions {
            dest: pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
            ..Default::default()
        };
        let code = pg_sys::SPI_execute_extended(statement.as_ptr(), &options);
        let rows = pg_sys::SPI_processed;
        pg_sys::SPI_finish();
        (code, rows)
    };
    let refused = |message: &str| Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message));
    match code {
        pg_sys::SPI_ERROR_COPY => refused("cannot copy to or from the client in a script"),
        pg_sys::SPI_ERROR_TRANSACTION => refused("cannot execute transaction commands of a script"),
        code if code < 0 => Err(Error::internal(format!("SPI: error {code}"))),
        _ => Ok(rows),
    }
}
