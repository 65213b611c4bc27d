//! The settings of a restored server.

use super::RestoreTerms;
use super::until::Until;
use crate::backup::files;
use crate::backup::repository::Whole;
use crate::error::Result;
use crate::local::new_file::file_error;
use backups::shell::{restore_command, setting};
use backups::wal::Reach;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes the settings of the recovery, and of the place, into a new data directory.
pub(super) fn configure(
    terms: &RestoreTerms,
    until: &Until,
    last: &Whole,
    data: &Path,
    target: &Path,
    archive: &Path,
    reach: &Reach,
) -> Result<()> {
    const MOST_BYTES: u64 = 16 << 20;
    let mut lines = String::from("\n# Written by pgcopy.backup_restore.\n");
    let command = if archive.is_dir() { restore_command(&archive.display().to_string()) } else { "false".to_owned() };
    let mut settings = vec![
        ("restore_command", command),
        ("recovery_target_timeline", reach.timeline.to_string()),
        ("recovery_target_action", "promote".to_owned()),
        ("archive_mode", "off".to_owned()),
        ("primary_conninfo", String::new()),
        ("primary_slot_name", String::new()),
    ];
    settings.extend(until.setting());
    // Those of the server of the backup were elsewhere.
    for (name, file) in [("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")] {
        if last.record.configuration.iter().any(|known| known == file) {
            settings.push((name, target.join(file).display().to_string()));
        }
    }
    settings.extend(terms.port.map(|port| ("port", port.to_string())));
    for (name, value) in settings {
        let _ = writeln!(lines, "{name} = {}", setting(&value));
    }
    for name in ["postgresql.conf", "postgresql.auto.conf"] {
        drop_old_target(&data.join(name))?;
    }
    files::append(&data.join("postgresql.auto.conf"), lines.as_bytes())?;
    files::append(&data.join("recovery.signal"), b"")?;
    for name in &last.record.configuration {
        let from = last.directory.join("config").join(name);
        let text =
            files::read_capped(&from, MOST_BYTES).map_err(|error| file_error("could not read file", &from, &error))?;
        let to = data.join(name);
        if !to.exists() {
            files::write(&to, &text)?;
        }
    }
    if last.record.configuration.iter().any(|name| name == "postgresql.conf") {
        let own = format!(
            "\n# Written by pgcopy.backup_restore.\ndata_directory = {}\nexternal_pid_file = ''\n",
            setting(&target.display().to_string())
        );
        files::append(&data.join("postgresql.conf"), own.as_bytes())?;
        // The packages of Debian include it.
        files::make_directory(&data.join("conf.d"))?;
    }
    Ok(())
}

/// Comments the recovery target out that the server of the backup was restored to itself: it takes no second one, not even an empty one.
fn drop_old_target(path: &Path) -> Result<()> {
    const MOST_BYTES: u64 = 16 << 20;
    let Ok(text) = files::read_capped(path, MOST_BYTES) else { return Ok(()) };
    let is_target = |line: &[u8]| line.trim_ascii_start().to_ascii_lowercase().starts_with(b"recovery_target");
    if !text.split(|&byte| byte == b'\n').any(is_target) {
        return Ok(());
    }
    let lines =
        text.split(|&byte| byte == b'\n').map(|line| [if is_target(line) { &b"#"[..] } else { b"" }, line].concat());
    let new = path.with_extension("new");
    files::write(&new, &lines.collect::<Vec<_>>().join(&b'\n'))?;
    fs::rename(&new, path).map_err(|error| file_error("could not rename file", &new, &error))
}
