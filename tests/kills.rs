//! Processes that are killed at random moments, and servers that crash in every phase. `PGCOPY_FAULT_TRIES` sets how often
//! (for each signal), `PGCOPY_TEST_SEED` which moments.

use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{
    OwnServers, Pair, Random, State, connect, eventually, files_with_rows_left, number, task_begins, text, texts,
};
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::server::Options;

const SCHEMA: &str = "
    CREATE FUNCTION slow_key(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(0.002); RETURN $1; END';
    CREATE TABLE item (id serial PRIMARY KEY, name text NOT NULL, big text);
    CREATE INDEX ON item (name);
    CREATE TABLE note (id int PRIMARY KEY, item int REFERENCES item);
    CREATE TABLE part (id int PRIMARY KEY, note int REFERENCES note);
";
const ROWS: &str = "
    INSERT INTO item (name, big) SELECT 'new ' || i, repeat(md5(i::text), 400) FROM generate_series(1, 3000) i;
    INSERT INTO note SELECT i, i FROM generate_series(1, 3000) i;
    INSERT INTO part SELECT i, i FROM generate_series(1, 3000) i;
    ANALYZE;
";
const OLD_ROWS: &str = "
    INSERT INTO item (name, big) SELECT 'old', repeat('x', 5000) FROM generate_series(1, 20) i;
    INSERT INTO note SELECT i, i FROM generate_series(1, 20) i;
    INSERT INTO part SELECT i, i FROM generate_series(1, 20) i;
    -- The server logs sequences ahead, and a crash makes them skip, unless they are set.
    SELECT setval('item_id_seq', 20);
    ANALYZE;
";

fn fill(pair: &mut Pair) {
    pair.both(SCHEMA);
    pair.source.batch_execute(ROWS).unwrap();
    pair.destination.batch_execute(OLD_ROWS).unwrap();
}

/// Either all new or all old: the state before, or the source's rows in every table.
fn assert_all_or_nothing(pair: &mut Pair, before: &State, moment: &str) -> bool {
    let after = pair.destination_state();
    assert_eq!(after.definitions, before.definitions, "{moment}");
    if after.rows == before.rows {
        assert_eq!((&after.sequences, &after.statistics), (&before.sequences, &before.statistics), "{moment}");
        return false;
    }
    pair.assert_same_content();
    true
}

/// Brings the old rows back, so that the next try can tell.
fn restore(pair: &mut Pair) {
    pair.destination.batch_execute("TRUNCATE item, note, part RESTART IDENTITY").unwrap();
    pair.destination.batch_execute(OLD_ROWS).unwrap();
}

/// Background jobs, one of whose processes gets the signal after a random time.
fn kill_at_random(pair: &mut Pair, signal: &str, tries: u64, random: &mut Random, mut revive: impl FnMut(&mut Pair)) {
    // How long an undisturbed one takes, to choose moments from.
    let dsn = pair.dsn();
    let started = Instant::now();
    pair.pull("overwrite => true, parallel => 2");
    let usual = started.elapsed().as_micros() as u64;
    pair.assert_nothing_left();
    restore(pair);
    let (mut killed, mut survived) = (0, 0);
    let mut known = Vec::new();
    for number in 0..tries {
        let before = pair.destination_state();
        let workers = random.below(3);
        let start = format!("SELECT pgcopy.start_pull('{dsn}', overwrite => true, parallel => {workers})::text");
        text(&mut pair.destination, &start);
        let pause = Duration::from_micros(random.below(usual + usual / 4));
        std::thread::sleep(pause);
        let processes = texts(
            &mut pair.destination,
            "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'pgcopy' AND datname = current_database() ORDER BY pid",
        );
        let moment = format!("{signal}, try {number}, {workers} workers, after {pause:?}");
        if !processes.is_empty() {
            let victim = &processes[random.below(processes.len() as u64) as usize];
            // It may have ended meanwhile.
            let _ = Command::new("kill").args([&format!("-{signal}"), victim]).output();
        }
        revive(pair);
        if signal == "KILL" {
            let orphans = files_with_rows_left(&mut pair.destination);
            assert!(workers == 0 || orphans.iter().all(|file| known.contains(file)), "{moment}: {orphans:?}");
            known = orphans;
        } else {
            pair.assert_nothing_left();
        }
        if assert_all_or_nothing(pair, &before, &moment) {
            survived += 1;
            restore(pair);
        } else {
            killed += 1;
        }
    }
    eprintln!("{signal}: {killed} pulls failed, {survived} were over or did not mind");
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
}

/// When no process is left. A leader without a session that ends before it has a steward leaves its job to the next pull.
fn clean_up(pair: &mut Pair) {
    let open = "SELECT count(*)::text FROM pgcopy.jobs WHERE state = 'running'";
    eventually("no job seems to run", || text(&mut pair.destination, open) == "0");
    text(&mut pair.destination, "SELECT pgcopy.cleanup()::text");
}

#[test]
fn processes_are_terminated_and_cancelled_at_random_moments() {
    let mut pair = Pair::new("kills");
    fill(&mut pair);
    let mut random = Random(number("PGCOPY_TEST_SEED", 1));
    for signal in ["TERM", "INT"] {
        kill_at_random(&mut pair, signal, number("PGCOPY_FAULT_TRIES", 12), &mut random, clean_up);
    }
}

#[test]
fn processes_are_killed_at_random_moments() {
    let servers = OwnServers::start("kills", Options::named("kills-destination").setting("restart_after_crash = on"));
    let mut pair = servers.pair("kills");
    fill(&mut pair);
    let mut random = Random(number("PGCOPY_TEST_SEED", 1));
    kill_at_random(&mut pair, "KILL", number("PGCOPY_FAULT_TRIES", 12), &mut random, |pair| {
        // The whole server restarts, if somebody was hit; otherwise it does not.
        std::thread::sleep(Duration::from_millis(300));
        eventually("the server has recovered", || servers.destination.try_connect("kills").is_ok());
        pair.destination = connect(pair.destination_port, "kills");
        clean_up(pair);
    });
}

#[test]
fn the_server_crashes_in_every_phase() {
    let mut servers = OwnServers::start("phases", Options::named("phases-destination"));
    let mut pair = servers.pair("phases");
    fill(&mut pair);
    pair.destination.batch_execute("CREATE INDEX slow_index ON note (slow_key(id)); ANALYZE").unwrap();
    for wanted in ["planning", "locking", "copying", "indexing", "checking", "swapping", "swapped"] {
        let before = pair.destination_state();
        let proxy = Proxy::start(pair.source_port);
        let mut other = pair.another_destination_session();
        match wanted {
            "planning" => proxy.disturb(Mode::Silent, 0),
            "locking" => other.batch_execute("BEGIN; LOCK TABLE part IN ROW EXCLUSIVE MODE").unwrap(),
            "copying" => proxy.disturb(Mode::Silent, 200_000),
            "swapping" => other.batch_execute("BEGIN; SELECT FROM part").unwrap(),
            _ => {}
        }
        let arguments = format!("'{}', overwrite => true, parallel => 2", proxy.dsn("phases"));
        if wanted == "swapped" {
            other.batch_execute(&format!("BEGIN; SELECT * FROM pgcopy.pull({arguments})")).unwrap();
        } else {
            text(&mut pair.destination, &format!("SELECT pgcopy.start_pull({arguments})::text"));
        }
        let phase = "SELECT coalesce(max(phase), '') FROM pgcopy.jobs WHERE state = 'running'";
        match wanted {
            "indexing" => task_begins(&mut pair.destination, "building index slow_index of public.note"),
            "checking" => task_begins(&mut pair.destination, "analyzing public.note"),
            _ => eventually(wanted, || text(&mut pair.destination, phase) == wanted),
        }
        servers.destination.crash_and_restart().unwrap();
        pair.destination = connect(servers.destination.port(), "phases");
        let last = "SELECT state FROM pgcopy.jobs ORDER BY job DESC LIMIT 1";
        assert_eq!(text(&mut pair.destination, last), "failed", "{wanted}");
        assert!(!assert_all_or_nothing(&mut pair, &before, wanted), "{wanted}");
        assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "1", "{wanted}");
        assert_eq!(files_with_rows_left(&mut pair.destination), Vec::<String>::new(), "{wanted}");
    }
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
}
