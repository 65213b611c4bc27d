use crate::error::or_raise;
use crate::job::{self, Request};
use pgrx::prelude::*;

/// Replaces the targets' rows; one row for each target.
#[pg_extern(volatile)]
fn pull(
    source: &str,
    include: default!(Option<Vec<Option<String>>>, "NULL"),
    exclude: default!(Option<Vec<Option<String>>>, "NULL"),
    overwrite: default!(bool, "false"),
    parallel: default!(Option<i32>, "NULL"),
    batch_size: default!(i32, 1000),
    validate: default!(bool, "true"),
) -> TableIterator<
    'static,
    (name!(schema, String), name!(table, String), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
> {
    let request = Request { source: source.to_owned(), include, exclude, overwrite, parallel, batch_size, validate };
    let tables = or_raise(job::pull(&request));
    TableIterator::new(
        tables
            .into_iter()
            .map(|table| (table.schema, table.name, table.rows as i64, table.bytes as i64, table.seconds)),
    )
}
