//! Targets whose storage cannot be exchanged are loaded in place, in the caller's transaction.

use crate::harness::{Pair, text, texts};

fn methods(pair: &mut Pair) -> Vec<String> {
    let dsn = pair.dsn();
    texts(
        &mut pair.destination,
        &format!("SELECT concat_ws(' ', \"table\", method, warnings) FROM pgcopy.plan('{dsn}') ORDER BY 1"),
    )
}

const PARTITIONED: &str = "CREATE TABLE event (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);";

#[test]
fn partitions_that_differ_are_filled_through_their_table() {
    let mut pair = Pair::new("other_partitions");
    pair.both("CREATE TABLE kind (id int PRIMARY KEY)");
    pair.both(PARTITIONED);
    pair.source
        .batch_execute(
            "CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (500);
             CREATE TABLE event_high PARTITION OF event FOR VALUES FROM (500) TO (1001);
             INSERT INTO kind SELECT generate_series(1, 1000);
             INSERT INTO event SELECT i, 'n' || i FROM generate_series(1, 1000) i;
             CREATE TABLE remark (id int, event int REFERENCES event);
             INSERT INTO remark SELECT i, i FROM generate_series(1, 100) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (100);
             CREATE TABLE event_rest PARTITION OF event DEFAULT;
             CREATE INDEX ON event (note);
             CREATE TABLE remark (id int, event int CONSTRAINT remark_event REFERENCES event ON DELETE CASCADE DEFERRABLE);
             COMMENT ON CONSTRAINT remark_event ON remark IS 'of an event';
             ALTER TABLE event ADD CONSTRAINT event_kind FOREIGN KEY (id) REFERENCES kind;
             INSERT INTO kind VALUES (7), (700); INSERT INTO event VALUES (7, 'old'), (700, 'old');
             INSERT INTO remark VALUES (1, 7);
             CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''fired''; END';
             CREATE TRIGGER loud BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION loud()",
        )
        .unwrap();
    assert_eq!(
        methods(&mut pair),
        [
            "event in place {\"loaded in place: its partitions differ from the source's\"}",
            "kind swap {}",
            "remark swap {}"
        ]
    );
    let definitions = "SELECT string_agg(conrelid::regclass || conname || pg_get_constraintdef(oid) || coalesce(obj_description(oid), ''), ',' ORDER BY 1)
                       FROM (SELECT * FROM pg_constraint WHERE conparentid = 0 AND contype = 'f' ORDER BY conname) c";
    let before_definitions = text(&mut pair.destination, definitions);
    let before = pair.destination_state();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; ROLLBACK")).unwrap();
    assert_eq!(pair.destination_state(), before);
    for workers in [2, 0] {
        let report = pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(report.iter().map(|row| row.rows).collect::<Vec<_>>(), [1000, 1000, 100]);
        for table in ["event", "kind", "remark"] {
            let content = format!("SELECT md5(string_agg(t::text, ';' ORDER BY t)) FROM {table} t");
            assert_eq!(text(&mut pair.source, &content), text(&mut pair.destination, &content), "{table}");
        }
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM event_rest"), "901");
        assert_eq!(text(&mut pair.destination, definitions), before_definitions);
    }
    pair.assert_nothing_left();
    // The keys hold: a violation is an error and everything is as before.
    pair.source
        .batch_execute("ALTER TABLE remark DROP CONSTRAINT remark_event_fkey; INSERT INTO remark VALUES (0, -1)")
        .unwrap();
    let before = pair.destination_state();
    assert_eq!(pair.pull_error("overwrite => true").sqlstate, "23503");
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
}

#[test]
fn tables_partitioned_on_one_side_only() {
    let mut pair = Pair::new("one_side");
    pair.source.batch_execute(PARTITIONED).unwrap();
    pair.source
        .batch_execute(
            "CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (500);
             CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (500) TO (1001);
             INSERT INTO event SELECT i, 'n' FROM generate_series(1, 1000) i;
             CREATE TABLE flat (id int, note text); INSERT INTO flat SELECT i, 'f' FROM generate_series(1, 100) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE event (id int PRIMARY KEY, note text);
             CREATE TABLE flat (id int, note text) PARTITION BY HASH (id);
             CREATE TABLE flat_1 PARTITION OF flat FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE flat_2 PARTITION OF flat FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        )
        .unwrap();
    for workers in [2, 0] {
        assert_eq!(pair.pull(&format!("overwrite => true, parallel => {workers}")).len(), 2);
        for table in ["event", "flat"] {
            let content = format!("SELECT md5(string_agg(t::text, ';' ORDER BY t)) FROM {table} t");
            assert_eq!(text(&mut pair.source, &content), text(&mut pair.destination, &content), "{table}");
        }
    }
    assert!(!pair.notices().iter().any(|notice| notice.contains("left out")));
}

#[test]
fn a_row_without_a_partition_is_an_error() {
    let mut pair = Pair::new("no_partition");
    pair.source
        .batch_execute("CREATE TABLE event (id int PRIMARY KEY, note text); INSERT INTO event VALUES (1), (5000)")
        .unwrap();
    pair.destination.batch_execute(PARTITIONED).unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (500); INSERT INTO event VALUES (3)",
        )
        .unwrap();
    let before = pair.destination_state();
    let failure = pair.pull_error("overwrite => true");
    assert_eq!(failure.sqlstate, "23514", "{failure:?}");
    assert!(failure.detail.ends_with("Table public.event, row 2."), "{failure:?}");
    assert_eq!(pair.destination_state(), before);
}

#[test]
fn an_error_names_the_row_of_the_source() {
    let mut pair = Pair::new("in_place_rows");
    pair.source
        .batch_execute(
            "CREATE TABLE event (id int, note text); INSERT INTO event SELECT i, 'event 9' FROM generate_series(1, 2000) i;
             CREATE TABLE \"event 7\" (id int, note text); INSERT INTO \"event 7\" SELECT i, 'x' FROM generate_series(1, 400) i",
        )
        .unwrap();
    // Columns that travel as text and such that do not; errors of a row, of a batch of rows and of the end of all.
    let partitioned = "(id int PRIMARY KEY, note text CHECK (note <> 'bad')) PARTITION BY RANGE (id)";
    pair.destination
        .batch_execute(&format!(
            "CREATE TABLE event {partitioned}; CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100000);
             CREATE TABLE \"event 7\" {partitioned}; CREATE TABLE event_7 PARTITION OF \"event 7\" DEFAULT"
        ))
        .unwrap();
    pair.pull("");
    for (table, change, undo, sqlstate, row) in [
        ("event", "INSERT INTO event VALUES (9000, 'bad')", "DELETE FROM event WHERE id = 9000", "23514", 2001),
        ("event", "INSERT INTO event VALUES (1, 'twice')", "DELETE FROM event WHERE note = 'twice'", "23505", 2001),
        (
            "\"event 7\"",
            "INSERT INTO \"event 7\" VALUES (NULL, 'x')",
            "DELETE FROM \"event 7\" WHERE id IS NULL",
            "23502",
            401,
        ),
    ] {
        pair.source.batch_execute(change).unwrap();
        let before = pair.destination_state();
        for workers in [2, 0] {
            let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
            assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
            let place = format!("Table public.{table}, row {row}.");
            assert!(failure.detail.ends_with(&place), "{failure:?} does not name {place}");
            assert_eq!(pair.destination_state(), before);
        }
        pair.source.batch_execute(undo).unwrap();
    }
    pair.pull("overwrite => true");
    for table in ["event", "\"event 7\""] {
        let content = format!("SELECT md5(string_agg(t::text, ';' ORDER BY id)) FROM {table} t");
        assert_eq!(text(&mut pair.source, &content), text(&mut pair.destination, &content), "{table}");
    }
}

#[test]
fn published_tables_publish_the_change() {
    let mut pair = Pair::with(
        "published",
        "CREATE TABLE item (id int PRIMARY KEY, note text); CREATE TABLE other (id int PRIMARY KEY)",
        "INSERT INTO item SELECT i, 'n' FROM generate_series(1, 50) i; INSERT INTO other VALUES (1)",
    );
    pair.destination
        .batch_execute("INSERT INTO item VALUES (1000, 'old'); CREATE PUBLICATION news FOR TABLE item")
        .unwrap();
    assert_eq!(methods(&mut pair), ["item in place {\"loaded in place: news publishes it\"}", "other swap {}"]);
    pair.destination
        .batch_execute("SELECT pg_create_logical_replication_slot('published_test', 'test_decoding')")
        .unwrap();
    pair.pull("overwrite => true");
    pair.assert_same_content();
    let changes = texts(
        &mut pair.destination,
        "SELECT concat_ws(' ', change, count(*)) FROM (
             SELECT substring(data from 'table public.item: ([A-Z]+)') AS change
             FROM pg_logical_slot_get_changes('published_test', NULL, NULL)) c
         WHERE change IS NOT NULL GROUP BY change ORDER BY change",
    );
    pair.destination.batch_execute("SELECT pg_drop_replication_slot('published_test')").unwrap();
    assert_eq!(changes, ["INSERT 50", "TRUNCATE 1"]);
}

#[test]
fn constraints_that_are_deferred_hold_for_what_is_loaded_in_place() {
    let mut pair = Pair::new("deferred_in_place");
    pair.both("CREATE TABLE kind (name text PRIMARY KEY)");
    pair.source
        .batch_execute(
            "CREATE TABLE event (id int, at int, kind text) PARTITION BY RANGE (id);
             CREATE TABLE event_all PARTITION OF event DEFAULT;
             INSERT INTO kind VALUES ('a'), ('b');
             INSERT INTO event SELECT i, i, 'a' FROM generate_series(1, 100) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE event (id int, at int, kind text CONSTRAINT known REFERENCES kind DEFERRABLE INITIALLY DEFERRED,
                                 CONSTRAINT once UNIQUE (id, at) DEFERRABLE INITIALLY DEFERRED) PARTITION BY RANGE (id);
             CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (50);
             CREATE TABLE event_high PARTITION OF event DEFAULT;
             INSERT INTO kind VALUES ('old'); INSERT INTO event VALUES (7, 7, 'old')",
        )
        .unwrap();
    pair.pull("overwrite => true");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM event"), "100");
    let deferred = "SELECT string_agg(DISTINCT conname || ' ' || condeferred::text, ', ') FROM pg_constraint
                    WHERE conname IN ('known', 'once') AND conparentid = 0";
    assert_eq!(text(&mut pair.destination, deferred), "known true, once true");
    let before = pair.destination_state();
    pair.source.batch_execute("INSERT INTO event VALUES (3, 3, 'a')").unwrap();
    let failure = pair.pull_error("overwrite => true");
    assert_eq!(failure.sqlstate, "23505", "{failure:?}");
    pair.source.batch_execute("DELETE FROM event WHERE id = 3; INSERT INTO event VALUES (60, 3, 'c')").unwrap();
    let failure = pair.pull_error("overwrite => true");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str(), failure.detail.as_str()),
        (
            "23503",
            "insert or update on table \"event_high\" violates foreign key constraint \"known\"",
            "Key (kind)=(c) is not present in table \"kind\"."
        )
    );
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
}

/// A TRUNCATE is not undone by a snapshot that is older: whoever read the partition afterwards would find it empty.
#[test]
fn partitions_that_are_read_through_their_table_cannot_be_truncated_meanwhile() {
    let mut pair = Pair::new("locked_partitions");
    pair.both(PARTITIONED);
    pair.source
        .batch_execute(
            "CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (500) PARTITION BY RANGE (id);
             CREATE TABLE event_lowest PARTITION OF event_low FOR VALUES FROM (0) TO (100);
             INSERT INTO event SELECT i, 'n' || i FROM generate_series(1, 99) i",
        )
        .unwrap();
    pair.destination.batch_execute("CREATE TABLE event_all PARTITION OF event DEFAULT").unwrap();
    let (mut other, mut watcher, mut source) =
        (pair.another_destination_session(), pair.another_destination_session(), pair.another_source_session());
    other.batch_execute("BEGIN; LOCK TABLE event IN ACCESS SHARE MODE").unwrap();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| pair.pull("parallel => 1"));
        crate::harness::eventually("the pull waits for its lock", || {
            text(
                &mut watcher,
                "SELECT count(*)::text FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND NOT granted",
            ) != "0"
        });
        let failure = crate::harness::Failure::of(
            &source.batch_execute("SET lock_timeout = '500ms'; TRUNCATE event_lowest").unwrap_err(),
        );
        assert_eq!(failure.sqlstate, "55P03");
        other.batch_execute("COMMIT").unwrap();
        pull.join().unwrap();
    });
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM event"), "99");
}
