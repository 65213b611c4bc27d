//! What the views show of running jobs.

use super::{Text, instant};
use crate::error::or_raise;
use crate::job;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn live_jobs() -> TableIterator<
    'static,
    (
        name!(job, i64),
        name!(state, String),
        name!(phase, Option<String>),
        name!(tables, i32),
        name!(tables_copied, i32),
        name!(tables_done, i32),
        name!(rows, i64),
        name!(bytes, i64),
        name!(bytes_per_second, i64),
        name!(fraction, f64),
        name!(seconds_left, Option<f64>),
    ),
> {
    TableIterator::new(or_raise(job::live_jobs()).into_iter().map(|job| {
        let phase = job.phase.map(str::to_owned);
        (
            job.job,
            job.state,
            phase,
            job.tables,
            job.tables_copied,
            job.tables_done,
            job.rows,
            job.bytes,
            job.bytes_per_second,
            job.fraction,
            job.seconds_left,
        )
    }))
}

#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn live_tables() -> TableIterator<
    'static,
    (
        name!(job, i64),
        name!(position, i32),
        name!(state, String),
        name!(rows, i64),
        name!(bytes, i64),
        name!(seconds, f64),
        name!(wire_bytes, Option<i64>),
        name!(codec, Option<String>),
    ),
> {
    TableIterator::new(or_raise(job::live_tables()).into_iter().map(|table| {
        let (state, codec) = (table.state.to_owned(), table.codec.map(str::to_owned));
        (table.job, table.position, state, table.rows, table.bytes, table.seconds, table.wire_bytes, codec)
    }))
}

#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn live_tasks() -> TableIterator<
    'static,
    (
        name!(job, i64),
        name!(worker, i32),
        name!(task, Text),
        name!(started, TimestampWithTimeZone),
        name!(finished, TimestampWithTimeZone),
    ),
> {
    TableIterator::new(
        or_raise(job::live_tasks())
            .into_iter()
            .map(|task| (task.job, task.worker, task.task.into(), instant(task.started), instant(task.finished))),
    )
}

#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn progress_lines() -> TableIterator<
    'static,
    (
        name!(job, i64),
        name!(phase, String),
        name!(copied, String),
        name!(done, i32),
        name!(rows, String),
        name!(bytes, String),
        name!(rate, String),
        name!(eta, Option<String>),
        name!(bar, String),
    ),
> {
    TableIterator::new(or_raise(job::progress_lines()).into_iter().map(|line| {
        (line.job, line.phase, line.copied, line.done, line.rows, line.bytes, line.rate, line.left, line.bar)
    }))
}
