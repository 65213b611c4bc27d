//! Values that a Parquet file cannot hold.

use crate::error::Error;
use pgrx::prelude::*;

/// A value that a Parquet file cannot hold.
pub struct Refusal {
    pub error: Error,
    /// The way from the column to the value, as in `.field[]`.
    pub path: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, path: String::new() }
    }
}

impl Refusal {
    /// Puts a step before the path: the value was found within another.
    pub(super) fn within(mut self, step: &str) -> Self {
        self.path.insert_str(0, step);
        self
    }
}

pub(super) fn no_equivalent(type_name: &str, value: &str) -> Refusal {
    let sqlstate = match type_name {
        "numeric" => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        _ => PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
    };
    Error::new(sqlstate, format!("{type_name} \"{value}\" has no equivalent in a Parquet file"))
        .hint("COPY (SELECT ...) TO can write another value, NULL or a text instead.")
        .into()
}

pub(super) fn too_large() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "row is too large for a Parquet file")
}
