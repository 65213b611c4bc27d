//! Files to be loaded, and files of this machine.

use crate::error::{Error, Result};
use crate::local::interrupts;
use bytes::Bytes;
use datafiles::hive;
use datafiles::pattern::{Pattern, Progress};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// The name for people: an absolute path, or a URL without its query.
    pub name: String,
    pub bytes: u64,
    /// The columns and their values, in order, that are named by the folders below the given directory, or below the
    /// part of a pattern without wildcards.
    pub partition: Vec<(String, Option<String>)>,
    pub(super) stamp: Stamp,
}

impl DataFile {
    /// Returns the keys of the folders that the file is in.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.partition.iter().map(|(key, _)| key.as_str())
    }
}

/// Marks that change with a file's content, as far as one can know without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The time of the file's last change, in the finest unit that every interface gives.
    pub modified: i64,
    /// Further marks that tell the file from others that may take its name.
    pub tag: Option<String>,
}

/// Reads pieces of a file.
///
/// Reading blocks, but a cancel raises its ERROR while the network hangs: call it on the server's main thread, and not
/// from inside of another runtime. Errors do not name the file; [`error_of`] makes them the user's.
pub use parquetpages::Source as RandomAccess;

/// Returns the error for the user of a failed [`RandomAccess::read`].
pub fn error_of(file: &str, error: &io::Error) -> Error {
    let mut told = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) => inner.clone(),
        None => Error::new(sqlstate_of(error), reason(error)),
    };
    told.message = format!("could not read file \"{file}\": {}", told.message);
    told
}

/// Wraps an error that [`error_of`] returns as it is.
pub(super) fn carried(error: Error) -> io::Error {
    io::Error::other(error)
}

pub(super) fn changed() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "it has changed since it was first looked at")
        .hint("Repeat the call when nobody writes to the file.")
}

/// Returns the SQLSTATE that the server gives to errors of files.
fn sqlstate_of(error: &io::Error) -> PgSqlErrorCode {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
        io::ErrorKind::PermissionDenied => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        io::ErrorKind::UnexpectedEof => PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT,
        io::ErrorKind::OutOfMemory => PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
        _ => PgSqlErrorCode::ERRCODE_IO_ERROR,
    }
}

/// Returns the system's message without the number that Rust adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(sqlstate_of(error), format!("could not {action} \"{}\": {}", path.display(), reason(error)))
}

fn not_regular(path: &Path) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, format!("\"{}\" is not a regular file", path.display()))
}

pub(super) fn nothing_found(path: &str, is_pattern: bool) -> Error {
    let error = |message| Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, message);
    if is_pattern {
        error(format!("no file matches \"{path}\"")).hint(
            "Wildcards leave out names that begin with \".\" or \"_\"; of a folder that matches, files named *.parquet \
             or *.parq are taken.",
        )
    } else {
        error(format!("\"{path}\" holds no Parquet file")).hint(
            "Of a directory, files named *.parquet or *.parq are taken, of every depth, unless a name on the way begins \
             with \".\" or \"_\". Give a pattern for files of other names.",
        )
    }
}

/// Returns the columns that are named by folders on the way to a file.
pub(super) fn partition(file: &str, folders: &[&str]) -> Result<Vec<hive::Value>> {
    hive::partition(folders.iter().copied()).map_err(|error| {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, error.to_string())
            .detail(format!("The file is \"{file}\"."))
    })
}

/// Expands an absolute path of this machine: a file, a directory, or a pattern.
pub(super) fn find_local(path: &str) -> Result<Vec<DataFile>> {
    let mut found = Vec::new();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let root = Folder::root(Path::new(path), &metadata);
            walk(&Pattern::directory(path), root, &mut found)?;
        }
        Ok(metadata) => found.push(data_file(Path::new(path), &metadata, &[])?),
        Err(error) => {
            let pattern = Pattern::parse(path);
            if pattern.is_literal() {
                return Err(failed("open file", Path::new(path), &error).hint(
                    "The path is one of the server's machine, where it is read as the server's operating-system user.",
                ));
            }
            let base = Path::new(pattern.base());
            match fs::metadata(base) {
                Ok(metadata) if metadata.is_dir() => walk(&pattern, Folder::root(base, &metadata), &mut found)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("open directory", base, &error)),
            }
            if found.is_empty() {
                return Err(nothing_found(path, true));
            }
        }
    }
    if found.is_empty() {
        return Err(nothing_found(path, false));
    }
    Ok(found)
}

/// A folder to be searched.
struct Folder {
    path: PathBuf,
    /// The names from the base of the pattern to this folder.
    names: Vec<String>,
    /// The identities of this folder and of those above it: a link may lead back up.
    identities: Vec<(u64, u64)>,
    progress: Option<Progress>,
}

impl Folder {
    fn root(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.into(),
            names: Vec::new(),
            identities: vec![(metadata.dev(), metadata.ino())],
            progress: None,
        }
    }
}

fn walk(pattern: &Pattern, root: Folder, found: &mut Vec<DataFile>) -> Result<()> {
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        interrupts::check();
        let progress = folder.progress.unwrap_or_else(|| pattern.start());
        let entries = fs::read_dir(&folder.path).map_err(|error| failed("open directory", &folder.path, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed("read directory", &folder.path, &error))?;
            let path = entry.path();
            let name = entry.file_name();
            let lossy_name = name.to_string_lossy();
            let takes = pattern.takes(&progress, &lossy_name);
            let enters = pattern.enter(&progress, &lossy_name);
            if !takes && enters.is_none() {
                continue;
            }
            // This follows links.
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                // A link to nothing, which need not have led to a folder.
                Err(error) if !takes && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("open file", &path, &error)),
            };
            // An error is better than a file that is left out.
            let name = name.to_str().ok_or_else(|| {
                Error::new(
                    PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
                    format!("the file name \"{}\" is not valid UTF-8", path.display()),
                )
            })?;
            if metadata.is_dir() {
                let identity = (metadata.dev(), metadata.ino());
                if let Some(progress) = enters
                    && !folder.identities.contains(&identity)
                {
                    folders.push(Folder {
                        path,
                        names: folder.names.iter().cloned().chain([name.to_owned()]).collect(),
                        identities: folder.identities.iter().copied().chain([identity]).collect(),
                        progress: Some(progress),
                    });
                }
            } else if takes {
                let names: Vec<&str> = folder.names.iter().map(String::as_str).collect();
                found.push(data_file(&path, &metadata, &names)?);
            }
        }
    }
    Ok(())
}

fn data_file(path: &Path, metadata: &Metadata, folders: &[&str]) -> Result<DataFile> {
    if !metadata.is_file() {
        return Err(not_regular(path));
    }
    let name = path.to_str().expect("paths are made of text").to_owned();
    let partition = partition(&name, folders)?;
    Ok(DataFile { name, bytes: metadata.len(), partition, stamp: stamp(metadata) })
}

fn stamp(metadata: &Metadata) -> Stamp {
    let modified = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
    Stamp { modified, tag: Some(metadata.ino().to_string()) }
}

/// A file of this machine.
struct LocalFile {
    file: File,
    length: u64,
    stamp: Stamp,
}

pub(super) fn open_local(data_file: &DataFile) -> Result<impl RandomAccess + 'static> {
    let path = Path::new(&data_file.name);
    // Opening a pipe that has taken the file's place must not block.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| failed("open file", path, &error))?;
    let metadata = file.metadata().map_err(|error| failed("stat file", path, &error))?;
    if !metadata.is_file() {
        return Err(not_regular(path));
    }
    let file = LocalFile { file, length: data_file.bytes, stamp: data_file.stamp.clone() };
    file.check(&metadata).map_err(|error| error_of(&data_file.name, &error))?;
    Ok(file)
}

impl LocalFile {
    fn check(&self, metadata: &Metadata) -> io::Result<()> {
        let same = metadata.len() == self.length && self.stamp == stamp(metadata);
        if same { Ok(()) } else { Err(carried(changed())) }
    }
}

impl RandomAccess for LocalFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        within(offset, length, self.length)?;
        if !parquetpages::can_be_had(length) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut buffer = vec![0; length];
        let outcome = self.file.read_exact_at(&mut buffer, offset);
        // A change is reported before the outcome: a file that is being cut off ends early, and the change is the
        // reason.
        self.check(&self.file.metadata()?)?;
        outcome?;
        Ok(buffer.into())
    }
}

/// Refuses ranges beyond the end of a file, which a file may claim.
pub(super) fn within(offset: u64, length: usize, total: u64) -> io::Result<()> {
    if offset.checked_add(length as u64).is_some_and(|end| end <= total) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a part of it lies beyond its end"))
}
