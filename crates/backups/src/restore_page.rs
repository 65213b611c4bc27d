//! The page beside a backup that tells how to restore it without pgcopy.

use crate::record::{Format, Record};
use crate::settings_file::{self, Place};
use crate::shell::{quoted, restore_command, setting};
use crate::tar::Compression;
use std::fmt::Write as _;

/// The name of the page.
pub const FILE: &str = "RESTORE.md";

/// A backup of the chain, from the full one to the newest.
pub struct Link<'a> {
    /// Its directory.
    pub directory: &'a str,
    pub record: &'a Record,
    /// The names of its archives, such as `base.tar.gz`; none in the plain format.
    pub archives: &'a [String],
}

/// Returns the page. `archive` is the directory of the WAL archive, where there is one or will be.
pub fn page(chain: &[Link<'_>], archive: &str) -> String {
    let Some(last) = chain.last() else { return String::new() };
    let (record, major) = (last.record, last.record.server_version / 10_000);
    let mut page = format!(
        "# Restoring {}\n\n\
         A base backup of a PostgreSQL {major} server with the system identifier {}, taken by `pg_basebackup`. It restores with the programs\n\
         of PostgreSQL {major} and a shell; pgcopy is not needed. Work as the operating-system user that will run the server.\n\n",
        record.name, record.system_identifier
    );
    if chain.len() > 1 {
        let names: Vec<&str> = chain.iter().map(|link| link.record.name.as_str()).collect();
        let _ = writeln!(
            page,
            "It is incremental, and needs all of these, from the full backup on: {}.\n",
            names.join(", ")
        );
    }
    let _ = writeln!(
        page,
        "1. Choose where the new server's files go, and where its programs are. The directories must not exist yet.\n\n```sh\n\
         TARGET=/path/to/new/data\nBIN=/usr/lib/postgresql/{major}/bin"
    );
    for space in &record.tablespaces {
        let _ = writeln!(
            page,
            "TABLESPACE_{}=/path/to/new/tablespace  # was {}",
            space.oid,
            in_one_line(&quoted(&space.location))
        );
    }
    page.push_str("```\n\n");
    let several = chain.len() > 1;
    let _ = writeln!(
        page,
        "2. {}{}\n\n```sh\nset -e",
        if record.sealed { "Compare this page, the settings and `backup.json` with their checksums. " } else { "" },
        if record.format == Format::Tar { "Unpack the archives." } else { "Copy the files." }
    );
    for (position, link) in chain.iter().enumerate() {
        let into = if several { format!("\"$TARGET\".part{position}") } else { "\"$TARGET\"".to_owned() };
        steps_of_files(&mut page, link, &into, several.then_some(position));
    }
    page.push_str("```\n\n3. Compare the files with the manifest, and the WAL that the backup needs.\n\n```sh\n");
    for position in 0..chain.len() {
        let part = if several { format!("\"$TARGET\".part{position}") } else { "\"$TARGET\"".to_owned() };
        let _ = writeln!(page, "\"$BIN\"/pg_verifybackup {part}");
    }
    if several {
        let parts: Vec<String> = (0..chain.len()).map(|position| format!("\"$TARGET\".part{position}")).collect();
        let mappings: String = record
            .tablespaces
            .iter()
            .map(|space| {
                format!(" --tablespace-mapping=\"$TABLESPACE_{0}.part{1}=$TABLESPACE_{0}\"", space.oid, chain.len() - 1)
            })
            .collect();
        let _ = writeln!(page, "\"$BIN\"/pg_combinebackup {} --output \"$TARGET\"{mappings}", parts.join(" "));
        let _ = writeln!(page, "rm -r {}", parts.join(" "));
        for space in &record.tablespaces {
            for position in 0..chain.len() {
                let _ = writeln!(page, "rm -rf \"$TABLESPACE_{}.part{position}\"", space.oid);
            }
        }
    }
    page.push_str("```\n\n");
    let _ = writeln!(
        page,
        "4. Say how far to recover. The settings below take all WAL of the archive. To stop earlier, add one of\n   \
         `recovery_target_time`, `recovery_target_lsn` and `recovery_target_name`; another timeline than the newest goes into\n   \
         `recovery_target_timeline`. The port must be a free one, and\n   \
         archiving stays off until you know where this server is to archive. Recovery creates tablespaces that are newer\n   \
         than the backup in the places that they had, also where the files of a running server are: then stop before, or\n   \
         take a newer backup. `pg_waldump --rmgr=Tablespace` shows them. And it needs `max_connections`,\n   \
         `max_worker_processes`, `max_wal_senders`, `max_prepared_transactions` and `max_locks_per_transaction` as high as\n   \
         they were raised since. `lead_here` has settings lead to the files of the new server.\n\n```sh\n\
         {}\n\
         rm -f \"$TARGET\"/backup_manifest \"$TARGET\"/tablespace_map \"$TARGET\"/standby.signal\n\
         lead_here \"$TARGET\"/postgresql.auto.conf\n\
         cat >> \"$TARGET\"/postgresql.auto.conf <<'END'\n\
         restore_command = {}\nrecovery_target_timeline = 'latest'\nrecovery_target_action = 'promote'\n\
         archive_mode = off\nprimary_conninfo = ''\nexternal_pid_file = ''\narchive_cleanup_command = ''\n\
         recovery_end_command = ''\nrecovery_min_apply_delay = 0\nsynchronous_standby_names = ''\nport = 5433\nEND\ntouch \"$TARGET\"/recovery.signal",
        lead_here(record.place.as_ref()),
        setting(&restore_command(archive, record.segment_size))
    );
    steps_of_settings(&mut page, last);
    page.push_str(
        "```\n\n5. Start it. The log says when recovery is complete.\n\n```sh\n\
         \"$BIN\"/pg_ctl --pgdata=\"$TARGET\" --wait --timeout=86400 --log=\"$TARGET\"/restore.log start\n```\n",
    );
    page
}

/// A path as a regular expression; `None` for one with characters that shells or expressions may take for something else.
fn plain(path: &str) -> Option<String> {
    let is_plain = |c: char| c.is_alphanumeric() || "/_-. ,:=@%~".contains(c);
    path.chars().all(is_plain).then(|| path.replace('.', "[.]"))
}

/// The command that comments out where the data of the server of the backup are, and the moment that it was restored to itself, and leads
/// paths in the old data directory to the new one.
fn lead_here(place: Option<&Place>) -> String {
    let names = settings_file::OF_PLACE.join("|");
    let mut command = format!("lead_here() {{ sed -i -E -e 's/^[[:space:]]*(recovery_target|{names})/#&/'");
    let (data, configuration) =
        place.map_or((&[][..], None), |place| (place.data.as_slice(), place.configuration.as_ref()));
    for path in data.iter().filter_map(|path| plain(path)) {
        let _ = write!(command, " -e \"s|'{path}([/'])|'$TARGET\\\\1|g\"");
    }
    if let Some(path) = configuration.and_then(|path| plain(path)) {
        let _ = write!(command, " -e \"s|^([[:space:]]*include[a-z_]*[[:space:]=]*'){path}([/'])|\\\\1$TARGET\\\\2|\"");
    }
    command + " \"$@\"; }"
}

/// The command that has files of access rules name the files in the new place; `None` where they name none, or names are not plain.
fn lead_access(place: &Place) -> Option<String> {
    let rules: Vec<String> = place.of_access().map(|name| format!("\"$TARGET\"/{}", quoted(name))).collect();
    let paths: Vec<String> = place.data.iter().chain(&place.access).filter_map(|path| plain(path)).collect();
    if place.rules.is_empty() || paths.is_empty() {
        return None;
    }
    let expressions = paths.iter().map(|path| format!(" -e \"s|([[:space:]@,\\\"]){path}/|\\1$TARGET/|g\""));
    let sed = format!("sed -i -E{} \"$file\"", expressions.collect::<String>());
    Some(format!("for file in {}; do if [ -f \"$file\" ]; then {sed}; fi; done", rules.join(" ")))
}

/// A text that cannot end the line of a comment.
fn in_one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// The commands that bring the settings to their place.
fn steps_of_settings(page: &mut String, last: &Link<'_>) {
    let (record, place) = (last.record, last.record.place.as_ref());
    for file in &record.configuration {
        let directory = file.rsplit_once('/').map_or_else(String::new, |(directory, _)| quoted(directory));
        if !directory.is_empty() {
            let _ = writeln!(page, "mkdir -p \"$TARGET\"/{directory}");
        }
        let from = quoted(&format!("{}/config/{file}", last.directory));
        let _ = writeln!(page, "cp {from} \"$TARGET\"/{directory}");
    }
    let is_brought = |name: &str| record.configuration.iter().any(|file| file == name);
    for (name, file, known) in [
        ("hba_file", "pg_hba.conf", place.map(|place| place.hba.as_str())),
        ("ident_file", "pg_ident.conf", place.map(|place| place.ident.as_str())),
    ] {
        if let Some(file) = known.or(is_brought(file).then_some(file)) {
            let file = quoted(&file.replace('\\', "\\\\").replace('\'', "''"));
            let _ =
                writeln!(page, "printf \"{name} = '%s/%s'\\n\" \"$TARGET\" {file} >> \"$TARGET\"/postgresql.auto.conf");
        }
    }
    if is_brought("postgresql.conf") {
        page.push_str("mkdir -p \"$TARGET\"/conf.d\n");
    }
    if let Some(file) = place.and_then(|place| place.settings.as_deref()) {
        let _ = writeln!(page, "echo {} > \"$TARGET\"/postgresql.conf", quoted(&format!("include {}", setting(file))));
    }
    let among_data = place.into_iter().flat_map(|place| place.settings.iter().chain(&place.included));
    let files = record.configuration.iter().chain(among_data).map(String::as_str);
    let rules = place.map_or(&[][..], |place| place.rules.as_slice());
    let files = files.filter(|file| {
        !["postgresql.conf", "pg_hba.conf", "pg_ident.conf"].contains(file) && !rules.iter().any(|rule| rule == file)
    });
    for file in ["postgresql.conf"].into_iter().chain(files) {
        let file = quoted(file);
        let _ = writeln!(page, "if [ -f \"$TARGET\"/{file} ]; then lead_here \"$TARGET\"/{file}; fi");
    }
    if let Some(command) = place.and_then(lead_access) {
        let _ = writeln!(page, "{command}");
    }
}

/// The commands that bring the files of one backup to their place.
fn steps_of_files(page: &mut String, link: &Link<'_>, into: &str, part: Option<usize>) {
    let spaces = &link.record.tablespaces;
    if link.record.sealed {
        let _ = writeln!(page, "(cd {} && sha256sum --quiet --check {})", quoted(link.directory), crate::sums::FILE);
    }
    let place = |oid: u32| match part {
        Some(position) => format!("\"$TABLESPACE_{oid}.part{position}\""),
        None => format!("\"$TABLESPACE_{oid}\""),
    };
    let _ = writeln!(page, "mkdir -m 700 {into}");
    if link.record.format == Format::Plain {
        let _ = writeln!(page, "cp -a {}/. {into}", quoted(&format!("{}/data", link.directory)));
    }
    for archive in link.archives {
        let Some((base, compression)) = Compression::of_archive(archive) else { continue };
        let directory = match base {
            "base" => into.to_owned(),
            "pg_wal" => format!("{into}/pg_wal"),
            oid => {
                let Ok(oid) = oid.parse() else { continue };
                let _ = writeln!(page, "mkdir -m 700 {}", place(oid));
                place(oid)
            }
        };
        let path = quoted(&format!("{}/data/{archive}", link.directory));
        let _ = writeln!(page, "{} {path} | tar -xf - -C {directory}", compression.unpack_command());
    }
    if link.record.format == Format::Tar {
        let _ = writeln!(page, "cp {} {into}/", quoted(&format!("{}/data/backup_manifest", link.directory)));
    }
    for space in spaces {
        if link.record.format == Format::Plain {
            let from = quoted(&format!("{}/tablespaces/{}", link.directory, space.oid));
            let _ = writeln!(page, "mkdir -m 700 {0}\ncp -a {from}/. {0}", place(space.oid));
        }
        let _ = writeln!(page, "rm -rf {into}/pg_tblspc/{}", space.oid);
        let _ = writeln!(page, "ln -s {} {into}/pg_tblspc/{}", place(space.oid), space.oid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The directory of a tablespace may have any name, and what stands behind a `#` is run by nobody.
    #[test]
    fn comments_end_with_their_line() {
        assert_eq!(in_one_line("'/a\nrm -r b\r\u{85}ä'"), "'/a\\nrm -r b\\r\\u{85}ä'");
    }
}
