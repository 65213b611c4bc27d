//! What the caller's own transaction and session have changed holds for the new rows: functions, types, settings, the
//! instant at which the transaction began, and the extension itself.

use crate::harness::{Failure, Pair, text, texts};

/// Runs a script that must fail, and gives the session back to work with.
fn fails(pair: &mut Pair, script: &str) -> Failure {
    let error = pair.destination.batch_execute(script).expect_err("the script must fail");
    pair.destination.batch_execute("ROLLBACK").unwrap();
    Failure::of(&error)
}

const NORMALIZED: &str = "
    CREATE TABLE item (id int PRIMARY KEY, a text);
    CREATE FUNCTION norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
    CREATE FUNCTION okay(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
    ALTER TABLE item ADD n text GENERATED ALWAYS AS (public.norm(a)) STORED, ADD CHECK (public.okay(a));
    CREATE INDEX item_n ON item (public.norm(a)); CREATE INDEX item_partial ON item (id) WHERE public.norm(a) = 'ABC'";

#[test]
fn functions_that_the_transaction_replaced() {
    let mut pair = Pair::new("own_functions");
    pair.source
        .batch_execute("CREATE TABLE item (id int PRIMARY KEY, a text); INSERT INTO item VALUES (1, 'ABC'), (2, 'def')")
        .unwrap();
    pair.destination.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck").unwrap();
    pair.destination.batch_execute(NORMALIZED).unwrap();
    let upper = "CREATE OR REPLACE FUNCTION norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN upper($1); END';";
    let strict = "CREATE OR REPLACE FUNCTION okay(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN $1 <> 'def'; END$$;";
    let pull = pair.pull_sql("include => '{item}', overwrite => true, parallel => 2");
    for savepoint in ["", "SAVEPOINT before;"] {
        let failure = fails(&mut pair, &format!("BEGIN; {savepoint} {strict} {pull}; COMMIT"));
        assert_eq!(failure.sqlstate, "23514", "{}", failure.message);
    }
    let release = "RELEASE SAVEPOINT before;";
    for (savepoint, release) in [("", ""), ("SAVEPOINT before;", release)] {
        pair.destination.batch_execute(&format!("BEGIN; {savepoint} {upper} {release} {pull}; COMMIT")).unwrap();
        let rows = "SELECT string_agg(concat_ws(' ', id, n, n = norm(a)), ', ' ORDER BY id) FROM item";
        assert_eq!(text(&mut pair.destination, rows), "1 ABC t, 2 DEF t");
        pair.destination
            .batch_execute("SELECT bt_index_check('item_n', true), bt_index_check('item_partial', true)")
            .unwrap();
        pair.destination
            .batch_execute("CREATE OR REPLACE FUNCTION norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END'")
            .unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn functions_behind_other_objects_that_the_transaction_replaced() {
    let mut pair = Pair::new("own_functions_behind");
    pair.source
        .batch_execute(
            "CREATE TABLE by_domain (d text); CREATE TABLE by_operator (a text); CREATE TABLE by_body (a text);
             INSERT INTO by_domain VALUES ('bad'); INSERT INTO by_operator VALUES ('bad'); INSERT INTO by_body VALUES ('bad')",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE FUNCTION is_good(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
             CREATE FUNCTION same(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
             CREATE OPERATOR === (FUNCTION = same, LEFTARG = text, RIGHTARG = text);
             CREATE FUNCTION standard(a text) RETURNS bool IMMUTABLE RETURN public.is_good(a);
             CREATE DOMAIN good AS text CHECK (public.is_good(VALUE)); CREATE DOMAIN better AS good;
             CREATE TABLE by_operator (a text CHECK (a OPERATOR(public.===) 'good'));
             CREATE TABLE by_body (a text CHECK (public.standard(a)));
             CREATE TABLE by_domain (d text, more better DEFAULT 'bad')",
        )
        .unwrap();
    let replaced = "
        CREATE OR REPLACE FUNCTION is_good(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN $1 <> 'bad'; END$$;
        CREATE OR REPLACE FUNCTION same(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN $1 = $2; END$$;";
    for table in ["by_domain", "by_operator", "by_body"] {
        let pull = pair.pull_sql(&format!("include => '{{{table}}}', overwrite => true, parallel => 2"));
        pair.destination.batch_execute(&pull).unwrap();
        let failure = fails(&mut pair, &format!("BEGIN; {replaced} {pull}; COMMIT"));
        assert_eq!(failure.sqlstate, "23514", "{table}: {}", failure.message);
    }
    pair.assert_nothing_left();
}

#[test]
fn domains_that_the_transaction_changed() {
    let mut pair = Pair::new("own_domains");
    pair.both("CREATE DOMAIN word AS text; CREATE DOMAIN longer AS word; CREATE TYPE two AS (a longer, b int); CREATE TABLE plain (w word);
               CREATE TABLE nested (w longer); CREATE TABLE listed (w longer[]); CREATE TABLE composed (w two)");
    pair.source
        .batch_execute(
            "INSERT INTO plain VALUES ('bad'); INSERT INTO nested VALUES ('bad'); INSERT INTO listed VALUES ('{bad}');
             INSERT INTO composed VALUES ('(bad,1)')",
        )
        .unwrap();
    for table in ["plain", "nested", "listed", "composed"] {
        let pull = pair.pull_sql(&format!("include => '{{{table}}}', overwrite => true, parallel => 2"));
        let changed = "ALTER DOMAIN word ADD CONSTRAINT nobad CHECK (VALUE <> 'bad') NOT VALID";
        let failure = fails(&mut pair, &format!("BEGIN; {changed}; {pull}; COMMIT"));
        assert_eq!(failure.sqlstate, "23514", "{table}: {}", failure.message);
    }
    pair.destination.batch_execute("ALTER DOMAIN word ADD CONSTRAINT nobad CHECK (VALUE <> 'bad') NOT VALID").unwrap();
    for table in ["plain", "nested", "listed", "composed"] {
        let pull = pair.pull_sql(&format!("include => '{{{table}}}', overwrite => true, parallel => 2"));
        pair.destination
            .batch_execute(&format!("BEGIN; SAVEPOINT one; ALTER DOMAIN word DROP CONSTRAINT nobad; {pull}; ROLLBACK"))
            .unwrap();
        let failure = fails(
            &mut pair,
            &format!("BEGIN; SAVEPOINT one; ALTER DOMAIN word DROP CONSTRAINT nobad; ROLLBACK TO one; {pull}; COMMIT"),
        );
        assert_eq!(failure.sqlstate, "23514", "{table}: {}", failure.message);
    }
    pair.assert_nothing_left();
}

#[test]
fn types_and_configurations_that_the_transaction_made_or_changed() {
    let mut pair = Pair::new("own_types");
    pair.source
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE felt (m mood); INSERT INTO felt VALUES ('happy');
             CREATE TABLE document (id int, body text); INSERT INTO document VALUES (1, 'running dogs')",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE felt (m mood);
             CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
             CREATE TABLE document (id int, body text, found tsvector GENERATED ALWAYS AS (to_tsvector('public.words', body)) STORED)",
        )
        .unwrap();
    // What the transaction adds is there for the workers, or the leader does the work.
    pair.destination.batch_execute("BEGIN; ALTER TYPE mood RENAME VALUE 'glad' TO 'happy'").unwrap();
    pair.pull("include => '{felt}', overwrite => true, parallel => 2");
    pair.destination.batch_execute("COMMIT").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT m::text FROM felt"), "happy");
    let pull = pair.pull_sql("include => '{document}', overwrite => true, parallel => 2");
    pair.destination
        .batch_execute(&format!(
            "BEGIN; ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR asciiword WITH english_stem; {pull}; COMMIT"
        ))
        .unwrap();
    assert_eq!(
        text(&mut pair.destination, "SELECT (found = to_tsvector('words', body))::text || ' ' || found FROM document"),
        "true 'dog':2 'run':1"
    );
    pair.assert_nothing_left();
}

#[test]
fn rows_that_functions_read_and_the_transaction_wrote() {
    let mut pair = Pair::with("own_rows", "CREATE TABLE item (kind int)", "INSERT INTO item VALUES (7)");
    pair.destination
        .batch_execute(
            "CREATE TABLE known (kind int); CREATE FUNCTION is_known(int) RETURNS bool LANGUAGE sql AS
                 'SELECT EXISTS (SELECT FROM public.known WHERE kind = $1)';
             ALTER TABLE item ADD CHECK (public.is_known(kind)); INSERT INTO known VALUES (7)",
        )
        .unwrap();
    let pull = pair.pull_sql("include => '{item}', overwrite => true, parallel => 2");
    let failure = fails(&mut pair, &format!("BEGIN; DELETE FROM known; {pull}; COMMIT"));
    assert_eq!(failure.sqlstate, "23514", "{}", failure.message);
    pair.destination
        .batch_execute(&format!("BEGIN; TRUNCATE known; INSERT INTO known VALUES (7); {pull}; COMMIT"))
        .unwrap();
    pair.destination.batch_execute("TRUNCATE known").unwrap();
    pair.destination.batch_execute(&format!("BEGIN; INSERT INTO known VALUES (7); {pull}; COMMIT")).unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT kind::text FROM item"), "7");
    pair.assert_nothing_left();
}

#[test]
fn settings_of_the_session_that_expressions_read() {
    let mut pair = Pair::new("own_settings");
    pair.source.batch_execute("CREATE TABLE item (id int, tenant text); INSERT INTO item VALUES (1, 'a')").unwrap();
    pair.destination
        .batch_execute(
            "CREATE FUNCTION tenant() RETURNS text LANGUAGE plpgsql STABLE AS $$BEGIN RETURN current_setting('app.tenant', true); END$$;
             CREATE TABLE item (id int, tenant text CHECK (tenant = current_setting('app.tenant', true) IS TRUE), of text DEFAULT current_setting('app.tenant', true),
                                again text DEFAULT public.tenant(), CHECK ((again = public.tenant()) IS TRUE));
             CREATE INDEX item_again ON item (id) WHERE again IS NOT NULL",
        )
        .unwrap();
    for scope in ["SESSION", "LOCAL"] {
        for workers in [2, 0] {
            let pull = pair.pull_sql(&format!("include => '{{item}}', overwrite => true, parallel => {workers}"));
            pair.destination.batch_execute(&format!("BEGIN; SET {scope} app.tenant = 'a'; {pull}; COMMIT")).unwrap();
            assert_eq!(text(&mut pair.destination, "SELECT concat_ws(' ', tenant, of, again) FROM item"), "a a a");
            let failure = fails(&mut pair, &format!("BEGIN; SET {scope} app.tenant = 'b'; {pull}; COMMIT"));
            assert_eq!(failure.sqlstate, "23514", "{}", failure.message);
        }
        pair.destination.batch_execute("RESET ALL").unwrap();
    }
    pair.assert_nothing_left();
}

/// Whether the last job had workers that did something.
fn had_workers(pair: &mut Pair) -> bool {
    let sql = "SELECT (max(worker) > 0)::text FROM pgcopy_internal.job_task WHERE job = (SELECT max(job) FROM pgcopy_internal.job)";
    pair.assert_nothing_left();
    text(&mut pair.destination, sql) == "true"
}

#[test]
fn defaults_know_the_transaction_and_the_session() {
    let mut pair = Pair::new("own_defaults");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int, pad text); INSERT INTO item SELECT i, repeat('x', 900) FROM generate_series(1, 30000) i; ANALYZE item",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE FUNCTION started() RETURNS timestamptz LANGUAGE plpgsql STABLE AS 'BEGIN RETURN now(); END';
             CREATE FUNCTION is_now(timestamptz) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN $1 = now(); END';
             CREATE TABLE item (id int, pad text);
             ALTER TABLE item ADD a timestamptz DEFAULT now() CHECK (public.is_now(a)), ADD b timestamptz DEFAULT CURRENT_TIMESTAMP, ADD c timestamp DEFAULT LOCALTIMESTAMP(2),
                 ADD d date DEFAULT CURRENT_DATE, ADD e timestamptz DEFAULT statement_timestamp(), ADD f timestamptz DEFAULT transaction_timestamp() + interval '1 day',
                 ADD g text DEFAULT current_user, ADD h text DEFAULT session_user, ADD i int DEFAULT pg_backend_pid(), ADD j xid8 DEFAULT pg_current_xact_id(),
                 ADD k bigserial, ADD l timestamptz DEFAULT clock_timestamp(), ADD m uuid DEFAULT gen_random_uuid(), ADD n timestamptz DEFAULT public.started(),
                 ADD o text DEFAULT current_setting('application_name'), ADD p text DEFAULT 'now'::text, ADD q int GENERATED BY DEFAULT AS IDENTITY",
        )
        .unwrap();
    pair.destination.batch_execute("SET application_name = 'the caller'; SET timezone = 'Asia/Kolkata'").unwrap();
    for workers in [4, 0] {
        pair.destination.batch_execute("BEGIN").unwrap();
        pair.destination.batch_execute("SELECT pg_sleep(0.01)").unwrap();
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        let check = "SELECT concat_ws(' ', count(*), bool_and(a = now()), bool_and(b = now()), bool_and(c = LOCALTIMESTAMP(2)), bool_and(d = CURRENT_DATE),
                            count(DISTINCT e), bool_and(e >= now()), bool_and(f = now() + interval '1 day'), bool_and(g = current_user), bool_and(h = session_user),
                            bool_and(i = pg_backend_pid()), bool_and(j = pg_current_xact_id()), count(DISTINCT k), count(DISTINCT l) > 100, count(DISTINCT m),
                            bool_and(n = now()), bool_and(o = 'the caller'), bool_and(p = 'now'), count(DISTINCT q))
                     FROM item";
        let seen = text(&mut pair.destination, check);
        pair.destination.batch_execute("COMMIT").unwrap();
        assert_eq!(seen, "30000 t t t t 1 t t t t t t 30000 t 30000 t t t 30000", "with {workers} workers");
        assert_eq!(had_workers(&mut pair), workers > 0);
    }
}

#[test]
fn what_only_the_session_can_answer_it_answers_itself() {
    let mut pair = Pair::new("own_answers");
    pair.source.batch_execute("CREATE TABLE item (id int); INSERT INTO item VALUES (1)").unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (id int); CREATE SEQUENCE counter; SELECT nextval('counter');
             CREATE FUNCTION volatile_pid() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN pg_backend_pid(); END'",
        )
        .unwrap();
    for (default, expected) in [
        ("currval('public.counter')", "currval('counter')"),
        ("public.volatile_pid()", "pg_backend_pid()"),
        ("lastval() + 1", "lastval() + 1"),
    ] {
        pair.destination
            .batch_execute(&format!(
                "ALTER TABLE item DROP COLUMN IF EXISTS s; ALTER TABLE item ADD s bigint DEFAULT {default}"
            ))
            .unwrap();
        for workers in [2, 0] {
            pair.destination.batch_execute("SELECT nextval('counter')").unwrap();
            pair.pull(&format!("overwrite => true, parallel => {workers}"));
            let own = if default.starts_with("lastval") {
                "true".to_owned()
            } else {
                text(&mut pair.destination, &format!("SELECT (s = {expected})::text FROM item"))
            };
            assert_eq!(own, "true", "{default}");
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn checks_know_the_transaction() {
    let mut pair = Pair::new("own_checks");
    pair.source.batch_execute("CREATE TABLE item (id int); INSERT INTO item VALUES (1)").unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (id int, at timestamptz DEFAULT now(), CHECK (at = now()), CHECK (at >= transaction_timestamp()))",
        )
        .unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
    }
    pair.assert_nothing_left();
}

#[test]
fn an_extension_that_the_same_transaction_created() {
    let mut pair = Pair::with(
        "own_extension",
        "CREATE TABLE item (id int PRIMARY KEY, kind int); CREATE TABLE kind (id int PRIMARY KEY); ALTER TABLE item ADD FOREIGN KEY (kind) REFERENCES kind",
        "INSERT INTO kind VALUES (1); INSERT INTO item SELECT i, 1 FROM generate_series(1, 100) i",
    );
    let dsn = pair.dsn();
    pair.destination.batch_execute("DROP EXTENSION pgcopy").unwrap();
    for (workers, savepoint) in [("4", ""), ("0", "SAVEPOINT before; RELEASE SAVEPOINT before;")] {
        let pull = pair.pull_sql(&format!("overwrite => true, parallel => {workers}"));
        pair.destination.batch_execute(&format!("BEGIN; {savepoint} CREATE EXTENSION pgcopy; {pull}; COMMIT")).unwrap();
        pair.assert_same_content();
        pair.assert_nothing_left();
        assert_eq!(
            text(&mut pair.destination, "SELECT string_agg(state || ' ' || rows, ', ') FROM pgcopy.jobs"),
            "completed 101"
        );
        pair.destination.batch_execute("DROP EXTENSION pgcopy").unwrap();
    }
    let failure = fails(
        &mut pair,
        &format!("BEGIN; CREATE EXTENSION pgcopy; SELECT pgcopy.start_pull('{dsn}', overwrite => true); COMMIT"),
    );
    assert_eq!(failure.sqlstate, "55000", "{}", failure.message);
    assert_eq!(
        failure.message,
        "extension \"pgcopy\" was created or altered by this transaction, which other processes cannot see"
    );
    pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    pair.pull("overwrite => true");
    pair.assert_nothing_left();
    assert_eq!(texts(&mut pair.destination, "SELECT state FROM pgcopy.jobs"), ["completed"]);
}

#[test]
fn files_see_the_transaction_too() {
    let (mut pair, directory) = Pair::with_files("own_files");
    let path = directory.path().join("items.parquet").display().to_string();
    pair.destination
        .batch_execute(&format!("COPY (SELECT 1 AS id, 'ABC' AS a) TO '{path}' WITH (FORMAT parquet)"))
        .unwrap();
    pair.destination.batch_execute(NORMALIZED).unwrap();
    pair.destination.batch_execute("ALTER TABLE item ADD at timestamptz DEFAULT now(), ADD of text DEFAULT current_setting('app.tenant', true)").unwrap();
    let load = format!(
        "SELECT * FROM pgcopy.load_parquet('{path}', target => 'item', mode => 'replace', overwrite => true, parallel => 2)"
    );
    pair.destination
        .batch_execute(&format!(
            "BEGIN; SET LOCAL app.tenant = 'a';
             CREATE OR REPLACE FUNCTION norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN upper($1); END'; {load}"
        ))
        .unwrap();
    let row = "SELECT concat_ws(' ', n, at = now(), of) FROM item";
    assert_eq!(text(&mut pair.destination, row), "ABC t a");
    pair.destination.batch_execute(&format!("ROLLBACK; BEGIN; SET LOCAL app.tenant = 'b'; {load}")).unwrap();
    assert_eq!(text(&mut pair.destination, row), "abc t b");
    pair.destination.batch_execute("COMMIT").unwrap();
    pair.assert_nothing_left();
}

/// The trigger of a deferrable constraint changes the table's row of `pg_class`, for which workers would wait without end.
#[test]
fn workers_wait_for_nothing_that_the_leader_makes() {
    let mut pair = Pair::with(
        "own_deferrable",
        "CREATE FUNCTION norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
         CREATE TABLE visit (id int PRIMARY KEY, a text, during int4range,
             CONSTRAINT apart EXCLUDE USING gist (during WITH &&) WHERE (public.norm(a) <> '') DEFERRABLE INITIALLY DEFERRED);
         CREATE INDEX ON visit (a); CREATE INDEX ON visit (during)",
        "INSERT INTO visit SELECT i, 'a' || i, int4range(i, i + 1) FROM generate_series(1, 20000) i",
    );
    pair.pull("overwrite => true");
    let pull = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination
        .batch_execute(&format!(
            "BEGIN; SET LOCAL statement_timeout = '60s'; ALTER FUNCTION norm(text) COST 2; {pull}; COMMIT"
        ))
        .unwrap();
    pair.assert_same_content();
    let overlapping = "INSERT INTO visit VALUES (0, 'b', '[7,9)')";
    let error = pair.destination.batch_execute(overlapping).expect_err("ranges must not overlap");
    assert_eq!(Failure::of(&error).sqlstate, "23P01");
    pair.assert_nothing_left();
}
