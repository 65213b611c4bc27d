//! Conversions of stored values to values of Parquet files.

use super::numeric::{Number, Unscaled};
use super::refusal::{Refusal, no_equivalent};
use crate::error::Error;
use crate::local::datum::Value;
use pgrx::prelude::*;

/// The days and microseconds from 1970, from which Parquet counts, to 2000, from which the server counts.
const DAYS_TO_2000: i32 = 10_957;
const MICROSECONDS_TO_2000: i64 = DAYS_TO_2000 as i64 * MICROSECONDS_PER_DAY;
const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

pub(super) fn days_since_1970(days: i32) -> Result<i32, Refusal> {
    match days {
        i32::MAX => Err(no_equivalent("date", "infinity")),
        i32::MIN => Err(no_equivalent("date", "-infinity")),
        // The last year of a date is far below what 32 bits of days can hold.
        days => Ok(days + DAYS_TO_2000),
    }
}

/// Refuses 24:00:00, which readers do not know.
pub(super) fn time_of_day(microseconds: i64) -> Result<i64, Refusal> {
    if microseconds < MICROSECONDS_PER_DAY { Ok(microseconds) } else { Err(no_equivalent("time", "24:00:00")) }
}

pub(super) fn microseconds_since_1970(microseconds: i64) -> Result<i64, Refusal> {
    match microseconds {
        i64::MAX => Err(no_equivalent("timestamp", "infinity")),
        i64::MIN => Err(no_equivalent("timestamp", "-infinity")),
        _ => microseconds.checked_add(MICROSECONDS_TO_2000).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
                "timestamp out of range for a Parquet file, whose last year is 294246",
            )
            .into()
        }),
    }
}

pub(super) fn decimal<T: Unscaled>(value: Value<'_>, precision: u8, scale: u8, limit: T) -> Result<T, Refusal> {
    match Number::read(value.as_varlena()) {
        Some(Number::Finite(number)) => number.unscaled(scale, limit).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                format!("value does not fit into numeric({precision},{scale}), which the query says it is"),
            )
            .into()
        }),
        Some(Number::Nan) => Err(no_equivalent("numeric", "NaN")),
        Some(Number::Infinity) => Err(no_equivalent("numeric", "Infinity")),
        Some(Number::MinusInfinity) => Err(no_equivalent("numeric", "-Infinity")),
        None => Err(Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "invalid numeric value").into()),
    }
}
