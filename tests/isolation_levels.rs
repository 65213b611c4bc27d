//! What a pull decides about its targets, in every isolation level of the caller's transaction and with every default that
//! a database or a role may have for sessions.

use crate::harness::{Failure, OwnServers, Pair, eventually, installation, text};
use postgres::Client;
use xtask::server::Options;

const LEVELS: [&str; 3] = ["read committed", "repeatable read", "serializable"];

/// A session with an open transaction of that level whose snapshot is taken.
fn with_old_snapshot(pair: &Pair, level: &str) -> Client {
    let mut session = pair.another_destination_session();
    session.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM pg_class")).unwrap();
    session
}

fn failure<T>(result: Result<T, postgres::Error>) -> Option<Failure> {
    result.err().map(|error| Failure::of(&error))
}

/// No index of the table has lost a row or points to a wrong one.
fn assert_sound(client: &mut Client, table: &str) {
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck").unwrap();
    let sql = format!(
        "SELECT count(bt_index_check(indexrelid, true)::text)::text FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
         WHERE indrelid = '{table}'::regclass AND c.relam = 403"
    );
    text(client, &sql);
    assert_eq!(text(client, &format!("SELECT count(*)::text FROM verify_heapam('{table}')")), "0");
}

#[test]
fn rows_that_others_committed_after_the_snapshot_are_not_lost() {
    let mut pair = Pair::with(
        "level_rows",
        "CREATE TABLE item (id int PRIMARY KEY, note text)",
        "INSERT INTO item SELECT i, 'new' FROM generate_series(1, 100) i",
    );
    let call = "SELECT pgcopy.pull('{dsn}', include => '{item}', parallel => {workers})";
    for level in LEVELS {
        for workers in [0, 2] {
            pair.destination.batch_execute("TRUNCATE item").unwrap();
            let mut session = with_old_snapshot(&pair, level);
            pair.destination.batch_execute("INSERT INTO item VALUES (5000, 'precious')").unwrap();
            let sql = call.replace("{dsn}", &pair.dsn()).replace("{workers}", &workers.to_string());
            let refused = failure(session.batch_execute(&sql)).unwrap_or_else(|| panic!("{level}: a row was lost"));
            assert_eq!(refused.sqlstate, "55000", "{level}: {refused:?}");
            session.batch_execute("ROLLBACK").unwrap();
            assert_eq!(text(&mut pair.destination, "SELECT string_agg(note, ',') FROM item"), "precious", "{level}");
            // What the caller agrees to lose may go, seen by the snapshot or not.
            let mut session = with_old_snapshot(&pair, level);
            session.batch_execute(&sql.replace("parallel", "overwrite => true, parallel")).unwrap();
            session.batch_execute("COMMIT").unwrap();
            pair.assert_same_content();
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn definitions_are_compared_as_they_are_under_the_lock() {
    let mut pair = Pair::with(
        "level_definitions",
        "CREATE TABLE item (id int PRIMARY KEY, a int, b text)",
        "INSERT INTO item SELECT i, i % 10, 'new' || i FROM generate_series(1, 1000) i",
    );
    pair.destination
        .batch_execute(
            "CREATE TABLE kind (a int PRIMARY KEY); INSERT INTO kind SELECT generate_series(0, 3);
             CREATE FUNCTION ten(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 10'",
        )
        .unwrap();
    let fill = "DROP TABLE IF EXISTS item; CREATE TABLE item (id int PRIMARY KEY, a int, b text, spare int DEFAULT 3);
                INSERT INTO item SELECT i, i % 4, 'old' || i FROM generate_series(1, 500) i";
    // What another session commits while the pull waits for its lock: an error, or rows that satisfy it.
    let changes = [
        "CREATE INDEX item_a ON item (a)",
        "CREATE UNIQUE INDEX item_b ON item (b)",
        "CREATE INDEX item_ten ON item (ten(a)) WHERE a > 2",
        "ALTER TABLE item ADD CHECK (a < 4)",
        "ALTER TABLE item ALTER b SET NOT NULL, ADD CHECK (b LIKE 'old%')",
        "ALTER TABLE item ADD FOREIGN KEY (a) REFERENCES kind",
        "ALTER TABLE item ADD c int DEFAULT 7",
        "ALTER TABLE item DROP b",
        "ALTER TABLE item DROP spare",
        "ALTER TABLE item ALTER spare DROP DEFAULT",
        "ALTER TABLE item DROP b; ALTER TABLE item ADD b text",
        "ALTER TABLE item ADD g int GENERATED ALWAYS AS (ten(a)) STORED",
        "ALTER TABLE item ADD EXCLUDE USING btree (a WITH =, id WITH =)",
        "DROP INDEX item_pkey_extra",
        "ALTER TABLE item ALTER a TYPE bigint",
        "ALTER TABLE item OWNER TO level_stranger",
        "CREATE PUBLICATION level_publication FOR TABLE item",
        "CREATE STATISTICS item_statistics ON a, b FROM item",
        "ALTER TABLE item SET UNLOGGED",
    ];
    let drop_role = "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'level_stranger') THEN
                         DROP OWNED BY level_stranger CASCADE; DROP ROLE level_stranger; END IF; END $$";
    pair.destination.batch_execute(&format!("{drop_role}; CREATE ROLE level_stranger")).unwrap();
    for level in LEVELS {
        for change in changes {
            pair.destination.batch_execute(fill).unwrap();
            pair.destination.batch_execute("CREATE INDEX item_pkey_extra ON item (id)").unwrap();
            pair.destination.batch_execute("DROP PUBLICATION IF EXISTS level_publication").unwrap();
            let mut other = pair.another_destination_session();
            other.batch_execute("BEGIN").unwrap();
            other.batch_execute(change).unwrap();
            let mut session = pair.another_destination_session();
            session.batch_execute(&format!("SET default_transaction_isolation = '{level}'")).unwrap();
            let sql = pair.pull_sql("include => '{item}', overwrite => true, parallel => 2");
            std::thread::scope(|scope| {
                let pull = scope.spawn(|| failure(session.batch_execute(&sql)));
                eventually("the pull waits", || {
                    text(
                        &mut pair.destination,
                        "SELECT count(*)::text FROM pg_locks l WHERE NOT granted
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                    ) != "0"
                });
                other.batch_execute("COMMIT").unwrap();
                // Nobody but the transaction that changed the table made it wait: it sees the change, one way or the other.
                if let Some(refused) = pull.join().unwrap() {
                    let expected = ["55006", "42501", "23503", "23514", "23505", "42703", "42804", "0A000"];
                    assert!(expected.contains(&refused.sqlstate.as_str()), "{level}, {change}: {refused:?}");
                    let state = "SELECT count(*) || ' ' || max(id) FROM item";
                    assert_eq!(text(&mut pair.destination, state), "500 500", "{level}, {change}");
                }
            });
            assert_sound(&mut pair.destination, "item");
            let broken = "SELECT count(*)::text FROM item WHERE a > 3";
            if change.contains("CHECK (a < 4)") || change.contains("REFERENCES") {
                assert_eq!(text(&mut pair.destination, broken), "0", "{level}, {change}");
            }
            if change.contains("ten(a)) STORED") {
                assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE g <> ten(a)"), "0");
            }
        }
    }
    pair.assert_nothing_left();
    pair.destination.batch_execute(&format!("DROP TABLE item; {drop_role}")).unwrap();
}

#[test]
fn changes_that_were_committed_before_the_call_are_seen_whatever_the_snapshot() {
    let mut pair = Pair::with(
        "level_snapshot",
        "CREATE TABLE item (id int PRIMARY KEY, a int); CREATE TABLE kind (id int PRIMARY KEY)",
        "INSERT INTO item SELECT i, i % 10 FROM generate_series(1, 1000) i; INSERT INTO kind VALUES (1)",
    );
    for level in LEVELS {
        for workers in [0, 2] {
            pair.destination
                .batch_execute(
                    "DROP TABLE item, kind; CREATE TABLE item (id int PRIMARY KEY, a int); CREATE TABLE kind (id int PRIMARY KEY);
                     INSERT INTO item VALUES (1, 1); INSERT INTO kind VALUES (1)",
                )
                .unwrap();
            let mut session = with_old_snapshot(&pair, level);
            pair.destination
                .batch_execute("CREATE INDEX item_a ON item (a); ALTER TABLE item ADD c int DEFAULT 7")
                .unwrap();
            let sql = pair.pull_sql(&format!("include => '{{item}}', overwrite => true, parallel => {workers}"));
            session.batch_execute(&sql).unwrap();
            session.batch_execute("COMMIT").unwrap();
            assert_sound(&mut pair.destination, "item");
            assert_eq!(text(&mut pair.destination, "SELECT count(*) || ' ' || min(c) FROM item"), "1000 7", "{level}");

            // A key that the new rows violate, made after the snapshot, or whose other table was emptied after it.
            pair.destination
                .batch_execute("TRUNCATE item; ALTER TABLE item ADD FOREIGN KEY (a) REFERENCES kind")
                .unwrap();
            let mut session = with_old_snapshot(&pair, level);
            pair.destination.batch_execute("TRUNCATE kind, item").unwrap();
            let refused = failure(session.batch_execute(&sql)).unwrap_or_else(|| panic!("{level}: a key is violated"));
            assert_eq!(refused.sqlstate, "23503", "{level}: {refused:?}");
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn a_load_decides_by_what_is_committed_under_its_lock() {
    let (mut pair, directory) = Pair::with_files("level_load");
    let file = directory.path().join("item.parquet").display().to_string();
    pair.destination
        .batch_execute(&format!(
            "CREATE TABLE item (id int PRIMARY KEY, a int);
             COPY (SELECT i AS id, i AS a FROM generate_series(1, 100) i) TO '{file}' (FORMAT parquet)"
        ))
        .unwrap();
    for level in LEVELS {
        // Rows that came after the snapshot stay: an addition adds to them, a replacement needs to be told.
        pair.destination.batch_execute("TRUNCATE item").unwrap();
        let mut session = with_old_snapshot(&pair, level);
        pair.destination.batch_execute("INSERT INTO item VALUES (5000, 1)").unwrap();
        session.batch_execute(&format!("SELECT pgcopy.load_parquet('{file}', target => 'item'); COMMIT")).unwrap();
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "101", "{level}");
        let mut session = with_old_snapshot(&pair, level);
        let replace = format!("SELECT pgcopy.load_parquet('{file}', target => 'item', mode => 'replace')");
        assert_eq!(failure(session.batch_execute(&replace)).unwrap().sqlstate, "55000", "{level}");

        // While the load waits, its table is filled, changed, or exchanged for another of the same name.
        for change in [
            "INSERT INTO item VALUES (6000, 1)",
            "ALTER TABLE item ADD c int DEFAULT 7",
            "ALTER TABLE item RENAME TO item_old; CREATE TABLE item (id int PRIMARY KEY, a int, c int DEFAULT 7)",
        ] {
            pair.destination
                .batch_execute("DROP TABLE IF EXISTS item, item_old; CREATE TABLE item (id int PRIMARY KEY, a int)")
                .unwrap();
            let mut other = pair.another_destination_session();
            other.batch_execute("BEGIN; LOCK TABLE item IN ROW EXCLUSIVE MODE").unwrap();
            let mut session = pair.another_destination_session();
            session.batch_execute(&format!("SET default_transaction_isolation = '{level}'")).unwrap();
            std::thread::scope(|scope| {
                let load = scope.spawn(|| {
                    session.batch_execute(&format!("SELECT pgcopy.load_parquet('{file}', target => 'item')")).unwrap()
                });
                eventually("the load waits", || {
                    text(
                        &mut pair.destination,
                        "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'item'::regclass",
                    ) != "0"
                });
                other.batch_execute(change).unwrap();
                other.batch_execute("COMMIT").unwrap();
                load.join().unwrap();
            });
            let found = text(&mut pair.destination, "SELECT concat_ws(' ', count(*), max(id)) FROM item");
            assert_eq!(found, if change.starts_with("INSERT") { "101 6000" } else { "100 100" }, "{level}, {change}");
            if !change.starts_with("INSERT") {
                assert_eq!(
                    text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE c = 7"),
                    "100",
                    "{change}"
                );
            }
            assert_sound(&mut pair.destination, "item");
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn clean_up_ends_under_an_old_snapshot() {
    let mut servers =
        OwnServers::start("level-cleanup", Options::named("level-cleanup").setting("restart_after_crash = on"));
    for level in LEVELS {
        let mut pair = servers.pair("cleanup");
        pair.both("CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE kind (id int PRIMARY KEY)");
        pair.source.batch_execute("INSERT INTO item VALUES (1); INSERT INTO kind VALUES (1)").unwrap();
        let leave_a_dead_job = |pair: &mut Pair, servers: &mut OwnServers| {
            let sql = pair.pull_sql("overwrite => true, parallel => 1");
            pair.destination.batch_execute(&format!("BEGIN; {sql}")).unwrap();
            servers.destination.crash_and_restart().unwrap();
            *pair = Pair::existing(servers.source.port(), servers.destination.port(), "cleanup");
            let left = "SELECT count(*)::text FROM pg_class WHERE relnamespace = 'pgcopy_stage'::regnamespace AND relkind = 'r'";
            assert_eq!(text(&mut pair.destination, left), "2");
        };
        leave_a_dead_job(&mut pair, &mut servers);
        let mut session = with_old_snapshot(&pair, level);
        text(&mut session, "SELECT count(*)::text FROM pgcopy_internal.job");
        assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "1");
        session.batch_execute("SET statement_timeout = '20s'").unwrap();
        assert_eq!(text(&mut session, "SELECT pgcopy.cleanup()::text"), "0", "{level}");
        session.batch_execute("COMMIT").unwrap();

        // The same in two stewards at once, in a database with that default.
        leave_a_dead_job(&mut pair, &mut servers);
        pair.destination
            .batch_execute(&format!("ALTER DATABASE cleanup SET default_transaction_isolation = '{level}'"))
            .unwrap();
        let mut sessions = [pair.another_destination_session(), pair.another_destination_session()];
        std::thread::scope(|scope| {
            for (session, table) in sessions.iter_mut().zip(["item", "kind"]) {
                let sql = pair.pull_sql(&format!("include => '{{{table}}}', overwrite => true, parallel => 1"));
                scope.spawn(move || {
                    session.batch_execute("SET statement_timeout = '60s'").unwrap();
                    session.batch_execute(&sql).unwrap();
                });
            }
        });
        pair.assert_same_content();
        pair.assert_nothing_left();
        pair.destination.batch_execute("ALTER DATABASE cleanup RESET default_transaction_isolation").unwrap();
    }
}

#[test]
fn pulls_of_different_tables_do_not_fail_each_other() {
    let mut pair = Pair::new("level_many");
    for number in 0..6 {
        pair.both(&format!("CREATE TABLE t{number} (id int PRIMARY KEY)"));
        pair.source.batch_execute(&format!("INSERT INTO t{number} SELECT generate_series(1, 100)")).unwrap();
    }
    for level in LEVELS {
        let set = format!("ALTER DATABASE level_many SET default_transaction_isolation = '{level}'");
        pair.destination.batch_execute(&set).unwrap();
        let mut sessions: Vec<Client> = (0..6).map(|_| pair.another_destination_session()).collect();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for (number, session) in sessions.iter_mut().enumerate() {
                    let sql = pair.pull_sql(&format!("include => '{{t{number}}}', overwrite => true, parallel => 1"));
                    scope.spawn(move || {
                        session.batch_execute("SET statement_timeout = '60s'").unwrap();
                        if let Some(refused) = failure(session.batch_execute(&sql)) {
                            panic!("{level}: {refused:?}");
                        }
                    });
                }
            });
        }
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
}

#[test]
fn defaults_of_the_database_do_not_reach_the_extensions_own_processes() {
    let mut pair =
        Pair::with("level_defaults", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    let defaults = [
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "session_replication_role = replica",
        "role = pg_monitor",
        "search_path = ''",
        "transform_null_equals = on",
        "enable_seqscan = off",
        "default_tablespace = ''",
        "idle_in_transaction_session_timeout = '1ms'",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "datestyle = 'SQL, DMY'",
        "timezone = 'Asia/Kathmandu'",
        "row_security = off",
        "exit_on_error = on",
    ];
    // Together, too: a serializable, read-only, deferrable transaction waits for all others.
    let all_three: Vec<&str> = defaults[..3].to_vec();
    let one_by_one = defaults.iter().map(|default| vec![*default]);
    for set in one_by_one.chain([all_three]) {
        for default in &set {
            pair.destination.batch_execute(&format!("ALTER DATABASE level_defaults SET {default}")).unwrap();
        }
        let mut session = pair.another_destination_session();
        // The session itself works as its user wants.
        session
            .batch_execute(
                "SET role = none; SET statement_timeout = '60s'; SET lock_timeout = 0; SET default_transaction_read_only = off;
                 SET idle_in_transaction_session_timeout = 0; SET exit_on_error = off",
            )
            .unwrap();
        session.batch_execute("BEGIN READ WRITE; SET LOCAL session_replication_role = origin").unwrap();
        let sql = pair.pull_sql("overwrite => true, parallel => 2");
        if let Some(refused) = failure(session.batch_execute(&sql)) {
            panic!("{set:?}: {refused:?}");
        }
        session.batch_execute("COMMIT").unwrap();
        let start = format!("SELECT pgcopy.start_pull('{}', overwrite => true)::text", pair.dsn());
        let job = text(&mut session, &start);
        assert_eq!(text(&mut session, &format!("SELECT pgcopy.wait({job})")), "completed", "{set:?}");
        for default in &set {
            let name = default.split(' ').next().unwrap();
            pair.destination.batch_execute(&format!("ALTER DATABASE level_defaults RESET {name}")).unwrap();
        }
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
}

/// The extension's own processes belong to the lock group of the calling session; one that started parallel workers would
/// have to lead a group itself.
#[test]
fn processes_of_a_job_start_no_parallel_workers_whatever_is_asked_of_them() {
    let servers = OwnServers::start("level-parallel", Options::named("level-parallel"));
    let mut pair = servers.pair("level_parallel");
    // Short there, but long here, where nobody has expected it: the steward makes the TOAST table and its index.
    pair.both("CREATE TABLE item (id int PRIMARY KEY, note text); CREATE TABLE other (id int)");
    pair.destination.batch_execute("ALTER TABLE item ALTER note SET STORAGE EXTERNAL").unwrap();
    pair.source.batch_execute("INSERT INTO item SELECT i, repeat('x', 9000) FROM generate_series(1, 500) i").unwrap();
    // A function that a check calls asks for them in the worker itself.
    pair.destination
        .batch_execute(
            "CREATE FUNCTION builds(id int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 IF id = 400 THEN
                     PERFORM set_config('min_parallel_table_scan_size', '0', true);
                     PERFORM set_config('max_parallel_maintenance_workers', '4', true);
                     EXECUTE 'CREATE INDEX ON public.other (id)';
                 END IF;
                 RETURN true;
             END $$",
        )
        .unwrap();
    let forced = if installation().version().major() < 16 { "force_parallel_mode" } else { "debug_parallel_query" };
    for default in [
        "min_parallel_table_scan_size = 0",
        "max_parallel_maintenance_workers = 8",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        &format!("{forced} = on"),
    ] {
        pair.destination.batch_execute(&format!("ALTER DATABASE level_parallel SET {default}")).unwrap();
    }
    let mut session = pair.another_destination_session();
    session.batch_execute("SET statement_timeout = '60s'").unwrap();
    let sql = pair.pull_sql("include => '{item}', overwrite => true, parallel => 2");
    if let Some(refused) = failure(session.batch_execute(&sql)) {
        panic!("{refused:?}");
    }
    pair.assert_same_content();
    assert_sound(&mut pair.destination, "item");
    pair.destination.batch_execute("ALTER TABLE item ADD CHECK (builds(id))").unwrap();
    let refused = failure(session.batch_execute(&sql)).expect("nobody may change the number of such workers there");
    assert_eq!(refused.sqlstate, "55P02", "{refused:?}");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_standby_that_is_away_is_waited_for_as_the_caller_wants() {
    let servers = OwnServers::start("level-standby", Options::named("level-standby"));
    let mut pair = servers.pair("standby");
    pair.both("CREATE TABLE item (id int PRIMARY KEY)");
    pair.source.batch_execute("INSERT INTO item VALUES (1)").unwrap();
    pair.destination.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
    pair.destination.batch_execute("SELECT pg_reload_conf()").unwrap();
    for local in ["off", "local"] {
        let mut session = pair.another_destination_session();
        session.batch_execute(&format!("SET statement_timeout = '30s'; SET synchronous_commit = {local}")).unwrap();
        session.batch_execute(&pair.pull_sql("overwrite => true, parallel => 2")).unwrap();
        let start = format!("SELECT pgcopy.start_pull('{}', overwrite => true)::text", pair.dsn());
        let job = text(&mut session, &start);
        eventually("the job is done", || {
            text(&mut session, &format!("SELECT state FROM pgcopy.jobs WHERE job = {job}")) == "completed"
        });
    }
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn statements_that_lock_along_foreign_keys_do_not_deadlock_with_a_pull() {
    let mut pair = Pair::with(
        "level_deadlock",
        "CREATE TABLE kind (id int PRIMARY KEY);
         CREATE TABLE item (id int PRIMARY KEY, kind int REFERENCES kind ON DELETE CASCADE)",
        "INSERT INTO kind SELECT generate_series(1, 50); INSERT INTO item SELECT i, 1 + i % 50 FROM generate_series(1, 500) i",
    );
    let sql = pair.pull_sql("overwrite => true, parallel => 1");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let statements = [
        "INSERT INTO item VALUES (1000 + (random() * 1e6)::int, 1) ON CONFLICT DO NOTHING",
        "DELETE FROM kind WHERE id = 2",
        "UPDATE kind SET id = id WHERE id = 3",
        "UPDATE item SET kind = 4 WHERE id = 7",
    ];
    let mut sessions: Vec<Client> = statements.iter().map(|_| pair.another_destination_session()).collect();
    let failures = std::thread::scope(|scope| {
        let writers: Vec<_> = sessions
            .iter_mut()
            .zip(statements)
            .map(|(session, statement)| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut failures = Vec::new();
                    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                        failures.extend(failure(session.batch_execute(statement)));
                    }
                    failures
                })
            })
            .collect();
        let mut failures = Vec::new();
        for _ in 0..25 {
            failures.extend(failure(pair.destination.batch_execute(&sql)));
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        failures.extend(writers.into_iter().flat_map(|writer| writer.join().unwrap()));
        failures
    });
    // A row whose parent is gone is the application's own affair.
    let deadlocks: Vec<_> = failures.iter().filter(|failure| failure.sqlstate != "23503").collect();
    assert!(deadlocks.is_empty(), "{deadlocks:?}");
    pair.pull("overwrite => true");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn readers_pass_while_a_swap_waits_for_one_of_them() {
    let mut pair = Pair::with(
        "level_readers",
        "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE kind (id int PRIMARY KEY)",
        "INSERT INTO item SELECT generate_series(1, 100); INSERT INTO kind SELECT generate_series(1, 100)",
    );
    pair.destination.batch_execute("INSERT INTO item VALUES (1); INSERT INTO kind VALUES (1)").unwrap();
    let mut reader = pair.another_destination_session();
    reader.batch_execute("BEGIN; SELECT * FROM kind /* a long report */").unwrap();
    let sql = pair.pull_sql("overwrite => true, parallel => 1");
    for workers in [0, 1] {
        let mut session = pair.another_destination_session();
        session.batch_execute("SET pgcopy.swap_timeout = '1s'").unwrap();
        let refused = failure(session.batch_execute(&sql.replace("=> 1", &format!("=> {workers}")))).unwrap();
        assert_eq!(refused.sqlstate, "55P03", "{refused:?}");
        assert!(refused.detail.contains("a long report"), "{refused:?}");
        assert!(refused.message.contains("kind"), "{refused:?}");
    }
    let mut session = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.batch_execute(&sql).unwrap());
        eventually("the swap waits", || {
            text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs WHERE phase = 'swapping'") == "1"
        });
        // Other readers of both tables, in either order, get through although the first one stays.
        let mut others = [pair.another_destination_session(), pair.another_destination_session()];
        for round in 0..10 {
            let order = if round % 2 == 0 { "item, kind" } else { "kind, item" };
            for other in &mut others {
                other.batch_execute("SET statement_timeout = '20s'").unwrap();
                assert_eq!(text(other, &format!("SELECT count(*)::text FROM {order}")), "1");
            }
        }
        reader.batch_execute("COMMIT").unwrap();
        pull.join().unwrap();
    });
    pair.assert_same_content();
    pair.assert_nothing_left();
}
