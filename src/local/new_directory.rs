//! A directory that has its name when it is complete, and not before.

use super::child;
use super::new_file::file_error;
use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::{pg_guard, pg_sys};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

/// A new directory. It is filled under another name, and renamed when it is complete. If it is dropped before that, or the
/// session is terminated, it is removed.
pub struct NewDirectory {
    target: PathBuf,
    temporary: PathBuf,
    /// Whether it takes the place of an empty directory.
    over_empty: bool,
    /// Tells other sessions that somebody writes here.
    _lock: File,
}

/// The end of the names of directories that are not complete.
const SUFFIX: &str = ".incomplete";
/// The file in such a directory that is locked by those who fill it.
const LOCK: &str = "pgcopy.lock";

/// The directories of this process that are not complete.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl NewDirectory {
    /// What a process has left that was killed is removed.
    ///
    /// # Errors
    /// The name is taken, or is just being taken by another session, or the parent may not be written.
    pub fn create(target: &Path) -> Result<Self> {
        Self::create_as(target, false)
    }

    /// The same where an empty directory may have the name until this one is complete.
    ///
    /// # Errors
    /// As above.
    pub fn create_over_empty(target: &Path) -> Result<Self> {
        Self::create_as(target, true)
    }

    fn create_as(target: &Path, over_empty: bool) -> Result<Self> {
        remove_at_exit();
        refuse_taken(target, over_empty)?;
        let temporary = unfinished_name(target);
        let lock = Self::take(&temporary)?.ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                format!("another session is just making \"{}\"", target.display()),
            )
        })?;
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(temporary.clone());
        let directory = Self { target: target.to_owned(), temporary, over_empty, _lock: lock };
        directory.clear()?;
        Ok(directory)
    }

    /// Makes the directory, or takes one over that was left. Returns the lock; `None` where somebody else has it.
    fn take(temporary: &Path) -> Result<Option<File>> {
        const MOST_TRIES: u32 = 10;
        let failed = |error: io::Error| file_error("could not create directory", temporary, &error);
        let mut tries = 0;
        loop {
            tries += 1;
            match DirBuilder::new().mode(0o700).create(temporary) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !is_unfinished(temporary) {
                        return Err(exists(temporary));
                    }
                }
                Err(error) => return Err(failed(error)),
            }
            match lock(temporary, is_empty(temporary)) {
                // Somebody has removed the directory, which was empty until now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < MOST_TRIES => {}
                taken => return taken.map_err(failed),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Removes what somebody has left here.
    fn clear(&self) -> Result<()> {
        let failed = |error: io::Error| file_error("could not clear directory", &self.temporary, &error);
        for entry in fs::read_dir(&self.temporary).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            super::interrupts::check();
            if entry.file_name() == LOCK {
                continue;
            }
            let is_directory = entry.file_type().map_err(failed)?.is_dir();
            let removed = if is_directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed.map_err(failed)?;
        }
        Ok(())
    }

    /// Gives a directory within this one the name. The rest is removed.
    pub fn complete_part(self, part: &Path) -> Result<()> {
        refuse_taken(&self.target, self.over_empty)?;
        let failed = |error: io::Error| file_error("could not rename directory", part, &error);
        super::disk::sync_file_system(part).map_err(failed)?;
        fs::rename(part, &self.target).map_err(failed)?;
        super::disk::sync(self.target.parent().unwrap_or(Path::new("/"))).map_err(failed)
    }

    /// Gives the directory its name. Its files must be on the disk; its own entries and its name are there afterwards.
    pub fn complete(self) -> Result<()> {
        let failed = |error: io::Error| file_error("could not rename directory", &self.temporary, &error);
        fs::remove_file(self.temporary.join(LOCK)).map_err(failed)?;
        super::disk::sync(&self.temporary).map_err(failed)?;
        refuse_taken(&self.target, self.over_empty)?;
        fs::rename(&self.temporary, &self.target).map_err(failed)?;
        super::disk::sync(self.target.parent().unwrap_or(Path::new("/"))).map_err(failed)
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        unfinished.retain(|path| *path != self.temporary);
        // It has another name when it is complete.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// A directory for what nobody needs after the call, and nobody else may read. Dropping it removes it, and so does the end of the
/// session.
pub struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    pub fn create(parent: &Path) -> Result<Self> {
        const MOST_TRIES: u32 = 1000;
        remove_at_exit();
        let failed = |error: io::Error| file_error("could not create directory in", parent, &error);
        for number in 0..MOST_TRIES {
            let path = parent.join(format!("pgcopy-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
                    return Ok(Self(path));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes an unfinished directory that nobody fills any more. False where somebody does, or may.
pub fn remove_abandoned(temporary: &Path) -> io::Result<bool> {
    // Who is just beginning to fill it makes it again.
    if is_empty(temporary) {
        return match fs::remove_dir(temporary) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            removed => removed.map(|()| true),
        };
    }
    match lock(temporary, false)? {
        Some(_held) => fs::remove_dir_all(temporary).map(|()| true),
        None => Ok(false),
    }
}

/// Returns whether a directory is one that was to get a name when complete, and not somebody's own.
pub fn is_unfinished(temporary: &Path) -> bool {
    fs::symlink_metadata(temporary.join(LOCK)).is_ok_and(|metadata| metadata.is_file()) || is_empty(temporary)
}

/// Returns whether nothing is in a directory: so it is for a moment, and stays where its maker is killed then.
pub fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// Returns whether nobody fills an unfinished directory any more.
pub fn is_abandoned(temporary: &Path) -> bool {
    if is_empty(temporary) {
        return true;
    }
    let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(temporary.join(LOCK));
    file.is_ok_and(|file| file.try_lock().is_ok())
}

/// Has a complete directory look like one that was abandoned. Returns its name from then on.
pub fn abandon(directory: &Path) -> io::Result<PathBuf> {
    const MOST_TRIES: u32 = 1000;
    let mut temporary = unfinished_name(directory);
    // What has the name already may be somebody's own, or not to be removed.
    for number in 1..MOST_TRIES {
        if fs::symlink_metadata(&temporary).is_err() || remove_abandoned(&temporary).unwrap_or(false) {
            break;
        }
        let mut name = directory.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        temporary = unfinished_name(&directory.with_file_name(name));
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK))?;
    fs::rename(directory, &temporary)?;
    Ok(temporary)
}

/// Takes the lock of an unfinished directory; `None` where somebody else has it. A directory without one is not ours.
fn lock(temporary: &Path, is_new: bool) -> io::Result<Option<File>> {
    let path = temporary.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(is_new).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Who held it before may have removed or renamed the directory.
    let is_same =
        fs::symlink_metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino()));
    Ok(is_same.then_some(file))
}

fn unfinished_name(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    target.with_file_name(name)
}

fn refuse_taken(target: &Path, over_empty: bool) -> Result<()> {
    let is_free = match fs::symlink_metadata(target) {
        Ok(metadata) => over_empty && metadata.is_dir() && is_empty(target),
        Err(_) => true,
    };
    if is_free { Ok(()) } else { Err(exists(target)) }
}

fn exists(target: &Path) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_DUPLICATE_FILE, format!("\"{}\" exists already", target.display()))
}

/// Removes the directories when a session is terminated: that runs the server's callbacks, but drops no Rust values.
fn remove_at_exit() {
    static REGISTERED: Once = Once::new();
    // SAFETY: registers a callback of this library, which stays loaded.
    REGISTERED.call_once(|| unsafe { pg_sys::on_proc_exit(Some(remove_unfinished), pg_sys::Datum::null()) });
}

#[pg_guard]
unsafe extern "C-unwind" fn remove_unfinished(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    // A program that fills one must have ended.
    child::end_all();
    for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_dir_all(path);
    }
}
