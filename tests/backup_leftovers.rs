//! What is in a directory of backups besides backups: the leftovers of processes that were killed, links, and other sessions at work.

use crate::backups::{ALL, LEDGER, Place, has_programs, major};
use crate::harness::{Failure, connect, eventually, text, texts};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use xtask::server::{Options, ScratchDirectory};

impl Place {
    /// What is removed, or would be, and what of the leftovers is not, with the reasons.
    fn prune(&mut self, dry_run: bool) -> Vec<String> {
        let sql = format!(
            "SELECT entry || ': ' || keep || ', ' || reason FROM pgcopy.backup_prune('{}', keep_full => 1, dry_run => {dry_run})
             WHERE NOT keep OR entry ~ '^archtemp|incomplete$' ORDER BY entry",
            self.directory.path().display()
        );
        texts(&mut self.client, &sql)
    }

    /// Writes a file as the server does.
    fn write(&self, name: &str, content: &[u8]) {
        let path = self.directory.path().join(name);
        let owner = fs::metadata(self.server.data()).unwrap();
        fs::write(&path, content).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    fn make_directory(&self, name: &str) {
        let path = self.directory.path().join(name);
        let owner = fs::metadata(self.server.data()).unwrap();
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The number of a process that is gone.
fn of_the_past() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

#[test]
fn what_killed_processes_have_left_is_removed_and_what_lives_is_not() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_leftovers");
    place.client.batch_execute(LEDGER).unwrap();
    for label in ["a", "b"] {
        place.create(label, "");
        place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
        place.archive_all();
    }
    let wal = place.directory.path().join("wal");
    eventually("the files of backups are archived", || {
        names(&wal).iter().filter(|name| name.ends_with(".backup")).count() == 2
    });
    let segments: Vec<String> = names(&wal).into_iter().filter(|name| name.len() == 24).collect();
    let files_of_backups: Vec<String> = names(&wal).into_iter().filter(|name| name.ends_with(".backup")).collect();
    let (first, last) = (&segments[0], &segments[segments.len() - 1]);
    let archiver = text(&mut place.client, "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'archiver'");
    let gone = of_the_past();
    let dead = format!("archtemp.{last}.{gone}.1795724431453");
    let live = format!("archtemp.{last}.{archiver}.1795724431453");
    for name in [&dead, &live, "archtemp.of.somebody", &format!("{first}.partial"), &format!("{last}.partial")] {
        place.write(&format!("wal/{name}"), b"x");
    }
    // One that was killed before it could say that it is there, and one that is somebody's own.
    place.make_directory("killed.incomplete");
    place.make_directory("own.incomplete");
    place.write("own.incomplete/data", b"x");
    let expected_of = |place: &mut Place, dry_run| {
        let told = place.prune(dry_run);
        let begins = [
            "2 files that go with segments of WAL: false",
            "a: false",
            &format!("{dead}: false"),
            &format!("{live}: true"),
            "killed.incomplete: false",
        ]
        .map(str::to_owned);
        for begin in &begins {
            assert!(told.iter().any(|line| line.starts_with(begin)), "{begin}: {told:?}");
        }
        assert_eq!(told.len(), begins.len() + 1, "{told:?}");
    };
    let all = (names(place.directory.path()), names(&wal));
    expected_of(&mut place, true);
    assert_eq!((names(place.directory.path()), names(&wal)), all);
    let bytes = format!(
        "SELECT sum(bytes)::text FROM pgcopy.backup_prune('{}', keep_full => 1) WHERE NOT keep",
        place.directory.path().display()
    );
    let bytes = text(&mut place.client, &bytes);
    // A name that is taken keeps no backup from being removed.
    place.make_directory("a.incomplete");
    place.write("a.incomplete/data", b"x");
    expected_of(&mut place, false);
    assert_eq!(names(place.directory.path()), ["a.incomplete", "b", "own.incomplete", "wal"]);
    // All that was removed counts in the history.
    let removed = format!(
        "SELECT (state = 'completed' AND bytes = {bytes})::text FROM pgcopy.jobs WHERE arguments ? 'keep_full' ORDER BY job DESC LIMIT 1"
    );
    eventually("the job has ended", || text(&mut place.client, &removed) == "true");
    let left = names(&wal);
    assert!(!left.contains(&dead) && !left.contains(first) && !left.contains(&format!("{first}.partial")), "{left:?}");
    for name in [&live, "archtemp.of.somebody", last, &format!("{last}.partial"), &files_of_backups[1]] {
        assert!(left.iter().any(|it| it == name), "{name}: {left:?}");
    }
    // A server that does not archive there does not know whose they are.
    place.write(&format!("wal/{dead}"), b"x");
    place.client.batch_execute("ALTER SYSTEM RESET archive_library").unwrap();
    place.client.batch_execute("SELECT pg_reload_conf()").unwrap();
    eventually("the setting is read", || text(&mut place.client, "SHOW archive_library").is_empty());
    let told = place.prune(false);
    assert!(told.iter().any(|line| line.starts_with(&format!("{dead}: true"))), "{told:?}");
    assert!(wal.join(&dead).exists());
    // The name is free again.
    place.make_directory("killed.incomplete");
    place.create("killed", "");
    let restored = place.restore("b", "b", "");
    assert_eq!(text(&mut restored.connect(), "SELECT count(*)::text FROM ledger"), "2");
}

/// Two sessions that prune at once do not mind what the other has removed.
#[test]
fn two_sessions_prune_at_once() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_prune_twice");
    let directory = place.directory.path().to_owned();
    place.create("template", "");
    let mut names_of_copies: Vec<String> = Vec::new();
    for number in 0..20 {
        let name = format!("b{number}");
        let script = format!("cp -r {0}/template {0}/{name}", directory.display());
        assert!(crate::backups::as_server_user(&script, place.server.data()).status.success());
        names_of_copies.push(name);
    }
    let sql = format!(
        "SELECT count(*)::text FROM pgcopy.backup_prune('{}', keep_full => 1, dry_run => false)",
        directory.display()
    );
    let port = place.server.port();
    let sessions: Vec<_> = (0..4)
        .map(|_| {
            let sql = sql.clone();
            std::thread::spawn(move || connect(port, "postgres").query_one(&sql, &[]).map(|_| ()))
        })
        .collect();
    for session in sessions {
        session.join().unwrap().unwrap_or_else(|error| panic!("{}", crate::harness::describe(&error)));
    }
    // Each has kept the newest one, which is the same for all.
    assert_eq!(place.list(), ["template complete"]);
    assert_eq!(names(&directory), ["template"]);
    // The history tells of it, and not of those that only ask.
    eventually("the jobs have ended", || {
        text(&mut place.client, "SELECT bool_and(state = 'completed')::text FROM pgcopy.jobs") == "true"
    });
    place.prune(true);
    let told = "SELECT concat(count(*), ' ', bool_and(source = $1), ' ', sum(bytes) > 100000000, ' ',
                              bool_or(error IS NOT NULL OR arguments ? 'directory'))
                FROM pgcopy.jobs WHERE arguments @> '{\"keep_full\": 1, \"dry_run\": false}'";
    let told: String = place.client.query_one(told, &[&directory.display().to_string()]).unwrap().get(0);
    assert_eq!(told, "4 t t f");
}

/// A backup that was moved to another disk, with a link in its place, is one; a second name of one is not.
#[test]
fn links_to_backups() {
    if !has_programs(&ALL) {
        return;
    }
    let is_incremental = major() >= 17 && has_programs(&["pg_combinebackup"]);
    let options = Options::named("backup_links");
    let options = if is_incremental { options.setting("summarize_wal = on") } else { options };
    let mut place = Place::new("backup_links", options);
    let other_disk = ScratchDirectory::create("backup_links-disk").unwrap();
    let directory = place.directory.path().to_owned();
    place.create("a", "");
    if is_incremental {
        place.create("b", ", incremental_from => 'a'");
    }
    fs::rename(directory.join("a"), other_disk.path().join("a")).unwrap();
    symlink(other_disk.path().join("a"), directory.join("a")).unwrap();
    symlink("a", directory.join("latest")).unwrap();
    symlink("/nonexistent", directory.join("nowhere")).unwrap();
    let expected: &[&str] = if is_incremental { &["a complete", "b complete"] } else { &["a complete"] };
    assert_eq!(place.list(), expected);
    place.create("c", "");
    let told = place.prune(false);
    // What is elsewhere is not removed, and neither is what builds on it for that.
    let went: &[&str] = if is_incremental { &["b: false, the policy does not ask for it"] } else { &[] };
    assert_eq!(told, went);
    assert_eq!(names(&directory), ["a", "c", "latest", "nowhere"]);
    assert!(other_disk.path().join("a/backup.json").exists());
    if is_incremental {
        place.create("d", ", incremental_from => 'a'");
        // The disk is away.
        fs::remove_file(directory.join("a")).unwrap();
        symlink("/nonexistent", directory.join("a")).unwrap();
        assert_eq!(place.list(), ["a damaged", "c complete", "d damaged"]);
        assert_eq!(place.prune(false), [""; 0]);
        assert!(directory.join("d").exists());
    }
}

/// The WAL of a server that runs is no archive, whoever calls it one.
#[test]
fn wal_of_servers_is_not_pruned() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_own_wal");
    place.client.batch_execute(LEDGER).unwrap();
    // Standbys have not got it yet.
    place.client.batch_execute("SELECT pg_create_physical_replication_slot('standby', true)").unwrap();
    for _ in 0..3 {
        place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES; SELECT pg_switch_wal()").unwrap();
    }
    place.create("a", "");
    let wal = place.server.data().join("pg_wal");
    let before = names(&wal);
    let link = place.directory.path().join("link");
    symlink(&wal, &link).unwrap();
    for archive in [wal.clone(), link, place.server.data().to_owned(), wal.join("archive_status")] {
        for dry_run in [true, false] {
            let sql = format!(
                "SELECT * FROM pgcopy.backup_prune('{}', keep_full => 1, dry_run => {dry_run}, wal_archive => '{}')",
                place.directory.path().display(),
                archive.display()
            );
            let failed = Failure::of(&place.client.query(&sql, &[]).unwrap_err());
            assert_eq!(failed.sqlstate, "22023", "{archive:?}: {failed:?}");
        }
    }
    assert!(before.iter().all(|name| wal.join(name).exists()));
}
