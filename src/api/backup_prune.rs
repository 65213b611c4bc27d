use super::{Text, given, microseconds};
use crate::error::or_raise;
use crate::job::{self, PruneTerms};
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Says which backups and which WAL a policy keeps, and removes the others unless it is a dry run.
#[pg_extern(volatile)]
fn backup_prune(
    directory: Option<Text>,
    keep_full: default!(Option<i32>, "NULL"),
    keep_for: default!(Option<Interval>, "NULL"),
    dry_run: default!(Option<bool>, "true"),
    wal_archive: default!(Option<Text>, "NULL"),
) -> TableIterator<'static, (name!(entry, Text), name!(keep, bool), name!(bytes, i64), name!(reason, Text))> {
    let terms = PruneTerms {
        directory: given("directory", directory).0,
        keep_full,
        keep_for: keep_for.map(|time| microseconds(&time)),
        dry_run: given("dry_run", dry_run),
        wal_archive: wal_archive.map(String::from),
    };
    let entries = or_raise(job::backup_prune(&terms));
    TableIterator::new(entries.into_iter().map(|entry| {
        let bytes = i64::try_from(entry.bytes).unwrap_or(i64::MAX);
        (entry.entry.into(), entry.keep, bytes, entry.reason.into())
    }))
}
