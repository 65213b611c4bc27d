//! Backups whose record cannot be read: what they consist of is told by the names of their files, so that these are compared with the
//! manifest all the same.

use super::files;
use super::repository::{self, Whole};
use crate::local::interrupts;
use backups::record::{Format, Record, Tablespace};
use backups::sums::Digests;
use backups::tar::Compression;
use std::fs;
use std::path::Path;

/// The most entries of a directory that are looked at.
const MOST_ENTRIES: usize = 100_000;

/// Reads a backup by its manifest and the names of its files.
///
/// # Errors
/// With what is wrong with the manifest, or that there is nothing to compare with it.
pub(super) fn by_its_files(directory: &Path, name: &str) -> Result<Whole, String> {
    let directory = directory.join(name);
    let data = directory.join("data");
    let manifest = files::read_manifest(&data)?;
    let is_plain = fs::symlink_metadata(data.join("PG_VERSION")).is_ok();
    let (format, compress, spaces) = if is_plain {
        (Format::Plain, "none", names(&directory.join("tablespaces")))
    } else {
        let archives = names(&data);
        let base = archives.iter().find_map(|name| Compression::of_archive(name).filter(|(base, _)| *base == "base"));
        let Some((_, compression)) = base else {
            return Err("\"data\": there is nothing to compare with the manifest".to_owned());
        };
        let bases = archives.iter().filter_map(|name| Compression::of_archive(name));
        (Format::Tar, compression.name(), bases.map(|(base, _)| base.to_owned()).collect())
    };
    let oids = spaces.iter().filter_map(|name| name.parse::<u32>().ok());
    let record = Record {
        pgcopy_backup: Record::VERSION,
        name: name.to_owned(),
        server_version: crate::local::settings::version(),
        system_identifier: manifest.system_identifier.unwrap_or_default(),
        segment_size: 0,
        format,
        compress: compress.to_owned(),
        started: 0,
        finished: 0,
        parent: None,
        superuser: None,
        place: None,
        tablespaces: oids.map(|oid| Tablespace { oid, location: String::new() }).collect(),
        configuration: Vec::new(),
        sealed: false,
        digests: Digests::new(),
    };
    Ok(Whole { name: name.to_owned(), directory, record, manifest })
}

/// Reads a backup and those that it builds on, as far as records name them.
pub(super) fn readable(directory: &Path, name: &str) -> Vec<Whole> {
    let mut links: Vec<Whole> = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        interrupts::check();
        if links.iter().any(|link| link.name == name) {
            break;
        }
        let link = repository::whole(directory, &name);
        next = link.as_ref().ok().and_then(|link| link.record.parent.clone());
        links.extend(link.or_else(|_| by_its_files(directory, &name)));
    }
    links
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().take(MOST_ENTRIES).flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
