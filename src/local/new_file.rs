//! A file that exists whole or not at all.

use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::{pg_guard, pg_sys};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

/// A new file. It is written under another name in the same directory, and renamed when it is complete. If it is
/// dropped before that, or the session is terminated, it is removed.
pub struct NewFile {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    mode: u32,
}

/// The mode of files that the server's COPY TO makes, which everybody may read.
const MODE: u32 = 0o644;

/// The temporary files of this process: more than one where a query that is being copied copies something itself.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl NewFile {
    /// # Errors
    /// The directory is missing or may not be written, or something other than a file has the name.
    pub fn create(path: &Path) -> Result<Self> {
        let (target, mode) = match fs::metadata(path) {
            Ok(existing) if existing.is_dir() => {
                let message = format!("\"{}\" is a directory", path.display());
                return Err(Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message));
            }
            Ok(existing) if !existing.is_file() => {
                let message = format!("\"{}\" is not a regular file", path.display());
                return Err(Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message)
                    .detail("The file is written under another name and then takes the place of an old one."));
            }
            Ok(existing) => {
                // A file that may not be written is not replaced, although the directory would allow it.
                OpenOptions::new().write(true).open(path).map_err(|error| cannot_open(path, &error))?;
                // The file that a link points to is replaced, not the link.
                let target = fs::canonicalize(path).map_err(|error| cannot_open(path, &error))?;
                (target, existing.permissions().mode() & 0o777)
            }
            Err(_) => (path.to_owned(), MODE),
        };
        let (temporary, file) = create_beside(&target).map_err(|error| cannot_open(path, &error))?;
        Ok(Self { target, temporary, file, mode })
    }

    /// Syncs the file and renames it to its final name.
    pub fn complete(&mut self) -> Result<()> {
        self.file
            .set_permissions(fs::Permissions::from_mode(self.mode))
            .map_err(|error| file_error("could not set permissions of file", &self.temporary, &error))?;
        let path = |path: &Path| {
            CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::internal("a file's name holds a NUL"))
        };
        let (temporary, target) = (path(&self.temporary)?, path(&self.target)?);
        // SAFETY: both are NUL-terminated; raises an error when it fails, and syncs file and directory.
        unsafe { pg_sys::durable_rename(temporary.as_ptr(), target.as_ptr(), PgLogLevel::ERROR as i32) };
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        unfinished.retain(|path| *path != self.temporary);
        // It has another name when it is complete.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    remove_at_exit();
    let directory = target.parent().unwrap_or(Path::new("/"));
    let process = std::process::id();
    for number in 0..1000 {
        // Hidden, and no name that a pattern for Parquet files matches.
        let path = directory.join(format!(".pgcopy-{process}-{number}.tmp"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => {
                UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
                return Ok((path, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes the files when a session is terminated: that runs the server's callbacks, but drops no Rust values.
fn remove_at_exit() {
    static REGISTERED: Once = Once::new();
    // SAFETY: registers a callback of this library, which stays loaded.
    REGISTERED.call_once(|| unsafe { pg_sys::on_proc_exit(Some(remove_unfinished), pg_sys::Datum::null()) });
}

#[pg_guard]
unsafe extern "C-unwind" fn remove_unfinished(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_file(path);
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> Error {
    let report = file_error("could not open file", path, error);
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            report.hint("COPY TO instructs the PostgreSQL server process to write a file. Its directory must exist.")
        }
        _ => report,
    }
}

/// Returns the error of a file in the server's words, with the SQLSTATE of `errcode_for_file_access`.
pub fn file_error(what: &str, path: &Path, error: &io::Error) -> Error {
    let sqlstate = match error.kind() {
        io::ErrorKind::NotFound => PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
        }
        io::ErrorKind::AlreadyExists => PgSqlErrorCode::ERRCODE_DUPLICATE_FILE,
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PgSqlErrorCode::ERRCODE_DISK_FULL,
        _ => PgSqlErrorCode::ERRCODE_IO_ERROR,
    };
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    Error::new(sqlstate, format!("{what} \"{}\": {reason}", path.display()))
}
