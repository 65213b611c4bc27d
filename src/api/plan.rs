use super::parameters::{self, pull_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

pull_function! {
    /// Returns what a pull with the same arguments would do, one row for each target, and what stands in its way.
    fn plan(request) -> [TableIterator<
        'static,
        (
            name!(schema, Option<Text>),
            name!(table, Option<Text>),
            name!(source_rows, Option<i64>),
            name!(source_bytes, Option<i64>),
            name!(local_bytes, Option<i64>),
            name!(method, Option<String>),
            name!(wire, Option<String>),
            name!(parts, Option<i32>),
            name!(indexes, Option<i32>),
            name!(foreign_keys, Option<i32>),
            name!(warnings, Vec<Text>),
            name!(problem, Option<Text>),
            name!(mend, Option<Text>),
        ),
    >] {
        let rows = or_raise(job::plan_pull(&request));
        TableIterator::new(rows.into_iter().map(|row| {
            let target = row.target.as_ref();
            (
                row.schema.map(Text),
                row.name.map(Text),
                target.and_then(|target| target.source_rows),
                target.map(|target| target.source_bytes),
                target.map(|target| target.local_bytes),
                target.map(|target| target.method.clone()),
                target.map(|target| target.wire.clone()),
                target.map(|target| target.parts as i32),
                target.map(|target| target.indexes as i32),
                target.map(|target| target.foreign_keys as i32),
                row.warnings.into_iter().map(Text).collect(),
                row.problem.map(Text),
                row.mend.map(Text),
            )
        }))
    }
}
