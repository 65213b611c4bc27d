//! One file per SQL function: arguments in, rows out, no logic.

mod backup_create;
mod backup_list;
mod backup_prune;
mod backup_restore;
mod backup_validate;
mod cancel;
mod check_local;
mod cleanup;
mod dump;
mod fdw_validator;
mod list;
mod list_databases;
mod live;
mod load_parquet;
mod load_sql;
mod mask_functions;
mod migrate;
mod parameters;
mod parquet_files;
mod parquet_schema;
mod plan;
mod plan_migrate;
mod prune;
mod pull;
mod send_frames;
mod start_backup_create;
mod start_check_local;
mod start_dump;
mod start_load_parquet;
mod start_load_sql;
mod start_migrate;
mod start_pull;
mod store_options_validator;
mod verify;
mod version;
mod wait;
mod wal_archive_enable;
mod wal_archive_status;

use crate::error::Error;
use crate::local::text::Text;
use pgrx::PgSqlErrorCode;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use std::time::Duration;

/// Returns microseconds; a month has 30 days, as in PostgreSQL's own arithmetic.
fn microseconds(interval: &Interval) -> i64 {
    const DAY: i64 = 86_400_000_000;
    let days = i64::from(interval.months()) * 30 + i64::from(interval.days());
    days.saturating_mul(DAY).saturating_add(interval.micros())
}

/// Returns the length of an interval; a negative one has the length zero.
fn duration(interval: Interval) -> Duration {
    Duration::from_micros(microseconds(&interval).max(0) as u64)
}

/// Returns an instant of so many microseconds since PostgreSQL's epoch.
fn instant(microseconds: i64) -> TimestampWithTimeZone {
    TimestampWithTimeZone::try_from(microseconds).unwrap_or(TimestampWithTimeZone::negative_infinity())
}

/// Returns an argument, and raises an error if it is NULL.
fn given<T>(name: &str, value: Option<T>) -> T {
    value.unwrap_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not be null")).raise()
    })
}
