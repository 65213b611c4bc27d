use super::parameters::{self, load_sql_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use crate::script::{FilledTable, SkippedStatement};
use pgrx::prelude::*;

load_sql_function! {
    /// Runs a script of SQL as pg_dump writes it; one row for each table that got rows, one for each kind of object, and one for
    /// each statement that was passed over.
    fn load_sql(request) -> [TableIterator<
        'static,
        (
            name!(kind, Text),
            name!(schema, Option<Text>),
            name!(name, Option<Text>),
            name!(objects, Option<i64>),
            name!(rows, Option<i64>),
            name!(bytes, Option<i64>),
            name!(seconds, Option<f64>),
            name!(line, Option<i64>),
            name!(statement, Option<Text>),
            name!(reason, Option<Text>),
        ),
    >] {
        let report = or_raise(job::load_sql(&request));
        let tables = report.tables.into_iter().map(|((schema, name), FilledTable { rows, bytes, seconds })| {
            let (schema, name) = (schema.map(Text), Some(name.into()));
            ("rows".to_owned().into(), schema, name, None, Some(rows as i64), Some(bytes as i64), Some(seconds), None, None, None)
        });
        let kinds = report.objects.into_iter().map(|(kind, count)| {
            (kind.into(), None, None, Some(count as i64), None, None, None, None, None, None)
        });
        let skipped = report.skipped.into_iter().map(|SkippedStatement { line, statement, reason }| {
            let line = Some(line as i64);
            ("skipped".to_owned().into(), None, None, None, None, None, None, line, Some(statement.into()), Some(reason.into()))
        });
        TableIterator::new(tables.chain(kinds).chain(skipped).collect::<Vec<_>>())
    }
}
