//! The archive of WAL, which the contrib module `basic_archive` fills.

use super::facts::Facts;
use super::facts::{data_directory, setting};
use super::{absolute, files, refuse_others_than_superusers, repository, server_time};
use crate::error::{Error, Result};
use crate::local::spi::{Param, extension};
use crate::local::{disk, interrupts, rights, settings};
use backups::name;
use backups::wal::{Lsn, Segment, parse_history};
use pgrx::prelude::*;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// A setting of the archive.
#[derive(Debug, Clone)]
pub struct ChangedSetting {
    pub name: &'static str,
    pub value: String,
    pub before: String,
    pub needs_restart: bool,
}

/// How the archive is doing.
#[derive(Debug, Clone, Default)]
pub struct ArchiveStatus {
    pub enabled: bool,
    pub directory: Option<String>,
    pub last_archived: Option<String>,
    /// As the server counts time.
    pub last_archived_at: Option<i64>,
    pub failures: i64,
    pub last_failed: Option<String>,
    pub last_failed_at: Option<i64>,
    pub waiting: i64,
    pub waiting_bytes: i64,
    pub lag_bytes: Option<i64>,
    pub lag_seconds: Option<f64>,
    /// Names of the first and the last segment that are missing between others.
    pub gaps: Vec<String>,
}

const LIBRARY: &str = "basic_archive";

/// Has this server archive its WAL in the directory `wal` of a directory of backups.
pub fn enable_archive(directory: &str) -> Result<Vec<ChangedSetting>> {
    refuse_others_than_superusers("set the archive of WAL up", "It changes settings of the whole server.")?;
    let directory = absolute("the directory of backups", directory)?;
    let facts = Facts::read()?;
    refuse_others(&directory, &facts)?;
    if let Some(other) = repository::of_another_server(&directory, facts.system_identifier())? {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            format!("backup \"{other}\" in \"{}\" is of another server", directory.display()),
        )
        .hint("Give each server a directory of its own."));
    }
    let archive = directory.join(name::WAL);
    let there = repository::read_archive(&archive, facts.segment_size, facts.system_identifier())?;
    repository::refuse_other_archives(&archive, &there)?;
    files::make_directory(&archive)?;
    if !disk::is_writable(&archive) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("directory \"{}\" may not be written by the server's user", archive.display()),
        ));
    }
    let value = archive.display().to_string();
    // Its settings are known when it is loaded.
    settings::load_library(c"basic_archive");
    let wanted = [
        ("wal_level", setting(c"wal_level"), "replica".to_owned(), true),
        ("basic_archive.archive_directory", setting(c"basic_archive.archive_directory"), value, false),
        ("archive_library", setting(c"archive_library"), LIBRARY.to_owned(), false),
        ("archive_mode", setting(c"archive_mode"), "on".to_owned(), true),
    ];
    let mut changed = Vec::new();
    for (name, before, value, needs_restart) in wanted {
        let is_enough = before == value
            || (name == "wal_level" && before != "minimal")
            || (name == "archive_mode" && before == "always");
        if !is_enough {
            settings::alter_system(name, &value)?;
        }
        let value = if is_enough { before.clone() } else { value };
        changed.push(ChangedSetting { name, value, before, needs_restart: needs_restart && !is_enough });
    }
    extension::query_text("SELECT pg_reload_conf()::text", &[])?;
    Ok(changed)
}

/// Another archive is somebody's, and goes on.
fn refuse_others(directory: &Path, facts: &Facts) -> Result<()> {
    let (library, command) = (setting(c"archive_library"), setting(c"archive_command"));
    let other = |what: &str, value: &str| {
        Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "this server archives its WAL in another way already",
        )
        .detail(format!("{what} is \"{value}\"."))
        .hint("Keep that archive, and name it in wal_archive => of the other functions if it holds uncompressed segments; or reset the setting first.")
    };
    if !command.is_empty() {
        return Err(other("archive_command", &command));
    }
    if !library.is_empty() && library != LIBRARY {
        return Err(other("archive_library", &library));
    }
    let metadata = fs::metadata(directory);
    if !metadata.is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
            format!("\"{}\" is not a directory", directory.display()),
        ));
    }
    if let Some(around) = facts.directory_around(&directory.join(name::WAL)) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "the archive of WAL must be apart from the server's data",
        )
        .detail(format!("The server keeps its data in \"{}\".", around.display())));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Told {
    last_archived_wal: Option<String>,
    last_archived: Option<f64>,
    failed_count: i64,
    last_failed_wal: Option<String>,
    last_failed: Option<f64>,
    position: Option<String>,
    /// The segment that is written.
    segment: Option<String>,
    system_identifier: i64,
    segment_size: u64,
    now: f64,
}

/// Tells how the archive is doing.
pub fn archive_status() -> Result<ArchiveStatus> {
    if !rights::may_monitor() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to see the archive of WAL",
        )
        .detail("Only roles with privileges of the \"pg_monitor\" role may see it."));
    }
    let told: Told = extension::query_json(include_str!("../../sql/queries/archive_status.sql"), &[] as &[Param<'_>])?;
    let micros = |seconds: f64| server_time((seconds * 1e6) as i64);
    let mut status = ArchiveStatus {
        enabled: setting(c"archive_mode") != "off",
        last_archived: told.last_archived_wal.clone(),
        last_archived_at: told.last_archived.map(micros),
        failures: told.failed_count,
        last_failed: told.last_failed_wal.clone(),
        last_failed_at: told.last_failed.map(micros),
        ..ArchiveStatus::default()
    };
    let size = told.segment_size;
    let mut oldest_waiting: Option<f64> = None;
    for entry in fs::read_dir(data_directory().join("pg_wal/archive_status")).into_iter().flatten().flatten() {
        interrupts::check();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".ready") else { continue };
        status.waiting += 1;
        let bytes = fs::metadata(data_directory().join("pg_wal").join(name)).map_or(0, |metadata| metadata.len());
        status.waiting_bytes = status.waiting_bytes.saturating_add(bytes as i64);
        let since = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let since =
            since.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map(|time| time.as_secs_f64());
        oldest_waiting = match (oldest_waiting, since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let directory = told_directory().filter(|_| setting(c"archive_library") == LIBRARY);
    let archive = match &directory {
        Some(directory) => Some(repository::read_archive(Path::new(directory), size, told.system_identifier as u64)?),
        None => None,
    };
    if status.enabled {
        status.lag_seconds = Some(oldest_waiting.map_or(0.0, |since| (told.now - since).max(0.0)));
        // What was archived last may be no segment but a file about a backup or a timeline.
        let told_last = told.last_archived_wal.as_deref().and_then(|name| Segment::parse(name.get(..24)?, size));
        let newest = archive.as_ref().and_then(|archive| archive.segments.last());
        let position = told.position.as_deref().and_then(Lsn::parse);
        let timeline = told.segment.as_deref().and_then(|name| Segment::parse(name, size)).map(|it| it.timeline);
        // Older timelines may have gone further.
        let archived = told_last.max(newest.copied()).filter(|archived| timeline == Some(archived.timeline));
        let end = archived.map(|archived| Lsn((archived.number + 1).saturating_mul(size)));
        let end = end.or_else(|| begin_of_timeline(timeline?));
        if let (Some(end), Some(position)) = (end, position) {
            status.lag_bytes = i64::try_from(position.0.saturating_sub(end.0)).ok();
        }
    }
    if let Some(archive) = archive {
        let gap = |(from, to): (Segment, Segment)| match (from.name(size), to.name(size)) {
            (from, to) if from == to => from,
            (from, to) => format!("{from} to {to}"),
        };
        status.gaps = archive.gaps().into_iter().map(gap).collect();
    }
    status.directory = directory;
    Ok(status)
}

/// Where a timeline of this server began; `None` for the first one.
fn begin_of_timeline(timeline: u32) -> Option<Lsn> {
    const MOST_BYTES: u64 = 1 << 20;
    let history = data_directory().join(format!("pg_wal/{timeline:08X}.history"));
    let text = files::read_capped(&history, MOST_BYTES).ok()?;
    Some(parse_history(&String::from_utf8_lossy(&text))?.last()?.end)
}

/// Returns whether this server archives its WAL in a directory in the way that `wal_archive_enable` has it.
pub(super) fn archives_into(directory: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    setting(c"archive_library") == LIBRARY
        && real(directory).is_some_and(|own| told_directory().and_then(|told| real(Path::new(&told))) == Some(own))
}

/// The setting of a module that this session need not have loaded, which is then a text without a meaning.
fn told_directory() -> Option<String> {
    settings::value(c"basic_archive.archive_directory").filter(|directory| !directory.is_empty())
}
