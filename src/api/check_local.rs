use super::parameters::{self, check_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

check_function! {
    /// Checks local tables, their indexes and constraints; one row for each fault.
    fn check_local(request) -> [TableIterator<
        'static,
        (
            name!(schema, Text),
            name!(table, Text),
            name!(kind, Text),
            name!(object, Option<Text>),
            name!(finding, Text),
            name!(place, Option<Text>),
        ),
    >] {
        let found = or_raise(job::check_local(&request));
        TableIterator::new(found.into_iter().map(|fault| {
            (
                fault.schema.into(),
                fault.table.into(),
                fault.kind.into(),
                fault.object.map(Text),
                fault.finding.into(),
                fault.place.map(Text),
            )
        }))
    }
}
