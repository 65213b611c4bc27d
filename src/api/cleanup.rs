use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// Removes what dead jobs left behind and returns their number.
#[pg_extern(volatile)]
fn cleanup() -> i64 {
    or_raise(job::cleanup()) as i64
}
