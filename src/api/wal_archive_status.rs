use super::{Text, instant};
use crate::backup;
use crate::error::or_raise;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// Tells how the archive of this server's WAL is doing.
#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn wal_archive_status() -> TableIterator<
    'static,
    (
        name!(enabled, bool),
        name!(directory, Option<Text>),
        name!(last_archived, Option<Text>),
        name!(last_archived_at, Option<TimestampWithTimeZone>),
        name!(failures, i64),
        name!(last_failed, Option<Text>),
        name!(last_failed_at, Option<TimestampWithTimeZone>),
        name!(waiting, i64),
        name!(waiting_bytes, i64),
        name!(lag_bytes, Option<i64>),
        name!(lag_seconds, Option<f64>),
        name!(gaps, Vec<Text>),
    ),
> {
    let status = or_raise(backup::archive_status());
    TableIterator::once((
        status.enabled,
        status.directory.map(Text),
        status.last_archived.map(Text),
        status.last_archived_at.map(instant),
        status.failures,
        status.last_failed.map(Text),
        status.last_failed_at.map(instant),
        status.waiting,
        status.waiting_bytes,
        status.lag_bytes,
        status.lag_seconds,
        status.gaps.into_iter().map(Text).collect(),
    ))
}
