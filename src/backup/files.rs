//! Files of backups: read within bounds, written whole, unpacked and copied so that a cancel ends it.

use crate::error::{Error, Result};
use crate::local::interrupts;
use crate::local::new_file::file_error;
use backups::manifest::{self, Manifest};
use backups::record::{Format, Record};
use backups::sums::{self, Digests};
use backups::tar::{Compression, TarError, unpack};
use pgrx::prelude::*;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

/// Reads a file that must not be bigger than so many bytes.
pub(super) fn read_capped(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too big"));
    }
    Ok(bytes)
}

/// Reads the first bytes of a file.
pub(super) fn read_start(path: &Path, bytes: usize) -> io::Result<Vec<u8>> {
    let mut start = vec![0; bytes];
    open_regular(path)?.read_exact(&mut start)?;
    Ok(start)
}

/// Opens a file, and nothing that would make the server wait.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

pub(super) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    written().map_err(|error| file_error("could not write file", path, &error))
}

pub(super) fn append(path: &Path, content: &[u8]) -> Result<()> {
    let written = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    written().map_err(|error| file_error("could not write file", path, &error))
}

pub(super) fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| file_error("could not create directory", path, &error))
}

/// Removes what may not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("could not remove file", path, &error)),
        _ => Ok(()),
    }
}

/// Makes a symbolic link in the place of an old one, or of an empty directory.
pub(super) fn link_to(link: &Path, target: &Path) -> Result<()> {
    let old = match fs::symlink_metadata(link) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(link),
        Ok(_) => fs::remove_file(link),
        Err(_) => Ok(()),
    };
    old.and_then(|()| symlink(target, link)).map_err(|error| file_error("could not link", link, &error))
}

pub(super) fn digest(content: &[u8]) -> String {
    openssl::sha::sha256(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the checksums beside a backup; `None` where there are none.
pub(super) fn read_sums(backup: &Path) -> Option<std::result::Result<Digests, String>> {
    match read_capped(&backup.join(sums::FILE), sums::MOST_BYTES) {
        Ok(content) => Some(sums::parse(&content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

/// Reads the manifest of the backup whose data is in this directory.
///
/// # Errors
/// With what is wrong with it.
pub(super) fn read_manifest(data: &Path) -> std::result::Result<Manifest, String> {
    let path = data.join("backup_manifest");
    let file = open_regular(&path).map_err(|error| format!("\"backup_manifest\": {error}"))?;
    let mut lines = 0_u32;
    manifest::read(BufReader::with_capacity(1 << 16, file), &mut || {
        lines = lines.wrapping_add(1);
        if lines.is_multiple_of(1024) {
            interrupts::check();
        }
    })
    .map_err(|reason| format!("\"backup_manifest\": {reason}"))
}

/// The names of the archives that a backup consists of; none in the plain format.
pub(super) fn archives(record: &Record) -> Vec<String> {
    if record.format == Format::Plain {
        return Vec::new();
    }
    let end = match record.compress.as_str() {
        "gzip" => ".tar.gz",
        "zstd" => ".tar.zst",
        "lz4" => ".tar.lz4",
        _ => ".tar",
    };
    // pg_basebackup compresses WAL with gzip alone.
    let wal = if record.compress == "gzip" { "pg_wal.tar.gz" } else { "pg_wal.tar" };
    let spaces = record.tablespaces.iter().map(|space| format!("{}{end}", space.oid));
    [format!("base{end}"), wal.to_owned()].into_iter().chain(spaces).collect()
}

/// Unpacks an archive. The outer error is one of this server's disk; the inner one says what is wrong with the archive.
pub(super) fn unpack_archive(
    path: &Path,
    target: &Path,
    on_bytes: &dyn Fn(u64),
) -> Result<std::result::Result<(), String>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((_, compression)) = Compression::of_archive(name) else {
        return Ok(Err("its name is not one of an archive".to_owned()));
    };
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error.to_string())),
    };
    make_directory(target)?;
    let unpacked = unpack(BufReader::with_capacity(1 << 17, file), compression, target, false, &mut |bytes| {
        interrupts::check();
        on_bytes(bytes);
    });
    match unpacked {
        Ok(()) => Ok(Ok(())),
        Err(TarError::Archive(reason)) => Ok(Err(reason)),
        Err(TarError::Output(path, error)) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(Err(format!("it holds \"{}\" twice", path.display())))
        }
        Err(TarError::Output(path, error)) => Err(file_error("could not write file", &path, &error)),
    }
}

/// Copies files and directories below a directory, without links.
pub(super) fn copy_below(from: &Path, to: &Path, on_bytes: &dyn Fn(u64)) -> Result<()> {
    const DEEPEST: usize = 64;
    copy_level(from, to, DEEPEST, on_bytes)
}

fn copy_level(from: &Path, to: &Path, depth: usize, on_bytes: &dyn Fn(u64)) -> Result<()> {
    let unreadable = |error: io::Error| file_error("could not read directory", from, &error);
    if depth == 0 {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the directories of the backup are too deep"));
    }
    make_directory(to)?;
    for entry in fs::read_dir(from).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        interrupts::check();
        let kind = entry.file_type().map_err(unreadable)?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_level(&entry.path(), &target, depth - 1, on_bytes)?;
        } else if kind.is_file() {
            copy_file(&entry.path(), &target, on_bytes)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, on_bytes: &dyn Fn(u64)) -> Result<()> {
    let mut input = open_regular(from).map_err(|error| file_error("could not read file", from, &error))?;
    let failed = |error: io::Error| file_error("could not write file", to, &error);
    let mut output = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let mut chunk = vec![0_u8; 1 << 18];
    loop {
        interrupts::check();
        let length = input.read(&mut chunk).map_err(|error| file_error("could not read file", from, &error))?;
        if length == 0 {
            return Ok(());
        }
        output.write_all(&chunk[..length]).map_err(failed)?;
        on_bytes(length as u64);
    }
}
