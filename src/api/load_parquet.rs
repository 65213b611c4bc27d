use crate::error::{Error, Result, or_raise};
use crate::job::{self, LoadRequest};
use pgrx::prelude::*;

type Rows = TableIterator<
    'static,
    (name!(target, String), name!(file, String), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
>;

/// Loads Parquet files into a table; one row for each file.
#[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the arguments are the signature")]
#[pg_extern(volatile)]
fn load_parquet(
    path: &str,
    target: default!(Option<&str>, "NULL"),
    mode: default!(Option<&str>, "NULL"),
    create_table: default!(&str, "'if_missing'"),
    match_by: default!(&str, "'name'"),
    columns: default!(Option<pgrx::JsonB>, "NULL"),
    skip: default!(Option<Vec<Option<String>>>, "NULL"),
    overwrite: default!(bool, "false"),
    parallel: default!(Option<i32>, "NULL"),
    on_lossy: default!(&str, "'error'"),
    server: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (name!(target, String), name!(file, String), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
> {
    let paths = vec![path.to_owned()];
    run(paths, target, mode, create_table, match_by, columns, skip, overwrite, parallel, on_lossy, server)
}

/// The same for a list of paths.
#[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the arguments are the signature")]
#[pg_extern(volatile, name = "load_parquet")]
fn load_parquet_list(
    path: Vec<Option<String>>,
    target: default!(Option<&str>, "NULL"),
    mode: default!(Option<&str>, "NULL"),
    create_table: default!(&str, "'if_missing'"),
    match_by: default!(&str, "'name'"),
    columns: default!(Option<pgrx::JsonB>, "NULL"),
    skip: default!(Option<Vec<Option<String>>>, "NULL"),
    overwrite: default!(bool, "false"),
    parallel: default!(Option<i32>, "NULL"),
    on_lossy: default!(&str, "'error'"),
    server: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (name!(target, String), name!(file, String), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
> {
    let paths = path.into_iter().flatten().collect();
    run(paths, target, mode, create_table, match_by, columns, skip, overwrite, parallel, on_lossy, server)
}

#[allow(clippy::too_many_arguments, reason = "as the functions above")]
fn run(
    paths: Vec<String>,
    target: Option<&str>,
    mode: Option<&str>,
    create: &str,
    match_by: &str,
    columns: Option<pgrx::JsonB>,
    skip: Option<Vec<Option<String>>>,
    overwrite: bool,
    parallel: Option<i32>,
    on_lossy: &str,
    server: Option<&str>,
) -> Rows {
    let request = LoadRequest {
        paths,
        target: target.map(str::to_owned),
        mode: mode.map(str::to_owned),
        create: create.to_owned(),
        match_by: match_by.to_owned(),
        columns: or_raise(pairs(columns)),
        skip: skip.unwrap_or_default().into_iter().flatten().collect(),
        overwrite,
        parallel,
        on_lossy: on_lossy.to_owned(),
        server: server.map(str::to_owned),
    };
    let files = or_raise(job::load_parquet(&request));
    TableIterator::new(
        files.into_iter().map(|file| (file.target, file.file, file.rows as i64, file.bytes as i64, file.seconds)),
    )
}

fn pairs(columns: Option<pgrx::JsonB>) -> Result<Vec<(String, String)>> {
    let wrong = || {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "columns must be an object of names")
            .hint("Write columns => '{\"column of the table\": \"column of the file\"}'.")
    };
    let Some(pgrx::JsonB(value)) = columns else { return Ok(Vec::new()) };
    let object = value.as_object().ok_or_else(wrong)?;
    object.iter().map(|(target, file)| Ok((target.clone(), file.as_str().ok_or_else(wrong)?.to_owned()))).collect()
}
