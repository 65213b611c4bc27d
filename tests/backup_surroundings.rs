//! What is around a backup: archives of other servers, directories within others, small disks, and servers that are started from it.

use crate::backups::{ALL, LEDGER, Place, has_programs, major};
use crate::harness::disk::SmallDisk;
use crate::harness::{Failure, connect, connect_as, eventually, no_process_left, text, texts};
use postgres::NoTls;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::server::{Options, ScratchDirectory};

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn owned_by_server(path: &Path, like: &Path) {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(like).unwrap();
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
}

#[test]
fn archives_of_other_servers_are_left_alone() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_mine");
    let mut other = Place::archiving("backup_theirs");
    other.client.batch_execute(LEDGER).unwrap();
    for _ in 0..3 {
        other.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
        other.archive_all();
    }
    for name in ["first", "second"] {
        place.client.batch_execute("CREATE TABLE IF NOT EXISTS t (i int); SELECT pg_switch_wal()").unwrap();
        place.client.batch_execute("INSERT INTO t VALUES (1); SELECT pg_switch_wal()").unwrap();
        place.create(name, "");
    }
    let (mine, theirs) = (shown(place.directory.path()), other.path("wal"));
    let before = names(Path::new(&theirs));
    for sql in [
        format!(
            "SELECT * FROM pgcopy.backup_prune('{mine}', keep_full => 1, dry_run => false, wal_archive => '{theirs}')"
        ),
        format!("SELECT * FROM pgcopy.backup_restore('{mine}/first', '{mine}-x', wal_archive => '{theirs}')"),
    ] {
        let failed = Failure::of(&place.client.query(&sql, &[]).unwrap_err());
        assert!(failed.sqlstate == "55000" && failed.message.contains("of another server"), "{sql}: {failed:?}");
    }
    assert_eq!(names(Path::new(&theirs)), before);
    assert_eq!(place.list(), ["first complete", "second complete"]);
    let problems = texts(
        &mut place.client,
        &format!("SELECT problem FROM pgcopy.backup_list('{mine}', wal_archive => '{theirs}')"),
    );
    assert!(problems.len() == 2 && problems.iter().all(|told| told.contains("of another server")), "{problems:?}");
    // Nor does a server write into it, or among its own data.
    let enable = |client: &mut postgres::Client, directory: &Path| {
        let sql = format!("SELECT * FROM pgcopy.wal_archive_enable('{}')", directory.display());
        Failure::of(&client.query(&sql, &[]).unwrap_err())
    };
    let failed = enable(&mut place.client, other.directory.path());
    assert!(failed.message.contains("another server"), "{failed:?}");
    let link = place.directory.path().join("link");
    symlink(place.server.data(), &link).unwrap();
    let failed = enable(&mut place.client, &link);
    assert!(failed.message.contains("apart from the server's data"), "{failed:?}");
    assert!(!place.server.data().join("wal").exists());
}

#[test]
fn directories_within_others_are_refused() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_within");
    place.create("a", "");
    place.create("files", ", format => 'plain'");
    for within in ["a", "a/data", "files/tablespaces"] {
        let directory = place.directory.path().join(within);
        if within == "files/tablespaces" {
            fs::create_dir(&directory).unwrap();
            owned_by_server(&directory, place.directory.path());
        }
        let sql = format!("SELECT * FROM pgcopy.backup_create('{}', label => 'b')", directory.display());
        let failed = Failure::of(&place.client.query(&sql, &[]).unwrap_err());
        assert!(failed.message.contains("is in a backup"), "{within}: {failed:?}");
    }
    // A way around does not lead into the directory of backups, nor into the data of a server that is down.
    let link = place.restored.path().join("link");
    symlink(place.directory.path(), &link).unwrap();
    assert_eq!(place.restore_failure("a", &link.join("new"), "").sqlstate, "22023");
    let restored = place.restored.path().join("down");
    let sql = format!("SELECT * FROM pgcopy.backup_restore('{}', '{}')", place.path("a"), restored.display());
    place.client.query(&sql, &[]).unwrap();
    for within in ["base/new", "pg_wal/new"] {
        let failed = place.restore_failure("a", &restored.join(within), "");
        assert!(failed.sqlstate == "55006" && failed.message.contains("data directory"), "{within}: {failed:?}");
    }
    assert_eq!(place.list(), ["a complete", "files complete"]);
}

/// A copy of a backup is what it is, whatever becomes of the backup.
#[test]
fn copies_of_backups_stand_on_their_own() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_copy");
    let elsewhere = ScratchDirectory::create("backup_copy-space").unwrap();
    let space = shown(elsewhere.path());
    place.client.batch_execute(&format!("CREATE TABLESPACE elsewhere LOCATION '{space}'")).unwrap();
    place.client.batch_execute(&format!("{LEDGER} TABLESPACE elsewhere; INSERT INTO ledger DEFAULT VALUES")).unwrap();
    place.create("files", ", format => 'plain'");
    let copies = ScratchDirectory::create("backup_copy-copies").unwrap();
    let copied = Command::new("cp").arg("-a").arg(place.directory.path().join("files")).arg(copies.path()).status();
    assert!(copied.unwrap().success());
    let faults = |place: &mut Place, directory: &Path| {
        let sql = format!("SELECT file FROM pgcopy.backup_validate('{}/files')", directory.display());
        texts(&mut place.client, &sql)
    };
    let own = place.directory.path().to_owned();
    assert_eq!(faults(&mut place, copies.path()), [""; 0]);
    let find =
        format!("find {}/files/tablespaces -type f -size +0 | grep -v PG_VERSION | head -1", copies.path().display());
    let found = Command::new("sh").args(["-c", &find]).output().unwrap().stdout;
    let file = PathBuf::from(String::from_utf8(found).unwrap().trim());
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(faults(&mut place, copies.path()).len(), 1);
    assert_eq!(faults(&mut place, &own), [""; 0]);
    fs::remove_dir_all(copies.path().join("files")).unwrap();
    assert_eq!(faults(&mut place, &own), [""; 0]);
}

/// Each disk has to hold what goes there.
#[test]
fn room_is_looked_for_where_files_go() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_room");
    let elsewhere = ScratchDirectory::create("backup_room-space").unwrap();
    let space = shown(elsewhere.path());
    place.client.batch_execute(&format!("CREATE TABLESPACE elsewhere LOCATION '{space}'")).unwrap();
    place
        .client
        .batch_execute(
            "CREATE TABLE wide TABLESPACE elsewhere AS SELECT repeat('x', 1900) FROM generate_series(1, 40000)",
        )
        .unwrap();
    place.create("a", ", compress => 'none'");
    // The data directory has some 40 MB with its WAL, the tablespace twice as much.
    let disk = SmallDisk::mount("64m");
    let restore = |place: &mut Place, target: &Path, space_at: &Path| {
        let sql = format!(
            "SELECT directory FROM pgcopy.backup_restore('{}', '{}', tablespaces => '{{\"{space}\": \"{}\"}}')",
            place.path("a"),
            target.display(),
            space_at.display()
        );
        place.client.query(&sql, &[]).map(drop)
    };
    let (small, big) = (disk.path().to_owned(), place.restored.path().to_owned());
    let failed = Failure::of(&restore(&mut place, &big.join("data"), &small.join("space")).unwrap_err());
    assert_eq!(failed.sqlstate, "53100", "{failed:?}");
    assert!(names(&big).is_empty() && names(&small).is_empty());
    restore(&mut place, &small.join("data"), &big.join("space")).unwrap();
    assert!(small.join("data/recovery.signal").exists());
}

/// The last lines of `postmaster.pid` tell of the shared memory of a server.
fn shared_memory(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().nth(6)?.split_whitespace().nth(1).map(str::to_owned)
}

fn has_shared_memory(id: &str) -> bool {
    let all = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    all.lines().any(|line| line.split_whitespace().nth(1) == Some(id))
}

#[test]
fn a_cancelled_drill_leaves_nothing() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_cancelled");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("a", "");
    let backup = place.path("a");
    for way in ["cancel", "terminate"] {
        let mut session = place.server.connect("postgres");
        let pid = text(&mut session, "SELECT pg_backend_pid()::text");
        let (cancel, sql) =
            (session.cancel_token(), format!("SELECT * FROM pgcopy.backup_validate('{backup}', level => 'restore')"));
        let call = std::thread::spawn(move || session.query(&sql, &[]).map(drop));
        let mut memory = None;
        eventually("its server has started", || {
            let entries = fs::read_dir(place.directory.path()).unwrap().flatten();
            let scratch = entries.map(|entry| entry.path()).find(|path| shown(path).contains(".validate-"));
            memory = scratch.and_then(|scratch| shared_memory(&scratch.join("data")));
            memory.is_some() || call.is_finished()
        });
        match way {
            "cancel" => cancel.cancel_query(NoTls).unwrap(),
            _ => drop(text(&mut place.client, &format!("SELECT pg_terminate_backend({pid})::text"))),
        }
        let outcome = call.join().unwrap();
        let memory = memory.expect("the drill was met");
        eventually("the session is over", || {
            way == "cancel"
                || text(&mut place.client, &format!("SELECT count(*)::text FROM pg_stat_activity WHERE pid = {pid}"))
                    == "0"
        });
        assert!(outcome.is_err(), "{way}");
        assert!(!has_shared_memory(&memory), "{way}: shared memory {memory} is left");
        assert_eq!(names(place.directory.path()), ["a"], "{way}");
        let mine =
            Command::new("pgrep").args(["-f", "--", &format!("-D {}", place.directory.path().display())]).output();
        assert!(mine.unwrap().stdout.is_empty(), "{way}");
    }
}

#[test]
fn drills_of_backups_whose_rules_and_databases_were_others() {
    if !has_programs(&ALL) {
        return;
    }
    let access = "host all asked 127.0.0.1/32 scram-sha-256";
    let mut place = Place::new("backup_others", Options::named("backup_others").access(access));
    place.create("a", "");
    place.client.batch_execute("CREATE ROLE boss SUPERUSER LOGIN").unwrap();
    let mut boss = connect_as(place.server.port(), "postgres", "boss");
    let drill = format!(
        "SELECT coalesce(file, '-') || finding FROM pgcopy.backup_validate('{}', level => 'restore')",
        place.path("a")
    );
    // This server asks for a password, which says nothing of the backup; and it has a database that is newer.
    boss.batch_execute("CREATE ROLE asked SUPERUSER LOGIN PASSWORD 'secret'").unwrap();
    boss.batch_execute("CREATE DATABASE newer").unwrap();
    let as_asked = |database: &str| {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(place.server.port()).user("asked").password("secret").dbname(database);
        config.connect(NoTls).unwrap()
    };
    let mut asked = as_asked("postgres");
    assert_eq!(texts(&mut asked, &drill), [""; 0]);
    let warnings = "SELECT array_to_string(warnings, '; ') FROM pgcopy.jobs ORDER BY job DESC LIMIT 1";
    no_process_left(&mut asked);
    let told = text(&mut asked, warnings);
    assert!(told.contains("definitions were not compared") || told.contains("pg_dump is not installed"), "{told}");
    let mut newer = as_asked("newer");
    newer.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    assert_eq!(texts(&mut newer, &drill), [""; 0]);
    no_process_left(&mut newer);
    let told = text(&mut newer, warnings);
    assert!(told.contains("does not exist"), "{told}");
}

/// A server that is started and is not up when the call is cancelled does not go on.
#[test]
fn a_cancelled_start_leaves_no_server() {
    if !has_programs(&ALL) || !has_programs(&["pg_controldata"]) {
        return;
    }
    let mut place = Place::archiving("backup_start");
    place.create("a", "");
    place.client.batch_execute(LEDGER).unwrap();
    place.archive_all();
    // Recovery waits for somebody to write into the first segment that it asks for.
    let list = format!("FROM pgcopy.backup_list('{}')", place.directory.path().display());
    let first = text(&mut place.client, &format!("SELECT pg_walfile_name(start_lsn::pg_lsn) {list}"));
    let first = place.directory.path().join("wal").join(first);
    fs::remove_file(&first).unwrap();
    let made = Command::new("mkfifo").args(["--mode=666"]).arg(&first).status();
    assert!(made.unwrap().success());
    let target = place.restored.path().join("new");
    let sql = format!(
        "SELECT * FROM pgcopy.backup_restore('{}', '{}', port => {}, until => 'consistent', start => true)",
        place.path("a"),
        target.display(),
        crate::backups::free_port()
    );
    let mut session = place.server.connect("postgres");
    let cancel = session.cancel_token();
    let call = std::thread::spawn(move || session.query(&sql, &[]).map(drop));
    let mut memory = None;
    eventually("it waits", || {
        memory = shared_memory(&target);
        let log = fs::read_to_string(target.join("restore.log")).unwrap_or_default();
        memory.is_some() && log.contains("point-in-time recovery")
    });
    cancel.cancel_query(NoTls).unwrap();
    assert!(call.join().unwrap().is_err());
    let running = Command::new("pgrep").args(["-f", "--", &format!("-D {}", target.display())]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&running.stdout), "");
    assert!(!has_shared_memory(&memory.unwrap()));
    fs::remove_file(&first).unwrap();
}

#[test]
fn the_lag_is_known_behind_a_backup() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_lag");
    place.create("a", "");
    // A file about the backup is archived after its segment.
    let status =
        "SELECT concat_ws(' ', last_archived LIKE '%.backup', lag_bytes IS NOT NULL) FROM pgcopy.wal_archive_status()";
    eventually("the file is archived", || text(&mut place.client, status).starts_with('t'));
    assert_eq!(text(&mut place.client, status), "t t");
}

#[test]
fn a_standby_tells_that_it_takes_no_backups() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_primary");
    place.create("a", "");
    let standby = place.server.start_standby(Options::named("backup_standby")).unwrap();
    let mut there = connect(standby.port(), "postgres");
    let directory = shown(place.directory.path());
    let sql = format!("SELECT * FROM pgcopy.backup_create('{directory}')");
    let failed = Failure::of(&there.query(&sql, &[]).unwrap_err());
    assert!(failed.message.contains("during recovery"), "{failed:?}");
    assert_eq!(
        texts(&mut there, &format!("SELECT name || state FROM pgcopy.backup_list('{directory}')")),
        ["acomplete"]
    );
}

/// An incremental backup is as good as what it builds on, which stays while it is taken.
#[test]
fn what_incremental_backups_build_on_is_looked_after() {
    if major() < 17 || !has_programs(&ALL) || !has_programs(&["pg_combinebackup"]) {
        return;
    }
    let mut place = Place::new("backup_parents", Options::named("backup_parents").setting("summarize_wal = on"));
    place.client.batch_execute(LEDGER).unwrap();
    place.create("old", "");
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    place.create("new", "");
    let directory = shown(place.directory.path());
    let job: i64 = place
        .client
        .query_one(
            &format!("SELECT pgcopy.start_backup_create('{directory}', label => 'slow', incremental_from => 'old', max_rate => 300, compress => 'none')"),
            &[],
        )
        .unwrap()
        .get(0);
    eventually("it is being taken", || place.directory.path().join("slow.incomplete/data").exists());
    let prune = format!(
        "SELECT entry || ' ' || keep FROM pgcopy.backup_prune('{directory}', keep_full => 1, dry_run => false)"
    );
    assert_eq!(texts(&mut place.client, &prune)[..2], ["new true", "old true"]);
    assert_eq!(text(&mut place.client, &format!("SELECT pgcopy.wait({job})")), "completed");
    assert_eq!(place.list(), ["new complete", "old complete", "slow complete"]);
    assert!(!place.directory.path().join("slow/parent").exists());
    assert_eq!(place.faults("slow", ""), [""; 0]);
    let archive = place.directory.path().join("old/data/base.tar.gz");
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let sql = format!("SELECT backup || ' ' || file FROM pgcopy.backup_validate('{directory}/slow')");
    assert_eq!(texts(&mut place.client, &sql), ["old base.tar.gz"]);
}
