use super::load_parquet::LoadArguments;
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// Starts a load that runs on its own, to its own commit, and returns the job's number at once.
#[allow(clippy::too_many_arguments, reason = "the parameters are the signature")]
#[pg_extern(volatile)]
fn start_load_parquet(
    path: Option<Text>,
    target: default!(Option<Text>, "NULL"),
    mode: default!(Option<Text>, "NULL"),
    create_table: default!(Option<Text>, "'if_missing'"),
    match_by: default!(Option<Text>, "'name'"),
    columns: default!(Option<pgrx::JsonB>, "NULL"),
    skip: default!(Option<Vec<Option<Text>>>, "NULL"),
    overwrite: default!(Option<bool>, "false"),
    parallel: default!(Option<i32>, "NULL"),
    on_lossy: default!(Option<Text>, "'error'"),
    server: default!(Option<Text>, "NULL"),
    on_invalid_text: default!(Option<Text>, "'error'"),
) -> i64 {
    let paths = vec![path];
    start(LoadArguments {
        paths,
        target,
        mode,
        create_table,
        match_by,
        columns,
        skip,
        overwrite,
        parallel,
        on_lossy,
        server,
        on_invalid_text,
    })
}

/// The same for a list of paths.
#[allow(clippy::too_many_arguments, reason = "the parameters are the signature")]
#[pg_extern(volatile, name = "start_load_parquet")]
fn start_load_parquet_list(
    path: Option<Vec<Option<Text>>>,
    target: default!(Option<Text>, "NULL"),
    mode: default!(Option<Text>, "NULL"),
    create_table: default!(Option<Text>, "'if_missing'"),
    match_by: default!(Option<Text>, "'name'"),
    columns: default!(Option<pgrx::JsonB>, "NULL"),
    skip: default!(Option<Vec<Option<Text>>>, "NULL"),
    overwrite: default!(Option<bool>, "false"),
    parallel: default!(Option<i32>, "NULL"),
    on_lossy: default!(Option<Text>, "'error'"),
    server: default!(Option<Text>, "NULL"),
    on_invalid_text: default!(Option<Text>, "'error'"),
) -> i64 {
    let paths = given("path", path);
    start(LoadArguments {
        paths,
        target,
        mode,
        create_table,
        match_by,
        columns,
        skip,
        overwrite,
        parallel,
        on_lossy,
        server,
        on_invalid_text,
    })
}

fn start(arguments: LoadArguments) -> i64 {
    or_raise(job::start_load_parquet(&arguments.request()))
}
