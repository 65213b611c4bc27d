//! Checksums of the files beside the data of a backup, in the form of `sha256sum`, which compares them by hand.

use crate::record::{self, is_configuration};
use crate::restore_page;
use std::collections::{BTreeMap, BTreeSet};

/// The name of the file.
pub const FILE: &str = "SHA256SUMS";

/// The most bytes that are read of it.
pub const MOST_BYTES: u64 = 2 << 20;

/// Digests of files by their names, from the directory of the backup on.
pub type Digests = BTreeMap<String, String>;

/// Returns the content of the file.
pub fn text(digests: &Digests) -> String {
    digests.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

/// # Errors
/// With what is wrong with the content.
pub fn parse(content: &[u8]) -> Result<Digests, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not a text")?;
    let text = text.strip_suffix('\n').ok_or("it ends early")?;
    let mut digests = Digests::new();
    for line in text.split('\n') {
        let (digest, name) = line.split_once("  ").ok_or("a line of it cannot be read")?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest || !is_beside(name) || digests.insert(name.to_owned(), digest.to_owned()).is_some() {
            return Err("a line of it cannot be read".into());
        }
    }
    Ok(digests)
}

/// Returns whether a file beside the data of a backup may have this name.
fn is_beside(name: &str) -> bool {
    name == record::FILE || name == restore_page::FILE || name.strip_prefix("config/").is_some_and(is_configuration)
}

/// A fault of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    pub finding: String,
}

/// What is known of the checksums of a backup.
pub struct Known<'a> {
    /// The digests in its record, where that can be read: of all files but the record.
    pub told: Option<&'a Digests>,
    /// The file of checksums, or why it cannot be read; `None` where there is none and need not be.
    pub sums: Option<Result<Digests, String>>,
}

impl Known<'_> {
    /// Finds the files that differ. `digest` returns that of a file, or why it cannot be read.
    pub fn faults(&self, digest: &mut dyn FnMut(&str) -> Result<String, String>) -> Vec<Fault> {
        let fault = |file: &str, finding: String| Fault { file: file.to_owned(), finding };
        let mut faults = Vec::new();
        let sums = match &self.sums {
            Some(Err(reason)) => {
                faults.push(fault(FILE, format!("\"{FILE}\": {reason}")));
                None
            }
            Some(Ok(sums)) => Some(sums),
            None => None,
        };
        let told = self.told.into_iter().flat_map(BTreeMap::keys).filter(|name| is_beside(name));
        let summed = sums.into_iter().flat_map(BTreeMap::keys);
        let mut names: BTreeSet<&str> = told.chain(summed).map(String::as_str).collect();
        names.extend(sums.map(|_| record::FILE));
        for name in names {
            let (told, summed) = (self.told.and_then(|told| told.get(name)), sums.map(|sums| sums.get(name)));
            match digest(name) {
                Err(reason) => faults.push(fault(name, format!("\"{name}\": {reason}"))),
                Ok(found) if told.is_some_and(|told| *told != found) => {
                    faults.push(fault(name, format!("\"{name}\" was changed")));
                }
                Ok(found) if summed.flatten().is_some_and(|summed| *summed != found) => faults.push(match told {
                    Some(_) => fault(FILE, format!("\"{FILE}\" has another checksum of \"{name}\"")),
                    None => fault(name, differs(name)),
                }),
                Ok(_) if summed.is_some_and(|summed| summed.is_none()) => {
                    faults.push(fault(FILE, format!("\"{FILE}\" lacks \"{name}\"")));
                }
                Ok(_) => {}
            }
        }
        faults
    }
}

/// What is wrong with a file of which nothing else tells the checksum.
pub fn differs(name: &str) -> String {
    format!("\"{name}\" does not have the checksum that \"{FILE}\" has of it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn digest(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const CONFIG: &str = "config/conf.d/10 more.conf";

    /// The files beside a backup, with their checksums.
    fn files() -> BTreeMap<String, Vec<u8>> {
        let mut files: BTreeMap<String, Vec<u8>> =
            [("RESTORE.md", "# Restoring"), ("backup.json", "{\"name\": \"a\"}"), (CONFIG, "port = 1\n")]
                .map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()))
                .into();
        let digests = files.iter().map(|(name, content)| (name.clone(), digest(content))).collect();
        files.insert(FILE.to_owned(), text(&digests).into_bytes());
        files
    }

    fn faults(files: &BTreeMap<String, Vec<u8>>, told: Option<&Digests>) -> Vec<String> {
        let known = Known { told, sums: files.get(FILE).map(|content| parse(content)) };
        let mut of_file = |name: &str| files.get(name).map(|content| digest(content)).ok_or("it is gone".to_owned());
        known.faults(&mut of_file).into_iter().map(|fault| fault.file).collect()
    }

    #[test]
    fn every_change_is_found_with_the_name_of_the_file() {
        let whole = files();
        let of_record: Digests = whole
            .iter()
            .filter(|(name, _)| !["backup.json", FILE].contains(&name.as_str()))
            .map(|(name, content)| (name.clone(), digest(content)))
            .collect();
        for told in [Some(&of_record), None] {
            assert_eq!(faults(&whole, told), [""; 0]);
            for (name, content) in &whole {
                let changed = |content: Vec<u8>| {
                    let mut files = whole.clone();
                    files.insert(name.clone(), content);
                    faults(&files, told)
                };
                for position in 0..content.len() {
                    for bit in 0..8 {
                        let mut content = content.clone();
                        content[position] ^= 1 << bit;
                        let found = changed(content);
                        // What stands for itself alone may be the one that is wrong.
                        let is_named = found.contains(name) || (name == FILE && !found.is_empty());
                        assert!(is_named, "{name} {position} {bit}: {found:?}");
                    }
                    if told.is_some() || name != FILE {
                        assert!(!changed(content[..position].to_vec()).is_empty(), "{name} cut at {position}");
                    }
                }
                if name != FILE {
                    let mut files = whole.clone();
                    files.remove(name);
                    assert_eq!(faults(&files, told), [name.as_str()], "{name} is removed");
                }
            }
        }
        // Where there are no checksums the record tells of the others.
        let mut older = whole.clone();
        older.remove(FILE);
        assert_eq!(faults(&older, Some(&of_record)), [""; 0]);
        older.insert("RESTORE.md".into(), Vec::new());
        assert_eq!(faults(&older, Some(&of_record)), ["RESTORE.md"]);
    }

    #[test]
    fn checksums_are_of_files_beside_the_data() {
        let digest = digest(b"");
        for name in ["../x.conf", "config/../x.conf", "/etc/passwd", "data/base.tar.gz", "", "SHA256SUMS", "x"] {
            assert!(parse(format!("{digest}  {name}\n").as_bytes()).is_err(), "{name}");
        }
        assert!(parse(format!("{digest}  backup.json\n{digest}  backup.json\n").as_bytes()).is_err());
        assert!(parse(b"").is_err() && parse(b"\n").is_err() && parse(&[0xff, b'\n']).is_err());
    }
}
