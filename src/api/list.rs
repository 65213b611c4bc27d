use super::{Text, given};
use crate::error::or_raise;
use crate::source;
use pgrx::prelude::*;

/// Lists the tables of another server. `rows` is the planner's estimate, or NULL where there is none yet, or exact if
/// asked.
#[pg_extern(volatile)]
fn list(
    source: Option<Text>,
    schema: default!(Option<Text>, "NULL"),
    exact: default!(Option<bool>, "false"),
) -> TableIterator<
    'static,
    (name!(schema, Text), name!(table, Text), name!(kind, String), name!(rows, Option<i64>), name!(bytes, i64)),
> {
    let tables = or_raise(source::list_source(
        &given("source", source).0,
        schema.as_ref().map(|schema| schema.0.as_str()),
        given("exact", exact),
    ));
    TableIterator::new(
        tables
            .into_iter()
            .map(|table| (table.schema.into(), table.name.into(), table.kind.to_owned(), table.rows, table.bytes)),
    )
}
