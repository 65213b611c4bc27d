//! `pg_dump`, run against a source under the snapshot of a job.
//!
//! It may not reach more than the caller may: see `local/program.rs`, and how it is told to log in, as the caller told it.

use super::definitions::Terms;
use crate::error::{Error, Result};
use crate::local::{child, program};
use crate::source::Origin;
use pgrx::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// A `pg_dump` that is installed.
pub struct Program(program::Program);

impl Program {
    /// This server's own program, if that is not older than the source; otherwise the newest that is installed.
    pub fn find(source_version: u32) -> Result<Self> {
        let wanted = source_version / 10_000;
        let in_directory = |directory: &Path| program::Program::in_directory(directory, "pg_dump");
        let mut found: Vec<program::Program> = Vec::new();
        if let Some(own) = child::server_programs().and_then(|directory| in_directory(&directory)) {
            if own.major >= wanted {
                return Ok(Self(own));
            }
            found.push(own);
        }
        found.extend(installed_directories().iter().filter_map(|directory| in_directory(directory)));
        found.sort_by_key(|program| std::cmp::Reverse(program.major));
        let versions: Vec<String> =
            found.iter().map(|program| format!("{}: version {}", program.path.display(), program.major)).collect();
        if let Some(newest) = found.into_iter().next().filter(|newest| newest.major >= wanted) {
            return Ok(Self(newest));
        }
        let error = Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
            format!("no pg_dump of version {wanted} or newer is installed on the machine of this server"),
        )
        .detail(format!("The source is of version {wanted}, and pg_dump does not read servers newer than itself."))
        .hint(format!(
            "Install the client programs of PostgreSQL {wanted} there: on Debian the package postgresql-client-{wanted}."
        ));
        Err(if versions.is_empty() { error } else { error.details(versions) })
    }

    /// Hands the script of a whole database to `sink`, as these options have it. The program takes a snapshot of its own.
    pub fn write_script(
        &self,
        origin: &Origin,
        options: &[String],
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (connection, password) = origin.for_program(self.0.major)?;
        let mut arguments = vec![
            format!("--dbname={connection}"),
            "--no-password".to_owned(),
            "--format=plain".to_owned(),
            // The caller's own transaction may hold the lock, which no server could see.
            "--lock-wait-timeout=60s".to_owned(),
        ];
        arguments.extend_from_slice(options);
        let output = self.0.run_into(&arguments, password, sink)?;
        if output.succeeded {
            return Ok(());
        }
        Err(Error::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, "pg_dump could not dump the database")
            .details(program::complaints(&output.messages)))
    }

    /// The script of all definitions, as the snapshot sees the source. Large objects are not in it.
    pub fn dump(&self, origin: &Origin, snapshot: &str, terms: Terms) -> Result<String> {
        /// The first version that dumps statistics.
        const DUMPS_STATISTICS: u32 = 18;
        let (connection, password) = origin.for_program(self.0.major)?;
        let mut arguments: Vec<String> = [
            format!("--dbname={connection}"),
            format!("--snapshot={snapshot}"),
            "--section=pre-data".to_owned(),
            "--section=post-data".to_owned(),
            // Who holds a lock of the source may wait for this very session, which no server could see.
            "--lock-wait-timeout=60s".to_owned(),
        ]
        .into();
        let mut options = vec!["--no-password", "--encoding=UTF8", "--verbose", "--no-blobs"];
        options.extend((!terms.publications).then_some("--no-publications"));
        options.extend((!terms.subscriptions).then_some("--no-subscriptions"));
        options.extend((!terms.owners).then_some("--no-owner"));
        options.extend((!terms.privileges).then_some("--no-privileges"));
        options.extend((self.0.major >= DUMPS_STATISTICS).then_some("--no-statistics"));
        arguments.extend(options.into_iter().map(str::to_owned));
        let output = self.0.run(&arguments, password)?;
        if !output.succeeded {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                "pg_dump could not read the definitions of the source",
            )
            .details(program::complaints(&output.messages)));
        }
        String::from_utf8(output.text).map_err(|_| {
            Error::new(
                PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
                "the definitions of the source are not in a valid encoding",
            )
        })
    }
}

/// The places of the packages for Debian and for Red Hat.
fn installed_directories() -> Vec<PathBuf> {
    let versions = |parent: &str, prefix: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix(prefix).is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        });
        named.map(|entry| entry.path().join("bin")).collect()
    };
    [versions("/usr/lib/postgresql", ""), versions("/usr", "pgsql-")].concat()
}
