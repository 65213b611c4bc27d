//! Manifests of backups, as `pg_basebackup` and `pg_combinebackup` write them: a line for each file, a checksum at the end.

use crate::wal::Lsn;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, BufRead};

/// What a manifest says of the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Only newer servers write it.
    pub system_identifier: Option<u64>,
    /// The WAL that the backup needs to become consistent, from the oldest timeline.
    pub ranges: Vec<Range>,
    pub files: u64,
    pub bytes: u64,
    /// The bytes in tablespaces, by their OIDs, which are among those above.
    pub bytes_of_tablespaces: BTreeMap<u32, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub timeline: u32,
    pub start: Lsn,
    pub end: Lsn,
}

/// No path is so long that its line were longer.
const LONGEST_LINE: u64 = 1 << 16;
const MOST_RANGES: usize = 1000;
const MOST_TABLESPACES: usize = 10_000;

#[derive(Deserialize)]
struct FileLine<'a> {
    #[serde(rename = "Path", borrow, default)]
    path: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "Size")]
    size: u64,
}

#[derive(Deserialize)]
struct RangeLine {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

/// Reads a manifest and checks its checksum. `check` is called for each line, and may end the reading with an error.
///
/// # Errors
/// With what is wrong with the file. Memory does not grow with it.
pub fn read(mut input: impl BufRead, check: &mut dyn FnMut()) -> Result<Manifest, String> {
    let mut manifest = Manifest::default();
    let mut hash = Sha256::new();
    let mut line = Vec::new();
    let (mut in_ranges, mut first) = (false, true);
    loop {
        check();
        line.clear();
        let limited = &mut io::Read::take(&mut input, LONGEST_LINE);
        let length = limited.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if length == 0 {
            return Err("it ends early".into());
        }
        if length as u64 >= LONGEST_LINE {
            return Err("a line is too long".into());
        }
        let text = std::str::from_utf8(&line).map_err(|_| "it is not a text")?.trim_end();
        if first && !text.starts_with("{ \"PostgreSQL-Backup-Manifest-Version\"") {
            return Err("it does not begin like a manifest".into());
        }
        first = false;
        if let Some(checksum) = text.strip_prefix("\"Manifest-Checksum\": \"").and_then(|rest| rest.strip_suffix("\"}"))
        {
            let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if found != checksum {
                return Err("its checksum is wrong".into());
            }
            return match input.fill_buf() {
                Ok([]) if !manifest.ranges.is_empty() => Ok(manifest),
                Ok([]) => Err("it names no WAL".into()),
                Ok(_) => Err("something follows its end".into()),
                Err(error) => Err(error.to_string()),
            };
        }
        hash.update(&line);
        take_line(text.trim_end_matches(','), &mut in_ranges, &mut manifest)?;
    }
}

fn take_line(text: &str, in_ranges: &mut bool, manifest: &mut Manifest) -> Result<(), String> {
    let unreadable = |error: serde_json::Error| format!("a line cannot be read: {error}");
    if text.starts_with("\"WAL-Ranges\"") {
        *in_ranges = true;
    } else if let Some(number) = text.strip_prefix("\"System-Identifier\": ") {
        manifest.system_identifier = Some(number.parse().map_err(|_| "its system identifier is no number")?);
    } else if text.starts_with("{ \"") && !text.starts_with("{ \"PostgreSQL-Backup-Manifest-Version\"") {
        if *in_ranges {
            let line: RangeLine = serde_json::from_str(text).map_err(unreadable)?;
            let lsn = |text: &str| Lsn::parse(text).ok_or_else(|| "a position in the WAL cannot be read".to_owned());
            let range = Range { timeline: line.timeline, start: lsn(&line.start)?, end: lsn(&line.end)? };
            if range.start > range.end || manifest.ranges.len() >= MOST_RANGES {
                return Err("its WAL cannot be".into());
            }
            manifest.ranges.push(range);
        } else {
            let line: FileLine<'_> = serde_json::from_str(text).map_err(unreadable)?;
            manifest.files += 1;
            manifest.bytes = manifest.bytes.saturating_add(line.size);
            let below = line.path.as_deref().and_then(|path| path.strip_prefix("pg_tblspc/")?.split('/').next());
            let spaces = &mut manifest.bytes_of_tablespaces;
            if let Some(oid) = below.and_then(|oid| oid.parse().ok())
                && (spaces.len() < MOST_TABLESPACES || spaces.contains_key(&oid))
            {
                let bytes = spaces.entry(oid).or_default();
                *bytes = bytes.saturating_add(line.size);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn sealed(body: &str) -> String {
        let sum: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{body}\"Manifest-Checksum\": \"{sum}\"}}\n")
    }

    const BODY: &str = "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7300000000000000001,\n\"Files\": [\n\
        { \"Path\": \"backup_label\", \"Size\": 226, \"Last-Modified\": \"2026-11-26 04:00:00 GMT\", \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"00\" },\n\
        { \"Encoded-Path\": \"ff\", \"Size\": 8192, \"Last-Modified\": \"2026-11-26 04:00:00 GMT\" },\n\
        { \"Path\": \"pg_tblspc/16384/PG_15_202209061/5/16385\", \"Size\": 10, \"Last-Modified\": \"2026-11-26 04:00:00 GMT\" }\n],\n\"WAL-Ranges\": [\n\
        { \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n";

    fn read_text(text: &str) -> Result<Manifest, String> {
        read(text.as_bytes(), &mut || {})
    }

    #[test]
    fn what_a_manifest_says() {
        let manifest = read_text(&sealed(BODY)).unwrap();
        assert_eq!((manifest.files, manifest.bytes), (3, 8428));
        assert_eq!(manifest.bytes_of_tablespaces, BTreeMap::from([(16384, 10)]));
        assert_eq!(manifest.system_identifier, Some(7_300_000_000_000_000_001));
        assert_eq!(manifest.ranges, [Range { timeline: 1, start: Lsn(0x200_0028), end: Lsn(0x200_0100) }]);
    }

    #[test]
    fn every_change_is_found() {
        let whole = sealed(BODY);
        for end in 0..whole.len() - 2 {
            assert!(read_text(&whole[..end]).is_err(), "{end}");
        }
        for position in 0..whole.len() - 1 {
            for bit in 0..7 {
                let mut bytes = whole.clone().into_bytes();
                bytes[position] ^= 1 << bit;
                assert!(read(bytes.as_slice(), &mut || {}).is_err(), "{position} {bit}");
            }
        }
    }

    #[test]
    fn hostile_manifests_are_refused() {
        let begin = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n";
        let range = "{ \"Timeline\": 1, \"Start-LSN\": \"0/1\", \"End-LSN\": \"0/2\" },\n".repeat(MOST_RANGES + 1);
        for body in [
            format!("{begin}\"WAL-Ranges\": [\n{range}"),
            format!("{begin}{}\n", "x".repeat(1 << 20)),
            format!("{begin}\"WAL-Ranges\": [\n{{ \"Timeline\": 1, \"Start-LSN\": \"1/0\", \"End-LSN\": \"0/0\" }}\n"),
            format!("{begin}{{ \"Path\": \"a\", \"Size\": -1 }},\n"),
            format!("{begin}{{ \"Path\": \"a\" }},\n"),
            begin.to_owned(),
        ] {
            assert!(read_text(&sealed(&body)).is_err(), "{}", &body[..60.min(body.len())]);
        }
    }
}
