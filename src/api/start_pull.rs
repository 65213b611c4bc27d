use crate::error::or_raise;
use crate::job::{self, Request};
use pgrx::prelude::*;

/// Starts a pull that runs on its own, to its own commit, and returns the job's number at once.
#[allow(clippy::too_many_arguments, reason = "the parameters are the signature")]
#[pg_extern(volatile)]
fn start_pull(
    source: &str,
    include: default!(Option<Vec<Option<String>>>, "NULL"),
    exclude: default!(Option<Vec<Option<String>>>, "NULL"),
    overwrite: default!(bool, "false"),
    parallel: default!(Option<i32>, "NULL"),
    batch_size: default!(i32, 1000),
    validate: default!(bool, "true"),
    wait: default!(bool, "true"),
    verbose: default!(bool, "false"),
) -> i64 {
    let source = source.to_owned();
    let request = Request { source, include, exclude, overwrite, parallel, batch_size, validate, wait, verbose };
    or_raise(job::start_pull(&request))
}
