//! A restored server goes on along a timeline of its own, into the archive of the old one, which may go on, too.

use crate::backups::{ALL, LEDGER, Place, Restored, as_server_user, free_port, has_programs};
use crate::harness::{eventually, installation, text, texts};
use postgres::Client;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use xtask::server::ScratchDirectory;

const COUNT: &str = "SELECT count(*)::text FROM ledger";

fn insert(client: &mut Client, rows: u32) {
    for _ in 0..rows {
        client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    }
}

fn position(client: &mut Client) -> String {
    text(client, "SELECT pg_current_wal_insert_lsn()::text")
}

/// Has the archive hold all WAL of a server up to now.
fn archive(client: &mut Client, wal: &Path) {
    let last = text(client, "SELECT pg_walfile_name(pg_switch_wal())");
    eventually("the segment is archived", || wal.join(&last).exists());
}

impl Place {
    fn wal(&self) -> PathBuf {
        self.directory.path().join("wal")
    }

    /// The number of rows in a server that is restored.
    fn rows_along(&mut self, name: &str, arguments: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let target = format!("rows-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let restored = self.restore(name, &target, arguments);
        text(&mut restored.connect(), COUNT)
    }

    /// Restores a backup, and starts a server that archives its WAL where the old one does.
    fn go_on(&mut self, name: &str, target: &str, until: &str) -> Restored {
        let target = self.restored.path().join(target);
        let port = free_port();
        let sql = format!(
            "SELECT start_command FROM pgcopy.backup_restore('{}', '{}', port => {port}, until => '{until}')",
            self.path(name),
            target.display()
        );
        let command = text(&mut self.client, &sql);
        let mut settings = OpenOptions::new().append(true).open(target.join("postgresql.auto.conf")).unwrap();
        settings.write_all(b"archive_mode = on\n").unwrap();
        let libraries = installation().prefix().join("lib");
        let script = format!("export LD_LIBRARY_PATH={}\n{command}", libraries.display());
        let output = as_server_user(&script, &target);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Restored { data: target, port }
    }

    fn pruned(&mut self, arguments: &str) -> Vec<String> {
        let sql = format!(
            "SELECT entry || ' ' || keep FROM pgcopy.backup_prune('{}', {arguments}) WHERE entry NOT LIKE '%segments%'",
            self.directory.path().display()
        );
        texts(&mut self.client, &sql)
    }
}

#[test]
fn moments_before_and_behind_a_fork() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_fork");
    let wal = place.wal();
    place.client.batch_execute(LEDGER).unwrap();
    place.create("first", "");
    insert(&mut place.client, 1);
    let before = position(&mut place.client);
    place.client.batch_execute("SELECT pg_create_restore_point('fork')").unwrap();
    insert(&mut place.client, 1);
    let left = position(&mut place.client);
    insert(&mut place.client, 1);
    place.archive_all();
    let second = place.go_on("first", "second", "restore point fork");
    let mut there = second.connect();
    assert_eq!(text(&mut there, COUNT), "1");
    let history = wal.join("00000002.history");
    eventually("the history is archived", || history.exists());
    // There is no WAL of the new timeline yet, and that of the old one goes on behind the fork.
    let fork = fs::read_to_string(&history).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let list = format!("SELECT restorable_until_lsn FROM pgcopy.backup_list('{}')", place.directory.path().display());
    assert_eq!(text(&mut place.client, &list), fork);
    assert_eq!(place.rows_along("first", ""), "1");
    assert_eq!(place.rows_along("first", ", timeline => 1"), "3");
    insert(&mut there, 2);
    let later = position(&mut there);
    let time = text(&mut there, "SELECT clock_timestamp()::text");
    insert(&mut there, 1);
    archive(&mut there, &wal);
    let status = "SELECT concat_ws(' ', lag_bytes IS NOT NULL, cardinality(gaps)) FROM pgcopy.wal_archive_status()";
    assert_eq!(text(&mut there, status), "t 0");
    for (arguments, expected) in [
        (String::new(), "4"),
        (", timeline => 1".to_owned(), "3"),
        (format!(", until => '{before}'"), "1"),
        (format!(", until => '{before}', timeline => 1"), "1"),
        (format!(", until => '{left}', timeline => 1"), "2"),
        (format!(", until => '{later}', timeline => 2"), "3"),
        (format!(", until => '{time}'"), "3"),
        (", until => 'restore point fork'".to_owned(), "1"),
    ] {
        assert_eq!(place.rows_along("first", &arguments), expected, "{arguments}");
    }
    let target = place.restored.path().join("never");
    for (timeline, sqlstate, words) in [(7, "55000", "timeline 7 does not continue"), (0, "22023", "at least 1")] {
        let failed = place.restore_failure("first", &target, &format!(", timeline => {timeline}"));
        assert!(failed.sqlstate == sqlstate && failed.message.contains(words), "{failed:?}");
    }
    let failed = place.restore_failure("first", &target, &format!(", until => '{time}', timeline => 1"));
    assert!(failed.message.contains("cannot be reached"), "{failed:?}");
    // Back to a moment before the fork, of which the server calls the second timeline the parent all the same.
    let third = place.go_on("first", "third", &before);
    let mut there = third.connect();
    insert(&mut there, 5);
    archive(&mut there, &wal);
    assert_eq!(place.rows_along("first", ""), "6");
    assert_eq!(place.rows_along("first", ", timeline => 2"), "4");
}

/// Both servers take backups, into the same directory.
#[test]
fn backups_of_both_timelines() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_lines");
    let wal = place.wal();
    let directory = place.directory.path().display().to_string();
    place.client.batch_execute(LEDGER).unwrap();
    place.create("first", "");
    insert(&mut place.client, 1);
    place.client.batch_execute("SELECT pg_create_restore_point('fork')").unwrap();
    insert(&mut place.client, 1);
    place.archive_all();
    let second = place.go_on("first", "second", "restore point fork");
    let mut there = second.connect();
    eventually("the history is archived", || wal.join("00000002.history").exists());
    // The newest one is of the server that was left, and restores no moment of the one that goes on.
    place.create("left", "");
    assert_eq!(place.pruned("keep_full => 1"), ["first true", "left true"]);
    insert(&mut there, 2);
    archive(&mut there, &wal);
    text(&mut there, &format!("SELECT backup FROM pgcopy.backup_create('{directory}', label => 'next')"));
    insert(&mut there, 1);
    let moment = position(&mut there);
    insert(&mut there, 1);
    archive(&mut there, &wal);
    let list = format!("SELECT concat_ws(' ', name, state, timeline, problem) FROM pgcopy.backup_list('{directory}')");
    assert_eq!(texts(&mut place.client, &list), ["first complete 1", "left complete 1", "next complete 2"]);
    for name in ["first", "left", "next"] {
        assert_eq!(place.faults(name, ""), [""; 0], "{name}");
    }
    assert_eq!(place.pruned("keep_for => '1 day'"), ["first true", "left true", "next true"]);
    assert_eq!(place.rows_along("first", ""), "5");
    assert_eq!(place.rows_along("left", ""), "2");
    assert_eq!(place.pruned("keep_full => 1, dry_run => false"), ["first false", "left false", "next true"]);
    assert_eq!(place.rows_along("next", ""), "5");
    // Without an archive the history comes with the backup.
    let alone = ScratchDirectory::create("backup_lines-alone").unwrap();
    let create = format!("SELECT backup FROM pgcopy.backup_create('{}', label => 'alone')", alone.path().display());
    let backup = text(&mut there, &create);
    let restored = Restored { data: place.restored.path().join("alone"), port: free_port() };
    let sql = format!(
        "SELECT * FROM pgcopy.backup_restore('{backup}', '{}', port => {}, start => true)",
        restored.data.display(),
        restored.port
    );
    place.client.query(&sql, &[]).unwrap();
    assert_eq!(text(&mut restored.connect(), COUNT), "5");
    let failed = place.restore_failure("next", &place.restored.path().join("never"), ", timeline => 1");
    assert!(failed.message.contains("does not continue"), "{failed:?}");
    // One more timeline continues the second one.
    let third = place.go_on("next", "third", &moment);
    let mut there = third.connect();
    insert(&mut there, 3);
    archive(&mut there, &wal);
    assert_eq!(place.rows_along("next", ""), "7");
    assert_eq!(place.rows_along("next", ", timeline => 2"), "5");
    assert!(["00000002.history", "00000003.history"].iter().all(|name| wal.join(name).exists()));
}
