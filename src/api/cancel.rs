use super::given;
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// Makes a running job fail; false if there is nothing to cancel any more.
#[pg_extern(volatile)]
fn cancel(job: Option<i64>) -> bool {
    or_raise(job::cancel(given("job", job)))
}
