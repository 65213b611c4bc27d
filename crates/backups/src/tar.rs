//! Unpacks the archives of `pg_basebackup`: files and directories with plain names, and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Where an archive stopped being one, or a file could not be written.
#[derive(Debug)]
pub enum TarError {
    /// The archive cannot be read, or is not what a server sends.
    Archive(String),
    /// A file of this name could not be written.
    Output(PathBuf, io::Error),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Archive(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends early".into(),
            _ => error.to_string(),
        })
    }
}

/// The ends of the names of archives, with the compression that they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Lz4,
    Zstd,
}

impl Compression {
    /// Takes the name of an archive apart; `None` where it is none.
    pub fn of_archive(name: &str) -> Option<(&str, Self)> {
        let known = [(".tar", Self::None), (".tar.gz", Self::Gzip), (".tar.lz4", Self::Lz4), (".tar.zst", Self::Zstd)];
        known.into_iter().find_map(|(end, compression)| Some((name.strip_suffix(end)?, compression)))
    }

    /// As `pg_basebackup` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The command that reads an archive of this kind from its name, for people.
    pub fn unpack_command(self) -> &'static str {
        match self {
            Self::None => "cat",
            Self::Gzip => "gzip -dc",
            Self::Lz4 => "lz4 -dc",
            Self::Zstd => "zstd -dc",
        }
    }

    fn reader<'a>(self, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            // pg_basebackup compresses WAL in several pieces.
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
        })
    }
}

const BLOCK: usize = 512;

/// Unpacks an archive into a directory that exists. `on_bytes` is called with what was read of its content, and may not return.
/// With `sync`, files are on the disk when this returns.
///
/// # Errors
/// When the archive is damaged, or holds anything but files and directories below the directory that are not there yet.
pub fn unpack(
    input: impl Read,
    compression: Compression,
    target: &Path,
    sync: bool,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<(), TarError> {
    let mut input = compression.reader(input)?;
    let mut header = [0_u8; BLOCK];
    loop {
        input.read_exact(&mut header)?;
        if header.iter().all(|&byte| byte == 0) {
            break;
        }
        let entry = Entry::of(&header).map_err(TarError::Archive)?;
        let path = target.join(&entry.path);
        match entry.kind {
            Kind::Directory => make_directory(&path)?,
            Kind::File => {
                if let Some(parent) = path.parent() {
                    make_directory(parent)?;
                }
                write_file(&mut input, &path, entry.size, sync, on_bytes)?;
            }
            Kind::Link => {}
        }
    }
    // The second block of the end, and what the compression has to check.
    input.read_exact(&mut header)?;
    let mut rest = [0_u8; 1 << 14];
    loop {
        let length = input.read(&mut rest)?;
        if length == 0 {
            return Ok(());
        }
        if rest[..length].iter().any(|&byte| byte != 0) {
            return Err(TarError::Archive("something follows its end".into()));
        }
        on_bytes(0);
    }
}

fn make_directory(path: &Path) -> Result<(), TarError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| TarError::Output(path.to_owned(), error))
}

fn write_file(
    input: &mut dyn Read,
    path: &Path,
    size: u64,
    sync: bool,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<(), TarError> {
    let failed = |error: io::Error| TarError::Output(path.to_owned(), error);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let mut chunk = vec![0_u8; 1 << 16];
    let mut left = size;
    while left > 0 {
        let length = left.min(chunk.len() as u64) as usize;
        input.read_exact(&mut chunk[..length])?;
        file.write_all(&chunk[..length]).map_err(failed)?;
        left -= length as u64;
        on_bytes(length as u64);
    }
    let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    input.read_exact(&mut chunk[..padding as usize])?;
    if sync {
        file.sync_all().map_err(failed)?;
    }
    on_bytes(0);
    Ok(())
}

enum Kind {
    File,
    Directory,
    /// A symbolic link to a tablespace. Where tablespaces go is decided by those who restore.
    Link,
}

struct Entry {
    path: PathBuf,
    kind: Kind,
    size: u64,
}

impl Entry {
    fn of(header: &[u8; BLOCK]) -> Result<Self, String> {
        if checksum(header) != number(&header[148..156])? {
            return Err("the checksum of an entry is wrong".into());
        }
        let name = text(&header[..100])?;
        let path = match text(&header[345..500])? {
            "" => PathBuf::from(name),
            prefix => Path::new(prefix).join(name),
        };
        let parts: Vec<Component<'_>> = path.components().collect();
        let plain = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let kind = match header[156] {
            b'0' | 0 => Kind::File,
            b'5' => Kind::Directory,
            b'2' if parts.first() == Some(&Component::Normal("pg_tblspc".as_ref())) => Kind::Link,
            other => return Err(format!("an entry is of the kind {:?}", char::from(other))),
        };
        let is_directory = matches!(kind, Kind::Directory);
        if !parts.iter().all(plain) || (!is_directory && !matches!(parts.last(), Some(Component::Normal(_)))) {
            return Err("the name of an entry leads out of the directory".into());
        }
        Ok(Self { path, kind, size: number(&header[124..136])? })
    }
}

fn text(field: &[u8]) -> Result<&str, String> {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    std::str::from_utf8(&field[..end]).map_err(|_| "a name is not a text".into())
}

/// Octal digits, or a binary number where the first bit is set.
fn number(field: &[u8]) -> Result<u64, String> {
    let wrong = || "a number in an entry cannot be read".to_owned();
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x7f);
        for &byte in &field[1..] {
            value = value.checked_mul(256).ok_or_else(wrong)? | u64::from(byte);
        }
        return Ok(value);
    }
    let digits = std::str::from_utf8(field).map_err(|_| wrong())?.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Ok(0);
    }
    let is_octal = digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    is_octal.then(|| u64::from_str_radix(digits, 8).ok()).flatten().ok_or_else(wrong)
}

/// The sum of the bytes, with spaces in the place of the sum.
fn checksum(header: &[u8; BLOCK]) -> u64 {
    let bytes = header.iter().enumerate();
    bytes.map(|(position, &byte)| if (148..156).contains(&position) { u64::from(b' ') } else { u64::from(byte) }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = [0_u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = kind;
        let sum = format!("{:06o}\0 ", checksum(&header));
        header[148..156].copy_from_slice(sum.as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pgcopy-tar-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = entries.concat();
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn files_and_directories_arrive() {
        let target = directory("whole");
        let bytes = archive(&[
            entry("backup_label", b'0', b"label"),
            entry("base/", b'5', b""),
            entry("base/1/2", b'0', &[7; 1000]),
            entry("pg_tblspc/16400", b'2', b""),
        ]);
        let mut read = 0;
        unpack(bytes.as_slice(), Compression::None, &target, true, &mut |bytes| read += bytes).unwrap();
        assert_eq!(fs::read(target.join("base/1/2")).unwrap(), [7; 1000]);
        assert_eq!(read, 1005);
        assert!(!target.join("pg_tblspc").exists());
        // Nothing is overwritten.
        assert!(unpack(bytes.as_slice(), Compression::None, &target, false, &mut |_| {}).is_err());
        fs::remove_dir_all(&target).unwrap();
        for end in (0..bytes.len()).step_by(61) {
            fs::create_dir(&target).unwrap();
            assert!(unpack(&bytes[..end], Compression::None, &target, false, &mut |_| {}).is_err(), "{end}");
            fs::remove_dir_all(&target).unwrap();
        }
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let target = directory("hostile");
        for (name, kind) in [
            ("../x", b'0'),
            ("/tmp/x", b'0'),
            ("a/../../x", b'0'),
            ("link", b'2'),
            ("link", b'1'),
            ("device", b'3'),
            ("long", b'L'),
            (".", b'0'),
            ("", b'0'),
        ] {
            let bytes = archive(&[entry(name, kind, b"")]);
            assert!(unpack(bytes.as_slice(), Compression::None, &target, false, &mut |_| {}).is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        let mut wrong = archive(&[entry("a", b'0', b"")]);
        wrong[3] ^= 1;
        assert!(unpack(wrong.as_slice(), Compression::None, &target, false, &mut |_| {}).is_err());
        let mut huge = entry("a", b'0', b"");
        huge[124..136].copy_from_slice(&[0xff; 12]);
        assert!(unpack(huge.as_slice(), Compression::None, &target, false, &mut |_| {}).is_err());
        fs::remove_dir_all(&target).unwrap();
    }

    #[test]
    fn compressed_archives() {
        let plain = archive(&[entry("a", b'0', &[1; 100_000])]);
        let gzip = |bytes: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(bytes).unwrap();
            gzip.finish().unwrap()
        };
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&plain).unwrap();
        for (name, bytes) in [
            ("base.tar", plain.clone()),
            ("base.tar.gz", gzip(&plain)),
            ("pg_wal.tar.gz", [gzip(&plain[..700]), gzip(&plain[700..])].concat()),
            ("base.tar.lz4", lz4.finish().unwrap()),
            ("base.tar.zst", zstd::stream::encode_all(plain.as_slice(), 1).unwrap()),
        ] {
            let (base, compression) = Compression::of_archive(name).unwrap();
            assert_eq!(base, name.split('.').next().unwrap());
            let target = directory(name);
            unpack(bytes.as_slice(), compression, &target, false, &mut |_| {}).unwrap();
            assert_eq!(fs::read(target.join("a")).unwrap(), [1; 100_000], "{name}");
            let target_of_part = directory(&format!("{name}-part"));
            // The very end of an LZ4 frame says nothing more.
            let part = &bytes[..bytes.len() - if compression == Compression::Lz4 { 100 } else { 1 }];
            assert!(unpack(part, compression, &target_of_part, false, &mut |_| {}).is_err(), "{name}");
            fs::remove_dir_all(&target).unwrap();
            fs::remove_dir_all(&target_of_part).unwrap();
        }
        assert_eq!(Compression::of_archive("backup_manifest"), None);
    }
}
