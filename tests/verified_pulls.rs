//! Pulls that compare what they have stored with the source before the swap.

use crate::harness::{Failure, Pair, eventually, text};
use postgres::Client;

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE item (id int PRIMARY KEY, a int, f float8, n numeric(12,4), body text, padded char(8), raw bytea, facts jsonb, doc json,
                       words text[], at timestamptz, m mood, c regclass, p money, span int4range, twice int GENERATED ALWAYS AS (a * 2) STORED);
    CREATE TABLE bare (); CREATE TABLE nothing (id int);
    CREATE TABLE log (id int, at date) PARTITION BY RANGE (id)";

const ROWS: &str = "
    ALTER TABLE item DROP COLUMN f; ALTER TABLE item ADD f float8;
    INSERT INTO item (id, a, n, body, padded, raw, facts, doc, words, at, m, c, p, span, f)
        SELECT i, i, i / 10.0, repeat('body ' || i, i), 'p' || i, decode(md5(i::text), 'hex'), jsonb_build_object('n', i), '{\"a\": 1}',
               ARRAY['w' || i, NULL], '2024-01-01'::timestamptz + i * interval '1 s', 'glad', 'item', i, int4range(i, i + 1), i / 7.0
        FROM generate_series(1, 3000) i;
    INSERT INTO item (id, f, body) VALUES (0, 'NaN', NULL), (-1, '-0', ''), (-2, 'Infinity', 'x ');
    INSERT INTO bare SELECT FROM generate_series(1, 3);
    CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (50); CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (50) TO (200);
    INSERT INTO log SELECT i, '2024-01-01' FROM generate_series(1, 100) i";

#[test]
fn what_is_stored_is_what_the_source_holds() {
    let mut pair = Pair::with("verified_all", SCHEMA, ROWS);
    pair.destination
        .batch_execute(
            "ALTER TABLE item ADD mine text DEFAULT 'mine'; CREATE TABLE log_all PARTITION OF log FOR VALUES FROM (0) TO (200)",
        )
        .unwrap();
    for arguments in ["parallel => 0", "parallel => 1", "parallel => 3", "method => 'in place'"] {
        pair.destination
            .batch_execute("SET datestyle = 'SQL, DMY'; SET search_path = nowhere; SET extra_float_digits = 0")
            .unwrap();
        let report = pair.pull(&format!("overwrite => true, verify => true, {arguments}"));
        pair.destination.batch_execute("RESET ALL").unwrap();
        assert_eq!(report.iter().map(|table| table.rows).sum::<i64>(), 3003 + 3 + 100, "{arguments}");
        pair.assert_verified();
        pair.assert_nothing_left();
        let told = "SELECT count(*)::text FROM pgcopy.job_tasks
                    WHERE job = (SELECT max(job) FROM pgcopy.jobs) AND task LIKE 'comparing %'";
        let in_place = arguments.starts_with("method");
        assert_eq!(text(&mut pair.destination, told), if in_place { "0" } else { "3" }, "{arguments}");
    }
    let sql = format!(
        "SELECT count(*)::text FROM pgcopy.plan('{}', overwrite => true, verify => true) WHERE problem IS NOT NULL",
        pair.dsn()
    );
    assert_eq!(text(&mut pair.destination, &sql), "0");
    let sql = format!("SELECT pgcopy.start_pull('{}', overwrite => true, verify => true)::text", pair.dsn());
    let job = text(&mut pair.destination, &sql);
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    pair.assert_nothing_left();
}

#[test]
fn a_part_of_the_data_is_compared_with_that_part() {
    let mut pair = Pair::with("verified_part", "", SCHEMA);
    pair.source.batch_execute(ROWS).unwrap();
    pair.source.batch_execute("CREATE TABLE person (id int PRIMARY KEY, name varchar(30), email text); INSERT INTO person SELECT i, 'n ' || i, i || '@x.org' FROM generate_series(1, 5000) i").unwrap();
    pair.destination
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'glad');
             CREATE TABLE thing (number int PRIMARY KEY, a int, n numeric(12,2), text text, m mood, twice int GENERATED ALWAYS AS (a * 2) STORED, mine int DEFAULT 7);
             CREATE TABLE person (id int PRIMARY KEY, name varchar(30), email text);
             CREATE TABLE log (id int, at date)",
        )
        .unwrap();
    let tables = r#"{"item": {"into": "thing", "where": "id > 100 AND m = 'glad'", "columns": {"id": {"into": "number"},
            "n": {"value": "n / 3"}, "body": {"into": "text", "value": "left(body, 20)"}, "m": {"value": "'sad'"},
            "padded": {"skip": true}, "raw": {"skip": true}, "facts": {"skip": true}, "doc": {"skip": true}, "words": {"skip": true},
            "at": {"skip": true}, "c": {"skip": true}, "p": {"skip": true}, "span": {"skip": true}, "f": {"skip": true}}},
        "person": {"sample": 0.5, "columns": {"email": {"mask": "email"}, "name": {"mask": "name"}}}, "log": {"where": "id % 2 = 0"}}"#;
    let arguments = format!(
        "include => '{{item,person,log}}', overwrite => true, mask_key => 'a key that nobody knows', verify => true, tables => '{}'",
        tables.replace('\'', "''")
    );
    for more in ["parallel => 2", "parallel => 0", "method => 'in place'"] {
        let report = pair.pull(&format!("{arguments}, {more}"));
        let rows: std::collections::BTreeMap<&str, i64> =
            report.iter().map(|table| (table.table.as_str(), table.rows)).collect();
        assert_eq!((rows["thing"], rows["log"]), (2900, 50), "{more}");
        assert!((2300..2700).contains(&rows["person"]), "{rows:?}");
        let sums = "SELECT concat_ws(' ', count(*), sum(number), sum(n), count(DISTINCT text), min(m), sum(twice), sum(mine)) FROM thing";
        let theirs = "SELECT concat_ws(' ', count(*), sum(id), sum((n / 3)::numeric(12,2)), count(DISTINCT left(body, 20)), 'sad', sum(a * 2), count(*) * 7)
                      FROM item WHERE id > 100 AND m = 'glad'";
        assert_eq!(text(&mut pair.destination, sums), text(&mut pair.source, theirs), "{more}");
    }
    pair.assert_nothing_left();
    // The same can be asked for later.
    let dsn = pair.dsn();
    let quoted = tables.replace('\'', "''");
    let verify = |level: &str, key: &str| {
        format!(
            "SELECT string_agg(\"table\" || ': ' || array_to_string(differences, ', '), '; ' ORDER BY \"table\") FROM pgcopy.verify('{dsn}',
                 include => '{{item,person,log}}', level => '{level}', mask_key => '{key}', tables => '{quoted}')"
        )
    };
    let key = "a key that nobody knows";
    for level in ["count", "digest", "rows"] {
        assert_eq!(text(&mut pair.destination, &verify(level, key)), "log: ; person: ; thing: ", "{level}");
    }
    assert_eq!(
        text(&mut pair.destination, &verify("digest", "another key, as long")),
        "log: ; person: rows differ; thing: "
    );
    pair.destination.batch_execute("UPDATE log SET at = at + 1 WHERE id = 50; DELETE FROM thing WHERE number = 2000; UPDATE person SET email = 'x' WHERE id = (SELECT max(id) FROM person)").unwrap();
    let told = text(&mut pair.destination, &verify("rows", key));
    assert!(
        told.contains("thing: 2900 rows on the source and 2899 rows on the destination, missing here: the row at ("),
        "{told}"
    );
    let id = text(&mut pair.destination, "SELECT max(id)::text FROM person");
    // What fails for a value there is not told with the value.
    let sql = format!(
        "SELECT * FROM pgcopy.verify('{dsn}', include => '{{person}}', tables => '{{\"person\": {{\"where\": \"email::int > 0\"}}}}')"
    );
    let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
    assert_eq!(failure.message, "an expression of tables fails for a value of the source", "{failure:?}");
    assert!(told.contains(&format!("person: rows differ, changed: (id)=({id}) in email")), "{told}");
}

/// Changes the rows that a pull has stored for `item` before it compares them, and returns how the pull ended.
fn pull_with_changed_rows(pair: &mut Pair, arguments: &str, change: &str) -> Result<(), Failure> {
    let mut holder = pair.another_destination_session();
    holder.batch_execute("SELECT pg_advisory_lock(4714)").unwrap();
    let waits = "SELECT count(*)::text FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
    let mut watcher: Client = pair.another_destination_session();
    let arguments = format!("overwrite => true, parallel => 1{arguments}");
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| pair.try_pull(&arguments).map(drop).map_err(|error| Failure::of(&error)));
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the index of another table is being built", || text(&mut watcher, waits) == "1");
            let stage = text(
                &mut watcher,
                "SELECT c.oid::regclass::text FROM pg_class c
                 WHERE c.relnamespace = 'pgcopy_stage'::regnamespace AND c.relkind = 'r' AND c.relname LIKE '%\\_' || 'item'::regclass::oid",
            );
            watcher.batch_execute(&change.replace("item", &stage)).unwrap();
        }));
        holder.batch_execute("SELECT pg_advisory_unlock(4714)").unwrap();
        let ended = pull.join().unwrap();
        changed.unwrap();
        ended
    })
}

#[test]
fn rows_that_were_stored_otherwise_undo_the_pull() {
    let mut pair = Pair::new("verified_changed");
    pair.both(
        "CREATE FUNCTION held(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_advisory_xact_lock_shared(4714); RETURN id; END';
         CREATE TABLE item (id int, a int, f float8, body text); CREATE TABLE slow (id int)",
    );
    pair.destination
        .batch_execute(
            "CREATE INDEX ON slow (held(id)); INSERT INTO item VALUES (1, 1, 1, 'old'); INSERT INTO slow VALUES (1)",
        )
        .unwrap();
    pair.source
        .batch_execute(
            "INSERT INTO slow VALUES (1), (2); INSERT INTO item SELECT i, i * 10, i / 7.0, 'body ' || i FROM generate_series(1, 300) i",
        )
        .unwrap();
    let before = pair.destination_state();
    for (change, told) in [
        ("UPDATE item SET a = a # 1 WHERE id = 77", "rows differ"),
        ("UPDATE item SET f = 'NaN' WHERE id = 77", "rows differ"),
        ("UPDATE item SET body = body || ' ' WHERE id = 77", "rows differ"),
        ("UPDATE item SET a = 1550 - a WHERE id IN (77, 78)", "rows differ"),
        ("DELETE FROM item WHERE id = 300", "300 rows on the source and 299 stored"),
        ("INSERT INTO item SELECT * FROM item WHERE id = 77", "300 rows on the source and 301 stored"),
        ("DELETE FROM item WHERE id = 77; INSERT INTO item SELECT * FROM item WHERE id = 78", "rows differ"),
    ] {
        let failure = pull_with_changed_rows(&mut pair, ", verify => true", change).unwrap_err();
        assert_eq!(failure.sqlstate, "22000", "{failure:?}");
        assert_eq!(failure.message, "the rows stored for 1 table are not those of the source", "{change}");
        assert_eq!(failure.detail, format!("public.item: {told}"), "{change}");
        assert_eq!(pair.destination_state(), before, "{change}");
    }
    // So it is the comparison that finds it.
    pull_with_changed_rows(&mut pair, "", "UPDATE item SET a = 0 WHERE id = 77").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT a::text FROM item WHERE id = 77"), "0");
    pull_with_changed_rows(&mut pair, ", verify => true", "SELECT FROM item").unwrap();
    pair.assert_verified();
    pair.assert_nothing_left();
}

#[test]
fn a_comparison_runs_no_code_of_others_on_the_source() {
    let mut pair = Pair::new("verified_code");
    pair.both(
        "DO $$ BEGIN CREATE ROLE verified_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         GRANT CREATE ON SCHEMA public TO verified_owner; SET ROLE verified_owner;
         CREATE FUNCTION plant(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
         CREATE TABLE item (id int); CREATE INDEX ON item (plant(id)); RESET ROLE",
    );
    pair.source.batch_execute("INSERT INTO item VALUES (1)").unwrap();
    let failure = pair.pull_error("verify => true");
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert!(failure.message.contains("would run functions of verified_owner as the user of the source"), "{failure:?}");
    pair.pull("");
    assert_eq!(pair.pull_error("verify => NULL").sqlstate, "22004");
}
