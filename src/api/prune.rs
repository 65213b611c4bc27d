use crate::api::duration;
use crate::error::or_raise;
use crate::job;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Forgets jobs that ended so long ago and returns their number.
#[pg_extern(volatile)]
fn prune(older_than: default!(Interval, "'30 days'")) -> i64 {
    or_raise(job::prune(duration(older_than)))
}
