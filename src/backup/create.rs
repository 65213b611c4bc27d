//! A base backup of this server: complete in its directory, or not there.

use super::facts::{Facts, data_directory, setting};
use super::{absolute, files, refusal, repository, unix_now};
use crate::error::{Error, Result, warn};
use crate::local::identity::Caller;
use crate::local::new_directory::NewDirectory;
use crate::local::new_file::file_error;
use crate::local::program::{self, Program};
use crate::local::{disk, interrupts, rights};
use crate::source::{Origin, Session};
use backups::record::{self, Format, Record};
use backups::restore_page::{self, Link};
use backups::{manifest, name};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The terms of a backup. The connection may hold a password.
#[derive(Clone, Serialize, Deserialize)]
pub struct BackupTerms {
    pub directory: String,
    pub label: Option<String>,
    pub format: String,
    pub compress: Option<String>,
    pub incremental_from: Option<String>,
    /// Kilobytes in a second.
    pub max_rate: Option<i32>,
    pub checkpoint: String,
    /// The way to this server.
    pub connection: Option<String>,
}

/// A backup that was taken.
#[derive(Debug, Clone)]
pub struct CreatedBackup {
    pub backup: String,
    pub bytes: u64,
    pub timeline: u32,
    pub start: String,
    pub stop: String,
}

/// What the terms say, and where they lead.
pub struct Checked {
    format: Format,
    compress: String,
    target: PathBuf,
    name: String,
    origin: Origin,
}

fn invalid(message: String) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}

/// Refuses what can be refused without asking the server.
pub fn check_backup(terms: &BackupTerms) -> Result<Checked> {
    check_rights(terms)?;
    let format = match terms.format.as_str() {
        "tar" => Format::Tar,
        "plain" => Format::Plain,
        other => {
            return Err(invalid(format!("format \"{other}\" not recognized")).hint("It is \"tar\" or \"plain\"."));
        }
    };
    let compress = terms.compress.clone().unwrap_or_else(|| match format {
        Format::Tar => "gzip".to_owned(),
        Format::Plain => "none".to_owned(),
    });
    if !["gzip", "zstd", "lz4", "none"].contains(&compress.as_str()) {
        return Err(invalid(format!("compress \"{compress}\" not recognized"))
            .hint("It is \"gzip\", \"zstd\", \"lz4\" or \"none\"."));
    }
    if format == Format::Plain && compress != "none" {
        return Err(invalid("files of the plain format cannot be compressed".to_owned())
            .hint("Leave compress out, or use format => 'tar'."));
    }
    if !["fast", "spread"].contains(&terms.checkpoint.as_str()) {
        return Err(invalid(format!("checkpoint \"{}\" not recognized", terms.checkpoint))
            .hint("It is \"fast\" or \"spread\"."));
    }
    if let Some(rate) = terms.max_rate
        && !(32..=1_048_576).contains(&rate)
    {
        return Err(invalid(format!("max_rate {rate} is outside the valid range"))
            .detail("It is 32 to 1048576 kilobytes per second."));
    }
    let name = terms.label.clone().unwrap_or_else(|| name_of_now(unix_now()));
    if !name::is_valid(&name) {
        return Err(invalid(format!("label \"{name}\" cannot be the name of a backup"))
            .detail("The label is the name of the backup's directory: up to 100 letters, digits, dots, hyphens and underscores, beginning with a letter, a digit or an underscore."));
    }
    let directory = absolute("the directory of backups", &terms.directory)?;
    let target = directory.join(&name);
    if fs::symlink_metadata(&target).is_ok() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_FILE,
            format!("backup \"{}\" exists already", target.display()),
        )
        .hint("Give another label; a backup is never overwritten."));
    }
    Ok(Checked { format, compress, target, name, origin: origin(terms.connection.as_deref())? })
}

fn check_rights(terms: &BackupTerms) -> Result<()> {
    if Caller::of_this_session().is_superuser() {
        return Ok(());
    }
    let mut missing = Vec::new();
    if !rights::may_write_server_files() {
        missing.push("membership in \"pg_write_server_files\", to write files");
    }
    if !rights::may_replicate() {
        missing.push("the attribute REPLICATION, to read all files of the server");
    }
    if terms.checkpoint == "fast" && !rights::may_checkpoint() {
        missing.push("membership in \"pg_checkpoint\", for checkpoint => 'fast'");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied to take a backup of the server")
        .details(missing.iter().map(|right| format!("Missing: {right}."))))
}

/// The way that `pg_basebackup` takes to this server.
///
/// It runs as the operating-system user of this server, whom the server may take for a superuser without a question. So it logs
/// in as the caller alone: who is no superuser has to say how, with a password.
fn origin(connection: Option<&str>) -> Result<Origin> {
    match connection {
        Some(connection) => Origin::resolve(connection),
        None if Caller::of_this_session().is_superuser() => Origin::of_this_server(),
        None => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "pg_basebackup cannot log in as a role that is not a superuser without being told how",
        )
        .detail("It runs as the operating-system user of the server and must not have more rights than the caller.")
        .hint("Give connection => a connection string with a password, or a foreign server, that leads to this server as the caller.")),
    }
}

/// A name such as `20261126T042013Z`.
fn name_of_now(unix: i64) -> String {
    let seconds = unix.div_euclid(1_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days of eras of 400 years, from the first of March of the year 0.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

impl Checked {
    /// The backup as people may see it.
    pub fn path(&self) -> String {
        self.target.display().to_string()
    }
}

/// Takes a backup. `on_progress` is told of bytes that the server has sent.
///
/// # Errors
/// All that stands in the way, together; those of `pg_basebackup`. There is no backup then.
pub fn create_backup(terms: &BackupTerms, checked: &Checked, on_progress: &dyn Fn(u64)) -> Result<CreatedBackup> {
    let facts = Facts::read()?;
    let (parent, program) = check_preconditions(terms, checked, &facts)?;
    refuse_other_servers(&checked.origin, &facts)?;
    let started = unix_now();
    let new = NewDirectory::create(&checked.target)?;
    let data = new.path().join("data");
    run(terms, checked, &facts, &program, &new, parent.as_ref().map(|chain| &chain[chain.len() - 1]), on_progress)?;
    let manifest = files::read_manifest(&data).map_err(|reason| {
        Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the manifest of the new backup cannot be read")
            .detail(reason)
    })?;
    if checked.format == Format::Plain {
        // They lead to where the files are now.
        for space in &facts.tablespaces {
            let link = data.join("pg_tblspc").join(space.oid.to_string());
            files::link_to(&link, &checked.target.join("tablespaces").join(space.oid.to_string()))?;
        }
    }
    let mut record = Record {
        pgcopy_backup: Record::VERSION,
        name: checked.name.clone(),
        server_version: crate::local::settings::version(),
        system_identifier: facts.system_identifier(),
        segment_size: facts.segment_size,
        format: checked.format.clone(),
        compress: checked.compress.clone(),
        started,
        finished: unix_now(),
        parent: parent.as_ref().map(|chain| chain[chain.len() - 1].name.clone()),
        tablespaces: facts.tablespaces.clone(),
        configuration: Vec::new(),
        digests: BTreeMap::new(),
    };
    copy_configuration(new.path(), &mut record)?;
    write_page(new.path(), checked, &mut record, parent.as_deref().unwrap_or_default())?;
    let text = serde_json::to_vec_pretty(&record).map_err(|error| Error::internal(error.to_string()))?;
    files::write(&new.path().join(record::FILE), &text)?;
    // pg_basebackup has synced its own files, but for links.
    disk::sync_file_system(new.path()).map_err(|error| file_error("could not sync directory", new.path(), &error))?;
    let bytes = disk::bytes_below(new.path(), &mut interrupts::check);
    new.complete()?;
    let (first, last) = ends(&manifest)?;
    Ok(CreatedBackup {
        backup: checked.path(),
        bytes,
        timeline: last.timeline,
        start: first.start.to_string(),
        stop: last.end.to_string(),
    })
}

pub(super) fn ends(manifest: &manifest::Manifest) -> Result<(manifest::Range, manifest::Range)> {
    let nothing = || Error::internal("a manifest without WAL");
    // The newest timeline comes first.
    let newest = manifest.ranges.iter().max_by_key(|range| range.timeline).ok_or_else(nothing)?;
    let oldest = manifest.ranges.iter().min_by_key(|range| range.start).ok_or_else(nothing)?;
    Ok((*oldest, *newest))
}

type Chain = Vec<repository::Whole>;

/// Looks for all that stands in the way, and tells of it at once. Returns the chain of the parent, and the program.
fn check_preconditions(terms: &BackupTerms, checked: &Checked, facts: &Facts) -> Result<(Option<Chain>, Program)> {
    const INCREMENTAL: i32 = 170_000;
    let mut problems = Vec::new();
    let mut hint = None;
    if facts.wal_level == "minimal" {
        problems.push("wal_level is \"minimal\", and has to be \"replica\" or \"logical\"".to_owned());
    }
    if facts.max_wal_senders - facts.wal_senders < 2 {
        problems.push(format!(
            "a backup takes two WAL senders, and {} of max_wal_senders = {} are in use",
            facts.wal_senders, facts.max_wal_senders
        ));
    }
    // A temporary one keeps the WAL that the backup is still to get.
    if facts.max_replication_slots - facts.replication_slots < 1 {
        problems.push(format!(
            "a backup takes a replication slot, and {} of max_replication_slots = {} are in use",
            facts.replication_slots, facts.max_replication_slots
        ));
    }
    if facts.replication_lines == 0 {
        problems
            .push("pg_hba.conf lets nobody in for replication: no line has the database \"replication\"".to_owned());
        hint = Some("A line such as \"local replication all peer\" in pg_hba.conf, and SELECT pg_reload_conf(), let the server's own user in over its socket.".to_owned());
    }
    let directory = checked.target.parent().unwrap_or(Path::new("/"));
    check_directory(directory, checked, facts, &mut problems);
    let program = Program::of_server("pg_basebackup");
    if let Err(error) = &program {
        problems.push(error.message.clone());
    }
    let mut parent = None;
    if let Some(from) = &terms.incremental_from {
        if (crate::local::settings::version() as i32) < INCREMENTAL {
            problems.push("incremental backups take PostgreSQL 17 or newer".to_owned());
            hint.get_or_insert_with(|| "Take a full backup, leaving incremental_from out; WAL from wal_archive_enable() covers the time between two of them.".to_owned());
        } else if facts.summarize_wal != "on" {
            problems.push(
                "summarize_wal is off, which an incremental backup needs since the backup that it builds on".to_owned(),
            );
            hint.get_or_insert_with(|| {
                "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf(); and then a full backup to build on."
                    .to_owned()
            });
        } else {
            match parent_chain(from, directory, facts) {
                Ok(chain) => parent = Some(chain),
                Err(reason) => problems.push(reason),
            }
        }
    }
    match program {
        Ok(program) if problems.is_empty() => Ok((parent, program)),
        _ => Err(refusal("take a backup", &problems, hint)),
    }
}

fn check_directory(directory: &Path, checked: &Checked, facts: &Facts, problems: &mut Vec<String>) {
    let shown = directory.display();
    match fs::metadata(directory) {
        Err(error) => return problems.push(format!("directory \"{shown}\" cannot be used: {error}")),
        Ok(metadata) if !metadata.is_dir() => return problems.push(format!("\"{shown}\" is not a directory")),
        Ok(_) if !disk::is_writable(directory) => {
            return problems.push(format!("directory \"{shown}\" may not be written by the server's user"));
        }
        Ok(_) => {}
    }
    if let Some(around) = facts.directory_around(directory) {
        return problems.push(format!(
            "directory \"{shown}\" is not apart from \"{}\", where the server keeps its data",
            around.display()
        ));
    }
    if let Ok(Some(other)) = repository::of_another_server(directory, facts.system_identifier()) {
        problems
            .push(format!("backup \"{other}\" in \"{shown}\" is of another server; give each a directory of its own"));
    }
    // Compressed files take a fraction that nobody knows before.
    let needed = if checked.compress == "none" { facts.bytes } else { facts.bytes / 10 };
    if let Ok(free) = disk::free_bytes(directory)
        && free < needed
    {
        problems.push(format!(
            "the disk of \"{shown}\" has {} MB left, and the server's files take {} MB",
            free >> 20,
            facts.bytes >> 20
        ));
    }
    if disk::is_same_device(directory, &data_directory()) {
        warn(&format!("\"{shown}\" is on the same file system as the server's data, and is lost together with it"));
    }
}

fn parent_chain(from: &str, directory: &Path, facts: &Facts) -> std::result::Result<Chain, String> {
    let given = Path::new(from);
    let name = match given.parent() {
        Some(parent) if given.is_absolute() && parent == directory => given.file_name().and_then(|name| name.to_str()),
        Some(_) if given.is_absolute() => return Err(format!("backup \"{from}\" is not in the same directory")),
        _ => Some(from),
    };
    let name = name.filter(|name| name::is_valid(name)).ok_or_else(|| format!("\"{from}\" is no name of a backup"))?;
    let chain = repository::chain(directory, name)?;
    let record = &chain[chain.len() - 1].record;
    if record.system_identifier != facts.system_identifier() {
        return Err(format!(
            "backup \"{name}\" is of another server, with the system identifier {}",
            record.system_identifier
        ));
    }
    if record.server_version / 10_000 != crate::local::settings::version() / 10_000 {
        return Err(format!("backup \"{name}\" is of version {}", record.server_version / 10_000));
    }
    Ok(chain)
}

/// A connection may lead anywhere.
fn refuse_other_servers(origin: &Origin, facts: &Facts) -> Result<()> {
    // It finds out whether the password is asked for, too.
    let session = Session::open(origin)?;
    let told = session.query_value(
        "SELECT system_identifier || ' ' || extract(epoch FROM pg_postmaster_start_time()) FROM pg_control_system()",
    )?;
    if told == format!("{} {}", facts.system_identifier, facts.started) {
        return Ok(());
    }
    Err(invalid("the connection leads to another server".to_owned())
        .detail("A backup is one of the server whose function is called."))
}

fn run(
    terms: &BackupTerms,
    checked: &Checked,
    facts: &Facts,
    program: &Program,
    new: &NewDirectory,
    parent: Option<&repository::Whole>,
    on_progress: &dyn Fn(u64),
) -> Result<()> {
    let (connection, password) = checked.origin.for_program(program.major)?;
    let data = new.path().join("data");
    let mut arguments = vec![
        format!("--dbname={connection}"),
        "--no-password".to_owned(),
        format!("--pgdata={}", data.display()),
        format!("--format={}", checked.format.name()),
        "--wal-method=stream".to_owned(),
        "--manifest-checksums=SHA256".to_owned(),
        format!("--checkpoint={}", terms.checkpoint),
        format!("--label={}", checked.name),
        "--progress".to_owned(),
        format!("--compress={}{}", if checked.compress == "none" { "" } else { "client-" }, checked.compress),
    ];
    arguments.extend(terms.max_rate.map(|rate| format!("--max-rate={rate}")));
    if checked.format == Format::Plain {
        let escaped = |path: &str| path.replace('\\', "\\\\").replace('=', "\\=");
        for space in &facts.tablespaces {
            let to = new.path().join("tablespaces").join(space.oid.to_string());
            arguments.push(format!(
                "--tablespace-mapping={}={}",
                escaped(&space.location),
                escaped(&to.display().to_string())
            ));
        }
    }
    if let Some(parent) = parent {
        arguments.push(format!("--incremental={}", parent.directory.join("data/backup_manifest").display()));
    }
    let mut told = 0;
    let mut line = String::new();
    let output = program.run_watched(&arguments, password, &mut |bytes| {
        for byte in bytes {
            if !matches!(byte, b'\r' | b'\n') {
                if line.len() < 200 {
                    line.push(char::from(*byte));
                }
                continue;
            }
            // Such as "12345/67890 kB (18%), 0/1 tablespace".
            let done = line.trim_start().split_once('/').and_then(|(done, _)| done.parse::<u64>().ok());
            if let Some(done) = done.map(|kilobytes| kilobytes.saturating_mul(1024)).filter(|&done| done > told) {
                on_progress(done - told);
                told = done;
            }
            line.clear();
        }
    })?;
    if output.succeeded {
        return Ok(());
    }
    let error =
        Error::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, "pg_basebackup could not take the backup")
            .details(program::complaints(&output.messages));
    Err(if output.messages.contains("No space left on device") {
        Error { sqlstate: PgSqlErrorCode::ERRCODE_DISK_FULL as i32, ..error }
    } else if output.messages.contains("pg_hba.conf") {
        error.hint("Add a line with the database \"replication\" to pg_hba.conf, and call SELECT pg_reload_conf().")
    } else {
        error
    })
}

/// Keeps the files of settings that are elsewhere than the data, as packages have it.
fn copy_configuration(directory: &Path, record: &mut Record) -> Result<()> {
    let data = data_directory();
    for (name, path) in [
        ("postgresql.conf", setting(c"config_file")),
        ("pg_hba.conf", setting(c"hba_file")),
        ("pg_ident.conf", setting(c"ident_file")),
    ] {
        const MOST_BYTES: u64 = 16 << 20;
        let path = PathBuf::from(path);
        if path.starts_with(&data) {
            continue;
        }
        let Ok(text) = files::read_capped(&path, MOST_BYTES) else {
            warn(&format!("\"{}\" could not be read, and is not in the backup", path.display()));
            continue;
        };
        let config = directory.join("config");
        files::make_directory(&config)?;
        files::write(&config.join(name), &text)?;
        record.configuration.push(name.to_owned());
        record.digests.insert(format!("config/{name}"), files::digest(&text));
    }
    Ok(())
}

/// Writes the page that tells how to restore the backup by hand.
fn write_page(directory: &Path, checked: &Checked, record: &mut Record, parents: &[repository::Whole]) -> Result<()> {
    let archives = files::archives(record);
    let of_parents: Vec<(String, Vec<String>)> = parents
        .iter()
        .map(|parent| (parent.directory.display().to_string(), files::archives(&parent.record)))
        .collect();
    let own = checked.path();
    let mut chain: Vec<Link<'_>> = parents
        .iter()
        .zip(&of_parents)
        .map(|(parent, (directory, archives))| Link { directory, record: &parent.record, archives })
        .collect();
    chain.push(Link { directory: &own, record, archives: &archives });
    let archive = checked.target.with_file_name(name::WAL).display().to_string();
    let page = restore_page::page(&chain, &archive);
    drop(chain);
    files::write(&directory.join(restore_page::FILE), page.as_bytes())?;
    record.digests.insert(restore_page::FILE.to_owned(), files::digest(page.as_bytes()));
    Ok(())
}
