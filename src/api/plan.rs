use super::parameters::{self, pull_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

pull_function! {
    /// Returns what a pull with the same arguments would do, one row for each target.
    fn plan(request) -> [TableIterator<
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
    >] {
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
}
