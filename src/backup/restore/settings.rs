//! The settings of a restored server.

use super::RestoreTerms;
use super::until::Settings;
use crate::backup::files;
use crate::backup::repository::Whole;
use crate::error::Result;
use crate::local::new_file::file_error;
use crate::local::program::Program;
use backups::shell::{restore_command, setting};
use backups::wal::Reach;
use backups::waldump;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes the settings of the recovery, and of the place, into a new data directory.
pub(super) fn configure(
    terms: &RestoreTerms,
    (stop, needed): Settings,
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
        // That of the server of the backup may be running.
        ("external_pid_file", String::new()),
        ("primary_slot_name", String::new()),
    ];
    settings.extend(stop);
    settings.extend(raised(data, &needed)?);
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
    for name in &last.record.configuration {
        let from = last.directory.join("config").join(name);
        let text =
            files::read_capped(&from, MOST_BYTES).map_err(|error| file_error("could not read file", &from, &error))?;
        let to = data.join(name);
        // The data directory may have one that was not in use.
        files::make_directory(to.parent().unwrap_or(data))?;
        files::remove(&to)?;
        files::write(&to, &text)?;
    }
    let brought = last.record.configuration.iter().map(String::as_str);
    for name in brought.chain(["postgresql.conf", "postgresql.auto.conf"]) {
        drop_old_place(&data.join(name))?;
    }
    files::append(&data.join("postgresql.auto.conf"), lines.as_bytes())?;
    files::append(&data.join("recovery.signal"), b"")?;
    if last.record.configuration.iter().any(|name| name == "postgresql.conf") {
        // The packages of Debian include it.
        files::make_directory(&data.join("conf.d"))?;
    }
    Ok(())
}

/// The settings that WAL needs higher than the server of the backup had them. Recovery would pause for ever where they are lower.
fn raised(data: &Path, needed: &BTreeMap<&'static str, u32>) -> Result<Vec<(&'static str, String)>> {
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    let output = Program::of_server("pg_controldata")?.run(&[data.display().to_string()], None)?;
    let before = waldump::settings_of_control(&String::from_utf8_lossy(&output.text));
    let is_higher = |(name, value): &(&&'static str, &u32)| {
        before.iter().find(|(known, _)| known == *name).is_none_or(|(_, before)| before < *value)
    };
    Ok(needed.iter().filter(is_higher).map(|(name, value)| (*name, value.to_string())).collect())
}

/// Comments out where the data of the server of the backup are, and the recovery target that it was restored to itself: a server takes
/// no second one, not even an empty one.
fn drop_old_place(path: &Path) -> Result<()> {
    const MOST_BYTES: u64 = 16 << 20;
    let Ok(text) = files::read_capped(path, MOST_BYTES) else { return Ok(()) };
    let is_old = |line: &[u8]| {
        let line = line.trim_ascii_start().to_ascii_lowercase();
        line.starts_with(b"recovery_target") || line.starts_with(b"data_directory")
    };
    if !text.split(|&byte| byte == b'\n').any(is_old) {
        return Ok(());
    }
    let lines =
        text.split(|&byte| byte == b'\n').map(|line| [if is_old(line) { &b"#"[..] } else { b"" }, line].concat());
    let new = path.with_extension("new");
    files::write(&new, &lines.collect::<Vec<_>>().join(&b'\n'))?;
    fs::rename(&new, path).map_err(|error| file_error("could not rename file", &new, &error))
}
