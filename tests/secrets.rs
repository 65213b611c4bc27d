//! No password is anywhere that people look.

use crate::harness::{Failure, OwnServers, eventually, text};
use postgres::Client;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use xtask::server::{Options, Server};

/// Every password of this test contains it.
const MARK: &str = "Xq7unmistakable";

/// Everything that a server can be asked to log.
fn log_everything(server: &Server) {
    let mut client = server.connect("postgres");
    for setting in [
        "log_min_messages = debug5",
        "log_statement = 'all'",
        "log_connections = on",
        "log_disconnections = on",
        "log_error_verbosity = verbose",
        "log_lock_waits = on",
        "debug_print_parse = on",
        "debug_print_plan = on",
    ] {
        client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).unwrap();
    }
    client.batch_execute("SELECT pg_reload_conf()").unwrap();
    eventually("the server logs everything", || text(&mut server.connect("postgres"), "SHOW log_statement") == "all");
}

/// All of `pg_stat_activity` that `work` could be watched in, as one text.
fn watching(servers: &OwnServers, filter: &str, work: impl FnOnce()) -> String {
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for server in [&servers.source, &servers.destination] {
            let (stop, seen, mut client) = (&stop, &seen, server.connect("secrets"));
            // What is told of these sessions is of no interest.
            for setting in [
                "log_min_messages = error",
                "log_statement = none",
                "debug_print_parse = off",
                "debug_print_plan = off",
            ] {
                client.batch_execute(&format!("SET {setting}")).unwrap();
            }
            scope.spawn(move || {
                let sql = format!(
                    "SELECT coalesce(string_agg(a::text, E'\\n'), '') FROM pg_stat_activity a
                     WHERE pid <> pg_backend_pid() AND {filter}"
                );
                while !stop.load(SeqCst) {
                    let now = text(&mut client, &sql);
                    seen.lock().unwrap().push_str(&now);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        // Also when `work` panics.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, SeqCst);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    seen.into_inner().unwrap()
}

fn failure(client: &mut Client, sql: &str) -> Failure {
    match client.batch_execute(sql) {
        Ok(()) => panic!("succeeded: {sql}"),
        Err(error) => Failure::of(&error),
    }
}

#[test]
fn no_password_is_anywhere() {
    let servers =
        OwnServers::start("secrets", Options::named("secrets-destination").setting("max_worker_processes = 20"));
    let mut pair = servers.pair("secrets");
    pair.both("CREATE TABLE item (id int PRIMARY KEY, body text); CREATE TABLE broken (id int)");
    pair.source
        .batch_execute(&format!(
            "INSERT INTO item SELECT i, repeat('x', 500) FROM generate_series(1, 5000) i;
             INSERT INTO broken SELECT generate_series(1, 100);
             CREATE ROLE app LOGIN PASSWORD '{MARK}right'; GRANT SELECT ON item, broken TO app"
        ))
        .unwrap();
    let access = std::fs::read_to_string(servers.source.data().join("pg_hba.conf")).unwrap();
    std::fs::write(
        servers.source.data().join("pg_hba.conf"),
        format!("host all app 127.0.0.1/32 scram-sha-256\n{access}"),
    )
    .unwrap();
    let server = |name: &str, port: u16, password: &str| {
        format!(
            "CREATE SERVER {name} FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{port}', dbname 'secrets');
             GRANT USAGE ON FOREIGN SERVER {name} TO app;
             CREATE USER MAPPING FOR app SERVER {name} OPTIONS (user 'app', password '{MARK}{password}');"
        )
    };
    pair.destination
        .batch_execute(&format!(
            "CREATE ROLE app LOGIN; ALTER TABLE item OWNER TO app; ALTER TABLE broken OWNER TO app;
             ALTER TABLE broken ADD CHECK (id < 50); {} {} {}",
            server("prod", pair.source_port, "right"),
            server("wrong", pair.source_port, "wrong"),
            server("closed", 1, "right"),
        ))
        .unwrap();
    // The sessions' last statements are on show.
    pair.both("SELECT 1");
    log_everything(&servers.source);
    log_everything(&servers.destination);
    let mut app = postgres::Client::connect(
        &format!("host=127.0.0.1 port={} user=app dbname=secrets", pair.destination_port),
        postgres::NoTls,
    )
    .unwrap();
    app.batch_execute("SET pgcopy.retry_timeout = '200ms'; SET client_min_messages = debug5").unwrap();
    let mut failures = Vec::new();
    let activity = watching(&servers, "true", || {
        for workers in [2, 0] {
            let arguments = format!("include => '{{item}}', overwrite => true, parallel => {workers}");
            for call in
                ["list('prod')".to_owned(), "plan('prod', '{item}')".into(), format!("pull('prod', {arguments})")]
            {
                app.batch_execute(&format!("SELECT * FROM pgcopy.{call}")).unwrap();
            }
            for source in ["wrong", "closed", "prod"] {
                failures.push(failure(
                    &mut app,
                    &format!("SELECT * FROM pgcopy.pull('{source}', overwrite => true, parallel => {workers})"),
                ));
            }
        }
    });
    let states: Vec<&str> = failures.iter().map(|failure| failure.sqlstate.as_str()).collect();
    assert_eq!(states, ["28P01", "08001", "23514", "28P01", "08001", "23514"], "{failures:?}");
    assert!(activity.contains("pgcopy job") && activity.contains("COPY"), "both sides were watched");
    assert!(!activity.contains(MARK), "pg_stat_activity");
    // In a connection string, the call's own text is all that holds it: the server shows and logs that if it is told to,
    // but we do not, and no error of such a call is logged with its text.
    let mut superuser = servers.destination.connect("secrets");
    superuser
        .batch_execute("SET log_statement = none; SET debug_print_parse = off; SET debug_print_plan = off; SET pgcopy.retry_timeout = 0")
        .unwrap();
    let dsn = |password: &str, port: u16| {
        format!("postgres://app:{MARK}{password}@127.0.0.1:{port}/secrets?application_name=watched")
    };
    let (right, wrong, closed) = (dsn("right", pair.source_port), dsn("wrong", pair.source_port), dsn("right", 1));
    let key_values = format!("host=127.0.0.1 port={} dbname=secrets user=app password={MARK}right", pair.source_port);
    let mut cancelling = servers.destination.connect("secrets");
    let activity = watching(&servers, "backend_type <> 'client backend'", || {
        superuser
            .batch_execute(&format!("SELECT * FROM pgcopy.pull('{right}', '{{item}}', overwrite => true)"))
            .unwrap();
        superuser.batch_execute(&format!("SELECT * FROM pgcopy.plan('{key_values}', '{{item}}')")).unwrap();
        for source in [&wrong, &closed, &right, &key_values] {
            failures
                .push(failure(&mut superuser, &format!("SELECT * FROM pgcopy.pull('{source}', overwrite => true)")));
        }
        // Mistakes of every kind in the string itself.
        for source in [
            format!("{key_values} port=x"),
            format!("{key_values} {MARK}"),
            format!("{key_values} {MARK}=1"),
            format!("{key_values} service=x"),
            format!("postgres:/app:{MARK}@h/x"),
            format!("postgres://app:1/{MARK}@h/x"),
            format!("{MARK}/x@h"),
            format!("postgres://app:1@{MARK}@h/x"),
            format!("postgres://app@{MARK}@h/x"),
            format!("postgres://app:1@h/{MARK}@h"),
            format!("postgres://app:1%{MARK}@h/x"),
            format!("postgres://app:1@h:{MARK}/x"),
            format!("postgres://app:1?{MARK}=2@h/x"),
            format!("postgres://app:1@h/x?{}=2", MARK.to_lowercase()),
            format!("postgres://app:1@[{MARK}/x"),
            format!("{key_values} password=''{MARK}"),
            format!("{key_values} password=a {MARK}"),
            format!("{key_values} password=a {}=b", MARK.to_lowercase()),
            format!("{key_values} {}=b", MARK.to_lowercase()),
            format!("host=h,password={MARK}"),
            format!("host=h;user=app;password={MARK}"),
            format!("host=geheim@{MARK}"),
            format!("app {MARK} h"),
        ] {
            failures.push(failure(&mut superuser, &format!("SELECT * FROM pgcopy.pull('{source}')")));
        }
        // Cancelled while it waits for a lock: an error that is not ours.
        pair.destination.batch_execute("BEGIN; LOCK TABLE item").unwrap();
        std::thread::scope(|scope| {
            let pull = scope.spawn(|| {
                failure(&mut superuser, &format!("SELECT * FROM pgcopy.pull('{right}', '{{item}}', overwrite => true)"))
            });
            eventually("the pull waits", || {
                text(
                    &mut cancelling,
                    "SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity
                     WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT * FROM pgcopy.pull%'",
                ) == "1"
            });
            failures.push(pull.join().unwrap());
        });
        pair.destination.batch_execute("ROLLBACK").unwrap();
    });
    assert!(activity.contains("pgcopy job"), "the workers were watched");
    assert!(!activity.contains(MARK), "pg_stat_activity");
    // A statement without a password is logged with its text again.
    failure(&mut superuser, "SELECT * FROM pgcopy.pull('nowhere_at_all')");
    for failure in &failures {
        assert!(!format!("{failure:?}").to_lowercase().contains(&MARK.to_lowercase()), "{failure:?}");
    }
    crate::harness::assert_nothing_left(&mut pair.destination);
    for table in ["job", "job_table", "job_task", "job_finding", "job_swap"] {
        let rows = text(
            &mut pair.destination,
            &format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM pgcopy_internal.{table} t"),
        );
        assert!(!rows.contains(MARK), "{table}");
    }
    for (name, server) in [("source", &servers.source), ("destination", &servers.destination)] {
        let log = server.log_text();
        assert!(log.contains("DEBUG:") && log.contains("LOG:  00000: statement:"), "{name} logs everything");
        let lines: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains(&MARK.to_lowercase())).collect();
        assert!(lines.is_empty(), "the log of the {name}: {lines:#?}");
    }
    let log = servers.destination.log_text();
    assert!(log.contains("STATEMENT:  SELECT * FROM pgcopy.pull('nowhere_at_all')"));
    assert!(log.contains("password authentication failed for user \"app\""));
    let sum = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM item t";
    assert_eq!(text(&mut pair.source, sum), text(&mut pair.destination, sum));
}

#[test]
fn neither_statement_nor_context_takes_a_password_to_the_log() {
    let options = Options::named("contexts-destination")
        .setting("log_min_messages = notice")
        .setting("log_min_error_statement = notice")
        .setting("log_parameter_max_length_on_error = -1")
        .setting("log_error_verbosity = verbose");
    let servers = OwnServers::start("contexts", options);
    let mut pair = servers.pair("contexts");
    pair.both("CREATE TABLE item (id int)");
    let client = &mut pair.destination;
    client.batch_execute("SET pgcopy.retry_timeout = 0; LOAD 'pgcopy'").unwrap();
    let closed = format!("postgres://app:{MARK}@127.0.0.1:1/shop");
    let right = format!("postgres://postgres:{MARK}@127.0.0.1:{}/contexts", pair.source_port);
    // Constant strings in code are in the context of messages.
    client
        .batch_execute(&format!(
            "SET log_min_duration_statement = -1;
             CREATE SERVER closed FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '1');
             CREATE USER MAPPING FOR CURRENT_USER SERVER closed OPTIONS (user 'x');
             CREATE FUNCTION of_sql() RETURNS bigint LANGUAGE sql AS $$ SELECT rows FROM pgcopy.pull('{closed}') $$;
             CREATE FUNCTION of_plpgsql() RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN PERFORM * FROM pgcopy.pull('{closed}'); END $$;
             CREATE FUNCTION wrong_call() RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN PERFORM * FROM pgcopy.pull('{closed}', inclde => 'x'); END $$"
        ))
        .unwrap();
    for sql in [
        format!("DO $$ BEGIN PERFORM * FROM pgcopy.pull('{closed}'); END $$"),
        format!("DO $$ BEGIN EXECUTE 'SELECT * FROM pgcopy.list(''{closed}'')'; END $$"),
        format!("DO $$ BEGIN PERFORM pgcopy.start_pull('{closed}', '{{a.b.c}}'); END $$"),
        "SELECT of_sql()".into(),
        "SELECT of_plpgsql()".into(),
        "SELECT wrong_call()".into(),
        // What comes after the call is hidden as well.
        format!(
            "DO $$ BEGIN
                 BEGIN PERFORM * FROM pgcopy.pull('{closed}'); EXCEPTION WHEN OTHERS THEN NULL; END;
                 BEGIN PERFORM * FROM pgcopy.pull('closed'); EXCEPTION WHEN OTHERS THEN NULL; END;
                 RAISE NOTICE 'noticed';
                 PERFORM 1 / 0;
             END $$"
        ),
        // The server refuses these before the extension has seen them.
        format!("SELECT * FROM pgcopy.pull('{closed}', inclde => 'x')"),
        format!("SELECT * FROM pgcopy.pull('host=h password={MARK}', inclde => 'x')"),
        format!("DO $$ BEGIN PERFORM * FROM pgcopy.pull('host=h password = {MARK}', inclde => 'x'); END $$"),
        format!("DO $$ BEGIN EXECUTE 'SELECT * FROM pgcopy.pull(''{closed}'', inclde => 1)'; END $$"),
        format!("SELECT * FROM pgcopy.load_parquet('https://user:{MARK}@localhost/x.parquet')"),
        // Passwords where they do not belong, and beside a mistake.
        format!("CREATE SERVER s FOREIGN DATA WRAPPER pgcopy OPTIONS (host 'h', password '{MARK}')"),
        format!("CREATE USER MAPPING FOR PUBLIC SERVER closed OPTIONS (user 'x', passwd '{MARK}')"),
        format!("ALTER USER MAPPING FOR CURRENT_USER SERVER closed OPTIONS (ADD password '{MARK}', ADD nonsense '1')"),
        format!("CREATE SERVER s FOREIGN DATA WRAPPER pgcopy_store OPTIONS (type 's3', secret_access_key '{MARK}')"),
    ] {
        // Whoever calls a function need not know what is in it.
        let error = client.batch_execute(&sql).expect_err(&sql);
        assert!(!format!("{error:?}").contains(MARK), "{sql}: {error:?}");
    }
    // As a parameter.
    for sql in ["SELECT * FROM pgcopy.pull($1)", "SELECT * FROM pgcopy.plan($1::text, '{nothing}')"] {
        client.query(sql, &[&closed]).unwrap_err();
    }
    // The server's own logs of statements, their duration and parameters, once the library is loaded.
    client.batch_execute("SET log_min_duration_statement = 0; SET log_statement = 'all'").unwrap();
    client.batch_execute(&format!("SELECT * FROM pgcopy.pull('{right}')")).unwrap();
    client.query("SELECT * FROM pgcopy.plan($1)", &[&right]).unwrap();
    client.batch_execute(&format!("DO $$ BEGIN PERFORM * FROM pgcopy.pull('{right}'); END $$")).unwrap();
    client.batch_execute("SELECT 'this is logged'").unwrap();
    client.batch_execute("RESET log_min_duration_statement; RESET log_statement").unwrap();
    failure(client, "DO $$ BEGIN PERFORM * FROM pgcopy.pull('closed'); END $$");
    let log = servers.destination.log_text();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(MARK)).collect();
    assert!(lines.is_empty(), "{lines:#?}");
    assert!(log.contains("noticed") && log.contains("division by zero") && log.contains("this is logged"));
    assert!(log.contains("(removed: it holds a password)"));
    // Without a password there is nothing to hide.
    assert!(log.contains("STATEMENT:  DO $$ BEGIN PERFORM * FROM pgcopy.pull('closed'); END $$"));
    let last: Vec<&str> = log.lines().rev().take(8).collect();
    assert!(log.contains("CONTEXT:  SQL statement \"SELECT * FROM pgcopy.pull('closed')\""), "{last:#?}");
}
