//! Sources that are foreign servers, with the password in a user mapping.

use crate::harness::{Failure, Pair, describe, text, texts};
use postgres::{Client, NoTls};

fn session_of(pair: &Pair, role: &str) -> Client {
    let dsn = format!("host=127.0.0.1 port={} user={role} dbname={}", pair.destination_port, pair.database);
    Client::connect(&dsn, NoTls).unwrap()
}

/// A table that `app` owns here and may read there.
fn shop(name: &str) -> Pair {
    let mut pair =
        Pair::with(name, "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item SELECT generate_series(1, 500)");
    let make = "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
    pair.both(make);
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination.batch_execute("ALTER TABLE item OWNER TO app").unwrap();
    pair
}

fn server(pair: &Pair, name: &str, wrapper: &str) -> String {
    format!(
        "CREATE SERVER {name} FOREIGN DATA WRAPPER {wrapper}
             OPTIONS (host '127.0.0.1', port '{}', dbname '{}');
         GRANT USAGE ON FOREIGN SERVER {name} TO app",
        pair.source_port, pair.database
    )
}

const MAPPING: &str = "OPTIONS (user 'app', password 'secret')";

fn failure_of(client: &mut Client, sql: &str) -> Failure {
    match client.batch_execute(sql) {
        Ok(()) => panic!("succeeded: {sql}"),
        Err(error) => Failure::of(&error),
    }
}

#[test]
fn servers_of_all_three_wrappers_are_sources() {
    let mut pair = shop("foreign_servers");
    pair.destination.batch_execute("CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink").unwrap();
    for (name, wrapper) in [("prod", "pgcopy"), ("by_fdw", "postgres_fdw"), ("\"By dblink\"", "dblink_fdw")] {
        let create = server(&pair, name, wrapper);
        pair.destination.batch_execute(&create).unwrap();
        pair.destination.batch_execute(&format!("CREATE USER MAPPING FOR app SERVER {name} {MAPPING}")).unwrap();
    }
    // What has nothing to do with connections is passed over.
    pair.destination
        .batch_execute(
            "ALTER SERVER by_fdw OPTIONS (ADD fetch_size '7', ADD use_remote_estimate 'true', ADD extensions 'dblink');
             ALTER USER MAPPING FOR app SERVER by_fdw OPTIONS (ADD password_required 'true')",
        )
        .unwrap();
    let mut app = session_of(&pair, "app");
    for source in ["prod", "by_fdw", "By dblink"] {
        for call in ["list", "plan", "pull"] {
            let arguments = if call == "pull" { ", overwrite => true, parallel => 2" } else { "" };
            let sql = format!("SELECT \"table\" FROM pgcopy.{call}('{source}'{arguments})");
            let rows = app.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
            assert_eq!(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["item"], "{sql}");
        }
        pair.assert_same_content();
        pair.destination.batch_execute("DELETE FROM item").unwrap();
    }
    // A job finds the role's own mapping as well.
    let job: i64 = app.query_one("SELECT pgcopy.start_pull('prod', overwrite => true)", &[]).unwrap().get(0);
    assert_eq!(text(&mut app, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    pair.assert_same_content();
    pair.assert_nothing_left();
    let (port, database) = (pair.source_port, pair.database.clone());
    let sources = texts(&mut app, "SELECT source FROM pgcopy.jobs ORDER BY job");
    let expected =
        ["prod", "by_fdw", "By dblink", "prod"].map(|name| format!("{name} (app@127.0.0.1:{port}/{database})"));
    assert_eq!(sources, expected);
}

#[test]
fn rights_on_servers_and_mappings() {
    let mut pair = shop("server_rights");
    let create = server(&pair, "prod", "pgcopy");
    pair.destination.batch_execute(&create).unwrap();
    let mut app = session_of(&pair, "app");
    let pull = "SELECT * FROM pgcopy.pull('prod', overwrite => true)";
    let failure = failure_of(&mut app, pull);
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("42704", "user mapping not found for \"app\", server \"prod\"")
    );
    assert!(failure.hint.starts_with("CREATE USER MAPPING FOR app SERVER prod"), "{}", failure.hint);
    // Without a password of one's own, whoever the server trusts.
    pair.destination.batch_execute("CREATE USER MAPPING FOR PUBLIC SERVER prod OPTIONS (user 'postgres')").unwrap();
    let failure = failure_of(&mut app, pull);
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("2F003", "password is required"));
    assert_eq!(failure.hint, "ALTER USER MAPPING FOR PUBLIC SERVER prod OPTIONS (ADD password '…');");
    pair.destination
        .batch_execute(&format!(
            "DROP USER MAPPING FOR PUBLIC SERVER prod; CREATE USER MAPPING FOR PUBLIC SERVER prod {MAPPING}"
        ))
        .unwrap();
    app.batch_execute(pull).unwrap();
    // One's own mapping comes first.
    app.batch_execute("CREATE USER MAPPING FOR app SERVER prod OPTIONS (user 'app', password 'wrong')").unwrap();
    let failure = failure_of(&mut app, pull);
    assert_eq!(failure.sqlstate, "28P01", "{failure:?}");
    assert!(!format!("{failure:?}").contains("wrong"));
    assert_eq!(failure.hint, "ALTER USER MAPPING FOR app SERVER prod OPTIONS (SET password '…');");
    pair.destination.batch_execute("REVOKE USAGE ON FOREIGN SERVER prod FROM app").unwrap();
    let failure = failure_of(&mut app, pull);
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("42501", "permission denied for foreign server prod")
    );
    for call in ["list", "plan"] {
        assert_eq!(failure_of(&mut app, &format!("SELECT * FROM pgcopy.{call}('prod')")).sqlstate, "42501");
    }
    // A superuser can vouch for a mapping without a password, and nobody else can.
    pair.destination
        .batch_execute(
            "GRANT USAGE ON FOREIGN DATA WRAPPER pgcopy TO app; GRANT USAGE ON FOREIGN SERVER prod TO app;
             ALTER SERVER prod OWNER TO app",
        )
        .unwrap();
    let vouch = "ALTER USER MAPPING FOR app SERVER prod OPTIONS (ADD password_required 'false')";
    assert_eq!(failure_of(&mut app, vouch).sqlstate, "42501");
    pair.destination
        .batch_execute(&format!(
            "{vouch}; ALTER USER MAPPING FOR app SERVER prod OPTIONS (SET user 'postgres', DROP password)"
        ))
        .unwrap();
    app.batch_execute(pull).unwrap();
    pair.assert_same_content();
}

#[test]
fn the_validator_says_what_belongs_where() {
    let mut pair = shop("validator");
    let client = &mut pair.destination;
    client
        .batch_execute(
            "CREATE SERVER prod FOREIGN DATA WRAPPER pgcopy OPTIONS (host 'h'); CREATE EXTENSION postgres_fdw",
        )
        .unwrap();
    for (sql, sqlstate, message, hint) in [
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER pgcopy OPTIONS (hots 'h')",
            "HV00D",
            "invalid option \"hots\"",
            "Perhaps you meant the option \"host\".",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER pgcopy OPTIONS (password 'x')",
            "HV00D",
            "invalid option \"password\"",
            "\"password\" belongs in the options of a user mapping: CREATE or ALTER USER MAPPING.",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER pgcopy OPTIONS (user 'x')",
            "HV00D",
            "invalid option \"user\"",
            "\"user\" belongs in the options of a user mapping: CREATE or ALTER USER MAPPING.",
        ),
        (
            "CREATE USER MAPPING FOR app SERVER prod OPTIONS (host 'h')",
            "HV00D",
            "invalid option \"host\"",
            "\"host\" belongs in the options of a server: CREATE or ALTER SERVER.",
        ),
        (
            "CREATE USER MAPPING FOR app SERVER prod OPTIONS (quux 'h')",
            "HV00D",
            "invalid option \"quux\"",
            "Valid options in this context are: user, password, sslcert, sslkey, sslpassword.",
        ),
        (
            "ALTER FOREIGN DATA WRAPPER pgcopy OPTIONS (ADD host 'h')",
            "HV00D",
            "invalid option \"host\"",
            "\"host\" belongs in the options of a server: CREATE or ALTER SERVER.",
        ),
        ("ALTER SERVER prod OPTIONS (ADD port '0')", "HV024", "invalid value for connection parameter \"port\"", ""),
        (
            "ALTER SERVER prod OPTIONS (ADD sslmode 'perhaps')",
            "HV024",
            "invalid value for connection parameter \"sslmode\"",
            "Valid values are: disable, allow, prefer, require, verify-ca, verify-full.",
        ),
        (
            "CREATE FOREIGN TABLE t (a int) SERVER prod",
            "0A000",
            "foreign-data wrapper \"pgcopy\" has no foreign tables",
            "Its servers are sources for pgcopy.pull; foreign tables are what postgres_fdw is for.",
        ),
    ] {
        let failure = failure_of(client, sql);
        assert_eq!(
            (failure.sqlstate.as_str(), failure.message.as_str(), failure.hint.as_str()),
            (sqlstate, message, hint),
            "{sql}"
        );
    }
    let failure = failure_of(client, "ALTER SERVER prod OPTIONS (ADD service 'x')");
    assert_eq!(failure.message, "option \"service\" is not supported");
    // Files are named by those who may read them.
    client.batch_execute("GRANT USAGE ON FOREIGN DATA WRAPPER pgcopy TO app").unwrap();
    let mut app = session_of(&pair, "app");
    app.batch_execute("CREATE SERVER own FOREIGN DATA WRAPPER pgcopy OPTIONS (host 'h', sslrootcert 'system')")
        .unwrap();
    for sql in [
        "ALTER SERVER own OPTIONS (SET sslrootcert '/etc/passwd')",
        "CREATE USER MAPPING FOR app SERVER own OPTIONS (sslcert '/x', sslkey '/y')",
    ] {
        assert_eq!(failure_of(&mut app, sql).sqlstate, "42501", "{sql}");
    }
    for (source, message) in [
        ("nowhere", "server \"nowhere\" does not exist"),
        ("", "the source is neither a connection string nor the name of a foreign server"),
        ("postgresql//app:geheim@h", "the source is neither a connection string nor the name of a foreign server"),
    ] {
        let failure = failure_of(&mut app, &format!("SELECT * FROM pgcopy.pull('{source}')"));
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("42704", message));
        assert!(!format!("{failure:?}").contains("geheim"));
    }
    let client = &mut pair.destination;
    client
        .batch_execute(
            "CREATE FOREIGN DATA WRAPPER files; CREATE SERVER tape FOREIGN DATA WRAPPER files;
             CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (service 'x');
             CREATE USER MAPPING FOR postgres SERVER other",
        )
        .unwrap();
    let failure = failure_of(client, "SELECT * FROM pgcopy.pull('tape')");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("42809", "server \"tape\" is not a PostgreSQL server")
    );
    let failure = failure_of(client, "SELECT * FROM pgcopy.pull('other')");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("0A000", "the options of server \"other\" cannot be used: connection parameter \"service\" is not supported")
    );
    assert_eq!(text(client, "SELECT count(*)::text FROM pgcopy_internal.job"), "0");
}
