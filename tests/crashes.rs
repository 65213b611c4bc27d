//! Servers that crash, and disks that fill up. Each test has servers of its own.

use crate::harness::disk::SmallDisk;
use crate::harness::{Failure, OwnServers, Pair, connect, describe, eventually, text, texts, wait_for_worker};
use std::process::Command;
use xtask::data;
use xtask::server::Options;

const SCHEMA: &str = "
    CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.005); RETURN true; END';
    CREATE TABLE item (id int PRIMARY KEY, name text, big text);
    CREATE INDEX ON item (name);
";
const ROWS: &str = "INSERT INTO item SELECT i, 'new ' || i, repeat(md5(i::text), 100) FROM generate_series(1, 2000) i";

fn fill(pair: &mut Pair) {
    pair.both(SCHEMA);
    pair.source.batch_execute(ROWS).unwrap();
    pair.destination
        .batch_execute("INSERT INTO item SELECT i, 'old', 'x' FROM generate_series(1, 50) i; CHECKPOINT")
        .unwrap();
}

#[test]
fn a_worker_is_killed_and_the_whole_server_restarts() {
    let mut servers = OwnServers::start("kill", Options::named("kill-destination").setting("restart_after_crash = on"));
    let mut pair = servers.pair("kill");
    fill(&mut pair);
    pair.destination.batch_execute("ALTER TABLE item ADD CONSTRAINT slow CHECK (slowly())").unwrap();
    let before = pair.destination_state();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut session = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.query(&sql, &[]).map(|_| ()).unwrap_err());
        let worker = wait_for_worker(&mut watcher, "%copying public.item%");
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(Command::new("kill").arg("-KILL").arg(worker.to_string()).status().unwrap().success());
        pull.join().unwrap();
    });
    servers.destination.wait_until_ready().unwrap();
    eventually("the server has recovered", || servers.destination.try_connect("kill").is_ok());
    pair.destination = connect(pair.destination_port, "kill");
    assert_eq!(pair.destination_state(), before);
    // What the crash left is still there, known, and removed by a clean-up, or by the next pull.
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "1");
    assert_eq!(text(&mut pair.destination, "SELECT state FROM pgcopy.jobs"), "failed");
    pair.assert_nothing_left();
    pair.destination.batch_execute("ALTER TABLE item DROP CONSTRAINT slow").unwrap();
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_crash_right_after_the_commit_keeps_the_new_rows() {
    let mut servers = OwnServers::start("commit", Options::named("commit-destination").setting("fsync = on"));
    let mut pair = servers.pair("crash_commit");
    fill(&mut pair);
    pair.destination.batch_execute("CREATE EXTENSION amcheck").unwrap();
    pair.pull("overwrite => true, parallel => 2");
    servers.destination.crash_and_restart().unwrap();
    pair.destination = connect(servers.destination.port(), "crash_commit");
    pair.assert_same_content();
    text(&mut pair.destination, "SELECT bt_index_check('item_pkey', true)::text");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM verify_heapam('item')"), "0");
    text(&mut pair.destination, "SELECT pgcopy.cleanup()::text");
    pair.assert_nothing_left();
}

#[test]
fn minimal_logging_loses_nothing_in_a_crash() {
    let options = Options::named("minimal-destination").setting("wal_level = minimal").setting("max_wal_senders = 0");
    let mut servers = OwnServers::start("minimal", options.setting("fsync = on"));
    let mut pair = servers.pair("minimal");
    fill(&mut pair);
    for workers in [2, 0] {
        let sql = pair.pull_sql(&format!("overwrite => true, parallel => {workers}"));
        // Writes to the new storage in the same transaction are the delicate ones.
        pair.destination
            .batch_execute(&format!(
                "BEGIN; {sql}; INSERT INTO item SELECT i, 'late', 'x' FROM generate_series(5001, 6000) i; COMMIT"
            ))
            .unwrap();
        servers.destination.crash_and_restart().unwrap();
        pair.destination = connect(servers.destination.port(), "minimal");
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE name = 'late'"), "1000");
        pair.destination.batch_execute("DELETE FROM item WHERE id > 5000").unwrap();
        pair.assert_same_content();
        assert!(pair.destination.batch_execute("INSERT INTO item VALUES (1)").is_err(), "the key is there");
    }
}

#[test]
fn a_crash_before_the_commit_keeps_the_old_rows() {
    let mut servers = OwnServers::start("uncommitted", Options::named("uncommitted-destination"));
    let mut pair = servers.pair("crash_before");
    fill(&mut pair);
    let before = pair.destination_state();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; CHECKPOINT")).unwrap();
    servers.destination.crash_and_restart().unwrap();
    pair.destination = connect(servers.destination.port(), "crash_before");
    assert_eq!(pair.destination_state(), before);
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_standby_has_the_same_rows() {
    let servers = OwnServers::start("standby", Options::named("standby-primary"));
    let mut pair = servers.pair("standby");
    fill(&mut pair);
    let standby = servers.destination.start_standby(Options::named("standby-standby")).unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        let position = text(&mut pair.destination, "SELECT pg_current_wal_lsn()::text");
        let mut there = standby.connect("standby");
        eventually("the standby has caught up", || {
            text(&mut there, &format!("SELECT (pg_last_wal_replay_lsn() >= '{position}')::text")) == "true"
        });
        let tables = ["public.item".to_owned()];
        assert_eq!(data::checksums(&mut there, &tables).unwrap(), data::checksums(&mut pair.source, &tables).unwrap());
        let plan = texts(&mut there, "EXPLAIN SELECT FROM item WHERE id = 7").join("\n");
        assert!(plan.contains("item_pkey"), "{plan}");
    }
    let refused = standby.connect("standby").query(&pair.pull_sql(""), &[]).unwrap_err();
    assert_eq!(Failure::of(&refused).sqlstate, "25006");
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    // A small file system of its own for the table, so that the rows do not fit; the WAL is elsewhere.
    let disk = SmallDisk::mount("60m");
    let directory = xtask::server::new_directory(Some(disk.path()), "tablespace").unwrap();
    let servers = OwnServers::start("disk", Options::named("disk-destination"));
    let mut pair = servers.pair("disk");
    pair.destination.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", directory.display())).unwrap();
    pair.destination.batch_execute("SET default_tablespace = small").unwrap();
    fill(&mut pair);
    pair.both("ALTER TABLE item ALTER big SET STORAGE EXTERNAL");
    pair.source
        .batch_execute("INSERT INTO item SELECT i, 'n', repeat(md5(i::text), 100) FROM generate_series(3001, 40000) i")
        .unwrap();
    let before = pair.destination_state();
    for workers in [2, 0] {
        let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(failure.sqlstate, "53100", "{failure:?}");
        assert_eq!(pair.destination_state(), before);
        pair.assert_nothing_left();
        let orphans = "SELECT count(*)::text FROM pg_tablespace s, pg_database d, pg_ls_dir('pg_tblspc/' || s.oid) v,
                           pg_ls_dir('pg_tblspc/' || s.oid || '/' || v || '/' || d.oid) f
                       WHERE s.spcname = 'small' AND d.datname = current_database()
                         AND pg_filenode_relation(s.oid, substring(f from '^[0-9]+')::oid) IS NULL";
        assert_eq!(text(&mut pair.destination, orphans), "0");
    }
    pair.source.batch_execute("DELETE FROM item WHERE id > 3000").unwrap();
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
    let tablespace =
        "SELECT t.spcname::text FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE relname = 'item'";
    assert_eq!(text(&mut pair.destination, tablespace), "small");
}

#[test]
fn a_server_without_free_slots_works_with_what_there_is() {
    let servers = OwnServers::start("slots", Options::named("slots-destination").setting("max_worker_processes = 3"));
    let mut pair = servers.pair("slots");
    fill(&mut pair);
    // One slot is the logical replication launcher's: a steward and one worker remain.
    pair.pull("overwrite => true, parallel => 4");
    pair.assert_same_content();
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice.contains("1 of 4 workers")), "{notices:?}");
    drop(servers);
    let servers =
        OwnServers::start("noslots", Options::named("noslots-destination").setting("max_worker_processes = 0"));
    let mut pair = servers.pair("noslots");
    fill(&mut pair);
    pair.pull("overwrite => true, parallel => 4");
    pair.assert_same_content();
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice.contains("in this session alone")), "{notices:?}");
}

#[test]
fn sessions_that_end_at_once_cost_the_server_no_process() {
    let options = Options::named("ends-destination").setting("max_worker_processes = 5");
    let servers = OwnServers::start("ends", options);
    let mut pair = servers.pair("ends");
    let table = "CREATE TABLE item (id int PRIMARY KEY)";
    pair.both(table);
    pair.source.batch_execute("INSERT INTO item SELECT generate_series(1, 1000)").unwrap();
    let pull = format!("{}; ", pair.pull_sql("overwrite => true, parallel => 2"));
    for round in 0..20 {
        let mut session = pair.another_destination_session();
        if round % 2 == 0 {
            session.batch_execute(&pull).unwrap_or_else(|error| panic!("{round}: {}", describe(&error)));
        } else {
            // Nor do those that end in the middle.
            let ended = session.batch_execute(&format!("BEGIN; {pull} SELECT pg_terminate_backend(pg_backend_pid())"));
            assert!(ended.is_err());
        }
    }
    pair.assert_nothing_left();
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
    pair.assert_nothing_left();
    assert!(!servers.destination.log_text().contains("too many clients"), "a process was lost");
    drop(servers);
}
