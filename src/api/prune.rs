use super::{duration, given, microseconds};
use crate::error::{Error, or_raise};
use crate::job;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Forgets jobs that ended so long ago and returns their number.
#[pg_extern(volatile)]
fn prune(older_than: default!(Option<Interval>, "'30 days'")) -> i64 {
    let older_than = given("older_than", older_than);
    if microseconds(&older_than) < 0 {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "older_than must not be negative").raise();
    }
    or_raise(job::prune(duration(older_than)))
}
