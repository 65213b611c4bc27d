//! Whether a backup can be taken: the arguments, the rights, and what the server and the directory must be like.

use super::BackupTerms;
use crate::backup::facts::{Facts, data_directory};
use crate::backup::{absolute, refusal, repository, unix_now};
use crate::error::{Error, Result, warn};
use crate::local::identity::Caller;
use crate::local::program::Program;
use crate::local::{disk, rights};
use crate::source::{Origin, Session};
use backups::name;
use backups::record::{self, Format};
use pgrx::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// What the terms say, and where they lead.
pub struct Checked {
    pub(super) format: Format,
    pub(super) compress: String,
    pub(super) target: PathBuf,
    pub(super) name: String,
    pub(super) origin: Origin,
}

impl Checked {
    /// The backup as people may see it.
    pub fn path(&self) -> String {
        self.target.display().to_string()
    }
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

pub(super) type Chain = Vec<repository::Whole>;

/// Looks for all that stands in the way, and tells of it at once. Returns the chain of the parent, and the program.
pub(super) fn check_preconditions(
    terms: &BackupTerms,
    checked: &Checked,
    facts: &Facts,
) -> Result<(Option<Chain>, Program)> {
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
    // Temporary ones keep the WAL that the backup is still to get: one until the program has its own.
    if facts.max_replication_slots - facts.replication_slots < 2 {
        problems.push(format!(
            "a backup takes two replication slots, and {} of max_replication_slots = {} are in use",
            facts.replication_slots, facts.max_replication_slots
        ));
    }
    if facts.replication_lines == Some(0) {
        problems
            .push("pg_hba.conf lets nobody in for replication: no line has the database \"replication\"".to_owned());
        hint = Some("A line such as \"local replication all peer\" in pg_hba.conf, and SELECT pg_reload_conf(), let the server's own user in over its socket.".to_owned());
    }
    // Recovery takes none but links for tablespaces, and archives of some versions lack the files.
    if let Some(space) = facts.tablespaces_in_place.first() {
        problems.push(format!("tablespace \"{space}\" is in the data directory itself, where recovery refuses it"));
    }
    let directory = checked.target.parent().unwrap_or(Path::new("/"));
    check_directory(directory, checked, facts, terms.incremental_from.is_some(), &mut problems);
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

fn check_directory(
    directory: &Path,
    checked: &Checked,
    facts: &Facts,
    is_incremental: bool,
    problems: &mut Vec<String>,
) {
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
    if let Some(outer) = directory.ancestors().find(|outer| fs::symlink_metadata(outer.join(record::FILE)).is_ok()) {
        problems.push(format!("directory \"{shown}\" is in a backup, \"{}\", and would go with it", outer.display()));
    }
    if let Ok(Some(other)) = repository::of_another_server(directory, facts.system_identifier()) {
        problems
            .push(format!("backup \"{other}\" in \"{shown}\" is of another server; give each a directory of its own"));
    }
    // Compressed files take a fraction that nobody knows before, and what has changed may be next to nothing.
    let needed = match (is_incremental, checked.compress.as_str()) {
        (true, _) => 0,
        (false, "none") => facts.bytes,
        (false, _) => facts.bytes / 10,
    };
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
pub(super) fn refuse_other_servers(origin: &Origin, facts: &Facts) -> Result<()> {
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
