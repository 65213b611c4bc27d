use super::{Text, request};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// Replaces the targets' rows; one row for each target.
#[allow(clippy::too_many_arguments, reason = "the parameters are the signature")]
#[pg_extern(volatile)]
fn pull(
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
    (name!(schema, Text), name!(table, Text), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
> {
    let request =
        request(source, include, exclude, overwrite, parallel, batch_size, validate, wait, verbose, refresh, method);
    let tables = or_raise(job::pull(&request));
    TableIterator::new(
        tables.into_iter().map(|table| {
            (table.schema.into(), table.name.into(), table.rows as i64, table.bytes as i64, table.seconds)
        }),
    )
}
