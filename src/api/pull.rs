use super::parameters::{self, pull_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

pull_function! {
    /// Replaces the targets' rows; one row for each target.
    fn pull(request) -> [TableIterator<
        'static,
        (name!(schema, Text), name!(table, Text), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
    >] {
        let tables = or_raise(job::pull(&request));
        TableIterator::new(tables.into_iter().map(|table| {
            (table.schema.into(), table.name.into(), table.rows as i64, table.bytes as i64, table.seconds)
        }))
    }
}
