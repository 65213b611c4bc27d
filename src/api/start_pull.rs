use super::{Text, request};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// Starts a pull that runs on its own, to its own commit, and returns the job's number at once.
#[allow(clippy::too_many_arguments, reason = "the parameters are the signature")]
#[pg_extern(volatile)]
fn start_pull(
    source: Option<Text>,
    include: default!(Option<Vec<Option<Text>>>, "NULL"),
    exclude: default!(Option<Vec<Option<Text>>>, "NULL"),
    overwrite: default!(Option<bool>, "false"),
    parallel: default!(Option<i32>, "NULL"),
    batch_size: default!(Option<i32>, 1000),
    validate: default!(Option<bool>, "true"),
    wait: default!(Option<bool>, "true"),
    verbose: default!(Option<bool>, "false"),
    refresh: default!(Option<bool>, "false"),
    method: default!(Option<Text>, "'auto'"),
) -> i64 {
    let request =
        request(source, include, exclude, overwrite, parallel, batch_size, validate, wait, verbose, refresh, method);
    or_raise(job::start_pull(&request))
}
