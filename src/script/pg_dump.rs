//! `pg_dump`, run against a source under the snapshot of a job.
//!
//! The program runs as the operating-system user of this server and may not reach more than the caller may: it gets an
//! environment made here, refers to no file of that user, and is told how to log in as the caller told it. The password is in
//! its environment: Linux shows that to processes of the same user alone, who could read the memory of this session as well,
//! while arguments are shown to everybody. A pipe in the place of the password file would not do: libpq reads plain files only.

use super::definitions::Terms;
use crate::error::{Error, Result};
use crate::local::child;
use crate::source::Origin;
use pgrx::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// A `pg_dump` that is installed.
pub struct Program {
    path: PathBuf,
    major: u32,
}

impl Program {
    /// This server's own program, if that is not older than the source; otherwise the newest that is installed.
    pub fn find(source_version: u32) -> Result<Self> {
        let wanted = source_version / 10_000;
        let mut found: Vec<Self> = Vec::new();
        if let Some(own) = child::server_programs().and_then(|directory| Self::in_directory(&directory)) {
            if own.major >= wanted {
                return Ok(own);
            }
            found.push(own);
        }
        found.extend(installed_directories().iter().filter_map(|directory| Self::in_directory(directory)));
        found.sort_by_key(|program| std::cmp::Reverse(program.major));
        let versions: Vec<String> =
            found.iter().map(|program| format!("{}: version {}", program.path.display(), program.major)).collect();
        if let Some(newest) = found.into_iter().next().filter(|newest| newest.major >= wanted) {
            return Ok(newest);
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

    /// `None` for what is not there, or does not tell its version.
    fn in_directory(directory: &Path) -> Option<Self> {
        let path = directory.join("pg_dump");
        if !path.is_file() {
            return None;
        }
        let mut program = Self { path, major: 0 };
        let told = program.run(&["--version".to_owned()], None).ok()?;
        let version = String::from_utf8_lossy(&told.text).rsplit_once("(PostgreSQL) ")?.1.to_owned();
        program.major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(program)
    }

    fn run(&self, arguments: &[String], password: Option<String>) -> Result<child::Output> {
        child::run(&self.path, arguments, &self.environment(password))
    }

    fn environment(&self, password: Option<String>) -> Vec<(&'static str, String)> {
        let nowhere = || "/nonexistent".to_owned();
        let mut environment: Vec<(&'static str, String)> = vec![
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("HOME", nowhere()),
            ("PGSYSCONFDIR", nowhere()),
            ("PGPASSFILE", "/dev/null".to_owned()),
            ("PGSERVICEFILE", "/dev/null".to_owned()),
            // Nobody's tickets.
            ("KRB5CCNAME", format!("FILE:{}", nowhere())),
            ("KRB5_CLIENT_KTNAME", format!("FILE:{}", nowhere())),
        ];
        if let Some(password) = password {
            environment.push(("PGPASSWORD", password));
        }
        // A server that was moved finds its library beside its programs.
        let libraries = self.path.parent().and_then(Path::parent).map(|prefix| prefix.join("lib"));
        let beside = libraries.filter(|libraries| libraries.join("libpq.so.5").exists());
        let inherited = || std::env::var("LD_LIBRARY_PATH").ok();
        if let Some(path) = beside.map(|libraries| libraries.display().to_string()).or_else(inherited) {
            environment.push(("LD_LIBRARY_PATH", path));
        }
        environment
    }

    /// Hands the script of a whole database to `sink`, as these options have it. The program takes a snapshot of its own.
    pub fn write_script(
        &self,
        origin: &Origin,
        options: &[String],
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (connection, password) = origin.for_program(self.major)?;
        let mut arguments = vec![
            format!("--dbname={connection}"),
            "--no-password".to_owned(),
            "--format=plain".to_owned(),
            // The caller's own transaction may hold the lock, which no server could see.
            "--lock-wait-timeout=60s".to_owned(),
        ];
        arguments.extend_from_slice(options);
        let output = child::run_into(&self.path, &arguments, &self.environment(password), sink)?;
        if output.succeeded {
            return Ok(());
        }
        Err(Error::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, "pg_dump could not dump the database")
            .details(complaints(&output.messages)))
    }

    /// The script of all definitions, as the snapshot sees the source. Large objects are not in it.
    pub fn dump(&self, origin: &Origin, snapshot: &str, terms: Terms) -> Result<String> {
        /// The first version that dumps statistics.
        const DUMPS_STATISTICS: u32 = 18;
        let (connection, password) = origin.for_program(self.major)?;
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
        options.extend((self.major >= DUMPS_STATISTICS).then_some("--no-statistics"));
        arguments.extend(options.into_iter().map(str::to_owned));
        let output = self.run(&arguments, password)?;
        if !output.succeeded {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                "pg_dump could not read the definitions of the source",
            )
            .details(complaints(&output.messages)));
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

/// The lines that tell of the failure, without those that told of progress.
fn complaints(messages: &str) -> Vec<String> {
    const MOST_LINES: usize = 10;
    const MOST_BYTES: usize = 500;
    let lines: Vec<&str> = messages.lines().filter(|line| !line.trim().is_empty()).collect();
    let begins = lines.iter().position(|line| line.contains(": error: ")).unwrap_or(lines.len().saturating_sub(3));
    lines[begins..].iter().take(MOST_LINES).map(|line| crate::error::capped(line, MOST_BYTES).into_owned()).collect()
}
