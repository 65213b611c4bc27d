//! A directory of backups, and the WAL archive in it. All that its files say may be wrong.

use super::create::ends;
use super::{absolute, files, server_time};
use crate::error::{Error, Result};
use crate::local::new_file::file_error;
use crate::local::{disk, interrupts, new_directory, rights};
use backups::beside_wal::Beside;
use backups::manifest::Manifest;
use backups::prune::Known;
use backups::record::{self, Record};
use backups::wal::{self, Archive, Reach, Segment, is_segment_size, parse_history};
use backups::{name, prune, restore_page, sums};
use pgrx::prelude::*;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A backup that is complete, as far as its record and its manifest tell.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) record: Record,
    pub(super) manifest: Manifest,
}

/// A directory that is or might become a backup.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) whole: std::result::Result<Whole, Fault>,
    pub(super) bytes: u64,
    /// Whether a link leads there, as where somebody has moved the backup to another disk.
    pub(super) is_link: bool,
}

pub(super) enum Fault {
    /// It is being written, or was abandoned.
    Incomplete,
    Damaged(String),
}

/// What `backup_list` shows of a backup. Times are as the server counts them.
#[derive(Debug, Clone)]
pub struct ListedBackup {
    pub name: String,
    pub state: &'static str,
    pub kind: Option<&'static str>,
    pub parent: Option<String>,
    pub format: Option<&'static str>,
    pub started: Option<i64>,
    pub finished: Option<i64>,
    pub timeline: Option<i32>,
    pub start: Option<String>,
    pub stop: Option<String>,
    pub bytes: u64,
    pub restorable_from: Option<i64>,
    pub restorable_until: Option<i64>,
    pub restorable_until_lsn: Option<String>,
    pub problem: Option<String>,
}

const MOST_ENTRIES: usize = 100_000;
const MOST_SEGMENTS: usize = 1_000_000;

pub(super) fn refuse_readers(doing: &str) -> Result<()> {
    if rights::may_read_server_files() {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("permission denied to {doing}")).detail(
        "Only roles with privileges of the \"pg_read_server_files\" role may read files of the server's machine.",
    ))
}

/// Reads what a backup says of itself.
fn record_of(backup: &Path) -> std::result::Result<Record, String> {
    let text = files::read_capped(&backup.join(record::FILE), record::MOST_BYTES)
        .map_err(|error| format!("\"{}\": {error}", record::FILE))?;
    let record = Record::parse(&text).map_err(|reason| format!("\"{}\": {reason}", record::FILE))?;
    // Where the checksums cannot be read, the validation tells of that: the record may well be right.
    match files::read_sums(backup) {
        Some(Ok(sums)) if sums.get(record::FILE).is_some_and(|sum| *sum != files::digest(&text)) => {
            Err(sums::differs(record::FILE))
        }
        _ => Ok(record),
    }
}

/// Reads one backup.
pub(super) fn whole(directory: &Path, name: &str) -> std::result::Result<Whole, String> {
    let directory = directory.join(name);
    let record = record_of(&directory)?;
    let manifest = files::read_manifest(&directory.join("data"))?;
    if manifest.system_identifier.is_some_and(|identifier| identifier != record.system_identifier) {
        return Err("\"backup_manifest\": it is of another server".to_owned());
    }
    Ok(Whole { name: name.to_owned(), directory, record, manifest })
}

/// Reads a backup and those that it builds on, from the full one.
///
/// # Errors
/// With the first that is missing or damaged.
pub(super) fn chain(directory: &Path, name: &str) -> std::result::Result<Vec<Whole>, String> {
    const MOST_LINKS: usize = 1000;
    let mut chain: Vec<Whole> = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        interrupts::check();
        if chain.len() >= MOST_LINKS || chain.iter().any(|link| link.name == name) {
            return Err(format!("the parents of backup \"{name}\" lead round"));
        }
        let link =
            whole(directory, &name).map_err(|reason| format!("backup \"{name}\" is damaged or missing: {reason}"))?;
        next = link.record.parent.clone();
        chain.push(link);
    }
    chain.reverse();
    Ok(chain)
}

/// Reads a directory of backups. The size of each is that of its files.
pub(super) fn read(directory: &Path) -> Result<Vec<Found>> {
    let unreadable = |error: std::io::Error| file_error("could not read directory", directory, &error);
    let (mut found, mut leading_nowhere) = (Vec::new(), Vec::new());
    for (number, entry) in fs::read_dir(directory).map_err(unreadable)?.enumerate() {
        let entry = entry.map_err(unreadable)?;
        interrupts::check();
        if number >= MOST_ENTRIES {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("directory \"{}\" has more than {MOST_ENTRIES} entries", directory.display()),
            ));
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        let unfinished = name.strip_suffix(name::INCOMPLETE).filter(|name| name::is_valid(name));
        let is_link = unfinished.is_none() && entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let is_directory = if is_link { path.is_dir() } else { entry.file_type().is_ok_and(|kind| kind.is_dir()) };
        if unfinished.is_none() && !name::is_valid(&name) {
            continue;
        }
        if is_link && !path.exists() {
            leading_nowhere.push((name, path));
            continue;
        }
        // One of another name is a second name of a backup.
        if !is_directory || (is_link && record_of(&path).is_ok_and(|record| record.name != name)) {
            continue;
        }
        let is_backup = |file: &str| fs::symlink_metadata(path.join(file)).is_ok();
        // What has neither is somebody else's.
        let is_ours = match unfinished {
            Some(_) => new_directory::is_unfinished(&path),
            None => is_backup(record::FILE) || is_backup(restore_page::FILE),
        };
        if !is_ours {
            continue;
        }
        let bytes = disk::bytes_below(&path, &mut interrupts::check);
        let (name, whole) = match unfinished {
            Some(unfinished) => (unfinished.to_owned(), Err(Fault::Incomplete)),
            None => (name.clone(), whole(directory, &name).map_err(Fault::Damaged)),
        };
        found.push(Found { name, directory: path, whole, bytes, is_link });
    }
    // The disk of a parent may be away. Other links are nobody's.
    let builds_on = |found: &Found, name: &str| {
        found.whole.as_ref().is_ok_and(|whole| whole.record.parent.as_deref() == Some(name))
    };
    leading_nowhere.retain(|(name, _)| found.iter().any(|found| builds_on(found, name)));
    found.extend(leading_nowhere.into_iter().map(|(name, directory)| {
        let whole = Err(Fault::Damaged("the link leads nowhere".to_owned()));
        Found { name, directory, whole, bytes: 0, is_link: true }
    }));
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

pub(super) fn known(found: &[Found]) -> Vec<Known> {
    // What is being written is nobody's yet.
    let settled = found.iter().filter(|found| !matches!(found.whole, Err(Fault::Incomplete)));
    settled
        .map(|found| {
            let whole = found.whole.as_ref().ok();
            let ends = whole.and_then(|whole| ends(&whole.manifest).ok());
            Known {
                name: found.name.clone(),
                parent: whole.and_then(|whole| whole.record.parent.clone()),
                complete: whole.is_some(),
                finished: whole.map(|whole| whole.record.finished),
                start: ends.map(|(first, _)| first.start),
                end: ends.map(|(_, last)| (last.timeline, last.end)),
            }
        })
        .collect()
}

/// Reads the names in a WAL archive of a server; an empty one where there is none.
pub(super) fn read_archive(directory: &Path, segment_size: u64, system_identifier: u64) -> Result<Archive> {
    const MOST_BYTES_OF_HISTORY: u64 = 1 << 20;
    let mut archive = Archive { segment_size, ..Archive::default() };
    let Ok(entries) = fs::read_dir(directory) else { return Ok(archive) };
    for entry in entries.take(MOST_SEGMENTS).flatten() {
        interrupts::check();
        let Ok(name) = entry.file_name().into_string() else { continue };
        if let Some(segment) = Segment::parse(&name, segment_size) {
            // One that was cut off, or is another one than its name says, is as good as missing.
            let is_whole = entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == segment_size);
            let start = is_whole.then(|| files::read_start(&entry.path(), wal::PAGE_HEADER).ok()).flatten();
            match start.and_then(|start| wal::server_of_segment(&start, segment, segment_size)) {
                Some(server) if server == system_identifier => {
                    archive.segments.insert(segment);
                }
                Some(_) => archive.of_another_server = Some(segment),
                None => {}
            }
        } else if let Some(timeline) = wal::history_name(&name)
            && let Ok(text) = files::read_capped(&entry.path(), MOST_BYTES_OF_HISTORY)
            && let Some(switches) = parse_history(&String::from_utf8_lossy(&text))
        {
            archive.histories.insert(timeline, switches);
        } else if let Some(segment) = Beside::parse(&name, segment_size).and_then(Beside::segment)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
        {
            archive.beside.insert(name, segment);
        }
    }
    Ok(archive)
}

/// Refuses an archive that other servers write into: neither is it what it is taken for, nor is it this one's to remove from.
pub(super) fn refuse_other_archives(directory: &Path, archive: &Archive) -> Result<()> {
    let Some(segment) = archive.of_another_server else { return Ok(()) };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the WAL archive \"{}\" has WAL of another server", directory.display()),
    )
    .detail(format!("Segment {} is one.", segment.name(archive.segment_size)))
    .hint("Give each server an archive of its own, and name that of the backup."))
}

/// Microseconds since 1970 when a segment was archived.
pub(super) fn archived_at(directory: &Path, segment: Segment, size: u64) -> Option<i64> {
    let metadata = fs::metadata(directory.join(segment.name(size))).ok()?;
    metadata.mtime().checked_mul(1_000_000)?.checked_add(metadata.mtime_nsec() / 1000)
}

/// How far a backup can be recovered with the WAL of an archive.
pub(super) fn reach(whole: &Whole, archive: &Archive) -> Result<Reach> {
    let (_, last) = ends(&whole.manifest)?;
    Ok(archive.reach(last.timeline, last.end))
}

/// The same along a timeline of choice.
pub(super) fn reach_along(whole: &Whole, archive: &Archive, timeline: u32) -> Result<Reach> {
    let (_, last) = ends(&whole.manifest)?;
    archive.reach_along(timeline, last.timeline, last.end).ok_or_else(|| {
        let continuing = archive.histories.keys().filter(|&&to| archive.way(to, last.timeline, last.end).is_some());
        let known: BTreeSet<u32> = continuing.copied().chain([last.timeline]).collect();
        let known: Vec<String> = known.iter().map(u32::to_string).collect();
        Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("timeline {timeline} does not continue the backup"),
        )
        .detail(format!(
            "The backup ends at {} of timeline {}. By the histories in the WAL archive these continue it: {}.",
            last.end,
            last.timeline,
            known.join(", ")
        ))
    })
}

/// Returns the name of a backup of another server than this one, if there is one in a directory. It looks at nothing but records: other
/// sessions may be at work on backups there.
pub(super) fn of_another_server(directory: &Path, system_identifier: u64) -> Result<Option<String>> {
    let unreadable = |error: std::io::Error| file_error("could not read directory", directory, &error);
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        interrupts::check();
        let Ok(name) = entry.map_err(unreadable)?.file_name().into_string() else { continue };
        let is_other = || record_of(&directory.join(&name)).is_ok_and(|it| it.system_identifier != system_identifier);
        if name::is_valid(&name) && is_other() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Lists the backups in a directory.
pub fn list_backups(directory: &str, wal_archive: Option<&str>) -> Result<Vec<ListedBackup>> {
    refuse_readers("read a directory of backups")?;
    let directory = absolute("the directory of backups", directory)?;
    let archive_directory = archive_of(&directory, wal_archive)?;
    let found = read(&directory)?;
    let known = known(&found);
    let good = prune::good(&known);
    let mut archives: BTreeMap<(u64, u64), Archive> = BTreeMap::new();
    let mut listed = Vec::new();
    for found in &found {
        let mut row = ListedBackup {
            name: found.name.clone(),
            state: "complete",
            kind: None,
            parent: None,
            format: None,
            started: None,
            finished: None,
            timeline: None,
            start: None,
            stop: None,
            bytes: found.bytes,
            restorable_from: None,
            restorable_until: None,
            restorable_until_lsn: None,
            problem: None,
        };
        match &found.whole {
            Err(Fault::Incomplete) => row.state = "incomplete",
            Err(Fault::Damaged(reason)) => {
                row.state = "damaged";
                row.problem = Some(reason.clone());
            }
            Ok(whole) => {
                let size = whole.record.segment_size;
                if !is_segment_size(size) {
                    continue;
                }
                let server = whole.record.system_identifier;
                if let Entry::Vacant(unread) = archives.entry((size, server)) {
                    unread.insert(read_archive(&archive_directory, size, server)?);
                }
                describe(
                    &mut row,
                    whole,
                    &archives[&(size, server)],
                    &archive_directory,
                    good.contains(found.name.as_str()),
                )?;
            }
        }
        listed.push(row);
    }
    Ok(listed)
}

fn describe(row: &mut ListedBackup, whole: &Whole, archive: &Archive, directory: &Path, is_good: bool) -> Result<()> {
    let (first, last) = ends(&whole.manifest)?;
    row.kind = Some(if whole.record.parent.is_some() { "incremental" } else { "full" });
    row.parent.clone_from(&whole.record.parent);
    row.format = Some(whole.record.format.name());
    row.started = Some(server_time(whole.record.started));
    row.finished = Some(server_time(whole.record.finished));
    row.timeline = i32::try_from(last.timeline).ok();
    row.start = Some(first.start.to_string());
    row.stop = Some(last.end.to_string());
    if !is_good {
        row.state = "damaged";
        row.problem = Some("a backup that it builds on is missing or damaged".to_owned());
        return Ok(());
    }
    let reach = reach(whole, archive)?;
    let until = reach.last.and_then(|segment| archived_at(directory, segment, archive.segment_size));
    row.restorable_from = row.finished;
    row.restorable_until = Some(server_time(until.unwrap_or(whole.record.finished).max(whole.record.finished)));
    row.restorable_until_lsn = Some(reach.end.filter(|&end| end > last.end).unwrap_or(last.end).to_string());
    if let Some(segment) = archive.of_another_server {
        row.problem =
            Some(format!("segment {} in the WAL archive is of another server", segment.name(archive.segment_size)));
    } else if let Some((from, to)) = reach.gaps.first() {
        let (from, to) = (from.name(archive.segment_size), to.name(archive.segment_size));
        row.problem = Some(format!("the WAL archive lacks {from} to {to}"));
    }
    Ok(())
}

/// The WAL archive of a directory of backups.
pub(super) fn archive_of(directory: &Path, given: Option<&str>) -> Result<PathBuf> {
    match given {
        Some(given) => {
            let archive = absolute("the WAL archive", given)?;
            fs::read_dir(&archive).map_err(|error| file_error("could not read directory", &archive, &error))?;
            Ok(archive)
        }
        None => Ok(directory.join(name::WAL)),
    }
}

/// Takes the path of a backup apart: its directory and its name.
pub(super) fn locate(backup: &str) -> Result<(PathBuf, String)> {
    let path = absolute("the path of a backup", backup)?;
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name::is_valid(name));
    match (path.parent(), name) {
        (Some(directory), Some(name)) if path.is_dir() => Ok((directory.to_owned(), name.to_owned())),
        _ => Err(Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, format!("\"{}\" is no backup", path.display()))
            .hint("Give the path of a directory that pgcopy.backup_create() has made; pgcopy.backup_list() shows their names.")),
    }
}
