use super::given;
use crate::error::or_raise;
use crate::job::{self, Request};
use pgrx::prelude::*;

/// Starts a pull that runs on its own, to its own commit, and returns the job's number at once.
#[allow(clippy::too_many_arguments, reason = "the parameters are the signature")]
#[pg_extern(volatile)]
fn start_pull(
    source: Option<&str>,
    include: default!(Option<Vec<Option<String>>>, "NULL"),
    exclude: default!(Option<Vec<Option<String>>>, "NULL"),
    overwrite: default!(Option<bool>, "false"),
    parallel: default!(Option<i32>, "NULL"),
    batch_size: default!(Option<i32>, 1000),
    validate: default!(Option<bool>, "true"),
    wait: default!(Option<bool>, "true"),
    verbose: default!(Option<bool>, "false"),
    refresh: default!(Option<bool>, "false"),
) -> i64 {
    let request = Request {
        source: given("source", source).to_owned(),
        include,
        exclude,
        overwrite: given("overwrite", overwrite),
        parallel,
        batch_size: given("batch_size", batch_size),
        validate: given("validate", validate),
        wait: given("wait", wait),
        verbose: given("verbose", verbose),
        refresh: given("refresh", refresh),
    };
    or_raise(job::start_pull(&request))
}
