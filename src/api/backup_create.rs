use super::parameters::backup_function;
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

backup_function! {
    /// Has pg_basebackup take a backup of this server; one row about it.
    fn backup_create(request) -> [TableIterator<
        'static,
        (
            name!(backup, Text),
            name!(bytes, i64),
            name!(timeline, i32),
            name!(start_lsn, Text),
            name!(stop_lsn, Text),
        ),
    >] {
        let created = or_raise(job::backup_create(&request));
        TableIterator::once((
            created.backup.into(),
            created.bytes as i64,
            created.timeline as i32,
            created.start.into(),
            created.stop.into(),
        ))
    }
}
