//! The rooms of the extension's source and the direction of its imports.

use crate::Result;
use std::fs;
use std::path::Path;

/// The rooms from the top of the house to its ground. A room imports rooms of the lines below its own; those of one line do not
/// import each other.
const ROOMS: [&[&str]; 12] = [
    &["lib"],
    &["api"],
    &["job"],
    &["prepare"],
    &["backup", "script", "verify", "ledger"],
    &["load", "stage"],
    &["order"],
    &["parquet", "sending", "source"],
    &["storage"],
    &["local"],
    &["compat"],
    &["error"],
];

/// Fails with every import that leads to a room at or above the importing one.
///
/// # Errors
/// With a line for each wrong import and each unknown room.
pub fn check(source: &Path) -> Result<()> {
    let mut faults = Vec::new();
    check_directory(source, source, &mut faults)?;
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("the rooms of {} import each other against their order:\n{}", source.display(), faults.join("\n"))
        .into())
}

fn check_directory(root: &Path, directory: &Path, faults: &mut Vec<String>) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            check_directory(root, &path, faults)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root)?;
            let room = relative.components().next().map(|first| Path::new(first.as_os_str()).with_extension(""));
            let room = room.unwrap_or_default().display().to_string();
            check_file(&relative.display().to_string(), &room, &fs::read_to_string(&path)?, faults);
        }
    }
    Ok(())
}

fn level(room: &str) -> Option<usize> {
    ROOMS.iter().position(|rooms| rooms.contains(&room))
}

fn check_file(file: &str, room: &str, text: &str, faults: &mut Vec<String>) {
    let Some(own) = level(room) else {
        faults.push(format!("{file}: {room} is no room of the list in xtask/src/rooms.rs"));
        return;
    };
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        for imported in imported_rooms(code) {
            let is_below = match level(imported) {
                Some(other) => other > own || imported == room,
                // A name that the crate's root has for itself.
                None => imported.starts_with(|first: char| !first.is_ascii_lowercase()) || imported == "ffi",
            };
            if !is_below {
                faults.push(format!("{file}:{number}: {room} imports {imported}"));
            }
        }
    }
}

/// The first names of all paths that begin at the crate's root, also those in braces.
fn imported_rooms(code: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for (position, _) in code.match_indices("crate::") {
        let is_whole_word = !code[..position].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let path = &code[position + "crate::".len()..];
        if !is_whole_word {
            continue;
        }
        match path.strip_prefix('{') {
            Some(list) => rooms.extend(list.split(',').map(first_name)),
            None => rooms.push(first_name(path)),
        }
    }
    rooms
}

fn first_name(path: &str) -> &str {
    let path = path.trim_start();
    let end = path.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(path.len());
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(room: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check_file("file.rs", room, text, &mut faults);
        faults
    }

    #[test]
    fn imports_lead_down() {
        assert!(faults_of("job", "use crate::prepare::Prepared;\nuse crate::local::spi;").is_empty());
        assert_eq!(faults_of("local", "use crate::load::Loaded;"), ["file.rs:1: local imports load"]);
        assert_eq!(faults_of("load", "fn f() { crate::stage::g() }"), ["file.rs:1: load imports stage"]);
        assert_eq!(faults_of("order", "use crate::{error, job::Job};"), ["file.rs:1: order imports job"]);
    }

    #[test]
    fn unknown_rooms_are_faults() {
        assert_eq!(faults_of("attic", "").len(), 1);
        assert_eq!(faults_of("job", "use crate::attic;"), ["file.rs:1: job imports attic"]);
    }
}
