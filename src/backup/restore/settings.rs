//! The settings of a restored server.

use super::RestoreTerms;
use super::until::Settings;
use crate::backup::files;
use crate::backup::repository::Whole;
use crate::error::{Error, Result, warn};
use crate::local::interrupts;
use crate::local::new_file::file_error;
use crate::local::program::{self, Program};
use backups::settings_file::{self, Include};
use backups::shell::{restore_command, setting};
use backups::wal::Reach;
use backups::waldump;
use pgrx::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The most bytes of a file of settings or rules that are read.
const MOST_BYTES: u64 = 16 << 20;

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
    let mut lines = String::from("\n# Written by pgcopy.backup_restore.\n");
    let command = if archive.is_dir() {
        restore_command(&archive.display().to_string(), last.record.segment_size)
    } else {
        "false".to_owned()
    };
    let mut settings = vec![
        ("restore_command", command),
        ("recovery_target_timeline", reach.timeline.to_string()),
        ("recovery_target_action", "promote".to_owned()),
        ("archive_mode", "off".to_owned()),
        ("primary_conninfo", String::new()),
        // That of the server of the backup may be running.
        ("external_pid_file", String::new()),
        // They would be run in the recovery, and remove WAL from an archive, or tell the world of a new server.
        ("archive_cleanup_command", String::new()),
        ("recovery_end_command", String::new()),
        ("primary_slot_name", String::new()),
        // Recovery would wait, as a standby that is meant to be late, and commits for a standby that is not there.
        ("recovery_min_apply_delay", "0".to_owned()),
        ("synchronous_standby_names", String::new()),
    ];
    settings.extend(stop);
    settings.extend(raised(data, &needed)?);
    // Those of the server of the backup may be in use.
    let place = last.record.place.as_ref();
    for (name, file, known) in [
        ("hba_file", "pg_hba.conf", place.map(|place| &place.hba)),
        ("ident_file", "pg_ident.conf", place.map(|place| &place.ident)),
    ] {
        let brought = last.record.configuration.iter().find(|brought| *brought == file);
        settings.extend(known.or(brought).map(|file| (name, target.join(file).display().to_string())));
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
    if let Some(name) = place.and_then(|place| place.settings.as_deref()) {
        // One of another name stood for it.
        let main = data.join("postgresql.conf");
        files::remove(&main)?;
        files::write(&main, format!("include {}\n", setting(name)).as_bytes())?;
    }
    lead_here(data, target, last)?;
    lead_access_here(data, last)?;
    files::append(&data.join("postgresql.auto.conf"), lines.as_bytes())?;
    files::append(&data.join("recovery.signal"), b"")?;
    if last.record.configuration.iter().any(|name| name == "postgresql.conf") {
        // The packages of Debian include it.
        files::make_directory(&data.join("conf.d"))?;
    }
    refuse_other_data(data)
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

/// Has all files of settings lead to the new place: those that the data directory has, and those that they include.
fn lead_here(data: &Path, target: &Path, last: &Whole) -> Result<()> {
    const MOST_FILES: usize = 10_000;
    let to = target.display().to_string();
    let own = ["postgresql.conf", "postgresql.auto.conf"].map(str::to_owned);
    let rules = last.record.place.as_ref().map_or(&[][..], |place| place.rules.as_slice());
    let is_of_settings =
        |name: &&String| !["pg_hba.conf", "pg_ident.conf"].contains(&name.as_str()) && !rules.contains(name);
    let brought = last.record.configuration.iter().filter(is_of_settings).cloned();
    let mut waiting: Vec<String> = own.into_iter().chain(brought).collect();
    let mut done = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        interrupts::check();
        let path = data.join(&name);
        if done.len() >= MOST_FILES || !done.insert(name.clone()) {
            continue;
        }
        let Ok(text) = files::read_capped(&path, MOST_BYTES) else { continue };
        let moved = settings_file::moved(&text, last.record.place.as_ref(), &to, name.matches('/').count());
        if moved != text {
            replace(&path, &moved)?;
        }
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        for include in settings_file::includes(&moved) {
            let (Include::File(path) | Include::Directory(path)) = &include;
            let Some(within) = settings_file::within(directory, path) else { continue };
            match include {
                Include::File(_) => waiting.push(within),
                Include::Directory(_) => {
                    let entries = fs::read_dir(data.join(&within)).into_iter().flatten().flatten();
                    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
                    let names = names.filter(|name| name.ends_with(".conf") && !name.starts_with('.'));
                    waiting.extend(names.filter_map(|name| settings_file::within(&within, &name)));
                }
            }
        }
    }
    Ok(())
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("pgcopy");
    files::write(&new, content)?;
    fs::rename(&new, path).map_err(|error| file_error("could not rename file", &new, &error))
}

/// Has files of access rules name the files in the new place.
fn lead_access_here(data: &Path, last: &Whole) -> Result<()> {
    let Some(place) = &last.record.place else { return Ok(()) };
    for name in place.of_access() {
        interrupts::check();
        let path = data.join(name);
        let text = files::read_capped(&path, MOST_BYTES).ok().and_then(|text| String::from_utf8(text).ok());
        let Some(text) = text else { continue };
        let moved = place.access_moved(&text, name);
        if moved != text {
            replace(&path, moved.as_bytes())?;
        }
    }
    Ok(())
}

/// Refuses settings that lead a server to other data than those that were restored. The server itself says which they are: files that are
/// not in the backup may be among the settings.
fn refuse_other_data(data: &Path) -> Result<()> {
    let arguments = ["-D".to_owned(), data.display().to_string(), "-C".to_owned(), "data_directory".to_owned()];
    let output = Program::of_server("postgres")?.run(&arguments, None)?;
    if !output.succeeded {
        let reasons = program::complaints(&output.messages).join(" ");
        warn(&format!("the restored server does not start with the settings of the backup: {reasons}"));
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.text).trim_end().to_owned();
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(Path::new(&told)) == real(data) {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the settings of the backup would lead the restored server to the data directory \"{told}\""),
    )
    .detail("They include a file that is not in the backup, and sets data_directory.")
    .hint("Take that line out of the file, or restore by hand after RESTORE.md."))
}
