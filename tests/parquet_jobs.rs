//! Loads of files as jobs: in the background, in the views while they run, in the history when they are over.

use crate::harness::{Failure, Pair, describe, eventually, text, texts};
use postgres::Client;
use xtask::server::ScratchDirectory;

/// A database and a file of 50000 rows in row groups of 7000.
struct Loads {
    pair: Pair,
    directory: ScratchDirectory,
}

/// A load that comes to this row waits until nobody holds the lock. It is in the second row group of its part.
const HELD: &str = "
    CREATE FUNCTION held(id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF id = 27000 THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
        RETURN true;
    END $$;
    CREATE TABLE empty_item (id bigint CHECK (held(id)), name text);
    CREATE TABLE item (LIKE empty_item INCLUDING ALL);
    INSERT INTO item VALUES (-1, 'kept')";

/// Rows go into the empty table by exchange of its storage, and beside those of the other one in place.
const WAYS: [(&str, &str); 2] = [("empty_item", "copying"), ("item", "in place")];

impl Loads {
    fn new(name: &str) -> Self {
        let (pair, directory) = Pair::with_files(name);
        let mut loads = Self { pair, directory };
        let sql = format!(
            "COPY (SELECT i::bigint AS id, 'name ' || i AS name FROM generate_series(1, 50000) i)
             TO '{}' (FORMAT parquet, row_group_rows 7000)",
            loads.file()
        );
        loads.client().batch_execute(&sql).unwrap();
        loads
    }

    fn file(&self) -> String {
        self.directory.path().join("things.parquet").display().to_string()
    }

    fn client(&mut self) -> &mut Client {
        &mut self.pair.destination
    }

    fn start(&mut self, arguments: &str) -> i64 {
        let sql = format!("SELECT pgcopy.start_load_parquet('{}'{arguments})", self.file());
        self.client().query_one(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error))).get(0)
    }

    fn wait(&mut self, job: i64) -> String {
        text(self.client(), &format!("SELECT pgcopy.wait({job}, '60 s')"))
    }

    fn job(&mut self, job: i64, columns: &str) -> String {
        text(self.client(), &format!("SELECT concat_ws('|', {columns}) FROM pgcopy.jobs WHERE job = {job}"))
    }

    fn assert_loaded(&mut self, table: &str) {
        let different = format!(
            "SELECT count(*)::text FROM (
                 (TABLE {table} EXCEPT ALL SELECT i, 'name ' || i FROM generate_series(1, 50000) i)
                 UNION ALL (SELECT i, 'name ' || i FROM generate_series(1, 50000) i EXCEPT ALL TABLE {table})) d"
        );
        assert_eq!(text(self.client(), &different), "0", "{table}");
    }
}

#[test]
fn a_load_runs_without_its_session() {
    let mut loads = Loads::new("load_job");
    let file = loads.file();
    // Into a table that is made for the file, where the caller's search path leads.
    loads.client().batch_execute("CREATE SCHEMA other; SET search_path = other").unwrap();
    loads.client().batch_execute("BEGIN").unwrap();
    let job = loads.start(", parallel => 2");
    loads.client().batch_execute("ROLLBACK; RESET search_path").unwrap();
    assert_eq!(loads.wait(job), "completed");
    loads.assert_loaded("other.things");
    let columns = "role, source, state, tables, tables_done, rows, bytes > 0, percent, error, finished > started";
    assert_eq!(loads.job(job, columns), format!("postgres|{file}|completed|1|1|50000|t|100|t"));
    let tables = "SELECT concat_ws(' ', schema, \"table\", state, rows, bytes > 0) FROM pgcopy.job_tables ORDER BY job";
    assert_eq!(texts(loads.client(), tables), ["other things ended 50000 t"]);
    // Beside rows that stay, from a list.
    loads
        .client()
        .batch_execute("CREATE TABLE item (id bigint, name text); INSERT INTO item VALUES (0, 'kept')")
        .unwrap();
    let sql = format!(
        "SELECT pgcopy.start_load_parquet(ARRAY['{file}'], target => 'item', columns => '{{\"id\": \"id\"}}', skip => '{{name}}')"
    );
    let job: i64 = loads.client().query_one(&sql, &[]).unwrap().get(0);
    assert_eq!(loads.wait(job), "completed");
    assert_eq!(
        texts(loads.client(), "SELECT concat_ws(' ', count(*), sum(id), min(name), count(name)) FROM item"),
        ["50001 1250025000 kept 1"]
    );
    assert_eq!(loads.job(job, "state, tables, rows, percent"), "completed|1|50000|100");
    let timeline = texts(loads.client(), &format!("SELECT task FROM pgcopy.job_tasks WHERE job = {job}"));
    assert!(timeline.iter().any(|task| task == "loading public.item in place"), "{timeline:?}");
    // In the place of all rows.
    let job = loads.start(", target => 'item', mode => 'replace', overwrite => true");
    assert_eq!(loads.wait(job), "completed");
    loads.assert_loaded("item");
    loads.pair.assert_nothing_left();
}

#[test]
fn a_load_that_cannot_be_done_says_why() {
    let mut loads = Loads::new("load_job_fails");
    let file = loads.file();
    let refused = |loads: &mut Loads, function: &str, arguments: &str| {
        let sql = format!("SELECT pgcopy.{function}({arguments})");
        match loads.client().query(&sql, &[]) {
            Ok(_) => panic!("{sql} succeeded"),
            Err(error) => Failure::of(&error),
        }
    };
    // What needs no file is an error at once, and in the same words.
    for (arguments, sqlstate, message) in [
        ("NULL::text", "22004", "a path must not be null"),
        ("NULL::text[]", "22004", "path must not be null"),
        ("ARRAY['@', NULL]", "22004", "a path must not be null"),
        ("'{}'::text[]", "22023", "no path is given"),
        ("'@', overwrite => NULL", "22004", "overwrite must not be null"),
        ("'@', create_table => NULL", "22004", "create_table must not be null"),
        ("'@', match_by => NULL", "22004", "match_by must not be null"),
        ("'@', on_lossy => NULL", "22004", "on_lossy must not be null"),
        ("'@', skip => '{NULL}'", "22004", "a name in skip must not be null"),
        ("'@', columns => '[]'", "22023", "columns must be an object of names"),
        ("'@', mode => 'merge'", "22023", "invalid value for parameter \"mode\": \"merge\""),
        ("'@', on_lossy => 'x'", "22023", "invalid value for parameter \"on_lossy\": \"x\""),
        ("'@', parallel => -1", "22023", "parallel must be between 0 and 64"),
        ("'things.parquet'", "22023", "relative path not allowed: \"things.parquet\""),
        ("'@', server => 'none'", "42704", "server \"none\" does not exist"),
    ] {
        let arguments = arguments.replace('@', &file);
        for function in ["load_parquet", "start_load_parquet"] {
            let failure = refused(&mut loads, function, &arguments);
            assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message), "{function}");
        }
    }
    loads.client().batch_execute("SET default_transaction_read_only = on").unwrap();
    for (function, message) in [
        ("load_parquet", "cannot execute pgcopy.load_parquet() in a read-only transaction"),
        ("start_load_parquet", "cannot execute pgcopy.start_load_parquet() in a read-only transaction"),
    ] {
        assert_eq!(refused(&mut loads, function, &format!("'{file}'")).message, message);
    }
    loads.client().batch_execute("RESET default_transaction_read_only; SET pgcopy.protected = on").unwrap();
    let protected = refused(&mut loads, "start_load_parquet", &format!("'{file}', mode => 'replace'"));
    assert_eq!(protected.sqlstate, "55000");
    loads.client().batch_execute("RESET pgcopy.protected").unwrap();
    assert_eq!(text(loads.client(), "SELECT count(*)::text FROM pgcopy.jobs"), "0");
    // What is found out later is noted in the job.
    loads.client().batch_execute("CREATE TABLE things (id bigint CHECK (id <> 30000), name bytea)").unwrap();
    let job = loads.start("");
    assert_eq!(loads.wait(job), "failed");
    assert_eq!(loads.job(job, "error"), "the files do not fit the target; nothing was touched");
    loads
        .client()
        .batch_execute("ALTER TABLE things ALTER name TYPE text USING NULL; INSERT INTO things VALUES (0, 'kept')")
        .unwrap();
    for arguments in [", parallel => 0", ", mode => 'replace', overwrite => true"] {
        let job = loads.start(arguments);
        assert_eq!(loads.wait(job), "failed");
        assert_eq!(
            loads.job(job, "error, detail LIKE '%row group 4, row 2000%'"),
            "new row for relation \"things\" violates check constraint \"things_id_check\"|t"
        );
        assert_eq!(texts(loads.client(), "SELECT concat_ws(' ', id, name) FROM things"), ["0 kept"]);
    }
    loads.pair.assert_nothing_left();
}

#[test]
fn a_running_load_is_seen_and_cancelled() {
    let mut loads = Loads::new("load_seen");
    let file = loads.file();
    loads.client().batch_execute(HELD).unwrap();
    for (table, phase) in WAYS {
        for (in_background, cancel, error) in [
            (true, "pgcopy.cancel(job)", "canceling job due to request of role postgres"),
            (false, "pgcopy.cancel(job)", "canceling job due to request of role postgres"),
            (false, "pg_cancel_backend(leader_pid)", "canceling statement due to user request"),
        ] {
            loads.client().batch_execute("SELECT pg_advisory_lock(4711)").unwrap();
            let mut session = loads.pair.another_destination_session();
            let function = if in_background { "start_load_parquet" } else { "load_parquet" };
            let sql = format!("SELECT pgcopy.{function}('{file}', target => '{table}', parallel => 1)");
            let loading = std::thread::spawn(move || session.query(&sql, &[]).map(drop).map_err(|e| Failure::of(&e)));
            let running = format!(
                "SELECT j.job::text FROM pgcopy.jobs j JOIN pgcopy.job_tables t USING (job)
                 WHERE j.state = 'running' AND t.\"table\" = '{table}' AND t.rows > 0 AND j.rows = t.rows
                   AND j.bytes > 0 AND j.percent > 0 AND j.tables = 1 AND j.source = '{file}'"
            );
            let client = loads.client();
            let mut job = 0_i64;
            eventually("rows are seen", || {
                job = text(client, &running).parse().unwrap_or(0);
                job != 0
            });
            assert_eq!(text(client, &format!("SELECT phase FROM pgcopy.progress WHERE job = {job}")), phase);
            let copy =
                "SELECT concat_ws(' ', relid::regclass, command, type, bytes_processed BETWEEN 1 AND bytes_total,
                                        tuples_processed > 0)
                        FROM pg_stat_progress_copy WHERE datname = current_database()";
            eventually("the server's own view shows it", || {
                text(client, copy) == format!("{table} COPY FROM FILE t t")
            });
            let cancelled = format!("SELECT {cancel}::text FROM pgcopy.jobs WHERE job = {job}");
            assert_eq!(text(client, &cancelled), "true");
            let outcome = loading.join().unwrap();
            match outcome {
                Ok(()) => assert!(in_background),
                Err(failure) => assert_eq!((failure.sqlstate.as_str(), in_background), ("57014", false)),
            }
            assert_eq!(loads.wait(job), "failed");
            assert_eq!(loads.job(job, "error"), error, "{table}");
            loads.client().batch_execute("SELECT pg_advisory_unlock(4711)").unwrap();
            loads.pair.assert_nothing_left();
        }
    }
    assert_eq!(texts(loads.client(), "SELECT concat_ws(' ', id, name) FROM item"), ["-1 kept"]);
    assert_eq!(text(loads.client(), "SELECT count(*)::text FROM empty_item"), "0");
}

#[test]
fn a_load_in_a_session_is_in_the_history() {
    let mut loads = Loads::new("load_history");
    let file = loads.file();
    loads.client().batch_execute(HELD).unwrap();
    for (table, _) in WAYS {
        let load = format!("SELECT pgcopy.load_parquet('{file}', target => '{table}')");
        loads.client().batch_execute(&format!("BEGIN; {load}; ROLLBACK")).unwrap();
        // A savepoint that is rolled back takes its load along.
        loads.client().batch_execute(&format!("BEGIN; SAVEPOINT s; {load}; ROLLBACK TO s; COMMIT")).unwrap();
        loads.client().batch_execute(&load).unwrap();
        loads.pair.assert_nothing_left();
        let history = "SELECT concat_ws(' ', state, tables, rows, error) FROM pgcopy.jobs ORDER BY job DESC LIMIT 3";
        let mut history = texts(loads.client(), history);
        history.reverse();
        assert_eq!(
            history,
            [
                "rolled back 1 50000 the transaction of the pull was rolled back",
                "rolled back 1 50000 the transaction of the pull was rolled back",
                "completed 1 50000"
            ]
        );
    }
}

#[test]
fn rows_that_triggers_drop_are_not_counted() {
    let mut loads = Loads::new("load_counts");
    let file = loads.file();
    loads
        .client()
        .batch_execute(
            "CREATE TABLE item (id bigint, name text);
             CREATE FUNCTION even() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN IF NEW.id % 2 = 0 THEN RETURN NEW; END IF; RETURN NULL; END';
             CREATE TRIGGER even BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION even()",
        )
        .unwrap();
    let reported = format!("SELECT concat_ws(' ', target, rows) FROM pgcopy.load_parquet('{file}', target => 'item')");
    assert_eq!(texts(loads.client(), &reported), ["public.item 25000"]);
    loads.pair.assert_nothing_left();
    assert_eq!(texts(loads.client(), "SELECT concat_ws(' ', state, rows) FROM pgcopy.jobs"), ["completed 25000"]);
    assert_eq!(text(loads.client(), "SELECT concat_ws(' ', count(*), sum(id)) FROM item"), "25000 625025000");
}

#[test]
fn a_load_in_the_background_has_the_callers_rights() {
    let mut loads = Loads::new("load_rights");
    let file = loads.file();
    loads
        .client()
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE load_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             REVOKE pg_read_server_files FROM load_owner;
             CREATE TABLE item (id bigint, name text, by text DEFAULT current_user); INSERT INTO item VALUES (0);
             CREATE TABLE secret (id bigint, name text); GRANT INSERT ON item TO load_owner; SET ROLE load_owner",
        )
        .unwrap();
    let sql = format!("SELECT pgcopy.start_load_parquet('{file}', target => 'item')");
    assert_eq!(Failure::of(&loads.client().batch_execute(&sql).unwrap_err()).sqlstate, "42501");
    loads.client().batch_execute("RESET ROLE; GRANT pg_read_server_files TO load_owner; SET ROLE load_owner").unwrap();
    let job = loads.start(", target => 'item'");
    assert_eq!(loads.wait(job), "completed");
    let refused = loads.start(", target => 'secret'");
    assert_eq!(loads.wait(refused), "failed");
    assert_eq!(loads.job(refused, "error"), "permission denied for table secret");
    loads.client().batch_execute("RESET ROLE").unwrap();
    assert_eq!(
        texts(loads.client(), "SELECT concat_ws(' ', by, count(*), sum(id)) FROM item GROUP BY by ORDER BY 1"),
        ["load_owner 50000 1250025000", "postgres 1 0"]
    );
    assert_eq!(loads.job(job, "role, state"), "load_owner|completed");
}

#[test]
fn a_copy_is_seen_where_the_server_shows_it() {
    let mut loads = Loads::new("copy_seen");
    let file = loads.file();
    loads.client().batch_execute(HELD).unwrap();
    loads.client().batch_execute("SELECT pg_advisory_lock(4711)").unwrap();
    let mut session = loads.pair.another_destination_session();
    let sql = format!("LOAD 'pgcopy'; COPY item FROM '{file}' (FORMAT parquet) WHERE id % 2 = 0");
    let copying = std::thread::spawn(move || session.batch_execute(&sql).map_err(|error| Failure::of(&error)));
    let client = loads.client();
    let copy = "SELECT concat_ws(' ', relid::regclass, command, type, tuples_processed, bytes_processed BETWEEN 1 AND bytes_total)
                FROM pg_stat_progress_copy WHERE datname = current_database()";
    // Three row groups, and half of their rows.
    eventually("its rows are seen", || text(client, copy) == "item COPY FROM FILE 10500 t");
    client.batch_execute("SELECT pg_advisory_unlock(4711)").unwrap();
    copying.join().unwrap().unwrap();
    assert_eq!(text(client, copy), "");
    assert_eq!(text(client, "SELECT concat_ws(' ', count(*), sum(id)) FROM item"), "25001 625024999");
    assert_eq!(text(client, "SELECT count(*)::text FROM pgcopy.jobs"), "0");
}

/// Logical decoding keeps the chunks of TOAST tables until their row comes, or the transaction ends; those of a stage table
/// are marked as a rewrite's, which it drops at once.
#[test]
fn the_toast_table_of_a_new_tables_stage_is_out_of_logical_decodings_sight() {
    let (mut pair, directory) = Pair::with_files("toast_of_new");
    let file = directory.path().join("long.parquet").display().to_string();
    let stages = "SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE c.relrewrite <> 0), count(*) FILTER (WHERE t.relrewrite <> 0))
                  FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.relnamespace = 'pgcopy_stage'::regnamespace";
    pair.destination
        .batch_execute(&format!(
            "COPY (SELECT i AS id, string_agg(md5(i::text || j), '') AS long FROM generate_series(1, 20) i, generate_series(1, 1000) j GROUP BY i)
             TO '{file}' (FORMAT parquet)"
        ))
        .unwrap();
    let mut watcher = pair.another_destination_session();
    pair.destination
        .batch_execute(&format!(
            "BEGIN; SELECT * FROM pgcopy.load_parquet('{file}', target => 'new_item', parallel => 2)"
        ))
        .unwrap();
    assert_eq!(text(&mut watcher, stages), "1 1 1");
    pair.destination.batch_execute("COMMIT").unwrap();
    assert_eq!(
        text(
            &mut pair.destination,
            "SELECT concat_ws(' ', relrewrite, reltoastrelid <> 0) FROM pg_class WHERE relname = 'new_item'"
        ),
        "0 t"
    );
    assert_eq!(
        text(
            &mut pair.destination,
            "SELECT t.relrewrite::text FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.relname = 'new_item'"
        ),
        "0"
    );
    pair.assert_nothing_left();
}
