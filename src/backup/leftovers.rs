//! What processes that were killed have left in a directory of backups and in its WAL archive.

use super::archive::archives_into;
use super::files;
use super::prune::PrunedEntry;
use crate::error::Result;
use crate::local::new_file::file_error;
use crate::local::{disk, interrupts, new_directory};
use backups::beside_wal::Beside;
use backups::name;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Backups that were never complete, and copies of backups. `on_bytes` is told of what has been removed.
pub(super) fn unfinished_directories(
    directory: &Path,
    dry_run: bool,
    on_bytes: &dyn Fn(u64),
) -> Result<Vec<PrunedEntry>> {
    let unreadable = |error: std::io::Error| file_error("could not read directory", directory, &error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        interrupts::check();
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(whole_name) = name.strip_suffix(name::INCOMPLETE) else { continue };
        let is_ours = name::is_valid(whole_name) || whole_name.starts_with(".validate-");
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if !new_directory::is_unfinished(&path) {
            continue;
        }
        let bytes = disk::bytes_below(&path, &mut interrupts::check);
        let failed = |error: std::io::Error| file_error("could not remove directory", &path, &error);
        let is_free = if dry_run {
            new_directory::is_abandoned(&path)
        } else {
            match new_directory::remove_abandoned(&path) {
                // Another session has removed it meanwhile, or completed it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                removed => removed.map_err(failed)?,
            }
        };
        if is_free && !dry_run {
            on_bytes(bytes);
        }
        let reason = if is_free { "nobody writes it any more" } else { "a session is just writing it" };
        entries.push(PrunedEntry { entry: name.clone(), keep: !is_free, bytes, reason: reason.to_owned() });
    }
    Ok(entries)
}

/// Copies of segments that the archiver of this server has begun and not ended. The server leaves them there when it crashes.
pub(super) fn unfinished_segments(archive: &Path, dry_run: bool, on_bytes: &dyn Fn(u64)) -> Result<Vec<PrunedEntry>> {
    /// What stands in the names of such files for a segment of any size.
    const ANY_SIZE: u64 = 1 << 24;
    let mut entries = Vec::new();
    // Only of its own archiver this server knows that it is gone. Another one may be that of another machine.
    let is_own = archives_into(archive);
    for entry in fs::read_dir(archive).into_iter().flatten().flatten() {
        interrupts::check();
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(Beside::Unfinished(process)) = Beside::parse(&name, ANY_SIZE) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let (keep, reason) = match (is_own, may_run(process)) {
            (false, _) => (true, "this server does not archive there, and another one may be writing it"),
            (true, true) => (true, "the process that writes it may be running"),
            (true, false) => (false, "the archiver that wrote it is gone"),
        };
        if !keep && !dry_run {
            files::remove(&entry.path())?;
            on_bytes(metadata.len());
        }
        entries.push(PrunedEntry { entry: name, keep, bytes: metadata.len(), reason: reason.to_owned() });
    }
    Ok(entries)
}

/// Returns whether there is a process of this number, whatever it is by now.
fn may_run(process: i32) -> bool {
    let of = |name: &str| Path::new("/proc").join(name).exists();
    of(&process.to_string()) || !of("self")
}
