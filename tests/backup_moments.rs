//! Restores near the ends of the WAL, and what recovery meets on the way: told before anything is unpacked.

use crate::backups::{ALL, LEDGER, Place, ROWS, follow, has_programs};
use crate::harness::text;
use std::fs;
use std::path::PathBuf;
use xtask::server::ScratchDirectory;

impl Place {
    /// Restores "first" to a moment, and returns the rows of the ledger then.
    fn rows_at(&mut self, until: &str, target: &str) -> String {
        let restored = self.restore("first", target, &format!(", until => '{until}'"));
        text(&mut restored.connect(), ROWS)
    }

    fn insert(&mut self) {
        self.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    }
}

#[test]
fn moments_at_the_end_of_the_wal() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_ends");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("first", "");
    let of_list = |column: &str, place: &mut Place| {
        let sql = format!("SELECT {column} FROM pgcopy.backup_list('{}')", place.directory.path().display());
        text(&mut place.client, &sql)
    };
    let stop = of_list("stop_lsn", &mut place);
    assert_eq!(place.rows_at(&stop, "stop"), "0 rows to 0");
    // No transaction but those of this test.
    place.client.batch_execute("ALTER SYSTEM SET autovacuum = off").unwrap();
    place.client.batch_execute("SELECT pg_reload_conf()").unwrap();
    crate::harness::no_process_left(&mut place.client);
    place.insert();
    // Nobody writes after that.
    let quiet = text(&mut place.client, "SELECT clock_timestamp()::text");
    let switched = text(&mut place.client, "SELECT pg_switch_wal()::text");
    place.client.batch_execute("CHECKPOINT").unwrap();
    place.archive_all();
    let target = place.restored.path().join("never");
    let failed = place.restore_failure("first", &target, &format!(", until => '{quiet}'"));
    assert!(failed.sqlstate == "55000" && failed.message.contains("cannot be reached"), "{failed:?}");
    assert!(failed.detail.contains("last transaction in it ended at"), "{failed:?}");
    assert!(!target.exists());
    let end = of_list("restorable_until_lsn", &mut place);
    assert_eq!(place.rows_at(&end, "end"), "1 rows to 1");
    assert_eq!(place.rows_at(&switched, "switched"), "1 rows to 1");
    // The next transaction tells that the time is over.
    place.insert();
    place.archive_all();
    assert_eq!(place.rows_at(&quiet, "quiet"), "1 rows to 1");
    // A position is one between two records, also before that of a commit.
    let mut other = place.server.connect("postgres");
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    let position: String = transaction.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).unwrap().get(0);
    transaction.commit().unwrap();
    place.insert();
    place.archive_all();
    assert_eq!(place.rows_at(&position, "position"), "2 rows to 2");
    // Names of restore points are taken as they are.
    place.client.batch_execute("SELECT pg_create_restore_point('a RESTORE_POINT b')").unwrap();
    place.client.batch_execute("SELECT pg_create_restore_point('blank ')").unwrap();
    place.insert();
    place.archive_all();
    for point in ["b", "blank", "a"] {
        let failed = place.restore_failure("first", &target, &format!(", until => 'restore point {point}'"));
        assert!(failed.message.contains("is not in the WAL"), "{point}: {failed:?}");
    }
    assert_eq!(place.rows_at("restore point blank ", "point"), "4 rows to 4");
    // Recovery would end at a record that is damaged, and call that the end.
    let damaged = place
        .directory
        .path()
        .join("wal")
        .join(text(&mut place.client, &format!("SELECT pg_walfile_name('{position}')")));
    let whole = fs::read(&damaged).unwrap();
    let offset: i32 = place
        .client
        .query_one(&format!("SELECT (pg_walfile_name_offset('{position}')).file_offset"), &[])
        .unwrap()
        .get(0);
    let mut bytes = whole.clone();
    bytes[offset as usize + 26] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let failed = place.restore_failure("first", &target, "");
    assert!(failed.message.contains("damaged") && failed.detail.contains("cannot be read"), "{failed:?}");
    assert!(!target.exists());
    assert_eq!(place.rows_at(&switched, "undamaged"), "1 rows to 1");
    fs::write(&damaged, whole).unwrap();
    assert!(place.rows_at("latest", "latest").starts_with("5 rows"));
}

/// A tablespace is created in recovery where it was, and a server that runs has its files there.
#[test]
fn tablespaces_of_a_running_server_are_left_alone() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_late");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("first", "");
    place.insert();
    let before = text(&mut place.client, "SELECT pg_current_wal_insert_lsn()::text");
    let elsewhere = ScratchDirectory::create("backup_late-space").unwrap();
    let space = elsewhere.path().display().to_string();
    place.client.batch_execute(&format!("CREATE TABLESPACE late LOCATION '{space}'")).unwrap();
    place.client.batch_execute("CREATE TABLE moved TABLESPACE late AS SELECT 1 AS id").unwrap();
    let after = text(&mut place.client, "SELECT clock_timestamp()::text");
    place.insert();
    place.archive_all();
    let target = place.restored.path().join("never");
    for until in ["latest".to_owned(), after] {
        let failed = place.restore_failure("first", &target, &format!(", until => '{until}'"));
        assert!(failed.sqlstate == "55006" && failed.message.contains(&space), "{until}: {failed:?}");
        assert!(!target.exists());
    }
    assert_eq!(place.rows_at(&before, "before"), "1 rows to 1");
    assert_eq!(text(&mut place.client, "SELECT count(*)::text FROM moved"), "1");
    // A place that nobody uses is none of anybody.
    place.client.batch_execute("DROP TABLE moved").unwrap();
    place.client.batch_execute("DROP TABLESPACE late").unwrap();
    place.archive_all();
    assert_eq!(place.rows_at("latest", "latest"), "2 rows to 2");
}

/// Only a developer option makes them.
#[test]
fn tablespaces_in_place_are_told_before_a_backup() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_in_place");
    place.client.batch_execute("SET allow_in_place_tablespaces = on").unwrap();
    place.client.batch_execute("CREATE TABLESPACE here LOCATION ''").unwrap();
    for format in ["tar", "plain"] {
        let failed = place.create_failure("a", &format!(", format => '{format}'"));
        assert!(failed.sqlstate == "55000" && failed.message.contains("tablespace \"here\""), "{format}: {failed:?}");
    }
    place.client.batch_execute("DROP TABLESPACE here").unwrap();
    place.create("a", "");
}

/// Recovery needs some settings as high as they were when its WAL was written.
#[test]
fn settings_that_were_raised_since_do_not_stop_recovery() {
    if !has_programs(&ALL) || !has_programs(&["pg_controldata"]) {
        return;
    }
    let mut place = Place::archiving("backup_raised");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("first", "");
    for (number, expected) in [(150, "150"), (120, "150")] {
        place.client.batch_execute(&format!("ALTER SYSTEM SET max_connections = {number}")).unwrap();
        place.server.restart().unwrap();
        place.client = place.server.connect("postgres");
        place.insert();
        place.archive_all();
        let restored = place.restore("first", &format!("data-{number}"), "");
        assert_eq!(text(&mut restored.connect(), "SHOW max_connections"), expected);
    }
    let restored = place.restore("first", "data", ", until => 'consistent'");
    assert_eq!(text(&mut restored.connect(), "SHOW max_connections"), "100");
}

/// As packages have it, the settings are not among the data, and some are in a directory of their own.
#[test]
fn settings_beside_the_data_come_along() {
    if !has_programs(&ALL) {
        return;
    }
    let configuration = ScratchDirectory::create("backup_beside-conf").unwrap();
    let mut place = Place::archiving("backup_beside");
    let data = place.server.data().to_owned();
    let beside = |name: &str| configuration.path().join(name);
    fs::create_dir(beside("conf.d")).unwrap();
    fs::write(beside("conf.d/10 more.conf"), "max_connections = 77\n").unwrap();
    let pid_file = beside("postmaster.pid").display().to_string();
    let main = format!(
        "data_directory = '{}'\nhba_file = '{}'\nexternal_pid_file = '{pid_file}'\ninclude_dir 'conf.d'\n",
        data.display(),
        data.join("pg_hba.conf").display()
    );
    fs::write(beside("postgresql.conf"), main).unwrap();
    place.server.restart_with(&[&format!("--config_file={}", beside("postgresql.conf").display())]).unwrap();
    place.client = place.server.connect("postgres");
    assert_eq!(text(&mut place.client, "SHOW max_connections"), "77");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("first", "");
    assert_eq!(place.faults("first", ""), [""; 0]);
    place.insert();
    let position = text(&mut place.client, "SELECT pg_current_wal_insert_lsn()::text");
    place.insert();
    place.archive_all();
    let own_pid = fs::read_to_string(&pid_file).unwrap();
    let restored = place.restore("first", "data", &format!(", until => '{position}'"));
    let mut there = restored.connect();
    assert_eq!(text(&mut there, ROWS), "1 rows to 1");
    assert_eq!(text(&mut there, "SHOW max_connections"), "77");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), own_pid);
    // Its own backup restores by hand, where the moment that it was restored to itself is no target any more.
    let again = ScratchDirectory::create("backup_beside-again").unwrap();
    let create = format!("SELECT backup FROM pgcopy.backup_create('{}', label => 'second')", again.path().display());
    let backup = text(&mut there, &create);
    let by_hand = follow(&PathBuf::from(backup).join("RESTORE.md"), place.restored.path().join("by-hand"));
    let mut there = by_hand.connect();
    assert_eq!(text(&mut there, ROWS), "1 rows to 1");
    assert_eq!(text(&mut there, "SHOW max_connections"), "77");
    let by_hand = follow(&place.directory.path().join("first/RESTORE.md"), place.restored.path().join("by-hand-first"));
    let mut there = by_hand.connect();
    assert_eq!(text(&mut there, ROWS), "2 rows to 2");
    assert_eq!(text(&mut there, "SHOW max_connections"), "77");
}
