use super::{Text, request};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// What a pull with the same arguments would do, one row for each target.
#[allow(clippy::type_complexity, clippy::too_many_arguments, reason = "the columns and parameters are the signature")]
#[pg_extern(volatile)]
fn plan(
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
) -> TableIterator<
    'static,
    (
        name!(schema, Text),
        name!(table, Text),
        name!(source_rows, Option<i64>),
        name!(source_bytes, i64),
        name!(local_bytes, i64),
        name!(method, String),
        name!(wire, String),
        name!(parts, i32),
        name!(indexes, i32),
        name!(foreign_keys, i32),
        name!(warnings, Vec<Text>),
    ),
> {
    let request =
        request(source, include, exclude, overwrite, parallel, batch_size, validate, wait, verbose, refresh, method);
    let tables = or_raise(job::plan_pull(&request));
    TableIterator::new(tables.into_iter().map(|table| {
        (
            table.schema.into(),
            table.name.into(),
            table.source_rows,
            table.source_bytes,
            table.local_bytes,
            table.method.to_owned(),
            table.wire.to_owned(),
            table.parts as i32,
            table.indexes as i32,
            table.foreign_keys as i32,
            table.warnings.into_iter().map(Text).collect(),
        )
    }))
}
