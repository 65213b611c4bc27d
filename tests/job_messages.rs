//! What a job had to say, and what it was asked for: kept with the job, since nobody may have listened, and failures in the
//! server's log.

use crate::harness::{OwnServers, Pair, eventually, text, texts, wait_for_worker};
use postgres::Client;
use std::time::Duration;
use xtask::server::Options;

fn pair(name: &str) -> Pair {
    let mut pair = Pair::with(
        name,
        "CREATE TABLE item (id int PRIMARY KEY, name text)",
        "CREATE TABLE away (id int); INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 1000) i",
    );
    pair.destination.batch_execute("ALTER TABLE item ADD extra int DEFAULT 7").unwrap();
    pair
}

fn last_job(client: &mut Client, columns: &str) -> String {
    text(client, &format!("SELECT concat_ws('|', {columns}) FROM pgcopy.jobs ORDER BY job DESC LIMIT 1"))
}

fn start(pair: &mut Pair, arguments: &str) -> String {
    let sql = format!("SELECT pgcopy.wait(pgcopy.start_pull('{} password=secret'{arguments}))", pair.dsn());
    text(&mut pair.destination, &sql)
}

#[test]
fn notices_are_kept_with_the_job() {
    let mut pair = pair("messages_notices");
    for background in [true, false] {
        if background {
            assert_eq!(start(&mut pair, ", overwrite => true"), "completed");
            assert!(pair.notices().is_empty());
        } else {
            pair.pull("overwrite => true, verbose => true, parallel => 0");
            assert!(pair.notices().iter().any(|notice| notice.contains("away")));
        }
        let kept = texts(
            &mut pair.destination,
            "SELECT unnest(warnings) FROM (SELECT warnings FROM pgcopy.jobs ORDER BY job DESC LIMIT 1) j",
        );
        assert_eq!(
            kept,
            [
                "not on the destination, left out: public.away",
                "columns of public.item left to their defaults, because the source has none: extra"
            ]
        );
    }
    // A job that could not be planned has them, too, and one that its caller has rolled back.
    pair.destination.batch_execute("ALTER TABLE item ALTER id TYPE text").unwrap();
    assert_eq!(start(&mut pair, ", overwrite => true"), "failed");
    pair.destination.batch_execute("ALTER TABLE item ALTER id TYPE int USING id::int").unwrap();
    let sql = pair.pull_sql("overwrite => true");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; ROLLBACK")).unwrap();
    pair.assert_nothing_left();
    assert!(last_job(&mut pair.destination, "state, warnings").starts_with("rolled back|{"));
}

#[test]
fn arguments_are_kept_without_secrets() {
    let mut pair = pair("messages_arguments");
    assert_eq!(
        start(&mut pair, ", include => '{item}', exclude => '{away}', overwrite => true, parallel => 2"),
        "completed"
    );
    let arguments = last_job(&mut pair.destination, "arguments");
    for part in ["\"include\": [\"item\"]", "\"exclude\": [\"away\"]", "\"overwrite\": true", "\"parallel\": 2"] {
        assert!(arguments.contains(part), "{part} is not in {arguments}");
    }
    assert!(!arguments.contains("secret"), "{arguments}");
    pair.pull("overwrite => true, method => 'in place'");
    let arguments = last_job(&mut pair.destination, "arguments");
    assert!(arguments.contains("\"method\": \"in place\"") && !arguments.contains("null"), "{arguments}");
    // Of a load of files, with a URL that is signed, which fails.
    let url = "http://127.0.0.1:9/data/item.parquet?sig=hidden";
    let sql = format!("SELECT pgcopy.wait(pgcopy.start_load_parquet('{url}', 'item', skip => '{{name}}'))");
    assert_eq!(text(&mut pair.destination, &sql), "failed");
    let arguments = last_job(&mut pair.destination, "arguments");
    assert!(arguments.contains("\"skip\": [\"name\"]") && arguments.contains("\"target\": \"item\""), "{arguments}");
    assert!(!arguments.contains("hidden"), "{arguments}");
}

#[test]
fn strangers_see_neither() {
    let mut pair = pair("messages_strangers");
    assert_eq!(start(&mut pair, ", overwrite => true"), "completed");
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE signaller; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             GRANT pg_signal_backend TO signaller; SET ROLE signaller",
        )
        .unwrap();
    let seen = last_job(&mut pair.destination, "state, warnings IS NULL, arguments IS NULL");
    assert_eq!(seen, "completed|t|t");
}

#[test]
fn a_failed_job_is_in_the_servers_log_and_its_workers_are_not() {
    let servers = OwnServers::start("messages-log", Options::named("messages-log-destination"));
    let mut pair = servers.pair("messages_log");
    pair.both("CREATE TABLE item (id int, name text)");
    pair.source
        .batch_execute("INSERT INTO item SELECT i, 'x' FROM generate_series(1, 1000) i; INSERT INTO item VALUES (1)")
        .unwrap();
    pair.destination.batch_execute("ALTER TABLE item ADD PRIMARY KEY (id)").unwrap();
    assert_eq!(start(&mut pair, ", overwrite => true"), "failed");
    let log = servers.destination.log_text();
    let lines: Vec<&str> = log.lines().collect();
    let failure =
        lines.iter().position(|line| line.contains("WARNING:  job 1 has failed: could not create unique index"));
    let failure = failure.unwrap_or_else(|| panic!("the failure is not in the log:\n{log}"));
    assert!(lines[failure + 1].contains("DETAIL:  Key (id)=(1) is duplicated."), "{log}");
    // Workers in the middle of a task end when the job is cancelled, and that is nothing to report.
    pair.destination
        .batch_execute(
            "ALTER TABLE item DROP CONSTRAINT item_pkey;
             CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN true; END';
             ALTER TABLE item ADD CHECK (slowly())",
        )
        .unwrap();
    let dsn = pair.dsn();
    for ending in ["SELECT pgcopy.cancel(2)", "SELECT pg_cancel_backend(leader_pid) FROM pgcopy.jobs WHERE job = 3"] {
        pair.destination.batch_execute(&format!("SELECT pgcopy.start_pull('{dsn}', overwrite => true)")).unwrap();
        wait_for_worker(&mut pair.destination, "%copying public.item%");
        std::thread::sleep(Duration::from_millis(200));
        pair.destination.batch_execute(ending).unwrap();
        pair.assert_nothing_left();
    }
    // So they do when a session ends that waits for the pull.
    let mut session = pair.another_destination_session();
    let pull = pair.pull_sql("overwrite => true");
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    std::thread::scope(|scope| {
        scope.spawn(move || session.batch_execute(&pull).unwrap_err());
        wait_for_worker(&mut pair.destination, "%copying public.item%");
        pair.destination.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
    });
    pair.assert_nothing_left();
    let log = servers.destination.log_text();
    let fatal: Vec<&str> = log.lines().filter(|line| line.contains("FATAL:  terminating")).collect();
    assert_eq!(fatal.len(), 1, "the session alone was terminated:\n{}", fatal.join("\n"));
    // The server itself may tell that one has ended which was terminated before it saw that the job is over.
    let ended: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("background worker") && !line.ends_with("exited with exit code 1"))
        .collect();
    assert!(ended.is_empty(), "{}", ended.join("\n"));
    eventually("both jobs are in the log", || servers.destination.log_text().matches("WARNING:  job").count() >= 3);
}

#[test]
fn warnings_of_workers_are_kept_too() {
    let mut pair = Pair::with(
        "messages_workers",
        "CREATE TABLE item (id int); CREATE TABLE other (id int)",
        "INSERT INTO item SELECT generate_series(1, 1000); INSERT INTO other SELECT generate_series(1, 1000)",
    );
    pair.destination
        .batch_execute(
            "CREATE FUNCTION checked(id int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 IF id % 100 = 0 THEN RAISE WARNING E'a round number\\x1b[2J %', repeat('x', 2000); END IF;
                 IF id = 7 THEN RAISE WARNING 'a prime number'; END IF;
                 RETURN true;
             END $$;
             ALTER TABLE item ADD CHECK (checked(id)); ALTER TABLE other ADD CHECK (checked(id))",
        )
        .unwrap();
    let kept = |pair: &mut Pair| {
        texts(
            &mut pair.destination,
            "SELECT unnest(warnings) FROM (SELECT warnings FROM pgcopy.jobs ORDER BY job DESC LIMIT 1) j ORDER BY 1",
        )
    };
    for parallel in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {parallel}"));
        pair.assert_nothing_left();
        let kept = kept(&mut pair);
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert_eq!(kept[0], "a prime number");
        assert!(kept[1].starts_with("a round number\\x1b[2J xxx") && kept[1].ends_with('…'), "{kept:?}");
    }
    // Of many that differ, some are kept.
    pair.destination
        .batch_execute(
            "CREATE OR REPLACE FUNCTION checked(id int) RETURNS boolean LANGUAGE plpgsql
             AS $$ BEGIN RAISE WARNING 'row %', id; RETURN id < 1000; END $$",
        )
        .unwrap();
    let failure = pair.pull_error("include => '{item}', overwrite => true, parallel => 2");
    assert_eq!(failure.sqlstate, "23514");
    pair.assert_nothing_left();
    let kept = kept(&mut pair);
    assert_eq!(kept.len(), 17, "{kept:?}");
    assert!(kept.iter().any(|text| text == "There were more messages."), "{kept:?}");
}
