//! Files that are no plain script, told by their first bytes.

/// How many bytes of a file tell its format.
pub const FIRST_BYTES: usize = 512;

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    /// One that is not taken, with its name.
    Other(&'static str),
}

/// What a file that is not compressed holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A script, as far as its first bytes tell.
    Plain,
    /// `pg_dump --format=custom`; the table of contents of `--format=directory` has the same form.
    Custom,
    /// `pg_dump --format=tar`, or any other archive of that kind.
    Tar,
    /// MySQL's `mysqldump`, or that of MariaDB.
    MySql,
    /// What the shell of SQLite prints for `.dump`.
    Sqlite,
    /// UTF-16, which no client of PostgreSQL writes.
    Utf16,
}

impl Compression {
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a frame to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Other("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Other("xz"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Other("lz4"),
            [b'P', b'K', 3, 4, ..] => Self::Other("zip"),
            _ => Self::None,
        }
    }
}

impl Format {
    pub fn of(first: &[u8]) -> Self {
        const TAR_MARK: usize = 257;
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
        let begins =
            |words: &str| text.len() >= words.len() && text[..words.len()].eq_ignore_ascii_case(words.as_bytes());
        if first.starts_with(b"PGDMP") {
            Self::Custom
        } else if first.get(TAR_MARK..TAR_MARK + 5) == Some(b"ustar") {
            Self::Tar
        } else if matches!(first, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
            Self::Utf16
        } else if ["-- MySQL dump", "-- MariaDB dump", "/*!999999\\- enable the sandbox", "-- mysqldump", "/*M!999999"]
            .iter()
            .any(|words| begins(words))
        {
            Self::MySql
        } else if begins("PRAGMA foreign_keys=") {
            Self::Sqlite
        } else {
            Self::Plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(Format::of(b"PGDMP\x01\x0e"), Format::Custom);
        let mut tar = [0_u8; FIRST_BYTES];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Format::of(&tar), Format::Tar);
        assert_eq!(Format::of(b"-- MySQL dump 10.13  Distrib 8.0"), Format::MySql);
        assert_eq!(Format::of(b"/*!999999\\- enable the sandbox mode */"), Format::MySql);
        assert_eq!(Format::of(b"\xff\xfe-\0-\0"), Format::Utf16);
        assert_eq!(Format::of(b"PRAGMA foreign_keys=OFF;"), Format::Sqlite);
        assert_eq!(Format::of(b"--\n-- PostgreSQL database dump\n"), Format::Plain);
        assert_eq!(Format::of(b""), Format::Plain);
    }

    #[test]
    fn compressions_are_told_by_their_first_bytes() {
        assert_eq!(Compression::of(b"\x1f\x8b\x08"), Compression::Gzip);
        assert_eq!(Compression::of(b"\x28\xb5\x2f\xfd"), Compression::Zstd);
        assert_eq!(Compression::of(b"BZh9"), Compression::Other("bzip2"));
        assert_eq!(Compression::of(b"--"), Compression::None);
    }
}
