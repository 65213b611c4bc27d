//! What a pull refuses before it touches anything.

use crate::harness::{Failure, Pair, text};

#[test]
fn rows_are_not_replaced_unasked() {
    let mut pair = Pair::with(
        "unasked",
        "CREATE TABLE full_one (id int); CREATE TABLE full_two (id int); CREATE TABLE empty_one (id int)",
        "INSERT INTO full_one VALUES (1); INSERT INTO empty_one VALUES (1)",
    );
    pair.destination.batch_execute("INSERT INTO full_one VALUES (7); INSERT INTO full_two VALUES (7)").unwrap();
    let before = pair.destination_state();
    let failure = pair.pull_error("include => '{*_one, full_two}'");
    assert_eq!(failure.sqlstate, "55000");
    assert_eq!(failure.message, "2 tables hold rows that the pull would replace; nothing was touched");
    assert_eq!(failure.detail, "public.full_one (8192 bytes)\npublic.full_two (8192 bytes)");
    assert!(failure.hint.contains("include => ARRAY['*_one', 'full_two'], overwrite => true"), "{}", failure.hint);
    assert_eq!(pair.destination_state(), before);
    pair.pull("include => '{empty_one}'");
    pair.destination.batch_execute("TRUNCATE empty_one").unwrap();
    // A table whose rows were all deleted holds none.
    pair.destination.batch_execute("DELETE FROM full_one; DELETE FROM full_two").unwrap();
    pair.pull("");
    pair.assert_same_content();
}

#[test]
fn all_problems_in_one_error() {
    let mut pair = Pair::new("problems");
    pair.source
        .batch_execute(
            "CREATE TABLE types (a int, b numeric(10,4), c timestamp);
             CREATE TABLE columns (a int, here_only int);
             CREATE TABLE missing (a int);
             CREATE VIEW seen AS SELECT 1 AS a;
             CREATE TABLE fine (a int)",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE types (a bigint, b text, c timestamptz);
             CREATE TABLE columns (a int, there_only int NOT NULL);
             CREATE TABLE seen (a int);
             CREATE TABLE fine (a int);
             INSERT INTO fine VALUES (7)",
        )
        .unwrap();
    let before = pair.destination_state();
    let failure = pair.pull_error(
        "include => ARRAY['types', 'columns', 'missing', 'seen', 'fine', 'nowhere', '\"Odd\"'], overwrite => true",
    );
    assert_eq!(
        failure.message,
        "cannot pull: include pattern nowhere: no such table on the source (the first of 9 problems)"
    );
    let expected = [
        "include pattern nowhere: no such table on the source",
        "include pattern \"Odd\": no such table on the source",
        "public.missing: does not exist on the destination",
        "public.seen: is a view on the source, not a table",
        "public.types: column a is integer on the source and bigint on the destination",
        "public.types: column b is numeric(10,4) on the source and text on the destination",
        "public.types: column c is timestamp without time zone on the source and timestamp with time zone on the destination",
        "public.columns: column there_only exists on the destination only, and has no default",
        "public.columns: column here_only exists on the source only",
    ];
    for line in expected {
        assert!(failure.detail.lines().any(|found| found == line), "{line}\nnot in\n{}", failure.detail);
    }
    assert!(!failure.hint.is_empty());
    assert_eq!(pair.destination_state(), before);
}

#[test]
fn source_only_tables_are_told_of() {
    let mut pair = Pair::with("source_only", "CREATE TABLE shared (a int)", "CREATE TABLE lonely (a int)");
    pair.pull("");
    pair.pull("include => '{public.*}'");
    let notices = pair.notices();
    assert_eq!(notices.iter().filter(|notice| *notice == "not on the destination, left out: public.lonely").count(), 2);
    assert_eq!(pair.pull_error("include => '{lonely}'").sqlstate, "42P01");
}

#[test]
fn wrong_arguments() {
    let mut pair = Pair::with("wrong_arguments", "CREATE TABLE item (a int)", "");
    assert_eq!(pair.pull_error("parallel => -1").sqlstate, "22023");
    assert_eq!(pair.pull_error("parallel => 1000").sqlstate, "22023");
    assert_eq!(pair.pull_error("batch_size => 0").sqlstate, "22023");
    assert_eq!(pair.pull_error("include => '{a.b.c}'").sqlstate, "42602");
    assert_eq!(pair.pull_error("include => '{NULL}'").sqlstate, "42602");
    // What takes memory and time before anything is known of it is bounded.
    let failure = pair.pull_error("include => ARRAY[repeat('a', 1000000)]");
    let message = "a table pattern must not be longer than 8192 bytes";
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("42602", message));
    let failure = pair.pull_error("exclude => array_fill('a'::text, ARRAY[100001])");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("54000", "there are more than 100000 table patterns")
    );
    let mut failure = |source: &str| {
        Failure::of(&pair.destination.query(&format!("SELECT * FROM pgcopy.pull('{source}')"), &[]).unwrap_err())
    };
    assert_eq!(failure("hots=nowhere").message, "invalid connection string: unknown connection parameter");
    assert_eq!(failure("host=127.0.0.1 port=1 user=postgres").sqlstate, "08001");
    let long = failure(&format!("host={}", "a".repeat(70_000)));
    assert_eq!(long.message, "invalid connection string: the connection string is too long");
    let refused = failure("postgres://postgres:geheim@127.0.0.1:1/x");
    assert!(!format!("{refused:?}").contains("geheim"));
    let missing = failure(&format!(
        "host=127.0.0.1 port={} user=postgres dbname=nowhere",
        std::env::var("PGCOPY_TEST_SOURCE_PORT").unwrap()
    ));
    assert_eq!(
        (missing.sqlstate.as_str(), missing.message.contains("database \"nowhere\" does not exist")),
        ("3D000", true)
    );
}

#[test]
fn protected_and_read_only() {
    let mut pair = Pair::with("protected", "CREATE TABLE item (a int)", "INSERT INTO item VALUES (1)");
    pair.destination.batch_execute("ALTER DATABASE protected SET pgcopy.protected = on").unwrap();
    let mut session = pair.another_destination_session();
    let sql = pair.pull_sql("");
    // The library is not loaded yet when the session starts; the setting holds all the same.
    let failure = Failure::of(&session.query(&sql, &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "55000");
    session.query(&sql.replace("pull", "plan"), &[]).unwrap();
    pair.destination.batch_execute("BEGIN READ ONLY").unwrap();
    assert_eq!(pair.pull_error("").sqlstate, "25006");
    pair.destination.batch_execute("ROLLBACK").unwrap();
    pair.pull("");
}

#[test]
fn a_target_in_use_by_the_same_session() {
    let mut pair = Pair::with("in_use", "CREATE TABLE item (a int)", "INSERT INTO item SELECT generate_series(1, 10)");
    pair.destination.batch_execute("INSERT INTO item VALUES (1)").unwrap();
    pair.destination.batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM item; FETCH c").unwrap();
    assert_eq!(pair.pull_error("overwrite => true").sqlstate, "55006");
    pair.destination.batch_execute("ROLLBACK").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "1");
    pair.assert_nothing_left();
}

#[test]
fn ownership_is_needed_and_enough() {
    let mut pair = Pair::with(
        "ownership",
        "CREATE TABLE mine (id serial PRIMARY KEY, n int CHECK (n > 0)); CREATE INDEX ON mine ((n + 1));
         CREATE TABLE theirs (id int)",
        "INSERT INTO mine (n) SELECT i FROM generate_series(1, 1000) i; INSERT INTO theirs VALUES (1)",
    );
    for client in [&mut pair.source, &mut pair.destination] {
        client
            .batch_execute(
                "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
                 ALTER TABLE mine OWNER TO app",
            )
            .unwrap();
    }
    let dsn = format!("host=127.0.0.1 port={} user=app dbname=ownership", pair.source_port);
    pair.destination.batch_execute("SET ROLE app").unwrap();
    let mut pull = |dsn: &str, arguments: &str| {
        pair.destination
            .query(&format!("SELECT * FROM pgcopy.pull('{dsn}'{arguments})"), &[])
            .map(|rows| rows.len())
            .map_err(|error| Failure::of(&error))
    };
    let failure = pull(&dsn, ", include => '{mine}'").unwrap_err();
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("2F003", "password is required"));
    let with_password = format!("{dsn} password=secret");
    let failure = pull(&with_password, "").unwrap_err();
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert_eq!(pull(&with_password, ", include => '{mine}', parallel => 2"), Ok(1));
    let trusted = format!("host=127.0.0.1 port={} user=postgres dbname=ownership password=x", pair.source_port);
    let failure = pull(&trusted, ", include => '{mine}', overwrite => true").unwrap_err();
    assert_eq!(failure.detail, "Non-superusers cannot connect if the source does not request a password.");
    pair.destination.batch_execute("RESET ROLE").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM mine"), "1000");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM theirs"), "0");
    pair.assert_nothing_left();
}

/// Memory of its own that a process has, in kilobytes; shared buffers do not count.
fn private_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_workers_memory_does_not_grow_with_the_table() {
    const MOST_KILOBYTES: u64 = 100 * 1024;
    let mut pair = Pair::with(
        "memory",
        "CREATE TABLE item (id bigint PRIMARY KEY, n numeric, at timestamptz, body text, doc jsonb, tags text[]);
         CREATE INDEX ON item (body); CREATE INDEX ON item (at, n)",
        "INSERT INTO item SELECT i, i / 7.0, 'epoch'::timestamptz + i * interval '1 s', repeat(md5(i::text), 10),
                                 jsonb_build_object('n', i, 'text', md5(i::text)), ARRAY['a' || i, NULL]
         FROM generate_series(1, 200000) i",
    );
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut watcher = pair.another_destination_session();
    let session = &mut pair.destination;
    let most = std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.batch_execute(&sql));
        let mut most = 0;
        while !pull.is_finished() {
            let pids =
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgcopy' AND datname = current_database()";
            for row in watcher.query(pids, &[]).unwrap() {
                most = most.max(private_memory(row.get(0)));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        pull.join().unwrap().unwrap();
        most
    });
    assert!(most > 0, "workers were seen");
    assert!(most < MOST_KILOBYTES, "{most} kB");
    pair.assert_same_content();
}
