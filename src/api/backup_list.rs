use super::{Text, given, instant};
use crate::backup;
use crate::error::or_raise;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// Lists the backups in a directory, with the moments that they can be restored to.
#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn backup_list(
    directory: Option<Text>,
    wal_archive: default!(Option<Text>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(name, Text),
        name!(state, Text),
        name!(kind, Option<Text>),
        name!(parent, Option<Text>),
        name!(format, Option<Text>),
        name!(started, Option<TimestampWithTimeZone>),
        name!(finished, Option<TimestampWithTimeZone>),
        name!(timeline, Option<i32>),
        name!(start_lsn, Option<Text>),
        name!(stop_lsn, Option<Text>),
        name!(bytes, i64),
        name!(restorable_from, Option<TimestampWithTimeZone>),
        name!(restorable_until, Option<TimestampWithTimeZone>),
        name!(restorable_until_lsn, Option<Text>),
        name!(problem, Option<Text>),
    ),
> {
    let directory = given("directory", directory).0;
    let listed = or_raise(backup::list_backups(&directory, wal_archive.as_ref().map(|Text(path)| path.as_str())));
    let text = |text: Option<String>| text.map(|text| Text(plan::one_line(&text)));
    let word = |word: Option<&'static str>| word.map(|word| Text(word.to_owned()));
    TableIterator::new(listed.into_iter().map(move |row| {
        (
            row.name.into(),
            row.state.to_owned().into(),
            word(row.kind),
            text(row.parent),
            word(row.format),
            row.started.map(instant),
            row.finished.map(instant),
            row.timeline,
            text(row.start),
            text(row.stop),
            i64::try_from(row.bytes).unwrap_or(i64::MAX),
            row.restorable_from.map(instant),
            row.restorable_until.map(instant),
            text(row.restorable_until_lsn),
            text(row.problem),
        )
    }))
}
