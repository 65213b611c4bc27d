use super::{Text, given};
use crate::error::{Error, or_raise};
use crate::job;
use crate::local::document::Document;
use pgrx::prelude::*;

/// Makes a new data directory of a backup, ready to start; one row about it.
#[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
#[pg_extern(volatile)]
fn backup_restore(
    backup: Option<Text>,
    target_directory: Option<Text>,
    until: default!(Option<Text>, "'latest'"),
    tablespaces: default!(Option<Document>, "NULL"),
    port: default!(Option<i32>, "NULL"),
    start: default!(Option<bool>, "false"),
    wal_archive: default!(Option<Text>, "NULL"),
    timeline: default!(Option<i32>, "NULL"),
) -> TableIterator<'static, (name!(directory, Text), name!(bytes, i64), name!(until, Text), name!(start_command, Text))>
{
    let request = crate::job::RestoreTerms {
        backup: given("backup", backup).0,
        target_directory: given("target_directory", target_directory).0,
        until: given("until", until).0,
        timeline,
        tablespaces: places(tablespaces),
        port,
        start: given("start", start),
        wal_archive: wal_archive.map(String::from),
    };
    let restored = or_raise(job::backup_restore(&request));
    TableIterator::once((
        restored.directory.into(),
        i64::try_from(restored.bytes).unwrap_or(i64::MAX),
        restored.until.into(),
        restored.command.into(),
    ))
}

/// The pairs of a JSON object: the old place of each tablespace, and its new one.
fn places(tablespaces: Option<Document>) -> Vec<(String, String)> {
    let Some(tablespaces) = tablespaces else { return Vec::new() };
    let value = or_raise(tablespaces.parse("tablespaces"));
    let pairs = value.as_object().and_then(|object| {
        object.iter().map(|(old, new)| Some((old.clone(), new.as_str()?.to_owned()))).collect::<Option<Vec<_>>>()
    });
    pairs.unwrap_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "tablespaces must be an object of paths")
            .hint("Write tablespaces => '{\"/old/place\": \"/new/place\"}'.")
            .raise()
    })
}
