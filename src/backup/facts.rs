//! This server, as far as its backups depend on it.

use crate::error::Result;
use crate::local::settings;
use crate::local::spi::{Param, extension};
use serde::Deserialize;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Facts {
    pub(super) wal_level: String,
    pub(super) max_wal_senders: i64,
    pub(super) wal_senders: i64,
    pub(super) max_replication_slots: i64,
    pub(super) replication_slots: i64,
    /// Lines of `pg_hba.conf` that let somebody in for replication; `None` where nobody has asked, since the file may not be readable.
    pub(super) replication_lines: Option<i64>,
    /// The size of all tablespaces.
    pub(super) bytes: u64,
    pub(super) system_identifier: i64,
    pub(super) segment_size: u64,
    /// When the server was started, as a text to compare.
    pub(super) started: String,
    /// The bootstrap superuser.
    pub(super) superuser: String,
    /// Empty where the version has no such setting.
    pub(super) summarize_wal: String,
    /// The files that its settings are in.
    pub(super) setting_files: Vec<String>,
    /// The names of those without a directory of their own.
    pub(super) tablespaces_in_place: Vec<String>,
    /// Those with a directory of their own.
    pub(super) tablespaces: Vec<backups::record::Tablespace>,
}

impl Facts {
    pub(super) fn read() -> Result<Self> {
        Self::ask(false)
    }

    /// The same with what `pg_hba.conf` says.
    pub(super) fn with_access() -> Result<Self> {
        Self::ask(true)
    }

    fn ask(with_access: bool) -> Result<Self> {
        extension::query_json(include_str!("../../sql/queries/backup_facts.sql"), &[Param::Bool(with_access)])
    }

    pub(super) fn system_identifier(&self) -> u64 {
        self.system_identifier as u64
    }

    /// The directories that the server keeps its data in.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let spaces = self.tablespaces.iter().map(|space| PathBuf::from(&space.location));
        // WAL may be elsewhere, behind a link.
        [data_directory(), data_directory().join("pg_wal")].into_iter().chain(spaces).collect()
    }

    /// Returns the directory of the server that a path is in or above of, if there is one.
    pub(super) fn directory_around(&self, path: &Path) -> Option<PathBuf> {
        let real = |path: &Path| {
            // What does not exist yet is where its parent is.
            let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
            let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
            existing.canonicalize().map_or_else(|_| path.to_owned(), |real| real.join(rest))
        };
        let path = real(path);
        self.directories().into_iter().find(|directory| {
            let directory = real(directory);
            path.starts_with(&directory) || directory.starts_with(&path)
        })
    }
}

pub(super) fn data_directory() -> PathBuf {
    PathBuf::from(setting(c"data_directory"))
}

pub(super) fn setting(name: &CStr) -> String {
    settings::value(name).unwrap_or_default()
}
