use super::parameters::{self, migrate_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

migrate_function! {
    /// Returns what a migration with the same arguments would make, one row for each object; with `ddl`, the statements.
    fn plan_migrate(request)[ddl: default!(Option<bool>, "false"),] -> [TableIterator<
        'static,
        (
            name!(section, String),
            name!(kind, Text),
            name!(schema, Option<Text>),
            name!(name, Text),
            name!(owner, Option<Text>),
            name!(action, String),
            name!(ddl, Option<Text>),
        ),
    >] {
        let objects = or_raise(job::plan_migrate(&request, given("ddl", ddl)));
        TableIterator::new(objects.into_iter().map(|object| {
            (
                object.section.to_owned(),
                object.kind.into(),
                object.schema.map(Text),
                object.name.into(),
                object.owner.map(Text),
                object.action.to_owned(),
                object.ddl.map(Text),
            )
        }))
    }
}
