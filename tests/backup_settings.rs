//! A restored server reads its own files, whatever its settings said of the place of the server that the backup is of.

use crate::backups::{ALL, LEDGER, Place, ROWS, Restored, follow, has_programs, major};
use crate::harness::{Failure, text, texts};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use xtask::server::ScratchDirectory;

const ACCESS: &str = "host all,replication all 127.0.0.1/32 trust\n";

/// Writes below a directory that the server can read.
fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

impl Place {
    /// Adds to `postgresql.conf`, and starts the server anew with that.
    fn configure(&mut self, lines: &str) {
        let main = self.server.data().join("postgresql.conf");
        let before = fs::read_to_string(&main).unwrap();
        fs::write(&main, format!("{before}\n{lines}\n")).unwrap();
        self.server.restart().unwrap();
        self.client = self.server.connect("postgres");
    }
}

/// Asserts that nothing leads a restored server to other files than its own.
fn assert_on_its_own(restored: &Restored, old: &Path) {
    let mut there = restored.connect();
    let own = restored.data.display().to_string();
    for name in ["data_directory", "config_file", "hba_file", "ident_file"] {
        let value = text(&mut there, &format!("SHOW {name}"));
        assert!(value.starts_with(&own), "{name} is {value}");
    }
    for name in ["external_pid_file", "archive_cleanup_command", "recovery_end_command"] {
        assert_eq!(text(&mut there, &format!("SHOW {name}")), "", "{name}");
    }
    let files = texts(&mut there, "SELECT DISTINCT sourcefile FROM pg_file_settings");
    assert!(files.len() >= 2 && files.iter().all(|file| file.starts_with(&own)), "{files:?}");
    let old = old.display().to_string();
    let leading = format!("SELECT name || ' = ' || setting FROM pg_settings WHERE strpos(setting, '{old}') > 0");
    assert_eq!(texts(&mut there, &leading), [""; 0]);
    assert_eq!(text(&mut there, ROWS), "0 rows to 0");
}

#[test]
fn settings_that_name_the_old_place_lead_to_the_new_one() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_own_files");
    place.client.batch_execute(LEDGER).unwrap();
    let data = place.server.data().to_owned();
    let old = data.display().to_string();
    let access = write(&data, "more/access.conf", ACCESS);
    let ident = write(&data, "more/ident.conf", "# nobody\n");
    // In each place that a setting can come from.
    write(&data, "more/deep/last.conf", "work_mem = '5MB'\nrecovery_end_command = 'false'\n");
    let included = format!(
        "max_connections = 55\nident_file = '{ident}'\nexternal_pid_file = '{old}/more/pid'\ninclude_dir '{old}/more/deep'\n"
    );
    let included = write(&data, "more/extra.conf", &included);
    place.configure(&format!(
        "data_directory = '{old}'\nhba_file = '{access}'\nlog_directory = '{old}/logs'\narchive_cleanup_command = 'false'\ninclude '{included}'"
    ));
    place.client.batch_execute(&format!("ALTER SYSTEM SET ident_file = '{ident}'")).unwrap();
    place.client.batch_execute(&format!("ALTER SYSTEM SET ssl_ca_file = '{old}/more/ca'")).unwrap();
    place.create("first", "");
    place.create("files", ", format => 'plain'");
    let check = |restored: &Restored| {
        assert_on_its_own(restored, &data);
        let mut there = restored.connect();
        assert_eq!(text(&mut there, "SHOW max_connections"), "55");
        assert_eq!(text(&mut there, "SHOW work_mem"), "5MB");
        let own = restored.data.display();
        assert_eq!(text(&mut there, "SHOW hba_file"), format!("{own}/more/access.conf"));
        assert_eq!(text(&mut there, "SHOW ssl_ca_file"), format!("{own}/more/ca"));
        assert_eq!(text(&mut there, "SHOW log_directory"), format!("{own}/logs"));
    };
    check(&place.restore("first", "call", ""));
    for name in ["first", "files"] {
        let page = place.directory.path().join(name).join("RESTORE.md");
        check(&follow(&page, place.restored.path().join(format!("by-hand-{name}"))));
    }
    // An older backup does not tell where its server was: its rules are those beside the data then.
    place.make_older("files", &["sealed"]);
    let record = place.directory.path().join("files/backup.json");
    let told = fs::read_to_string(&record).unwrap();
    let mut told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(told.as_object_mut().unwrap().remove("place").is_some());
    fs::write(&record, told.to_string()).unwrap();
    let older = place.restore("files", "older", "");
    let mut there = older.connect();
    assert_eq!(text(&mut there, "SHOW hba_file"), older.data.join("pg_hba.conf").display().to_string());
    assert_eq!(text(&mut there, "SHOW data_directory"), older.data.display().to_string());
}

/// A file of another name, or in another directory, stands for `postgresql.conf`; others are links to files elsewhere.
#[test]
fn settings_files_of_other_names_come_along() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_named_files");
    place.client.batch_execute(LEDGER).unwrap();
    let data = place.server.data().to_owned();
    let elsewhere = ScratchDirectory::create("backup_named_files-conf").unwrap();
    write(&data, "conf/more.conf", "max_connections = 66\n");
    let own =
        write(&data, "conf/own.conf", &format!("include 'more.conf'\nlog_directory = '{}/logs'\n", data.display()));
    let access = write(elsewhere.path(), "access.conf", ACCESS);
    fs::remove_file(data.join("pg_hba.conf")).unwrap();
    symlink(access, data.join("pg_hba.conf")).unwrap();
    let arguments = [format!("--config_file={own}"), format!("--hba_file={}/pg_hba.conf", data.display())];
    place.server.restart_with(&[&arguments[0], &arguments[1]]).unwrap();
    place.client = place.server.connect("postgres");
    assert_eq!(text(&mut place.client, "SHOW max_connections"), "66");
    place.create("first", "");
    let by_call = place.restore("first", "call", "");
    let by_hand = follow(&place.directory.path().join("first/RESTORE.md"), place.restored.path().join("by-hand"));
    for restored in [by_call, by_hand] {
        assert_on_its_own(&restored, &data);
        let mut there = restored.connect();
        assert_eq!(text(&mut there, "SHOW max_connections"), "66");
    }
}

/// What is not in the backup cannot be changed: the restored server would run on the data of the old one.
#[test]
fn settings_elsewhere_that_name_other_data_are_refused() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_other_data");
    place.client.batch_execute(LEDGER).unwrap();
    let elsewhere = ScratchDirectory::create("backup_other_data-conf").unwrap();
    let data = place.server.data().display().to_string();
    let shared = write(elsewhere.path(), "shared.conf", &format!("data_directory = '{data}'\n"));
    place.configure(&format!("include '{shared}'"));
    place.create("first", "");
    let target = place.restored.path().join("never");
    let failed = place.restore_failure("first", &target, "");
    assert!(failed.sqlstate == "55000" && failed.message.contains(&data), "{failed:?}");
    assert_eq!(fs::read_dir(place.restored.path()).unwrap().count(), 0);
    // One that is gone keeps the server from its start, which is told.
    fs::remove_file(&shared).unwrap();
    let sql = format!("SELECT * FROM pgcopy.backup_restore('{}', '{}')", place.path("first"), target.display());
    place.client.query(&sql, &[]).unwrap();
    let failed = Failure::of(&place.client.query(&sql, &[]).unwrap_err());
    assert_eq!(failed.sqlstate, "58P02");
}

/// Access rules name other files, without which a server lets nobody in, or does not start.
#[test]
fn files_that_access_rules_name_come_along() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_rules");
    place.client.batch_execute(LEDGER).unwrap();
    let data = place.server.data().to_owned();
    let elsewhere = ScratchDirectory::create("backup_rules-conf").unwrap();
    for (name, directory) in [("beside", elsewhere.path()), ("within", data.as_path())] {
        let dir = directory.display();
        write(directory, "more admins", "postgres\n");
        write(directory, "lists/all", "@\"names/more\"\n");
        write(directory, "lists/names/more", "all\n");
        let line = format!("host @lists/all,replication @\"{dir}/more admins\" 127.0.0.1/32 trust\n");
        let access = if major() >= 16 {
            write(
                directory,
                "hba.d/10 first.conf",
                &format!("include ../first.conf\ninclude \"{dir}/hba.d/more/x\"\n"),
            );
            write(directory, "hba.d/more/x", &format!("include_if_exists {dir}/missing.conf\n"));
            write(directory, "first.conf", &line);
            write(directory, "access.conf", &format!("include_dir {dir}/hba.d # and nothing else\n"))
        } else {
            write(directory, "access.conf", &line)
        };
        let ident = write(directory, "names.conf", "# nobody\n");
        place.server.restart_with(&[&format!("--hba_file={access}"), &format!("--ident_file={ident}")]).unwrap();
        place.client = place.server.connect("postgres");
        place.create(name, "");
        assert_eq!(place.faults(name, ""), [""; 0], "{name}");
        let away = directory.with_extension("away");
        if name == "beside" {
            // On another machine there is nothing of it.
            fs::rename(directory, &away).unwrap();
        }
        let by_call = place.restore(name, &format!("{name}-call"), "");
        let page = place.directory.path().join(name).join("RESTORE.md");
        let by_hand = follow(&page, place.restored.path().join(format!("{name}-by-hand")));
        for restored in [by_call, by_hand] {
            let mut there = restored.connect();
            assert_eq!(text(&mut there, ROWS), "0 rows to 0");
            let own = restored.data.display().to_string();
            let rules = "SELECT DISTINCT coalesce(to_jsonb(r)->>'file_name', current_setting('hba_file')) FROM pg_hba_file_rules() r";
            let files = texts(&mut there, rules);
            assert!(!files.is_empty() && files.iter().all(|file| file.starts_with(&own)), "{name}: {files:?}");
            let wrong = "SELECT count(*)::text FROM pg_hba_file_rules() WHERE error IS NOT NULL";
            assert_eq!(text(&mut there, wrong), "0", "{name}");
        }
        if name == "beside" {
            fs::rename(&away, directory).unwrap();
        }
    }
}
