//! Backups and WAL that a policy does not ask for.

use super::facts::Facts;
use super::repository::{self, Fault, Found, archive_of, archived_at, read_archive, refuse_other_archives};
use super::{absolute, files, leftovers, unix_now};
use crate::error::{Error, Result};
use crate::local::new_file::file_error;
use crate::local::{interrupts, new_directory, rights};
use backups::name;
use backups::prune::{Known, Line, Policy, Verdict, decide, unneeded_wal};
use backups::wal::{Archive, Segment};
use pgrx::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[derive(Debug, Clone, Serialize)]
pub struct PruneTerms {
    pub directory: String,
    pub keep_full: Option<i32>,
    /// Microseconds.
    pub keep_for: Option<i64>,
    pub dry_run: bool,
    pub wal_archive: Option<String>,
}

/// A backup, or the WAL as a whole.
#[derive(Debug, Clone)]
pub struct PrunedEntry {
    pub entry: String,
    pub keep: bool,
    pub bytes: u64,
    pub reason: String,
}

/// What can be said of the arguments without looking at files.
pub fn check_prune(terms: &PruneTerms) -> Result<()> {
    let invalid = |message: &str| Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message);
    repository::refuse_readers("read a directory of backups")?;
    if !rights::may_write_server_files() {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied to remove backups")
            .detail("Only roles with privileges of the \"pg_write_server_files\" role may write files of the server's machine."));
    }
    if terms.keep_full.is_none() && terms.keep_for.is_none() {
        return Err(invalid("keep_full or keep_for must be given").hint("keep_full => 3 keeps the newest three full backups, keep_for => '14 days' every moment of the last 14 days."));
    }
    if terms.keep_full.is_some_and(|most| most < 1) || terms.keep_for.is_some_and(|time| time < 0) {
        return Err(invalid("keep_full must be at least 1, and keep_for must not be negative"));
    }
    absolute("the directory of backups", &terms.directory).map(drop)
}

/// Says what a policy keeps, and removes the rest unless it is a dry run. `on_bytes` is told of what has been removed.
pub fn prune_backups(terms: &PruneTerms, on_bytes: &dyn Fn(u64)) -> Result<Vec<PrunedEntry>> {
    check_prune(terms)?;
    let directory = absolute("the directory of backups", &terms.directory)?;
    let archive_directory = archive_of(&directory, terms.wal_archive.as_deref())?;
    refuse_own_wal(&archive_directory)?;
    let found = repository::read(&directory)?;
    let known = repository::known(&found);
    let policy = Policy {
        full: terms.keep_full.map(|most| most as usize),
        since: terms.keep_for.map(|time| unix_now().saturating_sub(time)),
    };
    let last = found.iter().filter_map(|found| found.whole.as_ref().ok()).next_back();
    let archive = match last.map(|whole| &whole.record) {
        Some(record) => {
            let archive = read_archive(&archive_directory, record.segment_size, record.system_identifier)?;
            refuse_other_archives(&archive_directory, &archive)?;
            archive
        }
        None => Archive::default(),
    };
    let mut verdicts = decide(&known, policy, &lines(&archive, &archive_directory, &known, policy.since));
    keep_what_cannot_be_judged(&mut verdicts, &known, &found);
    keep_what_is_built_on(&mut verdicts, &known, &found);
    keep_links(&mut verdicts, &known, &found);
    let sizes: BTreeMap<&str, u64> = found.iter().map(|found| (found.name.as_str(), found.bytes)).collect();
    let mut entries: Vec<PrunedEntry> = verdicts
        .iter()
        .map(|verdict| PrunedEntry {
            entry: verdict.name.clone(),
            keep: verdict.keep,
            bytes: sizes.get(verdict.name.as_str()).copied().unwrap_or_default(),
            reason: verdict.reason.clone(),
        })
        .collect();
    entries.extend(leftovers::unfinished_directories(&directory, terms.dry_run, on_bytes)?);
    entries.extend(leftovers::unfinished_segments(&archive_directory, terms.dry_run, on_bytes)?);
    let goes_of_archive = judge_wal(&archive, &archive_directory, &known, &verdicts, &mut entries);
    if !terms.dry_run {
        let facts = Facts::read()?;
        // The newest first: what builds on others goes before them.
        let mut goes: Vec<_> = found
            .iter()
            .filter(|found| {
                verdicts.iter().any(|verdict| !verdict.keep && verdict.name == found.name)
                    && !found.directory.to_string_lossy().ends_with(name::INCOMPLETE)
            })
            .collect();
        goes.sort_by_key(|found| std::cmp::Reverse(found.whole.as_ref().ok().map(|whole| whole.record.finished)));
        for found in goes {
            remove_backup(&found.directory, &facts)?;
            on_bytes(found.bytes);
        }
        for name in goes_of_archive {
            interrupts::check();
            let path = archive_directory.join(name);
            let bytes = fs::symlink_metadata(&path).map_or(0, |file| file.len());
            files::remove(&path)?;
            on_bytes(bytes);
        }
    }
    Ok(entries)
}

/// Refuses the directory of the server's own WAL, which is no archive: standbys and the archiver may still need what no backup does.
fn refuse_own_wal(archive: &Path) -> Result<()> {
    let is_of_data = |around: &Path| fs::symlink_metadata(around.join("PG_VERSION")).is_ok();
    let real = archive.canonicalize().unwrap_or_else(|_| archive.to_owned());
    let around = match Facts::read()?.directory_around(archive) {
        Some(around) => Some(around),
        None => real.ancestors().find(|around| is_of_data(around)).map(Path::to_owned),
    };
    let Some(around) = around else { return Ok(()) };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("\"{}\" is not apart from \"{}\", where a server keeps its data", archive.display(), around.display()),
    )
    .hint("Name the directory that WAL is archived into."))
}

/// Tells what of the archive is kept. Returns the names of the files that are not.
fn judge_wal(
    archive: &Archive,
    directory: &Path,
    known: &[Known],
    verdicts: &[Verdict],
    entries: &mut Vec<PrunedEntry>,
) -> Vec<String> {
    let size = archive.segment_size;
    if archive.segments.is_empty() && archive.beside.is_empty() {
        return Vec::new();
    }
    let unneeded = unneeded_wal(archive, known, verdicts);
    let mut names: Vec<String> = unneeded.segments.iter().map(|segment| segment.name(size)).collect();
    if !archive.segments.is_empty() {
        let kept = archive.segments.len() - names.len();
        entries.push(PrunedEntry {
            entry: format!("{kept} segments of WAL"),
            keep: true,
            bytes: kept as u64 * size,
            reason: "backups that are kept may need them".to_owned(),
        });
    }
    if let (Some(first), Some(last)) = (names.iter().min(), names.iter().max()) {
        entries.push(PrunedEntry {
            entry: format!("{} segments of WAL", names.len()),
            keep: false,
            bytes: names.len() as u64 * size,
            reason: format!("no backup that is kept needs {first} to {last}"),
        });
    }
    if !unneeded.beside.is_empty() {
        let bytes = |name: &&str| fs::metadata(directory.join(name)).map_or(0, |metadata| metadata.len());
        entries.push(PrunedEntry {
            entry: format!("{} files that go with segments of WAL", unneeded.beside.len()),
            keep: false,
            bytes: unneeded.beside.iter().map(bytes).fold(0, u64::saturating_add),
            reason: "no backup that is kept needs those segments".to_owned(),
        });
        names.extend(unneeded.beside.into_iter().map(str::to_owned));
    }
    names
}

/// Returns the timelines whose moments are to stay restorable: the newest one, and those that there is WAL or a backup of since then.
fn lines(archive: &Archive, directory: &Path, known: &[Known], since: Option<i64>) -> Vec<Line> {
    let of_backup = |known: &Known| known.end.map(|(timeline, _)| timeline);
    let of_archive = archive.segments.iter().map(|segment| segment.timeline).chain(archive.histories.keys().copied());
    let newest = of_archive.chain(known.iter().filter_map(of_backup)).max();
    let mut timelines: BTreeSet<u32> = newest.into_iter().collect();
    if let Some(since) = since {
        let is_young = |known: &&Known| known.finished.is_some_and(|finished| finished >= since);
        timelines.extend(known.iter().filter(is_young).filter_map(of_backup));
        // They are in the order of timelines, and then of positions.
        let last_ones: BTreeMap<u32, Segment> = archive.segments.iter().map(|last| (last.timeline, *last)).collect();
        let size = archive.segment_size;
        let is_young = |last: &Segment| archived_at(directory, *last, size).is_some_and(|at| at >= since);
        timelines.extend(last_ones.values().filter(|last| is_young(last)).map(|last| last.timeline));
    }
    let switches = |timeline: &u32| archive.histories.get(timeline).cloned().unwrap_or_default();
    timelines.iter().map(|timeline| Line { timeline: *timeline, switches: switches(timeline) }).collect()
}

/// Keeps backups that cannot be read, of which nobody knows whether they are good, and what builds on them; and those of other
/// servers, which the policy is not about.
fn keep_what_cannot_be_judged(verdicts: &mut [Verdict], known: &[Known], found: &[Found]) {
    let unreadable: Vec<&str> = found
        .iter()
        .filter(|found| matches!(found.whole, Err(Fault::Damaged(_))))
        .map(|found| found.name.as_str())
        .collect();
    let parent_of =
        |name: &str| known.iter().find(|known| known.name == name).and_then(|known| known.parent.as_deref());
    let server_of = |name: &str| {
        let found = found.iter().find(|found| found.name == name)?;
        found.whole.as_ref().ok().map(|whole| whole.record.system_identifier)
    };
    // The policy counts what it keeps among backups of one server alone.
    let servers: BTreeSet<u64> = known.iter().filter_map(|known| server_of(&known.name)).collect();
    for verdict in verdicts.iter_mut().filter(|verdict| !verdict.keep) {
        let mut ancestor = Some(verdict.name.as_str());
        // Parents may lead round.
        for _ in 0..=known.len() {
            let Some(name) = ancestor else { break };
            if unreadable.contains(&name) {
                verdict.reason = match name == verdict.name {
                    true => "it cannot be read: look at it, and remove it by hand".to_owned(),
                    false => format!("it builds on \"{name}\", which cannot be read"),
                };
                verdict.keep = true;
                break;
            }
            ancestor = parent_of(name);
        }
        if servers.len() > 1 && !verdict.keep {
            "the directory holds backups of several servers: remove it by hand".clone_into(&mut verdict.reason);
            verdict.keep = true;
        }
    }
}

/// Keeps the backups that one builds on which another session is just taking.
fn keep_what_is_built_on(verdicts: &mut [Verdict], known: &[Known], found: &[Found]) {
    const MOST_BYTES: u64 = 1000;
    let unfinished = found.iter().filter(|found| matches!(found.whole, Err(Fault::Incomplete)));
    for one in unfinished.filter(|one| !new_directory::is_abandoned(&one.directory)) {
        let named = files::read_capped(&one.directory.join(name::PARENT), MOST_BYTES).ok();
        let mut parent = named.and_then(|name| String::from_utf8(name).ok());
        for _ in 0..=known.len() {
            let Some(name) = parent else { break };
            for verdict in verdicts.iter_mut().filter(|verdict| verdict.name == name && !verdict.keep) {
                verdict.keep = true;
                verdict.reason = format!("\"{}\" builds on it, which is just being taken", one.name);
            }
            parent = known.iter().find(|known| known.name == name).and_then(|known| known.parent.clone());
        }
    }
}

/// Keeps backups that links lead to, whose files are not here, and those that they build on.
fn keep_links(verdicts: &mut [Verdict], known: &[Known], found: &[Found]) {
    for link in found.iter().filter(|found| found.is_link) {
        let mut next = Some(link.name.as_str());
        for _ in 0..=known.len() {
            let Some(name) = next else { break };
            for verdict in verdicts.iter_mut().filter(|verdict| verdict.name == name && !verdict.keep) {
                verdict.keep = true;
                verdict.reason = match name == link.name {
                    true => "a link leads to it: remove it by hand".to_owned(),
                    false => format!("\"{}\" builds on it, which a link leads to", link.name),
                };
            }
            next = known.iter().find(|known| known.name == name).and_then(|known| known.parent.as_deref());
        }
    }
}

/// Removes a backup so that what is left of it at any moment is taken for an abandoned one.
fn remove_backup(directory: &Path, facts: &Facts) -> Result<()> {
    interrupts::check();
    if let Some(around) = facts.directory_around(directory) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            format!(
                "\"{}\" is not apart from \"{}\", where this server keeps its data",
                directory.display(),
                around.display()
            ),
        ));
    }
    let removed = new_directory::abandon(directory).and_then(|abandoned| new_directory::remove_abandoned(&abandoned));
    match removed {
        // Another session that prunes has removed it, or is at it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && fs::symlink_metadata(directory).is_err() => {
            Ok(())
        }
        removed => removed.map(drop).map_err(|error| file_error("could not remove directory", directory, &error)),
    }
}
