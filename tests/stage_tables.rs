//! Stage tables are nobody's business: they are not dumped, and their rows and columns are in nobody's way.

use crate::harness::{
    Failure, OwnServers, Pair, assert_nothing_left_of_a_crash, eventually, installation, text, wait_for_worker,
};
use postgres::Client;
use std::process::Command;
use xtask::server::{self, Options};

/// Whether these servers come with their client programs. Those of Debian do, others may come without.
fn can_dump() -> bool {
    let found = installation().program("pg_dump").exists();
    if !found {
        println!("not checked: these servers come without pg_dump");
    }
    found
}

/// The text of a dump of the destination.
fn dump(pair: &Pair) -> String {
    let output = Command::new(installation().program("pg_dump"))
        .arg(server::dsn(pair.destination_port, &pair.database))
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lines of a dump that speak of stage tables.
fn staged(dump: &str) -> Vec<&str> {
    dump.lines().filter(|line| line.contains("job_")).collect()
}

const MANY_KINDS: &str = "
    CREATE TABLE item (id int PRIMARY KEY, a int, b text, during int4range, EXCLUDE USING gist (during WITH &&));
    CREATE INDEX ON item (lower(b)); CREATE STATISTICS item_ab ON a, b FROM item; CREATE STATISTICS item_sum ON (a + id) FROM item;
    ALTER TABLE item ALTER b SET STATISTICS 50";

#[test]
fn a_dump_leaves_them_out() {
    if !can_dump() {
        return;
    }
    let mut pair = Pair::with(
        "stage_dump",
        MANY_KINDS,
        "INSERT INTO item SELECT i, i % 7, 'marked' || i, int4range(i, i + 1) FROM generate_series(1, 500) i",
    );
    pair.destination.batch_execute("INSERT INTO item VALUES (1, 1, 'old', '[1,2)')").unwrap();
    let mut leader = pair.another_destination_session();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    leader.batch_execute(&format!("BEGIN; {sql}; SAVEPOINT here")).unwrap();
    assert_ne!(stage_tables(&mut pair.destination), "0");
    let waiting = {
        let program = installation().program("pg_dump");
        let dsn = server::dsn(pair.destination_port, &pair.database);
        std::thread::spawn(move || Command::new(program).arg(dsn).output())
    };
    eventually("pg_dump waits for the table", || {
        text(
            &mut pair.destination,
            "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'",
        ) != "0"
    });
    leader.batch_execute("ROLLBACK").unwrap();
    let output = waiting.join().unwrap().expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let waited = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(staged(&waited), Vec::<&str>::new());
    pair.assert_nothing_left();
    pair.pull("overwrite => true");
    assert_eq!(staged(&dump(&pair)), Vec::<&str>::new());
}

fn stage_tables(client: &mut Client) -> String {
    text(
        client,
        "SELECT count(*)::text FROM pg_class WHERE relnamespace = 'pgcopy_stage'::regnamespace AND relkind = 'r'",
    )
}

/// Leaves the stage tables of a crash behind.
fn crashed(name: &str) -> (OwnServers, Pair) {
    let mut servers = OwnServers::start(name, Options::named(name));
    let mut pair = servers.pair(name);
    pair.both(MANY_KINDS);
    pair.both("CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN word AS text; CREATE TABLE felt (m mood, w word)");
    pair.source
        .batch_execute(
            "INSERT INTO item SELECT i, i % 7, repeat(md5(i::text), 40), int4range(i, i + 1) FROM generate_series(1, 200000) i;
             INSERT INTO felt VALUES ('a', 'bad'); ANALYZE",
        )
        .unwrap();
    let mut leader = pair.another_destination_session();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let puller = std::thread::spawn(move || leader.batch_execute(&sql).is_err());
    wait_for_worker(&mut pair.destination, "%copying public.item%");
    eventually("the stage tables are there", || stage_tables(&mut pair.destination) == "2");
    servers.destination.crash_and_restart().expect("the destination starts again");
    assert!(puller.join().unwrap());
    let pair = Pair::existing(servers.source.port(), servers.destination.port(), name);
    (servers, pair)
}

#[test]
fn those_of_a_crash_are_not_dumped_and_go_with_the_extension() {
    let (_servers, mut pair) = crashed("stage_crash");
    assert_ne!(stage_tables(&mut pair.destination), "0");
    if can_dump() {
        assert_eq!(staged(&dump(&pair)), Vec::<&str>::new());
    }
    // Types that they have columns of are free.
    pair.destination
        .batch_execute("ALTER DOMAIN word ADD CONSTRAINT good CHECK (VALUE <> 'bad'); DROP TABLE felt; DROP TYPE mood; DROP DOMAIN word")
        .unwrap();
    pair.destination.batch_execute("BEGIN; DROP EXTENSION pgcopy; ROLLBACK").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "1");
    assert_nothing_left_of_a_crash(&mut pair.destination);
}

/// Objects of every kind that a table can hang on, and two tables that hang on them.
const OBJECTS: &str = "
    CREATE DOMAIN word AS text; CREATE TYPE mood AS ENUM ('a'); CREATE TYPE pair AS (x int, y mood);
    CREATE TYPE span AS RANGE (SUBTYPE = float8); CREATE COLLATION german (LOCALE = 'C');
    CREATE FUNCTION norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
    CREATE FUNCTION less(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 < $2 COLLATE \"C\"';
    CREATE OPERATOR CLASS words FOR TYPE text USING hash AS OPERATOR 1 =, FUNCTION 1 hashtext(text);
    CREATE TEXT SEARCH CONFIGURATION terms (COPY = simple);
    CREATE TABLE good (id int PRIMARY KEY, w word);
    CREATE TABLE item (id int PRIMARY KEY, m mood, ms mood[], p pair, s span, c text COLLATE german, g good);
    CREATE INDEX item_norm ON item (norm(c)) WHERE norm(c) <> 'x'; CREATE INDEX item_words ON item USING hash (c words);
    CREATE INDEX item_terms ON item USING gin (to_tsvector('public.terms', c)); CREATE INDEX item_collated ON item ((c || 'x') COLLATE german);
    CREATE STATISTICS item_stat ON (norm(c)), id FROM item;
    ALTER TABLE item ADD EXCLUDE USING gist (s WITH &&)";

/// What is possible when no stage table counts.
const CHANGES: &str = "
    ALTER TABLE item DROP COLUMN g; ALTER DOMAIN word ADD CONSTRAINT nobad CHECK (VALUE <> 'bad'); ALTER DOMAIN word SET NOT NULL;
    ALTER TABLE good ADD more int DEFAULT 7, ALTER w TYPE varchar(20);
    DROP TABLE item; DROP TYPE pair; DROP TYPE mood; DROP TYPE span; DROP COLLATION german; DROP OPERATOR CLASS words USING hash;
    DROP FUNCTION norm(text); DROP TEXT SEARCH CONFIGURATION terms; DROP DOMAIN word";

fn with_objects(name: &str) -> Pair {
    let mut pair = Pair::with(
        name,
        OBJECTS,
        "INSERT INTO good VALUES (1, 'good'); INSERT INTO item SELECT i, 'a', '{a}', '(1,a)', span(i, i + 1), 'c' || i, '(1,good)' FROM generate_series(1, 50) i",
    );
    pair.destination
        .batch_execute("INSERT INTO good VALUES (1, 'bad'), (2, NULL); INSERT INTO item VALUES (1, 'a', '{a}', '(1,a)', '[1,2)', 'c', '(1,bad)')")
        .unwrap();
    pair
}

#[test]
fn definitions_can_change_in_the_same_transaction() {
    let mut pair = with_objects("stage_types_within");
    for workers in [2, 0] {
        let sql = pair.pull_sql(&format!("overwrite => true, parallel => {workers}"));
        pair.destination.batch_execute(&format!("BEGIN; {sql}; {CHANGES}; ROLLBACK")).unwrap();
        pair.destination
            .batch_execute(&format!("BEGIN; SAVEPOINT one; {sql}; RELEASE one; {CHANGES}; ROLLBACK"))
            .unwrap();
    }
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; {CHANGES}; COMMIT")).unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(w, ',') FROM good"), "good");
    pair.assert_nothing_left();
}

#[test]
fn definitions_can_change_at_once_afterwards() {
    for round in 0..3 {
        let mut pair = with_objects(&format!("stage_types_after_{round}"));
        let sql = pair.pull_sql("overwrite => true, parallel => 2");
        pair.destination.batch_execute(&sql).unwrap();
        pair.destination.batch_execute(CHANGES).unwrap();
        pair.assert_nothing_left();
    }
}

#[test]
fn definitions_can_change_after_a_rollback() {
    for round in 0..3 {
        let mut pair = with_objects(&format!("stage_types_rolled_back_{round}"));
        pair.destination.batch_execute("TRUNCATE good, item").unwrap();
        pair.source.batch_execute("UPDATE good SET w = 'bad'").unwrap();
        let sql = pair.pull_sql("overwrite => true, parallel => 2");
        // As separate messages, so that the clean-up has not long.
        pair.destination.batch_execute(&format!("BEGIN; {sql}")).unwrap();
        pair.destination.batch_execute(&format!("ROLLBACK; {CHANGES}")).unwrap();
        pair.assert_nothing_left();
    }
}

#[test]
fn whoever_owns_a_target_can_leave_in_the_same_transaction() {
    let mut pair =
        Pair::with("stage_owner", "CREATE TABLE item (id int PRIMARY KEY, b text)", "INSERT INTO item VALUES (1, 'x')");
    pair.destination
        .batch_execute(
            "DROP ROLE IF EXISTS stage_leaver; CREATE ROLE stage_leaver; ALTER TABLE item OWNER TO stage_leaver",
        )
        .unwrap();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination
        .batch_execute(&format!("BEGIN; {sql}; DROP OWNED BY stage_leaver; DROP ROLE stage_leaver; COMMIT"))
        .unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT (to_regclass('item') IS NULL)::text"), "true");
    pair.assert_nothing_left();
}

#[test]
fn a_change_that_waits_for_the_pull_meets_the_new_rows_alone() {
    let mut pair = with_objects("stage_types_waiting");
    pair.both("ALTER TABLE item DROP COLUMN g");
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination.batch_execute(&format!("BEGIN; {sql}")).unwrap();
    let mut other = pair.another_destination_session();
    let waiting = std::thread::spawn(move || {
        other
            .batch_execute("ALTER DOMAIN word ADD CONSTRAINT nobad CHECK (VALUE <> 'bad')")
            .map_err(|error| Failure::of(&error))
    });
    let mut third = pair.another_destination_session();
    eventually("ALTER DOMAIN waits", || {
        text(&mut third, "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'good'::regclass") != "0"
    });
    pair.destination.batch_execute("COMMIT").unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(()));
    pair.assert_nothing_left();
}
