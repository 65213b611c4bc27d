//! Names of backups, which are names of directories.

/// The directory of a repository that holds its WAL archive.
pub const WAL: &str = "wal";

/// The end of the name of a directory that is being written.
pub const INCOMPLETE: &str = ".incomplete";

/// The file in such a directory that names the backup which an incremental one builds on.
pub const PARENT: &str = "parent";

const LONGEST: usize = 100;

/// Returns whether a backup may have this name.
pub fn is_valid(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= LONGEST
        && !name.starts_with(['.', '-'])
        && !name.ends_with(INCOMPLETE)
        && name != WAL
        && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_one_directory() {
        for name in ["monday", "2026-11-26", "a.b_c-D", &"x".repeat(100)] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "-x", "a/b", "a b", "ä", "a\n", "wal", "a.incomplete", &"x".repeat(101)]
        {
            assert!(!is_valid(name), "{name}");
        }
    }
}
