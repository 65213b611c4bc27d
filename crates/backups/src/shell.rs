//! Texts for shells and for files of settings.

/// Quotes a text for a POSIX shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Quotes a value for `postgresql.conf`.
pub fn setting(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// The `restore_command` that takes segments from a directory of uncompressed ones. One that was cut off, as by a copy that a crash has
/// ended, is as good as missing: the server would end its recovery with an error.
pub fn restore_command(archive: &str, segment_size: u64) -> String {
    // The server reads % as the begin of a placeholder.
    let file = format!("{}/%f", quoted(archive).replace('%', "%%"));
    format!(
        "case %f in *.history) ;; *) [ \"$(wc -c 2>/dev/null < {file})\" = {segment_size} ] ;; esac && cp {file} \"%p\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_kept_apart() {
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(setting("a'b\\c"), "'a''b\\\\c'");
        let command = restore_command("/wal 50%", 1 << 24);
        assert!(command.ends_with("&& cp '/wal 50%%'/%f \"%p\"") && command.contains("= 16777216 ]"), "{command}");
    }
}
