use super::{Text, given};
use crate::error::or_raise;
use crate::source;
use pgrx::prelude::*;

/// The databases of another server that accept connections. `bytes` is NULL without the right to connect.
#[pg_extern(volatile)]
fn list_databases(
    source: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(name, Text),
        name!(owner, Text),
        name!(encoding, Text),
        name!(lc_collate, Text),
        name!(lc_ctype, Text),
        name!(bytes, Option<i64>),
    ),
> {
    let databases = or_raise(source::list_databases(&given("source", source).0));
    TableIterator::new(databases.into_iter().map(|database| {
        (
            database.name.into(),
            database.owner.into(),
            database.encoding.into(),
            database.collation.into(),
            database.character_type.into(),
            database.bytes,
        )
    }))
}
