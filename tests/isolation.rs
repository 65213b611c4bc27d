//! One instant of the source, and readers who never see anything in between.

use crate::harness::{Failure, Pair, Pulled, eventually, text, wait_for_worker};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn every_pull_shows_one_instant_of_a_busy_source() {
    let mut pair = Pair::with(
        "instant",
        "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
         CREATE TABLE savings (id int PRIMARY KEY, balance bigint NOT NULL);
         CREATE TABLE transfer (id bigserial PRIMARY KEY, amount bigint NOT NULL);
         CREATE TABLE total (transfers bigint NOT NULL)",
        "INSERT INTO account SELECT i, 1000 FROM generate_series(1, 20000) i;
         INSERT INTO savings SELECT i, 1000 FROM generate_series(1, 20000) i;
         INSERT INTO total VALUES (0)",
    );
    let stop = AtomicBool::new(false);
    let (port, database) = (pair.source_port, pair.database.clone());
    std::thread::scope(|scope| {
        for seed in 0..2i32 {
            let (stop, database) = (&stop, &database);
            scope.spawn(move || {
                let mut writer = crate::harness::connect(port, database);
                let mut number = seed;
                while !stop.load(Ordering::SeqCst) {
                    number = (number * 7919 + 1) % 20000;
                    let (from, to) = (number + 1, (number * 31) % 20000 + 1);
                    // Two tables change together, a third counts, the fourth sums up: four tables, one truth.
                    let _ = writer.batch_execute(&format!(
                        "BEGIN;
                         UPDATE account SET balance = balance - 5 WHERE id = {from};
                         UPDATE savings SET balance = balance + 5 WHERE id = {to};
                         INSERT INTO transfer (amount) VALUES (5);
                         UPDATE total SET transfers = transfers + 1;
                         COMMIT"
                    ));
                }
            });
        }
        let mut seen = Vec::new();
        for workers in [1, 2, 4, 0, 3, 2] {
            pair.pull(&format!("overwrite => true, parallel => {workers}"));
            let broken = text(
                &mut pair.destination,
                "SELECT concat_ws(' ', a, s, t, n, c) FROM
                     (SELECT sum(balance) a FROM account) a, (SELECT sum(balance) s FROM savings) s,
                     (SELECT coalesce(sum(amount), 0) t, count(*) n FROM transfer) t, (SELECT transfers c FROM total) c
                 WHERE a + s <> 40000000 OR s - 20000000 <> t OR n <> c",
            );
            assert_eq!(broken, "", "{workers} workers");
            seen.push(text(&mut pair.destination, "SELECT transfers::text FROM total"));
        }
        stop.store(true, Ordering::SeqCst);
        seen.dedup();
        assert!(seen.len() > 1, "the source was busy meanwhile");
    });
}

#[test]
fn readers_see_the_old_rows_until_the_commit() {
    let mut pair = Pair::with(
        "readers",
        "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN true; END';
         CREATE TABLE one (id int PRIMARY KEY, generation int NOT NULL);
         CREATE TABLE two (id int PRIMARY KEY, generation int NOT NULL)",
        "INSERT INTO one SELECT i, 2 FROM generate_series(1, 200) i; INSERT INTO two SELECT i, 2 FROM generate_series(1, 200) i",
    );
    pair.destination
        .batch_execute(
            "ALTER TABLE one ADD CHECK (slowly());
             INSERT INTO one SELECT i, 1 FROM generate_series(1, 10) i;
             INSERT INTO two SELECT i, 1 FROM generate_series(1, 10) i",
        )
        .unwrap();
    let read = "SELECT concat_ws(' ', (SELECT count(*) FROM one), (SELECT sum(generation) FROM one),
                                      (SELECT count(*) FROM two), (SELECT sum(generation) FROM two))";
    let done = AtomicBool::new(false);
    let mut readers = [pair.another_destination_session(), pair.another_destination_session()];
    let seen: Vec<Vec<String>> = std::thread::scope(|scope| {
        let handles: Vec<_> = readers
            .iter_mut()
            .map(|reader| {
                let done = &done;
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    while !done.load(Ordering::SeqCst) {
                        seen.push(text(reader, read));
                    }
                    seen.push(text(reader, read));
                    seen
                })
            })
            .collect();
        pair.pull("overwrite => true, parallel => 2");
        done.store(true, Ordering::SeqCst);
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for mut seen in seen {
        assert!(seen.len() > 50, "readers were not held up: {} reads", seen.len());
        seen.dedup();
        assert_eq!(seen, ["10 10 10 10", "200 400 200 400"]);
    }
}

#[test]
fn writers_of_a_target_wait_and_none_is_lost() {
    let mut pair = Pair::with(
        "writers",
        "CREATE TABLE item (id int PRIMARY KEY, origin text)",
        "INSERT INTO item SELECT i, 'source' FROM generate_series(1, 100) i",
    );
    pair.destination.batch_execute("INSERT INTO item VALUES (1, 'old')").unwrap();
    let sql = pair.pull_sql("overwrite => true, parallel => 1");
    let mut transaction = pair.destination.transaction().unwrap();
    transaction.query(&sql, &[]).unwrap();
    let mut writer = crate::harness::connect(pair.destination_port, &pair.database);
    std::thread::scope(|scope| {
        let write = scope.spawn(|| writer.batch_execute("INSERT INTO item VALUES (1000, 'writer')"));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!write.is_finished(), "the writer waits for the pull's transaction");
        transaction.commit().unwrap();
        write.join().unwrap().unwrap();
    });
    assert_eq!(
        text(&mut pair.destination, "SELECT string_agg(DISTINCT origin, ' ' ORDER BY origin) FROM item"),
        "source writer"
    );
}

#[test]
fn a_lock_queue_behind_the_leader_is_no_deadlock() {
    // The leader's transaction holds a weak lock on a target and somebody waits for a strong one behind it. The pull's
    // processes must get past that waiter, because it waits for their leader.
    let mut pair = Pair::with(
        "lock_queue",
        "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE tag (id int PRIMARY KEY, item int REFERENCES item)",
        "INSERT INTO item SELECT generate_series(1, 100); INSERT INTO tag SELECT i, i FROM generate_series(1, 100) i",
    );
    let sql = pair.pull_sql("parallel => 2");
    let mut other = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    let mut transaction = pair.destination.transaction().unwrap();
    transaction.batch_execute("SELECT FROM item; SELECT FROM tag").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.batch_execute("BEGIN; LOCK TABLE tag, item; ROLLBACK"));
        eventually("somebody queues up", || {
            text(&mut watcher, "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")
                == "1"
        });
        transaction.query(&sql, &[]).unwrap();
        transaction.commit().unwrap();
        waiting.join().unwrap().unwrap();
    });
    pair.assert_same_content();
}

#[test]
fn a_change_of_definition_while_the_pull_starts_is_noticed() {
    let mut pair = Pair::with(
        "definition_race",
        "CREATE TABLE item (id int PRIMARY KEY, note text); CREATE TABLE kind (id int PRIMARY KEY)",
        "INSERT INTO item VALUES (1, 'x'); INSERT INTO kind VALUES (1)",
    );
    let mut other = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    // Adding a foreign key lets the pull read the definition, but not lock the table: that holds it in between.
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute("ALTER TABLE item ADD FOREIGN KEY (id) REFERENCES kind").unwrap();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| {
            let failure = pair.pull_error("include => '{item}', parallel => 1");
            (pair, failure)
        });
        eventually("the pull waits for its lock", || {
            text(&mut watcher, "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND mode = 'ExclusiveLock'")
                == "1"
        });
        transaction.commit().unwrap();
        let (mut pair, failure): (Pair, Failure) = pull.join().unwrap();
        assert_eq!(failure.sqlstate, "55006");
        pair.assert_nothing_left();
        pair.pull("");
        pair.assert_same_content();
    });
}

/// A pull that waits for its lock while another session, which holds a weaker one, does something to the target and commits.
fn pull_that_waits(pair: Pair, arguments: &str, meanwhile: &str) -> (Pair, Result<Vec<Pulled>, Failure>) {
    let mut pair = pair;
    let mut other = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE item IN ROW EXCLUSIVE MODE").unwrap();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| {
            let outcome = pair.try_pull(arguments).map_err(|error| Failure::of(&error));
            (pair, outcome)
        });
        eventually("the pull waits for its lock", || {
            let waiting = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'item'::regclass
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            text(&mut watcher, waiting) == "1"
        });
        transaction.batch_execute(meanwhile).unwrap();
        transaction.commit().unwrap();
        pull.join().unwrap()
    })
}

#[test]
fn rows_that_come_while_the_pull_waits_for_its_lock_are_not_replaced_unasked() {
    for workers in [2, 0] {
        let pair = Pair::with(
            "late_rows",
            "CREATE TABLE item (id int PRIMARY KEY, origin text)",
            "INSERT INTO item VALUES (1, 'source')",
        );
        // The plan finds a table without a single page.
        let arguments = format!("parallel => {workers}");
        let (mut pair, outcome) = pull_that_waits(pair, &arguments, "INSERT INTO item VALUES (5000, 'precious')");
        assert_eq!(outcome.unwrap_err().sqlstate, "55000");
        assert_eq!(text(&mut pair.destination, "SELECT string_agg(origin, ' ') FROM item"), "precious");
        pair.assert_nothing_left();
    }
}

#[test]
fn tables_whose_names_are_exchanged_while_the_pull_waits_for_its_lock_are_not_mixed_up() {
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let mut pair = Pair::with(
            "exchanged_names",
            "CREATE TABLE item (id int PRIMARY KEY, origin text); CREATE TABLE spare (LIKE item INCLUDING ALL)",
            "INSERT INTO item VALUES (1, 'item of the source'); INSERT INTO spare VALUES (1, 'spare of the source')",
        );
        pair.destination
            .batch_execute(&format!(
                "SET default_transaction_isolation = '{isolation}';
                 INSERT INTO item VALUES (2, 'one'); INSERT INTO spare VALUES (3, 'other')"
            ))
            .unwrap();
        let exchange =
            "ALTER TABLE item RENAME TO third; ALTER TABLE spare RENAME TO item; ALTER TABLE third RENAME TO spare";
        let (mut pair, outcome) = pull_that_waits(pair, "include => '{item}', overwrite => true", exchange);
        assert_eq!(outcome.unwrap_err().sqlstate, "55006", "{isolation}");
        assert_eq!(text(&mut pair.destination, "SELECT string_agg(origin, ' ') FROM spare"), "one");
        assert_eq!(text(&mut pair.destination, "SELECT string_agg(origin, ' ') FROM item"), "other");
        pair.assert_nothing_left();
    }
}

#[test]
fn tables_whose_names_are_exchanged_while_the_pull_waits_for_the_source_are_not_mixed_up() {
    let mut pair = Pair::with(
        "exchanged_early",
        "CREATE TABLE item (id int PRIMARY KEY, origin text); CREATE TABLE spare (LIKE item INCLUDING ALL)",
        "INSERT INTO item VALUES (1, 'item of the source'); INSERT INTO spare VALUES (1, 'spare of the source')",
    );
    pair.destination
        .batch_execute("INSERT INTO item VALUES (2, 'one'); INSERT INTO spare VALUES (3, 'other')")
        .unwrap();
    let mut other = pair.another_destination_session();
    let mut watcher = pair.another_source_session();
    let mut owner = pair.another_source_session();
    let mut transaction = owner.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE item").unwrap();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| {
            let failure = pair.pull_error("include => '{item}', overwrite => true");
            (pair, failure)
        });
        eventually("the pull waits for the source", || {
            let waiting = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'item'::regclass
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            text(&mut watcher, waiting) == "1"
        });
        // It has chosen its targets by their names, but has not read what they are like.
        let exchange =
            "ALTER TABLE item RENAME TO third; ALTER TABLE spare RENAME TO item; ALTER TABLE third RENAME TO spare";
        other.batch_execute(exchange).unwrap();
        transaction.commit().unwrap();
        let (mut pair, failure): (Pair, Failure) = pull.join().unwrap();
        assert_eq!(failure.sqlstate, "55006");
        assert_eq!(text(&mut pair.destination, "SELECT string_agg(origin, ' ') FROM spare"), "one");
        assert_eq!(text(&mut pair.destination, "SELECT string_agg(origin, ' ') FROM item"), "other");
        pair.assert_nothing_left();
    });
}

#[test]
fn workers_show_what_they_do() {
    let mut pair = Pair::with(
        "activity",
        "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN true; END';
         CREATE TABLE item (id int PRIMARY KEY CHECK (slowly()))",
        "INSERT INTO item SELECT generate_series(1, 100)",
    );
    let mut watcher = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| pair.pull("parallel => 1"));
        wait_for_worker(&mut watcher, "pgcopy job%copying public.item%");
        assert_eq!(text(&mut watcher, "SELECT state FROM pgcopy.jobs"), "running");
        pull.join().unwrap();
    });
}

#[test]
fn two_pulls_of_the_same_tables_follow_each_other() {
    let mut pair = Pair::with(
        "two_pulls",
        "CREATE TABLE kind (id int PRIMARY KEY); CREATE TABLE item (id int PRIMARY KEY, kind int REFERENCES kind)",
        "INSERT INTO kind VALUES (1); INSERT INTO item SELECT i, 1 FROM generate_series(1, 20000) i",
    );
    pair.destination.batch_execute("INSERT INTO kind VALUES (1)").unwrap();
    let sql = pair.pull_sql("include => '{item}', overwrite => true, parallel => 1");
    let mut sessions = [pair.another_destination_session(), pair.another_destination_session()];
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let pulls =
                sessions.each_mut().map(|session| scope.spawn(|| session.query(&sql, &[]).map(|rows| rows.len())));
            for pull in pulls {
                assert_eq!(pull.join().unwrap().unwrap(), 1);
            }
        });
    }
    pair.assert_same_content();
    pair.assert_nothing_left();
}
