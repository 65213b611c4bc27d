//! One file per SQL function: arguments in, rows out, no logic.

mod cancel;
mod cleanup;
mod fdw_validator;
mod list;
mod live;
mod load_parquet;
mod parquet_files;
mod parquet_schema;
mod plan;
mod prune;
mod pull;
mod start_load_parquet;
mod start_pull;
mod store_options_validator;
mod version;
mod wait;

use crate::error::Error;
use crate::local::text::Text;
use crate::prepare::Request;
use pgrx::PgSqlErrorCode;
use pgrx::datum::Interval;
use std::time::Duration;

/// Microseconds; a month has 30 days, as in PostgreSQL's own arithmetic.
fn microseconds(interval: &Interval) -> i64 {
    const DAY: i64 = 86_400_000_000;
    let days = i64::from(interval.months()) * 30 + i64::from(interval.days());
    days.saturating_mul(DAY).saturating_add(interval.micros())
}

/// Less than nothing is nothing.
fn duration(interval: Interval) -> Duration {
    Duration::from_micros(microseconds(&interval).max(0) as u64)
}

/// An argument that has no meaning as NULL.
fn given<T>(name: &str, value: Option<T>) -> T {
    value.unwrap_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not be null")).raise()
    })
}

/// What `pull`, `plan` and `start_pull` are asked for.
#[allow(clippy::too_many_arguments, reason = "the parameters of the SQL functions")]
fn request(
    source: Option<Text>,
    include: Option<Vec<Option<Text>>>,
    exclude: Option<Vec<Option<Text>>>,
    overwrite: Option<bool>,
    parallel: Option<i32>,
    batch_size: Option<i32>,
    validate: Option<bool>,
    wait: Option<bool>,
    verbose: Option<bool>,
    refresh: Option<bool>,
    method: Option<Text>,
) -> Request {
    let in_place = match given("method", method).0.as_str() {
        "auto" => false,
        "in place" => true,
        other => {
            Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("method \"{other}\" not recognized"))
                .hint("It is \"auto\" or \"in place\".")
                .raise()
        }
    };
    let patterns = |given: Vec<Option<Text>>| given.into_iter().map(|pattern| pattern.map(|Text(text)| text)).collect();
    Request {
        source: given("source", source).0,
        include: include.map(patterns),
        exclude: exclude.map(patterns),
        overwrite: given("overwrite", overwrite),
        parallel,
        batch_size: given("batch_size", batch_size),
        validate: given("validate", validate),
        wait: given("wait", wait),
        verbose: given("verbose", verbose),
        refresh: given("refresh", refresh),
        in_place,
    }
}
