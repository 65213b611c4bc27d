//! A base backup of this server: complete in its directory, or not there.

mod checks;
mod configuration;

use super::facts::Facts;
use super::kept_wal::KeptWal;
use super::{files, repository, tablespace_mapping, unix_now};
use crate::error::{Error, Result};
use crate::local::new_directory::NewDirectory;
use crate::local::new_file::file_error;
use crate::local::program::{self, Program};
use crate::local::{disk, interrupts};
use backups::record::{self, Format, Record};
use backups::restore_page::{self, Link};
use backups::settings_file::Place;
use backups::{manifest, name, sums};
pub use checks::{Checked, check_backup};
use checks::{check_preconditions, refuse_other_servers};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

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

/// Takes a backup. `on_progress` is told of bytes that the server has sent.
///
/// # Errors
/// All that stands in the way, together; those of `pg_basebackup`. There is no backup then.
pub fn create_backup(terms: &BackupTerms, checked: &Checked, on_progress: &dyn Fn(u64)) -> Result<CreatedBackup> {
    let facts = Facts::with_access()?;
    let (parent, program) = check_preconditions(terms, checked, &facts)?;
    refuse_other_servers(&checked.origin, &facts)?;
    let started = unix_now();
    let new = NewDirectory::create(&checked.target)?;
    let data = new.path().join("data");
    if let Some(chain) = &parent {
        files::write(&new.path().join(name::PARENT), chain[chain.len() - 1].name.as_bytes())?;
    }
    run(terms, checked, &facts, &program, &new, parent.as_ref().map(|chain| &chain[chain.len() - 1]), on_progress)?;
    let manifest = files::read_manifest(&data).map_err(|reason| {
        Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the manifest of the new backup cannot be read")
            .detail(reason)
    })?;
    // Recovery would create it where the server has it.
    if Facts::read()?.tablespaces != facts.tablespaces {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "a tablespace was created, moved or dropped while the backup was taken",
        )
        .hint("Take the backup again."));
    }
    if checked.format == Format::Plain {
        // They lead to where the files are now, also where the backup is copied to.
        for space in &facts.tablespaces {
            let link = data.join("pg_tblspc").join(space.oid.to_string());
            files::link_to(&link, &Path::new("../../tablespaces").join(space.oid.to_string()))?;
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
        superuser: Some(facts.superuser.clone()),
        place: Some(configuration::place(&facts)).filter(Place::is_valid),
        tablespaces: facts.tablespaces.clone(),
        configuration: Vec::new(),
        sealed: true,
        digests: sums::Digests::new(),
    };
    configuration::copy_configuration(new.path(), &facts, &mut record)?;
    write_page(new.path(), checked, &mut record, parent.as_deref().unwrap_or_default())?;
    let text = serde_json::to_vec_pretty(&record).map_err(|error| Error::internal(error.to_string()))?;
    files::write(&new.path().join(record::FILE), &text)?;
    // Nothing of this is there before all of it is: the directory gets its name afterwards.
    let mut digests = record.digests;
    digests.insert(record::FILE.to_owned(), files::digest(&text));
    files::write(&new.path().join(sums::FILE), sums::text(&digests).as_bytes())?;
    if let Some(chain) = &parent {
        let name = &chain[chain.len() - 1].name;
        let directory = checked.target.parent().unwrap_or(Path::new("/"));
        repository::chain(directory, name)
            .map_err(|reason| Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, reason))?;
        files::remove(&new.path().join(name::PARENT))?;
    }
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
        for space in &facts.tablespaces {
            let to = new.path().join("tablespaces").join(space.oid.to_string());
            arguments.push(tablespace_mapping(&space.location, &to));
        }
    }
    if let Some(parent) = parent {
        arguments.push(format!("--incremental={}", parent.directory.join("data/backup_manifest").display()));
    }
    let mut told = 0;
    let mut line = String::new();
    let mut kept = KeptWal::from_now(&terms.checkpoint)?;
    let mut not_released: Option<Error> = None;
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
                if let Err(error) = release_when_taken_over(&mut kept) {
                    not_released.get_or_insert(error);
                }
            }
            line.clear();
        }
    });
    kept.map_or(Ok(()), KeptWal::release)?;
    let output = output?;
    if let Some(error) = not_released {
        return Err(error);
    }
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

/// Lets the server remove WAL that `pg_basebackup` keeps by itself now.
fn release_when_taken_over(kept: &mut Option<KeptWal>) -> Result<()> {
    match kept {
        Some(held) if held.is_taken_over()? => kept.take().map_or(Ok(()), KeptWal::release),
        _ => Ok(()),
    }
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
