use super::{Text, given};
use crate::backup;
use crate::error::or_raise;
use pgrx::prelude::*;

/// Has this server archive its WAL beside its backups; one row for each setting.
#[pg_extern(volatile)]
fn wal_archive_enable(
    directory: Option<Text>,
) -> TableIterator<'static, (name!(setting, Text), name!(value, Text), name!(before, Text), name!(needs_restart, bool))>
{
    let changed = or_raise(backup::enable_archive(&given("directory", directory).0));
    TableIterator::new(changed.into_iter().map(|setting| {
        (setting.name.to_owned().into(), setting.value.into(), setting.before.into(), setting.needs_restart)
    }))
}
