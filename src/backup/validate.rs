//! Whether a backup is sound: its files, the WAL that it needs, and whether a server starts from it.

pub use super::layout::BackupFault;

use super::layout::Layout;
use super::repository::{self, Whole, archive_of, locate, refuse_readers};
use super::{create::ends, drill, files, refuse_others_than_superusers, unrecorded};
use crate::error::{Error, Result, caution, tell};
use crate::local::new_directory::NewDirectory;
use crate::local::{disk, rights};
use backups::record::{self, Format, Record};
use backups::sums;
use pgrx::prelude::*;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Files are compared with the manifest, and WAL is read.
    Manifest,
    /// A server is started from a copy, too.
    Restore,
}

/// Refuses what can be refused without reading the backup.
pub fn check_validation(backup: &str, level: Level) -> Result<()> {
    refuse_readers("read a backup")?;
    if level == Level::Restore {
        refuse_others_than_superusers(
            "start a server from a backup",
            "Settings in a backup name programs, which that server runs as the operating-system user of this one.",
        )?;
    } else if !rights::may_write_server_files() {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied to unpack a backup")
            .detail("Only roles with privileges of the \"pg_write_server_files\" role may write files of the server's machine."));
    }
    locate(backup).map(drop)
}

/// Validates a backup. Returns what is wrong with it.
pub fn validate_backup(backup: &str, level: Level, on_bytes: &dyn Fn(u64)) -> Result<Vec<BackupFault>> {
    check_validation(backup, level)?;
    let (directory, name) = locate(backup)?;
    let fault = |finding: String| BackupFault {
        backup: name.clone(),
        file: finding.strip_prefix('"').and_then(|rest| rest.split('"').next()).map(str::to_owned),
        finding,
    };
    let whole = match repository::whole(&directory, &name) {
        Ok(whole) => whole,
        Err(reason) => {
            let mut faults = vec![fault(reason)];
            let mut others = check_beside(&directory.join(&name), &name);
            others.retain(|other| other.file != faults[0].file);
            faults.extend(others);
            // What is beside the data may be damaged alone.
            match unrecorded::by_its_files(&directory, &name) {
                Ok(found) => faults.extend(verify(&directory, &found, on_bytes)?),
                Err(reason) if reason != faults[0].finding => faults.push(fault(reason)),
                Err(_) => {}
            }
            if level == Level::Restore {
                caution(&format!("no server was started from backup \"{name}\", whose record cannot be read"));
            }
            return Ok(faults);
        }
    };
    let mut faults = check_beside(&whole.directory, &name);
    faults.extend(check_wal(&directory, &whole)?);
    let chain = match repository::chain(&directory, &name) {
        Ok(chain) => chain,
        Err(reason) => {
            faults.push(fault(reason));
            for link in unrecorded::readable(&directory, &name) {
                faults.extend(verify(&directory, &link, on_bytes)?);
            }
            return Ok(faults);
        }
    };
    if level == Level::Restore {
        let scratch = scratch(&directory, &chain)?;
        faults.extend(drill::run(&chain, scratch.path(), on_bytes)?);
    } else {
        // It is as good as those that it builds on.
        for link in &chain {
            faults.extend(verify(&directory, link, on_bytes)?);
        }
    }
    tell(&format!(
        "validated backup \"{name}\": {} files, {} MB, {} {}",
        whole.manifest.files,
        whole.manifest.bytes >> 20,
        faults.len(),
        if faults.len() == 1 { "fault" } else { "faults" }
    ));
    Ok(faults)
}

/// Compares the files of one backup with its manifest.
fn verify(directory: &Path, link: &Whole, on_bytes: &dyn Fn(u64)) -> Result<Vec<BackupFault>> {
    if link.record.format == Format::Plain {
        return link.verify(&link.directory.join("data"));
    }
    let scratch = scratch(directory, std::slice::from_ref(link))?;
    let layout = Layout::within(scratch.path(), link);
    let of_archives = layout.fill(link, on_bytes)?;
    if of_archives.is_empty() { link.verify(&layout.data) } else { Ok(of_archives) }
}

/// A directory for copies. It goes with the session.
fn scratch(directory: &Path, chain: &[Whole]) -> Result<NewDirectory> {
    let needed: u64 = chain.iter().map(|link| link.manifest.bytes).fold(0, u64::saturating_add);
    // The combined one beside its parts.
    let needed = if chain.len() > 1 { needed.saturating_mul(2) } else { needed };
    refuse_without_room(directory, needed)?;
    NewDirectory::create(&directory.join(format!(".validate-{}", std::process::id())))
}

pub(super) fn refuse_without_room(directory: &Path, needed: u64) -> Result<()> {
    match disk::free_bytes(directory) {
        Ok(free) if free < needed => Err(Error::new(
            PgSqlErrorCode::ERRCODE_DISK_FULL,
            format!("the disk of \"{}\" has no room for the unpacked backup", directory.display()),
        )
        .detail(format!("It takes {} MB, and {} MB are left.", needed >> 20, free >> 20))),
        _ => Ok(()),
    }
}

/// Compares the files that `pg_basebackup` knows nothing of with the record, as far as that can be read, and with their checksums.
pub(super) fn check_beside(backup: &Path, name: &str) -> Vec<BackupFault> {
    const MOST_BYTES: u64 = 16 << 20;
    let record = files::read_capped(&backup.join(record::FILE), record::MOST_BYTES).ok();
    let record = record.and_then(|text| Record::parse(&text).ok());
    let missing = || Err(std::io::Error::from(std::io::ErrorKind::NotFound).to_string());
    let known = sums::Known {
        told: record.as_ref().map(|record| &record.digests),
        sums: files::read_sums(backup).or_else(|| record.as_ref().is_some_and(|it| it.sealed).then(missing)),
    };
    let faults = known.faults(&mut |name| match files::read_capped(&backup.join(name), MOST_BYTES) {
        Ok(content) => Ok(files::digest(&content)),
        Err(error) => Err(error.to_string()),
    });
    let of_backup =
        |fault: sums::Fault| BackupFault { backup: name.to_owned(), file: Some(fault.file), finding: fault.finding };
    faults.into_iter().map(of_backup).collect()
}

/// Gaps in the archive behind the backup.
fn check_wal(directory: &Path, whole: &Whole) -> Result<Vec<BackupFault>> {
    let archive_directory = archive_of(directory, None)?;
    let size = whole.record.segment_size;
    let archive = repository::read_archive(&archive_directory, size, whole.record.system_identifier)?;
    let reach = repository::reach(whole, &archive)?;
    if archive.segments.is_empty() {
        let (_, last) = ends(&whole.manifest)?;
        caution(&format!(
            "there is no WAL archive \"{}\": the backup restores to {}",
            archive_directory.display(),
            last.end
        ));
    }
    let lacking = reach.gaps.iter().map(|(from, to)| {
        let (from, to) = (from.name(size), to.name(size));
        let finding = format!("the WAL archive lacks {from} to {to}: moments after that cannot be restored");
        whole.fault(Some(from), finding)
    });
    let of_another = archive
        .of_another_server
        .map(|segment| whole.fault(Some(segment.name(size)), "this segment in the WAL archive is of another server"));
    Ok(lacking.chain(of_another).collect())
}
