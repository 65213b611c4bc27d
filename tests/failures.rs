//! After any failure everything is as it was, and the next pull succeeds.

use crate::harness::{Failure, Pair, eventually, text, wait_for_worker};
use postgres::Client;

/// A target with rows, indexes, a sequence, a big value, and a function that makes loading slow.
const SCHEMA: &str = "
    CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.005); RETURN true; END';
    CREATE TABLE item (id serial PRIMARY KEY, name text NOT NULL, big text);
    CREATE INDEX ON item (name);
    CREATE TABLE note (id int PRIMARY KEY, item int REFERENCES item);
    COMMENT ON TABLE item IS 'things';
    GRANT SELECT ON item TO pg_monitor;
";
const ROWS: &str = "
    INSERT INTO item (name, big) SELECT 'new ' || i, repeat(md5(i::text), 200) FROM generate_series(1, 1000) i;
    INSERT INTO note SELECT i, i FROM generate_series(1, 1000) i;
";
const OLD_ROWS: &str = "
    INSERT INTO item (name, big) SELECT 'old ' || i, repeat(md5(i::text), 300) FROM generate_series(1, 20) i;
    INSERT INTO note SELECT i, i FROM generate_series(1, 20) i;
    ANALYZE;
";

fn pair(name: &str) -> Pair {
    let mut pair = Pair::with(name, SCHEMA, ROWS);
    pair.destination.batch_execute(OLD_ROWS).unwrap();
    pair
}

/// Runs `fail`, which must make a pull fail, and checks that nothing has changed and that the next pull works.
fn unharmed(pair: &mut Pair, fail: impl FnOnce(&mut Pair) -> Failure) -> Failure {
    let before = pair.destination_state();
    let failure = fail(pair);
    assert_eq!(pair.destination_state(), before, "after {failure:?}");
    pair.assert_nothing_left();
    failure
}

fn recovers(pair: &mut Pair) {
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_rollback_undoes_everything() {
    let mut pair = pair("rollback");
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let before = pair.destination_state();
    let mut transaction = pair.destination.transaction().unwrap();
    transaction.query(&sql, &[]).unwrap();
    let inside = transaction.query_one("SELECT count(*), nextval('item_id_seq') FROM item", &[]).unwrap();
    assert_eq!((inside.get::<_, i64>(0), inside.get::<_, i64>(1)), (1000, 1001));
    transaction.rollback().unwrap();
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, "SELECT state FROM pgcopy.jobs"), "rolled back");
    recovers(&mut pair);
}

#[test]
fn a_savepoint_undoes_everything_although_the_transaction_commits() {
    let mut pair = pair("savepoint");
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let before = pair.destination_state();
    pair.destination.batch_execute(&format!("BEGIN; SAVEPOINT s; {sql}; ROLLBACK TO s; COMMIT")).unwrap();
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
    recovers(&mut pair);
    // An error that the caller catches.
    let sql = pair.pull_sql("include => '{nothing}'").replace('\'', "''");
    pair.destination
        .batch_execute(&format!(
            "DO 'BEGIN PERFORM {}; EXCEPTION WHEN OTHERS THEN NULL; END'",
            &sql["SELECT * FROM ".len()..]
        ))
        .unwrap();
    pair.assert_same_content();
}

#[test]
fn two_pulls_in_one_transaction() {
    let mut pair = pair("twice");
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; {sql}; COMMIT")).unwrap();
    pair.assert_same_content();
    pair.assert_nothing_left();
    let before = pair.destination_state();
    pair.destination.batch_execute(&format!("BEGIN; {sql}; {sql}; ROLLBACK")).unwrap();
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
}

#[test]
fn a_row_that_a_check_refuses() {
    let mut pair = pair("check_violation");
    pair.destination.batch_execute("ALTER TABLE item ADD CONSTRAINT short CHECK (name <> 'new 777')").unwrap();
    for workers in [2, 0] {
        let failure = unharmed(&mut pair, |pair| pair.pull_error(&format!("overwrite => true, parallel => {workers}")));
        assert_eq!(failure.sqlstate, "23514");
        assert_eq!(failure.message, "new row for relation \"item\" violates check constraint \"short\"");
        assert!(failure.detail.contains("Failing row contains (777, new 777, "), "{}", failure.detail);
        assert!(failure.detail.contains("Table public.item, row 777"), "{}", failure.detail);
    }
    pair.destination.batch_execute("ALTER TABLE item DROP CONSTRAINT short").unwrap();
    recovers(&mut pair);
}

#[test]
fn a_null_where_none_may_be() {
    let mut pair = pair("null_violation");
    pair.source
        .batch_execute("ALTER TABLE item ALTER name DROP NOT NULL; UPDATE item SET name = NULL WHERE id = 5")
        .unwrap();
    let failure = unharmed(&mut pair, |pair| pair.pull_error("overwrite => true"));
    assert_eq!(failure.sqlstate, "23502");
    assert_eq!(failure.message, "null value in column \"name\" of relation \"item\" violates not-null constraint");
}

#[test]
fn a_duplicate_key() {
    let mut pair = pair("unique_violation");
    pair.source.batch_execute("UPDATE item SET name = 'same' WHERE id IN (3, 4)").unwrap();
    pair.destination.batch_execute("CREATE UNIQUE INDEX item_name_key ON item (name)").unwrap();
    for workers in [2, 0] {
        let failure = unharmed(&mut pair, |pair| pair.pull_error(&format!("overwrite => true, parallel => {workers}")));
        assert_eq!(failure.sqlstate, "23505");
        assert_eq!(failure.message, "could not create unique index \"item_name_key\"");
        assert_eq!(failure.detail, "Key (name)=(same) is duplicated.\nTable public.item.");
    }
    pair.source.batch_execute("UPDATE item SET name = id::text WHERE name = 'same'").unwrap();
    recovers(&mut pair);
}

#[test]
fn an_excluded_row() {
    let mut pair = pair("exclusion_violation");
    pair.both("CREATE TABLE booking (during int4range)");
    pair.source.batch_execute("INSERT INTO booking VALUES ('[1,5)'), ('[4,8)')").unwrap();
    pair.destination
        .batch_execute("ALTER TABLE booking ADD CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&)")
        .unwrap();
    let failure = unharmed(&mut pair, |pair| pair.pull_error("overwrite => true"));
    assert_eq!(failure.sqlstate, "23P01");
    assert!(failure.message.contains("no_overlap"), "{}", failure.message);
    pair.source.batch_execute("DELETE FROM booking WHERE lower(during) = 4").unwrap();
    recovers(&mut pair);
}

/// Makes the pull slow enough to be hit in the middle.
fn slow(pair: &mut Pair) {
    pair.destination.batch_execute("ALTER TABLE item ADD CONSTRAINT slow CHECK (slowly()) NOT VALID").unwrap();
    pair.destination.batch_execute("UPDATE pg_constraint SET convalidated = true WHERE conname = 'slow'").unwrap();
}

/// Starts a slow pull and does `harm` while rows of `item` are being copied.
fn interrupted(name: &str, harm: impl FnOnce(&mut Client, &mut Client, i32)) -> Failure {
    let mut pair = pair(name);
    slow(&mut pair);
    // More than the buffers between the two servers hold, so that the source is still sending.
    pair.source
        .batch_execute("INSERT INTO item (name, big) SELECT 'n' || i, repeat(md5(i::text), 1000) FROM generate_series(2000, 5000) i")
        .unwrap();
    let failure = unharmed(&mut pair, |pair| {
        let mut watcher = pair.another_destination_session();
        let mut source = pair.another_source_session();
        let mut session = pair.another_destination_session();
        let sql = pair.pull_sql("overwrite => true, parallel => 2");
        std::thread::scope(|scope| {
            let pull = scope.spawn(move || session.query(&sql, &[]).unwrap_err());
            let worker = wait_for_worker(&mut watcher, "%copying public.item%");
            harm(&mut source, &mut watcher, worker);
            let error = pull.join().unwrap();
            if error.as_db_error().is_some() {
                Failure::of(&error)
            } else {
                Failure {
                    sqlstate: "closed".into(),
                    message: error.to_string(),
                    detail: String::new(),
                    hint: String::new(),
                }
            }
        })
    });
    let impossible = "SELECT count(*)::text FROM pgcopy.job_tables WHERE seconds NOT BETWEEN 0 AND 600";
    assert_eq!(text(&mut pair.destination, impossible), "0");
    pair.destination.batch_execute("ALTER TABLE item DROP CONSTRAINT slow").unwrap();
    recovers(&mut pair);
    failure
}

const SOURCE_BACKENDS: &str = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'pgcopy'";

#[test]
fn the_source_goes_away_in_the_middle() {
    let failure = interrupted("source_gone", |source, _, _| {
        // Only a worker's connection: the one that sends a COPY.
        eventually("a COPY was hit", || {
            text(source, &format!("{SOURCE_BACKENDS} AND query LIKE '%COPY%public.item%' AND state = 'active'")) == "1"
        });
    });
    assert!(["08", "57"].contains(&&failure.sqlstate[..2]), "{failure:?}");
}

#[test]
fn the_snapshot_holder_goes_away_in_the_middle() {
    let mut pair = pair("snapshot_gone");
    slow(&mut pair);
    let before = pair.destination_state();
    let mut session = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.query(&sql, &[]).map(|_| ()).map_err(|error| Failure::of(&error)));
        wait_for_worker(&mut watcher, "%copying public.item%");
        let source = &mut pair.source;
        eventually("the holder was hit", || {
            text(source, &format!("{SOURCE_BACKENDS} AND query LIKE 'COPY (%seqmin%'")) == "1"
        });
        // Whether it still can succeed depends on who was hit; half a refresh is never the outcome.
        match pull.join().unwrap() {
            Ok(()) => pair.assert_same_content(),
            Err(failure) => assert_eq!(pair.destination_state(), before, "{failure:?}"),
        }
    });
    pair.assert_nothing_left();
}

#[test]
fn a_worker_is_terminated() {
    let failure = interrupted("worker_terminated", |_, watcher, worker| {
        watcher.execute("SELECT pg_terminate_backend($1)", &[&worker]).unwrap();
    });
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("57P01", "a worker of the pull was terminated"));
}

#[test]
fn the_steward_is_terminated() {
    let failure = interrupted("steward_terminated", |_, watcher, _| {
        let steward = wait_for_worker(watcher, "%: steward");
        watcher.execute("SELECT pg_terminate_backend($1)", &[&steward]).unwrap();
    });
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("57P01", "the steward of the pull was terminated")
    );
}

const LEADER: &str = "SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'SELECT * FROM pgcopy.pull%' AND state = 'active'
      AND backend_type = 'client backend'";

#[test]
fn the_leader_is_cancelled() {
    let failure = interrupted("leader_cancelled", |_, watcher, _| {
        let leader: i32 = watcher.query_one(LEADER, &[]).unwrap().get(0);
        watcher.execute("SELECT pg_cancel_backend($1)", &[&leader]).unwrap();
    });
    assert_eq!(failure.sqlstate, "57014");
}

#[test]
fn the_leader_is_terminated() {
    let failure = interrupted("leader_terminated", |_, watcher, _| {
        let leader: i32 = watcher.query_one(LEADER, &[]).unwrap().get(0);
        watcher.execute("SELECT pg_terminate_backend($1)", &[&leader]).unwrap();
    });
    assert!(["57P01", "closed"].contains(&failure.sqlstate.as_str()), "{failure:?}");
}

#[test]
fn a_cancel_while_the_leader_works_alone() {
    let mut pair = pair("alone_cancelled");
    slow(&mut pair);
    let failure = unharmed(&mut pair, |pair| {
        pair.destination.batch_execute("SET statement_timeout = '500ms'").unwrap();
        let failure = pair.pull_error("overwrite => true, parallel => 0");
        pair.destination.batch_execute("RESET statement_timeout").unwrap();
        failure
    });
    assert_eq!(failure.sqlstate, "57014");
}
