//! SQL on this side.

use crate::error::{Error, Result};
use pgrx::prelude::*;
use serde::de::DeserializeOwned;

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

pub fn execute(sql: &str) -> Result<()> {
    Spi::run(sql).map_err(|error| spi_error(&error))
}

fn spi_error(error: &pgrx::spi::Error) -> Error {
    Error::internal(format!("SPI: {error}"))
}
