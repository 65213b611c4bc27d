//! Texts for shells and for files of settings.

/// Quotes a text for a POSIX shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Quotes a value for `postgresql.conf`.
pub fn setting(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// The `restore_command` that takes segments from a directory of uncompressed ones.
pub fn restore_command(archive: &str) -> String {
    // The server reads % as the begin of a placeholder.
    format!("cp {}/%f \"%p\"", quoted(archive).replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_kept_apart() {
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(setting("a'b\\c"), "'a''b\\\\c'");
        assert_eq!(restore_command("/wal 50%"), "cp '/wal 50%%'/%f \"%p\"");
    }
}
