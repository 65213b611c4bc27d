//! What the operating system knows of the disks that files are on.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the bytes that can still be written to the file system of a directory.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let mut told = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is NUL-terminated, and the structure is filled where the call succeeds.
    let told = unsafe {
        if libc::statvfs(path.as_ptr(), told.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        told.assume_init()
    };
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Returns whether files may be made in a directory.
pub fn is_writable(directory: &Path) -> bool {
    let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path is NUL-terminated.
    unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) == 0 }
}

/// Returns whether two paths are on the same file system; false where that cannot be told.
pub fn is_same_device(one: &Path, other: &Path) -> bool {
    let device = |path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(one).is_some_and(|one| device(other) == Some(one))
}

/// Makes the entries of a directory, or the content of a file, last through a power cut.
pub fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Returns the bytes of all files below a directory. What vanishes meanwhile does not count. `check` is called for each.
pub fn bytes_below(directory: &Path, check: &mut dyn FnMut()) -> u64 {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        check();
        let Ok(metadata) = entry.metadata() else { continue };
        let more = if metadata.is_dir() { bytes_below(&entry.path(), check) } else { metadata.len() };
        bytes = bytes.saturating_add(more);
    }
    bytes
}

/// Writes all that the file system of a path still holds in memory to its disk.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let file = File::open(path)?;
    // SAFETY: a descriptor that is open.
    match unsafe { libc::syncfs(file.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
