use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// Makes a running job fail; false if there is nothing to cancel any more.
#[pg_extern(volatile)]
fn cancel(job: i64) -> bool {
    or_raise(job::cancel(job))
}
