use super::{Text, given};
use crate::error::{Error, Result, or_raise};
use crate::job::{self, LoadedFile};
use crate::prepare::load::LoadRequest;
use pgrx::prelude::*;

/// The arguments of a load, in SQL's types.
pub(super) struct LoadArguments {
    pub(super) paths: Vec<Option<Text>>,
    pub(super) target: Option<Text>,
    pub(super) mode: Option<Text>,
    pub(super) create_table: Option<Text>,
    pub(super) match_by: Option<Text>,
    pub(super) columns: Option<pgrx::JsonB>,
    pub(super) skip: Option<Vec<Option<Text>>>,
    pub(super) overwrite: Option<bool>,
    pub(super) parallel: Option<i32>,
    pub(super) on_lossy: Option<Text>,
    pub(super) server: Option<Text>,
    pub(super) on_invalid_text: Option<Text>,
}

impl LoadArguments {
    pub(super) fn request(self) -> LoadRequest {
        LoadRequest {
            paths: self.paths.into_iter().map(|path| given("a path", path).0).collect(),
            target: self.target.map(String::from),
            mode: self.mode.map(String::from),
            create: given("create_table", self.create_table).0,
            match_by: given("match_by", self.match_by).0,
            columns: or_raise(pairs(self.columns)),
            skip: self.skip.unwrap_or_default().into_iter().map(|name| given("a name in skip", name).0).collect(),
            overwrite: given("overwrite", self.overwrite),
            parallel: self.parallel,
            on_lossy: given("on_lossy", self.on_lossy).0,
            server: self.server.map(String::from),
            on_invalid_text: given("on_invalid_text", self.on_invalid_text).0,
        }
    }
}

type Report = TableIterator<
    'static,
    (name!(target, Text), name!(file, Text), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
>;

/// Loads Parquet files into a table; one row for each file.
#[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
#[pg_extern(volatile)]
fn load_parquet(
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
) -> TableIterator<
    'static,
    (name!(target, Text), name!(file, Text), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
> {
    let paths = vec![path];
    load(LoadArguments {
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
#[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
#[pg_extern(volatile, name = "load_parquet")]
fn load_parquet_list(
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
) -> TableIterator<
    'static,
    (name!(target, Text), name!(file, Text), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
> {
    let paths = given("path", path);
    load(LoadArguments {
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

fn load(arguments: LoadArguments) -> Report {
    let files = or_raise(job::load_parquet(&arguments.request()));
    TableIterator::new(files.into_iter().map(|LoadedFile { target, file, rows, bytes, seconds }| {
        (target.into(), file.into(), rows as i64, bytes as i64, seconds)
    }))
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
