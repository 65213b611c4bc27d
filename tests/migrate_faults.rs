//! Migrations that fail in the middle: nothing of them is left. `docs/faults.md` lists every fault with its test.

use crate::harness::disk::SmallDisk;
use crate::harness::{OwnServers, Pair, connect, describe, eventually, text, wait_for_worker};
use crate::migrate::{definitions, has_pg_dump, programs_of};
use std::process::Command;
use xtask::server::{self, Options};

/// What a worker in the middle of a task says.
const WORKING: &str = "pgcopy job%: %ing %";

fn fill(pair: &mut Pair) {
    pair.source
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'glad');
             CREATE FUNCTION slow_key(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN $1; END';
             CREATE TABLE item (id serial PRIMARY KEY, felt mood, big text);
             CREATE TABLE note (id int PRIMARY KEY, item int REFERENCES item, body text); CREATE INDEX note_body ON note (body);
             INSERT INTO item (felt, big) SELECT 'sad', repeat(md5(i::text), 400) FROM generate_series(1, 3000) i;
             INSERT INTO note SELECT i, i, repeat(md5(i::text), 30) FROM generate_series(1, 3000) i;
             ALTER TABLE item ADD CONSTRAINT slow CHECK (slow_key(id) > 0) NOT VALID; UPDATE pg_constraint SET convalidated = true WHERE conname = 'slow';
             SELECT lo_create(7); ANALYZE",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
}

fn large_objects(pair: &mut Pair) -> String {
    text(&mut pair.destination, "SELECT count(*)::text FROM pg_largeobject_metadata")
}

#[test]
fn processes_that_end_leave_nothing() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_faults");
    fill(&mut pair);
    let before = definitions(pair.destination_port, "migrate_faults");
    let sql = format!("SELECT count(*)::text FROM pgcopy.migrate('{}', parallel => 2)", pair.dsn());
    let kill_here = |condition: &str, how: &str| {
        format!(
            "SELECT count({how}(pid))::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        )
    };
    for (what, side, statement) in [
        ("cancel", "here", kill_here("query LIKE 'SELECT count%pgcopy.migrate%'", "pg_cancel_backend")),
        ("leader", "here", kill_here("query LIKE 'SELECT count%pgcopy.migrate%'", "pg_terminate_backend")),
        ("worker", "here", kill_here("query LIKE 'pgcopy job%' AND query NOT LIKE '%steward'", "pg_terminate_backend")),
        ("steward", "here", kill_here("query LIKE 'pgcopy job%steward'", "pg_terminate_backend")),
        ("source", "there", kill_here("true", "pg_terminate_backend")),
        ("timeout", "", String::new()),
    ] {
        let mut session = pair.another_destination_session();
        let failure = std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                if what == "timeout" {
                    session.batch_execute("SET statement_timeout = '3s'").unwrap();
                }
                session.query(&sql, &[]).expect_err(what)
            });
            if !side.is_empty() {
                let mut other = pair.another_destination_session();
                wait_for_worker(&mut other, WORKING);
                let client = if side == "here" { &mut pair.destination } else { &mut pair.source };
                assert_ne!(text(client, &statement), "0", "{what}");
            }
            call.join().unwrap()
        });
        assert!(failure.is_closed() || failure.code().is_some(), "{what}: {failure:?}");
        eventually("nothing is left", || definitions(pair.destination_port, "migrate_faults") == before);
        pair.assert_nothing_left();
        assert_eq!(large_objects(&mut pair), "0", "{what}");
    }
    assert_ne!(text(&mut pair.destination, &sql), "0");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn processes_that_are_killed_leave_nothing() {
    if !has_pg_dump() {
        return;
    }
    let options = Options::named("migrate-killed-destination").setting("restart_after_crash = on");
    let mut servers = OwnServers::start("migrate-killed", options);
    let mut pair = servers.pair("migrate_killed");
    fill(&mut pair);
    let before = definitions(pair.destination_port, "migrate_killed");
    let sql = format!("SELECT count(*)::text FROM pgcopy.migrate('{}', parallel => 2)", pair.dsn());
    for who in [
        "query LIKE 'SELECT count%pgcopy.migrate%'",
        "query LIKE 'pgcopy job%: %ing %'",
        "query LIKE 'pgcopy job%steward'",
    ] {
        let mut session = pair.another_destination_session();
        let mut watcher = pair.another_destination_session();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| session.query(&sql, &[]).expect_err(who));
            wait_for_worker(&mut watcher, WORKING);
            let pid = format!(
                "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND {who}"
            );
            let pid = text(&mut watcher, &pid);
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success(), "{who}");
            call.join().unwrap();
        });
        eventually("the server has recovered", || servers.destination.try_connect("migrate_killed").is_ok());
        pair.destination = connect(pair.destination_port, "migrate_killed");
        assert_eq!(definitions(pair.destination_port, "migrate_killed"), before, "{who}");
        assert_eq!(large_objects(&mut pair), "0", "{who}");
        text(&mut pair.destination, "SELECT pgcopy.cleanup()::text");
        let stages = "SELECT count(*)::text FROM pg_class WHERE relnamespace = 'pgcopy_stage'::regnamespace";
        assert_eq!(text(&mut pair.destination, stages), "0", "{who}");
    }
    servers.destination.crash_and_restart().unwrap();
    pair.destination = connect(servers.destination.port(), "migrate_killed");
    assert_ne!(text(&mut pair.destination, &sql), "0");
    pair.assert_same_content();
    pair.assert_same_definitions();
}

#[test]
fn a_full_disk_leaves_nothing() {
    if !has_pg_dump() {
        return;
    }
    let disk = SmallDisk::mount("120m");
    let directory = server::new_directory(Some(disk.path()), "tablespace").unwrap();
    let servers = OwnServers::start("migrate-disk", Options::named("migrate-disk-destination"));
    let mut pair = servers.pair("migrate_disk");
    fill(&mut pair);
    let mut elsewhere = connect(pair.destination_port, "postgres");
    elsewhere.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", directory.display())).unwrap();
    // Nobody may be connected meanwhile.
    pair.destination = connect(pair.destination_port, "postgres");
    eventually("the database has moved", || {
        elsewhere.batch_execute("ALTER DATABASE migrate_disk SET TABLESPACE small").is_ok()
    });
    pair.destination = connect(pair.destination_port, "migrate_disk");
    let before = definitions(pair.destination_port, "migrate_disk");
    for workers in [2, 0] {
        let ballast = disk.fill();
        // Definitions still find room, rows do not.
        std::fs::File::options()
            .write(true)
            .open(&ballast)
            .unwrap()
            .set_len(std::fs::metadata(&ballast).unwrap().len() - (1 << 21))
            .unwrap();
        let failure = pair.migrate_error(&format!(", parallel => {workers}"));
        assert_eq!(failure.sqlstate, "53100", "{failure:?}");
        assert_eq!(definitions(pair.destination_port, "migrate_disk"), before);
        assert_eq!(large_objects(&mut pair), "0");
        std::fs::remove_file(ballast).unwrap();
        eventually("the job is finished", || {
            text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs WHERE state = 'running'") == "0"
        });
    }
    pair.migrate(", parallel => 2");
    pair.assert_same_content();
    pair.assert_same_definitions();
}

#[test]
fn a_program_that_is_killed_is_an_error() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_program");
    pair.source.batch_execute("CREATE TABLE item (id int); INSERT INTO item VALUES (1)").unwrap();
    let before = definitions(pair.destination_port, "migrate_program");
    let mut blocker = pair.another_source_session();
    // The program reads it, and nobody else does.
    blocker.batch_execute("BEGIN; LOCK pg_catalog.pg_init_privs IN ACCESS EXCLUSIVE MODE").unwrap();
    for signal in ["-TERM", "-KILL"] {
        let failure = std::thread::scope(|scope| {
            let call = scope.spawn(|| pair.migrate_error(""));
            eventually("the program waits", || call.is_finished() || !programs_of("migrate_program").is_empty());
            for (number, _) in programs_of("migrate_program") {
                let _ = Command::new("kill").args([signal, &number.to_string()]).status();
            }
            call.join().unwrap()
        });
        assert!(failure.message.contains("pg_dump"), "{failure:?}");
        assert_eq!(definitions(pair.destination_port, "migrate_program"), before);
    }
    blocker.batch_execute("ROLLBACK").unwrap();
    pair.assert_nothing_left();
    pair.migrate("");
    pair.assert_same_content();
}
