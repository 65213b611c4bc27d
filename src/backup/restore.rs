//! A backup made a new data directory that is ready to start.

use super::create::ends;
use super::facts::Facts;
use super::layout::{BackupFault, Layout, damaged};
use super::repository::{self, Whole, archive_of, archived_at, locate, refuse_readers};
use super::{absolute, files, refuse_others_than_superusers, validate};
use crate::error::{Error, Result};
use crate::local::new_directory::NewDirectory;
use crate::local::new_file::file_error;
use crate::local::program::{self, Program};
use crate::local::spi::{Param, fixed};
use crate::local::{interrupts, rights};
use backups::shell::{restore_command, setting};
use backups::wal::{Archive, Lsn, Reach, Segment};
use pgrx::prelude::*;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize)]
pub struct RestoreTerms {
    pub backup: String,
    pub target_directory: String,
    pub until: String,
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

/// The moment to recover to.
enum Until {
    /// All WAL that there is.
    Latest,
    /// The end of the backup.
    Consistent,
    Lsn(Lsn),
    Point(String),
    /// In words that mean the same everywhere, and in microseconds since 1970.
    Time(String, i64),
}

fn invalid(message: String) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}

impl Until {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "latest" => return Ok(Self::Latest),
            "consistent" => return Ok(Self::Consistent),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("restore point ") {
            // As pg_create_restore_point has it.
            if name.is_empty() || name.len() > 63 || name.contains(['\n', '\r']) {
                return Err(invalid(format!("\"{name}\" cannot be the name of a restore point")));
            }
            return Ok(Self::Point(name.to_owned()));
        }
        if let Some(lsn) = Lsn::parse(text) {
            return Ok(Self::Lsn(lsn));
        }
        let told = fixed::query_text(
            "SELECT concat_ws('|', (extract(epoch FROM t.at) * 1000000)::int8, (t.at AT TIME ZONE 'UTC')::text || '+00')
             FROM CAST($1 AS timestamptz) t(at) WHERE isfinite(t.at)",
            &[Param::Text(text)],
        )?;
        let told = told.ok_or_else(|| invalid("a recovery cannot end at an infinite time".to_owned()))?;
        let (micros, time) = told.split_once('|').ok_or_else(|| Error::internal("a time without a text"))?;
        Ok(Self::Time(time.to_owned(), micros.parse().map_err(|_| Error::internal("a time without a number"))?))
    }

    fn describe(&self) -> String {
        match self {
            Self::Latest => "latest".to_owned(),
            Self::Consistent => "consistent".to_owned(),
            Self::Lsn(lsn) => lsn.to_string(),
            Self::Point(name) => format!("restore point {name}"),
            Self::Time(text, _) => text.clone(),
        }
    }

    /// The setting of the target; none for all WAL.
    fn setting(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Latest => None,
            Self::Consistent => Some(("recovery_target", "immediate".to_owned())),
            Self::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            Self::Point(name) => Some(("recovery_target_name", name.clone())),
            Self::Time(time, _) => Some(("recovery_target_time", time.clone())),
        }
    }
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
    let archive_directory = archive_of(&directory, terms.wal_archive.as_deref())?;
    let archive = repository::read_archive(&archive_directory, last.record.segment_size)?;
    let reach = repository::reach(last, &archive)?;
    refuse_unreachable(&until, last, &archive, &archive_directory, &reach)?;
    let spaces = places(terms, last, &target)?;
    let facts = Facts::read()?;
    for place in [&target].into_iter().chain(spaces.iter().map(|(_, place)| place)) {
        refuse_place(place, &facts, &directory)?;
    }
    let needed = chain.iter().map(|link| link.manifest.bytes).fold(0, u64::saturating_add);
    let parent = target.parent().unwrap_or(Path::new("/"));
    validate::refuse_without_room(parent, if chain.len() > 1 { needed.saturating_mul(2) } else { needed })?;
    let new = NewDirectory::create(&target)?;
    let layout = lay_out_at(&chain, new.path(), &spaces, on_bytes)?;
    let mut layout = match layout {
        Ok(layout) => layout,
        Err(faults) => return Err(damaged(&faults)),
    };
    remove_leftovers(&layout.layout.data)?;
    configure(terms, &until, last, &layout.layout.data, &target, &archive_directory, &reach)?;
    let bytes = crate::local::disk::bytes_below(&layout.layout.data, &mut interrupts::check);
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

fn refuse_unreachable(until: &Until, last: &Whole, archive: &Archive, directory: &Path, reach: &Reach) -> Result<()> {
    let (_, stop) = ends(&last.manifest)?;
    let size = archive.segment_size;
    let known_end = reach.end.unwrap_or(stop.end);
    let unreachable = |message: String| {
        let error = Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message);
        let lacks = reach.gaps.iter().map(|(from, to)| {
            format!("The WAL archive \"{}\" lacks {} to {}.", directory.display(), from.name(size), to.name(size))
        });
        let lines: Vec<String> = lacks.collect();
        let lines = if lines.is_empty() {
            vec![format!("The WAL at hand leads from {} to {known_end}.", stop.end)]
        } else {
            lines
        };
        error.details(lines)
    };
    match until {
        Until::Consistent => Ok(()),
        Until::Latest if reach.gaps.is_empty() => Ok(()),
        Until::Latest => Err(unreachable("the WAL behind the backup has a gap".to_owned())
            .hint("With until => a moment before the gap, or until => 'consistent', the backup restores.")),
        Until::Lsn(lsn) if *lsn < stop.end => {
            Err(unreachable(format!("the backup is not consistent before {}", stop.end))
                .hint("Restore an older backup."))
        }
        Until::Lsn(lsn) if *lsn > known_end => Err(unreachable(format!("position {lsn} cannot be reached"))
            .hint("If the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL.")),
        Until::Lsn(_) => Ok(()),
        Until::Time(text, micros) => {
            if *micros < last.record.finished {
                return Err(unreachable(format!("the backup is newer than {text}")).hint("Restore an older backup."));
            }
            let covered = reach.last.and_then(|segment| archived_at(directory, segment, size));
            if covered.is_none_or(|covered| covered < *micros) {
                return Err(unreachable(format!("{text} cannot be reached")).hint(
                    "If the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL.",
                ));
            }
            Ok(())
        }
        Until::Point(name) => {
            if has_point(name, archive, directory, reach)? {
                return Ok(());
            }
            Err(unreachable(format!("restore point \"{name}\" is not in the WAL behind the backup")).hint(
                "If the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL.",
            ))
        }
    }
}

/// Has `pg_waldump` look for a restore point in the segments that can be reached.
fn has_point(name: &str, archive: &Archive, directory: &Path, reach: &Reach) -> Result<bool> {
    const MOST_LINE: usize = 4096;
    let program = Program::of_server("pg_waldump")?;
    let wanted = format!("RESTORE_POINT {name}");
    let mut found = false;
    for run in reach.segments.chunk_by(|one, next| one.timeline == next.timeline) {
        let path = |segment: &Segment| directory.join(segment.name(archive.segment_size)).display().to_string();
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let arguments = ["--rmgr=XLOG".to_owned(), path(first), path(last)];
        let mut line = Vec::new();
        // It fails at the end, where a record goes on in a segment that is not there.
        program.run_into(&arguments, None, &mut |bytes| {
            for &byte in bytes {
                if byte != b'\n' {
                    if line.len() < MOST_LINE {
                        line.push(byte);
                    }
                    continue;
                }
                found |= String::from_utf8_lossy(&line).trim_end().ends_with(&wanted);
                line.clear();
            }
            Ok(())
        })?;
        if found {
            break;
        }
    }
    Ok(found)
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
    if place.starts_with(repository) {
        return Err(invalid(format!("\"{}\" is in the directory of backups", place.display())));
    }
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error("could not look at", place, &error)),
        // Only an empty directory goes.
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(place).map_err(|_| {
            Error::new(
                PgSqlErrorCode::ERRCODE_DUPLICATE_FILE,
                format!("directory \"{}\" is not empty, or cannot be replaced", place.display()),
            )
            .hint("Name a directory that does not exist; nothing is ever overwritten.")
        }),
        Ok(_) => Err(Error::new(PgSqlErrorCode::ERRCODE_DUPLICATE_FILE, format!("\"{}\" exists", place.display()))),
    }
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
        let space = NewDirectory::create(place)?;
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
    let escaped = |path: &Path| path.display().to_string().replace('\\', "\\\\").replace('=', "\\=");
    for (oid, place) in &layout.tablespaces {
        let from = parts[parts.len() - 1].tablespaces.iter().find(|(known, _)| known == oid);
        let (_, from) = from.ok_or_else(|| Error::internal("a tablespace without a place"))?;
        arguments.push(format!("--tablespace-mapping={}={}", escaped(from), escaped(place)));
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

fn configure(
    terms: &RestoreTerms,
    until: &Until,
    last: &Whole,
    data: &Path,
    target: &Path,
    archive: &Path,
    reach: &Reach,
) -> Result<()> {
    const MOST_BYTES: u64 = 16 << 20;
    let mut lines = String::from("\n# Written by pgcopy.backup_restore.\n");
    let command = if archive.is_dir() { restore_command(&archive.display().to_string()) } else { "false".to_owned() };
    let mut settings = vec![
        ("restore_command", command),
        ("recovery_target_timeline", reach.timeline.to_string()),
        ("recovery_target_action", "promote".to_owned()),
        ("archive_mode", "off".to_owned()),
        ("primary_conninfo", String::new()),
        ("primary_slot_name", String::new()),
    ];
    settings.extend(until.setting());
    // Those of the server of the backup were elsewhere.
    for (name, file) in [("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")] {
        if last.record.configuration.iter().any(|known| known == file) {
            settings.push((name, target.join(file).display().to_string()));
        }
    }
    settings.extend(terms.port.map(|port| ("port", port.to_string())));
    for (name, value) in settings {
        let _ = writeln!(lines, "{name} = {}", setting(&value));
    }
    for name in ["postgresql.conf", "postgresql.auto.conf"] {
        drop_old_target(&data.join(name))?;
    }
    files::append(&data.join("postgresql.auto.conf"), lines.as_bytes())?;
    files::append(&data.join("recovery.signal"), b"")?;
    for name in &last.record.configuration {
        let from = last.directory.join("config").join(name);
        let text =
            files::read_capped(&from, MOST_BYTES).map_err(|error| file_error("could not read file", &from, &error))?;
        let to = data.join(name);
        if !to.exists() {
            files::write(&to, &text)?;
        }
    }
    if last.record.configuration.iter().any(|name| name == "postgresql.conf") {
        let own = format!(
            "\n# Written by pgcopy.backup_restore.\ndata_directory = {}\nexternal_pid_file = ''\n",
            setting(&target.display().to_string())
        );
        files::append(&data.join("postgresql.conf"), own.as_bytes())?;
        // The packages of Debian include it.
        files::make_directory(&data.join("conf.d"))?;
    }
    Ok(())
}

/// Comments the recovery target out that the server of the backup was restored to itself: it takes no second one, not even an empty one.
fn drop_old_target(path: &Path) -> Result<()> {
    const MOST_BYTES: u64 = 16 << 20;
    let Ok(text) = files::read_capped(path, MOST_BYTES) else { return Ok(()) };
    let is_target = |line: &[u8]| line.trim_ascii_start().to_ascii_lowercase().starts_with(b"recovery_target");
    if !text.split(|&byte| byte == b'\n').any(is_target) {
        return Ok(());
    }
    let lines =
        text.split(|&byte| byte == b'\n').map(|line| [if is_target(line) { &b"#"[..] } else { b"" }, line].concat());
    let new = path.with_extension("new");
    files::write(&new, &lines.collect::<Vec<_>>().join(&b'\n'))?;
    fs::rename(&new, path).map_err(|error| file_error("could not rename file", &new, &error))
}

fn command(target: &Path) -> String {
    let program = crate::local::child::server_programs().unwrap_or_default().join("pg_ctl");
    let quoted = |path: &Path| backups::shell::quoted(&path.display().to_string());
    format!("{} -D {} -l {} start", quoted(&program), quoted(target), quoted(&target.join("restore.log")))
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
    let output = program.run(&arguments, None)?;
    if output.succeeded {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, "the restored server did not start")
        .detail(format!("The data directory \"{}\" is complete; its log is \"{}\".", target.display(), log.display()))
        .details(program::complaints(&output.messages)))
}
