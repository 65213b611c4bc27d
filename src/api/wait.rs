use crate::api::duration;
use crate::error::or_raise;
use crate::job;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Waits until a job is over, or for so long, and returns its state.
#[pg_extern(volatile)]
fn wait(job: i64, timeout: default!(Option<Interval>, "NULL")) -> String {
    or_raise(job::wait(job, timeout.map(duration)))
}
