//! The error that every room returns, and its way to the user as a PostgreSQL ERROR.

use crate::local::encoding;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

pub type Result<T> = std::result::Result<T, Error>;

/// An error with the parts that PostgreSQL's message style knows.
///
/// Names, values and messages in it come from anywhere. What makes an error writes out their control characters, so that
/// all that reaches people consists of lines that were made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// In the packed form of `PgSqlErrorCode`.
    pub sqlstate: i32,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Error {
    pub fn new(sqlstate: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self { sqlstate: sqlstate as i32, message: plan::one_line(&message.into()), detail: None, hint: None }
    }

    /// For what cannot happen unless there is a bug here.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
    }

    /// Adds a line to the detail.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        self.details([detail.into()])
    }

    /// Adds several lines.
    pub fn details(mut self, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let detail = plan::lines(lines);
        self.detail = Some(match self.detail {
            Some(first) => format!("{first}\n{detail}"),
            None => detail,
        });
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(plan::one_line(&hint.into()));
        self
    }

    /// Puts the names that the user knows in the place of transient ones.
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.message = self.message.replace(from, to);
        self.detail = self.detail.map(|text| text.replace(from, to));
        self.hint = self.hint.map(|text| text.replace(from, to));
        self
    }

    /// Raises the error. Everything on the stack is dropped on the way.
    pub fn raise(self) -> ! {
        [Some(&self.message), self.detail.as_ref(), self.hint.as_ref()]
            .into_iter()
            .flatten()
            .for_each(|text| encoding::announce_message(text));
        let mut report = ErrorReport::new(PgSqlErrorCode::from(self.sqlstate), self.message, "pgcopy");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }

    fn from_report(report: &ErrorReportWithLevel) -> Self {
        Self {
            sqlstate: report.sql_error_code() as i32,
            message: plan::one_line(&encoding::message_of_server(report.message())),
            detail: report.detail().map(|text| plan::as_lines(&encoding::message_of_server(text))),
            hint: report.hint().map(|text| plan::as_lines(&encoding::message_of_server(text))),
        }
    }
}

impl From<&CaughtError> for Error {
    fn from(caught: &CaughtError) -> Self {
        match caught {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => Self::from_report(report),
            CaughtError::RustPanic { ereport, .. } => Self::from_report(ereport),
        }
    }
}

impl From<CaughtError> for Error {
    fn from(caught: CaughtError) -> Self {
        Self::from(&caught)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

// So that an error of input and output can carry it.
impl std::error::Error for Error {}

impl From<copystream::StreamError> for Error {
    fn from(error: copystream::StreamError) -> Self {
        use copystream::StreamError::*;
        let sqlstate = match error {
            BadSignature | UnknownHeaderFlags(_) | HeaderLength(_) | DataAfterEnd | Truncated => {
                PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION
            }
            FieldCount { .. } | FieldLength { .. } | DanglingEscape => PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT,
            FieldTooLong { .. } | RowTooLong { .. } => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            OutOfMemory { .. } => PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
        };
        Self::new(sqlstate, error.to_string())
    }
}

/// Turns a raised ERROR, or a panic, of `work` into a value. The caller must end the (sub)transaction, or raise again:
/// locks, memory and buffers of the failed work are released only by that.
pub fn catch<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    encoding::watch_messages();
    PgTryBuilder::new(std::panic::AssertUnwindSafe(work)).catch_others(|caught| Err(caught.into())).execute()
}

/// Tells `listener` of an ERROR, a panic or an error value of `work`, which then goes on its way unchanged.
pub fn telling<T>(listener: impl Fn(&Error), work: impl FnOnce() -> Result<T>) -> Result<T> {
    encoding::watch_messages();
    let heard = std::panic::AssertUnwindSafe(&listener);
    let result = PgTryBuilder::new(std::panic::AssertUnwindSafe(work))
        .catch_others(move |caught| {
            // The whole wrapper, not only what is in it.
            let heard = &heard;
            heard(&Error::from(&caught));
            caught.rethrow()
        })
        .execute();
    result.inspect_err(listener)
}

/// A NOTICE for the caller, in one line.
pub fn tell(text: &str) {
    let text = plan::one_line(text);
    encoding::announce_message(&text);
    pgrx::notice!("{text}");
}

/// The value, or the raised error.
pub fn or_raise<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => error.raise(),
    }
}

/// An error of a library with its causes, without repeating one inside the other.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
