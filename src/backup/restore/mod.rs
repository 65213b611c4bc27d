//! A backup made a new data directory that is ready to start.

mod replay;
mod settings;
mod until;

use super::facts::Facts;
use super::layout::{BackupFault, Layout, damaged};
use super::repository::{self, Whole, archive_of, locate, refuse_readers};
use super::{absolute, files, refuse_others_than_superusers, tablespace_mapping, validate};
use crate::error::{Error, Result};
use crate::local::child;
use crate::local::new_directory::NewDirectory;
use crate::local::new_file::file_error;
use crate::local::program::{self, Program};
use crate::local::{disk, interrupts, new_directory, rights};
use pgrx::prelude::*;
use serde::Serialize;
use settings::configure;
use std::fs;
use std::path::{Path, PathBuf};
use until::{Until, settings_of};

#[derive(Debug, Clone, Serialize)]
pub struct RestoreTerms {
    pub backup: String,
    pub target_directory: String,
    pub until: String,
    /// The timeline that recovery follows, instead of the newest one.
    pub timeline: Option<i32>,
    /// Pairs of the old place of a tablespace and the new one.
    pub tablespaces: Vec<(String, String)>,
    pub port: Option<i32>,
    pub start: bool,
    pub wal_archive: Option<String>,
}

#[derive(Debug, Clone)]
pub struct RestoredBackup {
    pub directory: String,
    pub bytes: u64,
    pub until: String,
    /// The command that starts the server.
    pub command: String,
}

fn invalid(message: String) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}

/// Refuses what can be refused without reading the backup.
pub fn check_restore(terms: &RestoreTerms) -> Result<()> {
    refuse_readers("read a backup")?;
    if !rights::may_write_server_files() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to make a data directory",
        )
        .detail(
            "Only roles with privileges of the \"pg_write_server_files\" role may write files of the server's machine.",
        ));
    }
    if terms.start {
        refuse_others_than_superusers(
            "start a server",
            "Settings in a backup name programs, which that server runs as the operating-system user of this one.",
        )?;
    }
    if let Some(port) = terms.port
        && !(1..=65535).contains(&port)
    {
        return Err(invalid(format!("port {port} is outside the valid range 1 to 65535")));
    }
    if terms.timeline.is_some_and(|timeline| timeline < 1) {
        return Err(invalid("timeline must be at least 1".to_owned()));
    }
    Until::parse(&terms.until)?;
    absolute("the new data directory", &terms.target_directory)?;
    locate(&terms.backup).map(drop)
}

/// Restores a backup.
///
/// # Errors
/// When the moment cannot be reached, a directory is not free, or a file is damaged. There are no new directories then.
pub fn restore_backup(terms: &RestoreTerms, on_bytes: &dyn Fn(u64)) -> Result<RestoredBackup> {
    check_restore(terms)?;
    let until = Until::parse(&terms.until)?;
    let target = absolute("the new data directory", &terms.target_directory)?;
    let (directory, name) = locate(&terms.backup)?;
    let chain = repository::chain(&directory, &name)
        .map_err(|reason| Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, reason))?;
    let last = &chain[chain.len() - 1];
    let major = pgrx::pg_sys::PG_MAJORVERSION_NUM;
    if last.record.server_version / 10_000 != major {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("the backup is of version {}, and this server of {major}", last.record.server_version / 10_000),
        )
        .hint("RESTORE.md in the backup tells how to restore it by hand, with the programs of its own version."));
    }
    let mut of_settings = validate::check_beside(&last.directory, &last.name);
    of_settings.retain(|fault| fault.file.as_ref().is_some_and(|file| file.starts_with("config/")));
    if !of_settings.is_empty() {
        return Err(damaged(&of_settings));
    }
    let archive_directory = archive_of(&directory, terms.wal_archive.as_deref())?;
    let record = &last.record;
    let archive = repository::read_archive(&archive_directory, record.segment_size, record.system_identifier)?;
    repository::refuse_other_archives(&archive_directory, &archive)?;
    let reach = match terms.timeline {
        Some(timeline) => repository::reach_along(last, &archive, timeline.unsigned_abs())?,
        None => repository::reach(last, &archive)?,
    };
    let stop = settings_of(&until, last, &archive, &archive_directory, &reach)?;
    let spaces = places(terms, last, &target)?;
    let facts = Facts::read()?;
    for place in [&target].into_iter().chain(spaces.iter().map(|(_, place)| place)) {
        refuse_place(place, &facts, &directory)?;
    }
    refuse_without_room(&chain, &target, &spaces)?;
    let new = NewDirectory::create_over_empty(&target)?;
    let layout = lay_out_at(&chain, new.path(), &spaces, on_bytes)?;
    let mut layout = match layout {
        Ok(layout) => layout,
        Err(faults) => return Err(damaged(&faults)),
    };
    remove_leftovers(&layout.layout.data)?;
    configure(terms, stop, last, &layout.layout.data, &target, &archive_directory, &reach)?;
    let bytes = disk::bytes_below(&layout.layout.data, &mut interrupts::check);
    // Tablespaces first: the data directory stands for the whole.
    for (new, (oid, place)) in layout.spaces.drain(..).zip(&spaces) {
        let part = new.path().join("data");
        new.complete_part(&part)?;
        files::link_to(&layout.layout.data.join("pg_tblspc").join(oid.to_string()), place)?;
    }
    new.complete_part(&layout.layout.data)?;
    let command = command(&target);
    if terms.start {
        start(&target)?;
    }
    Ok(RestoredBackup { directory: target.display().to_string(), bytes, until: until.describe(), command })
}

/// The new places of the backup's tablespaces, in their order.
fn places(terms: &RestoreTerms, last: &Whole, target: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let known = &last.record.tablespaces;
    if let Some((unknown, _)) =
        terms.tablespaces.iter().find(|(old, _)| !known.iter().any(|space| space.location == *old))
    {
        return Err(invalid(format!("the backup has no tablespace at \"{unknown}\"")));
    }
    let mut missing = Vec::new();
    let mut places: Vec<(u32, PathBuf)> = Vec::new();
    for space in known {
        match terms.tablespaces.iter().find(|(old, _)| *old == space.location) {
            None => missing.push(space.location.clone()),
            Some((_, new)) => {
                let place = absolute("the new place of a tablespace", new)?;
                let others = places.iter().map(|(_, other)| other.as_path()).chain([target]);
                if others.into_iter().any(|other| other.starts_with(&place) || place.starts_with(other)) {
                    return Err(invalid(format!("\"{}\" is not apart from another new directory", place.display())));
                }
                places.push((space.oid, place));
            }
        }
    }
    if missing.is_empty() {
        return Ok(places);
    }
    let pairs: Vec<String> = missing.iter().map(|old| format!("\"{old}\": \"/new/place\"")).collect();
    Err(invalid("the backup has tablespaces that need new places".to_owned())
        .details(missing)
        .hint(format!("Give tablespaces => '{{{}}}'.", pairs.join(", "))))
}

fn refuse_place(place: &Path, facts: &Facts, repository: &Path) -> Result<()> {
    if let Some(around) = facts.directory_around(place) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            format!(
                "\"{}\" is not apart from \"{}\", where this server keeps its data",
                place.display(),
                around.display()
            ),
        ));
    }
    let real = place.parent().and_then(|parent| parent.canonicalize().ok()).unwrap_or_default();
    if place.starts_with(repository) || repository.canonicalize().is_ok_and(|repository| real.starts_with(repository)) {
        return Err(invalid(format!("\"{}\" is in the directory of backups", place.display())));
    }
    if let Some(around) = real.ancestors().find(|around| fs::symlink_metadata(around.join("PG_VERSION")).is_ok()) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            format!("\"{}\" is in \"{}\", the data directory of a server", place.display(), around.display()),
        ));
    }
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error("could not look at", place, &error)),
        // The new one takes the place of an empty directory when it is complete. Nothing takes that of a mount point.
        Ok(metadata) if metadata.is_dir() => {
            let is_mounted = place.parent().is_some_and(|parent| !disk::is_same_device(place, parent));
            if new_directory::is_empty(place) && !is_mounted {
                return Ok(());
            }
            Err(Error::new(
                PgSqlErrorCode::ERRCODE_DUPLICATE_FILE,
                format!("directory \"{}\" is not empty, or cannot be replaced", place.display()),
            )
            .hint("Name a directory that does not exist; nothing is ever overwritten."))
        }
        Ok(_) => Err(Error::new(PgSqlErrorCode::ERRCODE_DUPLICATE_FILE, format!("\"{}\" exists", place.display()))),
    }
}

/// Refuses a restore for which a disk has no room.
fn refuse_without_room(chain: &[Whole], target: &Path, spaces: &[(u32, PathBuf)]) -> Result<()> {
    let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.fold(0, u64::saturating_add);
    let all = sum(&mut chain.iter().map(|link| link.manifest.bytes));
    let mut needs = vec![(target, all)];
    // Backups that are combined are laid out beside the target first, with their tablespaces.
    for (oid, place) in spaces {
        let of_space = |link: &Whole| link.manifest.bytes_of_tablespaces.get(oid).copied().unwrap_or_default();
        let bytes = sum(&mut chain.iter().map(of_space));
        if chain.len() == 1 {
            needs[0].1 = needs[0].1.saturating_sub(bytes);
        }
        needs.push((place.as_path(), bytes));
    }
    if chain.len() > 1 {
        needs[0].1 = all.saturating_mul(2);
    }
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    for (place, _) in &needs {
        let on_same = |other: &&(&Path, u64)| disk::is_same_device(&parent(place), &parent(other.0));
        validate::refuse_without_room(&parent(place), sum(&mut needs.iter().filter(on_same).map(|need| need.1)))?;
    }
    Ok(())
}

/// The files of a chain in their places, which have other names until all is there.
struct Places {
    layout: Layout,
    spaces: Vec<NewDirectory>,
}

/// Lays a chain out below one directory.
pub(super) fn lay_out(
    chain: &[Whole],
    directory: &Path,
    on_bytes: &dyn Fn(u64),
) -> Result<std::result::Result<Layout, Vec<BackupFault>>> {
    let last = &chain[chain.len() - 1];
    let layout = Layout::within(directory, last);
    Ok(match fill(chain, directory, &layout, on_bytes)? {
        faults if faults.is_empty() => Ok(layout),
        faults => Err(faults),
    })
}

/// The same with tablespaces elsewhere.
fn lay_out_at(
    chain: &[Whole],
    directory: &Path,
    spaces: &[(u32, PathBuf)],
    on_bytes: &dyn Fn(u64),
) -> Result<std::result::Result<Places, Vec<BackupFault>>> {
    let mut new = Vec::new();
    let mut tablespaces = Vec::new();
    for (oid, place) in spaces {
        let space = NewDirectory::create_over_empty(place)?;
        tablespaces.push((*oid, space.path().join("data")));
        new.push(space);
    }
    let layout = Layout { data: directory.join("data"), tablespaces };
    Ok(match fill(chain, directory, &layout, on_bytes)? {
        faults if faults.is_empty() => Ok(Places { layout, spaces: new }),
        faults => Err(faults),
    })
}

fn fill(chain: &[Whole], directory: &Path, layout: &Layout, on_bytes: &dyn Fn(u64)) -> Result<Vec<BackupFault>> {
    if let [only] = chain {
        let faults = layout.fill(only, on_bytes)?;
        return if faults.is_empty() { only.verify(&layout.data) } else { Ok(faults) };
    }
    let last = &chain[chain.len() - 1];
    let mut arguments = Vec::new();
    let mut parts = Vec::new();
    for (number, link) in chain.iter().enumerate() {
        let part = Layout::within(&directory.join(format!("part-{number}")), link);
        let mut faults = part.fill(link, on_bytes)?;
        if faults.is_empty() {
            faults = link.verify(&part.data)?;
        }
        if !faults.is_empty() {
            return Ok(faults);
        }
        arguments.push(part.data.display().to_string());
        parts.push(part);
    }
    let program = Program::of_server("pg_combinebackup")?;
    for (oid, place) in &layout.tablespaces {
        let from = parts[parts.len() - 1].tablespaces.iter().find(|(known, _)| known == oid);
        let (_, from) = from.ok_or_else(|| Error::internal("a tablespace without a place"))?;
        arguments.push(tablespace_mapping(&from.display().to_string(), place));
    }
    arguments.push(format!("--output={}", layout.data.display()));
    let output = program.run(&arguments, None)?;
    if !output.succeeded {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
            "pg_combinebackup could not combine the backups",
        )
        .details(program::complaints(&output.messages)));
    }
    last.verify(&layout.data)
}

/// Removes what tells of another place or another role.
pub(super) fn remove_leftovers(data: &Path) -> Result<()> {
    ["backup_manifest", "tablespace_map", "standby.signal", "postmaster.pid"]
        .iter()
        .try_for_each(|name| files::remove(&data.join(name)))
}

fn command(target: &Path) -> String {
    let program = child::server_programs().unwrap_or_default().join("pg_ctl");
    let quoted = |path: &Path| backups::shell::quoted(&path.display().to_string());
    format!("{} -D {} -l {} start", quoted(&program), quoted(target), quoted(&target.join("restore.log")))
}

/// A server that is starting. Dropping it, as a cancel does, ends it.
struct Started<'a>(&'a Path);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let Ok(text) = fs::read_to_string(self.0.join("postmaster.pid")) else { return };
        if let Some(pid) = text.lines().next().and_then(|pid| pid.parse().ok()) {
            child::end_server(pid, self.0);
        }
    }
}

fn start(target: &Path) -> Result<()> {
    let program = Program::of_server("pg_ctl")?;
    let log = target.join("restore.log");
    let arguments = [
        format!("--pgdata={}", target.display()),
        format!("--log={}", log.display()),
        "--wait".to_owned(),
        "--timeout=86400".to_owned(),
        "start".to_owned(),
    ];
    let started = Started(target);
    let output = program.run(&arguments, None)?;
    std::mem::forget(started);
    if output.succeeded {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, "the restored server did not start")
        .detail(format!("The data directory \"{}\" is complete; its log is \"{}\".", target.display(), log.display()))
        .details(program::complaints(&output.messages)))
}
