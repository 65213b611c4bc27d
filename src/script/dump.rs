//! A script that `pg_dump` writes into a file of the server: complete or not at all.

use super::pg_dump::Program;
use crate::error::{Error, Result};
use crate::local::identity::Caller;
use crate::local::new_file::{NewFile, file_error};
use crate::local::rights;
use crate::source::{Origin, Session};
use pgrx::prelude::*;
use plan::Pattern;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The terms on which a script is written.
#[derive(Debug, Clone, Default)]
pub struct DumpTerms {
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    pub overwrite: bool,
    /// As `pg_dump` names them; none for all.
    pub sections: Vec<String>,
    pub definitions: bool,
    pub data: bool,
    pub owners: bool,
    pub privileges: bool,
}

/// A file that was written.
#[derive(Debug, Clone)]
pub struct WrittenDump {
    pub bytes: u64,
    /// The bytes of the script, before they were compressed.
    pub script_bytes: u64,
}

/// Refuses paths that the caller may not write, or not without asking.
pub fn check_dump_path(path: &str, overwrite: bool) -> Result<PathBuf> {
    if !rights::may_write_server_files() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to write a file of the server's machine",
        )
        .detail("Only roles with privileges of the \"pg_write_server_files\" role may write files."));
    }
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_NAME, "the path of a dump must be absolute"));
    }
    refuse_existing(path, overwrite)?;
    Ok(path.to_owned())
}

fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    if overwrite || std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_DUPLICATE_FILE, format!("file \"{}\" exists already", path.display()))
        .hint("With overwrite => true it is replaced, when the new one is complete."))
}

/// The source of a dump: the one that is given, or this database as its superuser reaches it.
///
/// `pg_dump` runs as the operating-system user of this server, whom the server may take for a superuser without a question. So it
/// logs in as the caller alone: who is no superuser has to say how, with a password.
pub fn dump_origin(source: Option<&str>) -> Result<Origin> {
    if let Some(source) = source {
        return Origin::resolve(source);
    }
    let caller = Caller::of_this_session();
    if !caller.is_superuser() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "pg_dump cannot log in as a role that is not a superuser without being told how",
        )
        .detail("It runs as the operating-system user of the server and must not have more rights than the caller.")
        .hint("Give source => a connection string with a password, or a foreign server, that leads to this database as the caller."));
    }
    Origin::of_this_server()
}

/// Has `pg_dump` write the script. `on_progress` is told of bytes of the file.
///
/// # Errors
/// Those of `pg_dump`, and of the file. There is no file then, or the old one.
pub fn write_dump(path: &Path, origin: &Origin, terms: &DumpTerms, on_progress: &dyn Fn(u64)) -> Result<WrittenDump> {
    // It finds out whether the password is asked for, too.
    let version = Session::open(origin)?.version;
    let program = Program::find(version)?;
    let mut output = Output::create(path)?;
    let mut script_bytes = 0;
    let mut told = 0;
    program.write_script(origin, &arguments(terms), &mut |bytes| {
        script_bytes += bytes.len() as u64;
        output.write(bytes).map_err(|error| file_error("could not write file", path, &error))?;
        let written = output.written();
        on_progress(written - told);
        told = written;
        Ok(())
    })?;
    let (mut file, bytes) = output.finish().map_err(|error| file_error("could not write file", path, &error))?;
    on_progress(bytes - told);
    refuse_existing(path, terms.overwrite)?;
    file.complete()?;
    Ok(WrittenDump { bytes, script_bytes })
}

fn arguments(terms: &DumpTerms) -> Vec<String> {
    let mut arguments: Vec<String> = terms.sections.iter().map(|section| format!("--section={section}")).collect();
    let mut add = |wanted: bool, option: &str| arguments.extend(wanted.then(|| option.to_owned()));
    add(!terms.definitions, "--data-only");
    add(!terms.data, "--schema-only");
    add(!terms.owners, "--no-owner");
    add(!terms.privileges, "--no-privileges");
    add(!terms.include.is_empty(), "--strict-names");
    for pattern in &terms.include {
        arguments.push(format!("--table={}", pattern.for_pg_dump()));
    }
    if !terms.include.is_empty() {
        // A pattern of all schemas is not meant for those of the server.
        arguments.extend(
            ["pg_catalog", "information_schema", "pg_toast"].map(|schema| format!("--exclude-table={schema}.*")),
        );
    }
    arguments.extend(terms.exclude.iter().map(|pattern| format!("--exclude-table={}", pattern.for_pg_dump())));
    arguments
}

/// The file, and what compresses it.
enum Output {
    Plain(Counted),
    Gzip(flate2::write::GzEncoder<Counted>),
    Zstd(zstd::stream::write::Encoder<'static, Counted>),
}

struct Counted {
    file: NewFile,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let file = Counted { file: NewFile::create(path)?, bytes: 0 };
        Ok(match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            Some("zst" | "zstd") => Self::Zstd(
                zstd::stream::write::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)
                    .map_err(|error| file_error("could not write file", path, &error))?,
            ),
            _ => Self::Plain(file),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn written(&self) -> u64 {
        match self {
            Self::Plain(file) => file.bytes,
            Self::Gzip(encoder) => encoder.get_ref().bytes,
            Self::Zstd(encoder) => encoder.get_ref().bytes,
        }
    }

    fn finish(self) -> io::Result<(NewFile, u64)> {
        let counted = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        Ok((counted.file, counted.bytes))
    }
}
