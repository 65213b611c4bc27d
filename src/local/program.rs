//! PostgreSQL's own programs, run for a caller.
//!
//! A program runs as the operating-system user of this server and may not reach more than the caller may: it gets an
//! environment made here, refers to no file of that user, and is told how to log in. A password is in its environment: Linux
//! shows that to processes of the same user alone, who could read the memory of this session as well, while arguments are
//! shown to everybody. A pipe in the place of the password file would not do: libpq reads plain files only.

use super::child;
use crate::error::{Error, Result};
use pgrx::prelude::*;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A program that is installed.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub major: u32,
}

impl Program {
    /// This server's own program of this name.
    ///
    /// # Errors
    /// When it is not installed beside the server, or is of another version.
    pub fn of_server(name: &str) -> Result<Self> {
        let major = pgrx::pg_sys::PG_MAJORVERSION_NUM;
        let directory = child::server_programs();
        let found = directory.as_ref().and_then(|directory| Self::in_directory(directory, name));
        // Programs of a newer version take backups of older servers, too; what they work on files with must be the server's.
        let is_usable = |found: &Self| found.major == major || (name == "pg_basebackup" && found.major > major);
        found.filter(is_usable).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
                format!("{name} of version {major} is not installed beside the server"),
            )
            .detail(format!("It is looked for in \"{}\".", directory.unwrap_or_default().display()))
            .hint(format!("Install the client programs of PostgreSQL {major} there: on Debian the package postgresql-client-{major}, for pg_verifybackup and pg_waldump postgresql-{major}."))
        })
    }

    /// `None` for what is not there, or does not tell its version.
    pub fn in_directory(directory: &Path, name: &str) -> Option<Self> {
        let path = directory.join(name);
        if !path.is_file() {
            return None;
        }
        let mut program = Self { path, major: 0 };
        let told = program.run(&["--version".to_owned()], None).ok()?;
        let version = String::from_utf8_lossy(&told.text).rsplit_once("(PostgreSQL) ")?.1.to_owned();
        program.major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(program)
    }

    pub fn run(&self, arguments: &[String], password: Option<String>) -> Result<child::Output> {
        child::run(&self.path, arguments, &self.environment(password))
    }

    /// The same for a program whose text `sink` takes as it comes. An error of it ends the program.
    pub fn run_into(
        &self,
        arguments: &[String],
        password: Option<String>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<child::Output> {
        child::run_into(&self.path, arguments, &self.environment(password), sink, &mut |_| {})
    }

    /// The same for a program that writes no text but messages about its progress.
    pub fn run_watched(
        &self,
        arguments: &[String],
        password: Option<String>,
        on_messages: &mut dyn FnMut(&[u8]),
    ) -> Result<child::Output> {
        child::run_into(&self.path, arguments, &self.environment(password), &mut |_| Ok(()), on_messages)
    }

    /// Starts a program that runs until the result is dropped. It reads a file, if there is one, and writes into another.
    pub fn start(&self, arguments: &[String], input: Option<File>, log: File) -> Result<child::Background> {
        child::start(&self.path, arguments, &self.environment(None), input, log)
    }

    fn environment(&self, password: Option<String>) -> Vec<(&'static str, String)> {
        let nowhere = || "/nonexistent".to_owned();
        let mut environment: Vec<(&'static str, String)> = vec![
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("TZ", "UTC".to_owned()),
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
}

/// The lines that tell of the failure, without those that told of progress.
pub fn complaints(messages: &str) -> Vec<String> {
    const MOST_LINES: usize = 10;
    const MOST_BYTES: usize = 500;
    let lines: Vec<&str> = messages.lines().filter(|line| !line.trim().is_empty()).collect();
    let begins = lines.iter().position(|line| line.contains(": error: ")).unwrap_or(lines.len().saturating_sub(3));
    lines[begins..].iter().take(MOST_LINES).map(|line| crate::error::capped(line, MOST_BYTES).into_owned()).collect()
}
