use super::parameters::{self, pull_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use crate::order::Changes;
use pgrx::prelude::*;

pull_function! {
    /// Replaces the targets' rows; one row for each target.
    fn pull(request) -> [TableIterator<
        'static,
        (name!(schema, Text), name!(table, Text), name!(rows, i64), name!(bytes, i64), name!(seconds, f64),
         name!(inserted, Option<i64>), name!(updated, Option<i64>), name!(deleted, Option<i64>), name!(unchanged, Option<i64>)),
    >] {
        let tables = or_raise(job::pull(&request));
        TableIterator::new(tables.into_iter().map(|table| {
            let changed = |count: fn(&Changes) -> u64| table.changes.as_ref().map(|changes| count(changes) as i64);
            let (inserted, updated) = (changed(|changes| changes.inserted), changed(|changes| changes.updated));
            let (deleted, unchanged) = (changed(|changes| changes.deleted), changed(|changes| changes.unchanged));
            (table.schema.into(), table.name.into(), table.rows as i64, table.bytes as i64, table.seconds, inserted, updated, deleted, unchanged)
        }))
    }
}
