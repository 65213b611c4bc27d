use super::parameters::{self, migrate_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

migrate_function! {
    /// Makes what the source holds and this database does not, and pulls all rows; one row for each table, and one for each
    /// kind of object.
    fn migrate(request)[] -> [TableIterator<
        'static,
        (
            name!(kind, Text),
            name!(schema, Option<Text>),
            name!(name, Option<Text>),
            name!(objects, Option<i64>),
            name!(rows, Option<i64>),
            name!(bytes, Option<i64>),
            name!(seconds, Option<f64>),
        ),
    >] {
        let report = or_raise(job::migrate(&request));
        TableIterator::new(report.into_iter().map(|line| {
            (
                line.kind.into(),
                line.schema.map(Text),
                line.name.map(Text),
                line.objects,
                line.rows,
                line.bytes,
                line.seconds,
            )
        }))
    }
}
