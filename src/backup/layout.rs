//! The files of a backup, laid out as a data directory.

use super::files;
use super::repository::Whole;
use crate::error::{Error, Result};
use crate::local::program::Program;
use backups::record::Format;
use pgrx::prelude::*;
use std::path::{Path, PathBuf};

/// A place for the files of a backup.
pub(super) struct Layout {
    pub(super) data: PathBuf,
    /// The directories of tablespaces, by their OIDs.
    pub(super) tablespaces: Vec<(u32, PathBuf)>,
}

/// A fault of a file of a backup.
#[derive(Debug, Clone)]
pub struct BackupFault {
    pub backup: String,
    pub file: Option<String>,
    pub finding: String,
}

impl Layout {
    pub(super) fn within(directory: &Path, whole: &Whole) -> Self {
        let space = |oid: u32| (oid, directory.join(format!("tablespace-{oid}")));
        Self {
            data: directory.join("data"),
            tablespaces: whole.record.tablespaces.iter().map(|tablespace| space(tablespace.oid)).collect(),
        }
    }

    fn place(&self, base: &str) -> Option<PathBuf> {
        match base {
            "base" => Some(self.data.clone()),
            "pg_wal" => Some(self.data.join("pg_wal")),
            oid => {
                let oid: u32 = oid.parse().ok()?;
                self.tablespaces.iter().find(|(known, _)| *known == oid).map(|(_, place)| place.clone())
            }
        }
    }

    /// Brings the files of one backup to their places. Returns what is wrong with its archives.
    pub(super) fn fill(&self, whole: &Whole, on_bytes: &dyn Fn(u64)) -> Result<Vec<BackupFault>> {
        let source = whole.directory.join("data");
        let mut faults = Vec::new();
        files::make_directory(&self.data)?;
        if whole.record.format == Format::Plain {
            files::copy_below(&source, &self.data, on_bytes)?;
            for (oid, place) in &self.tablespaces {
                files::copy_below(&whole.directory.join("tablespaces").join(oid.to_string()), place, on_bytes)?;
            }
        } else {
            for archive in files::archives(&whole.record) {
                let base = archive.split('.').next().unwrap_or_default();
                let Some(place) = self.place(base) else { continue };
                if let Err(finding) = files::unpack_archive(&source.join(&archive), &place, on_bytes)? {
                    faults.push(whole.fault(Some(archive), finding));
                }
            }
            let manifest = files::open_regular(&source.join("backup_manifest"));
            let copied = manifest.and_then(|mut from| {
                let mut to = std::fs::File::create_new(self.data.join("backup_manifest"))?;
                std::io::copy(&mut from, &mut to)
            });
            if let Err(error) = copied {
                faults.push(whole.fault(Some("backup_manifest".to_owned()), error.to_string()));
            }
        }
        self.link()?;
        Ok(faults)
    }

    /// Has the data directory lead to the tablespaces where they are now.
    pub(super) fn link(&self) -> Result<()> {
        if self.tablespaces.is_empty() {
            return Ok(());
        }
        let links = self.data.join("pg_tblspc");
        files::make_directory(&links)?;
        self.tablespaces.iter().try_for_each(|(oid, place)| files::link_to(&links.join(oid.to_string()), place))
    }
}

impl Whole {
    pub(super) fn fault(&self, file: Option<String>, finding: impl Into<String>) -> BackupFault {
        BackupFault { backup: self.name.clone(), file, finding: finding.into() }
    }

    /// Has `pg_verifybackup` compare files with the manifest, and read the WAL that the backup needs.
    pub(super) fn verify(&self, data: &Path) -> Result<Vec<BackupFault>> {
        const MOST_FAULTS: usize = 1000;
        let program = Program::of_server("pg_verifybackup")?;
        // It runs pg_waldump from beside itself.
        let output = program.run(&[data.display().to_string()], None)?;
        if output.succeeded {
            return Ok(Vec::new());
        }
        let lines = output.messages.lines().filter_map(|line| line.split_once("error: "));
        let faults: Vec<BackupFault> = lines
            .take(MOST_FAULTS)
            .map(|(_, text)| self.fault(text.split('"').nth(1).map(str::to_owned), text))
            .collect();
        if faults.is_empty() {
            return Ok(vec![self.fault(None, crate::error::capped(&output.messages, 1000))]);
        }
        Ok(faults)
    }
}

pub(super) fn damaged(faults: &[BackupFault]) -> Error {
    let line = |fault: &BackupFault| match &fault.file {
        Some(file) if !fault.finding.contains(file.as_str()) => {
            format!("{}: \"{file}\": {}", fault.backup, fault.finding)
        }
        _ => format!("{}: {}", fault.backup, fault.finding),
    };
    Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the backup is damaged").details(faults.iter().map(line))
}
