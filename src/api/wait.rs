use super::{duration, given};
use crate::error::or_raise;
use crate::job;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Waits until a job is over, or for so long, and returns its state. With `raise`, the error of a job that did not complete
/// is raised.
#[pg_extern(volatile)]
fn wait(
    job: Option<i64>,
    timeout: default!(Option<Interval>, "NULL"),
    raise: default!(Option<bool>, "false"),
) -> String {
    or_raise(job::wait(given("job", job), timeout.map(duration), given("raise", raise)))
}
