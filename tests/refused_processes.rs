//! A background process that the server does not let in says why.

use crate::harness::{Failure, Pair, text};
use postgres::{Client, Config, NoTls};

/// A role that owns the target and is let in at the source.
fn pair(name: &str, role: &str) -> (Pair, Client) {
    let mut pair = Pair::with(name, "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    let sql = format!(
        "DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         ALTER ROLE {role} LOGIN CONNECTION LIMIT -1; ALTER TABLE item OWNER TO {role};
         CREATE SERVER prod FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{}', dbname '{name}');
         GRANT USAGE ON FOREIGN SERVER prod TO {role};
         CREATE USER MAPPING FOR {role} SERVER prod OPTIONS (user 'postgres', password_required 'false')",
        pair.source_port
    );
    pair.destination.batch_execute(&sql).unwrap();
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user(role).dbname(name);
    let session = config.connect(NoTls).unwrap();
    (pair, session)
}

fn failure(session: &mut Client, call: &str) -> Failure {
    Failure::of(&session.query(call, &[]).expect_err(call))
}

const CALLS: [(&str, &str); 2] = [
    ("SELECT * FROM pgcopy.pull('prod', overwrite => true, parallel => 2)", "a worker of the pull"),
    ("SELECT pgcopy.start_pull('prod', overwrite => true)", "the background process of the job"),
];

#[test]
fn a_role_that_may_not_log_in_any_more() {
    let (mut pair, mut session) = pair("refused_login", "refused_login_app");
    let before = pair.destination_state();
    pair.destination.batch_execute("ALTER ROLE refused_login_app NOLOGIN").unwrap();
    for (call, process) in CALLS {
        let failure = failure(&mut session, call);
        assert_eq!(
            failure.message,
            format!(
                "{process} could not connect to the database: role \"refused_login_app\" is not permitted to log in"
            )
        );
        assert_eq!(failure.sqlstate, "28000");
        assert_eq!(failure.detail, "All targets keep their old rows.");
        assert!(!failure.hint.is_empty());
        pair.assert_nothing_left();
    }
    assert_eq!(pair.destination_state(), before);
    let error = text(&mut pair.destination, "SELECT error FROM pgcopy.jobs ORDER BY job DESC LIMIT 1");
    assert!(error.contains("is not permitted to log in"), "{error}");
    // Without workers nobody else connects as the role.
    session.query("SELECT * FROM pgcopy.pull('prod', parallel => 0)", &[]).unwrap();
    pair.assert_same_content();
}

/// Whether the limits of roles and databases hold for background processes, which the server's release of February 2025 has
/// let off.
fn limits_hold(session: &mut Client) -> bool {
    let version: i32 = text(session, "SHOW server_version_num").parse().unwrap();
    let minor_without = match version / 10000 {
        15 => 11,
        16 => 7,
        17 => 3,
        _ => 0,
    };
    version % 10000 < minor_without
}

fn assert_limit(session: &mut Client, what: &str) {
    let limits_hold = limits_hold(session);
    for (call, process) in CALLS {
        if limits_hold {
            let failure = failure(session, call);
            assert_eq!(
                failure.message,
                format!("{process} could not connect to the database: too many connections for {what}")
            );
            assert_eq!(failure.sqlstate, "53300");
        } else {
            session.query(call, &[]).unwrap_or_else(|error| panic!("{call}: {:?}", Failure::of(&error)));
        }
    }
}

#[test]
fn a_role_at_its_connection_limit() {
    let (mut pair, mut session) = pair("refused_limit", "refused_limit_app");
    pair.destination.batch_execute("ALTER ROLE refused_limit_app CONNECTION LIMIT 0").unwrap();
    assert_limit(&mut session, "role \"refused_limit_app\"");
    pair.assert_nothing_left();
}

#[test]
fn a_database_that_takes_no_connections_or_too_few() {
    let (mut pair, mut session) = pair("refused_database", "refused_database_app");
    let mut elsewhere = crate::harness::shared_destination();
    elsewhere.batch_execute("ALTER DATABASE refused_database ALLOW_CONNECTIONS false").unwrap();
    for call in [CALLS[0].0, CALLS[1].0, "SELECT * FROM pgcopy.pull('prod', parallel => 0)"] {
        let failure = failure(&mut session, call);
        assert!(
            failure.message.ends_with("database \"refused_database\" is not currently accepting connections"),
            "{failure:?}"
        );
        assert_eq!(failure.sqlstate, "55000");
    }
    elsewhere.batch_execute("ALTER DATABASE refused_database ALLOW_CONNECTIONS true CONNECTION LIMIT 0").unwrap();
    assert_limit(&mut session, "database \"refused_database\"");
    elsewhere.batch_execute("ALTER DATABASE refused_database CONNECTION LIMIT -1").unwrap();
    pair.assert_nothing_left();
    // Without the right to connect.
    pair.destination.batch_execute("REVOKE CONNECT ON DATABASE refused_database FROM PUBLIC").unwrap();
    for (call, _) in CALLS {
        let failure = failure(&mut session, call);
        assert!(failure.message.ends_with("permission denied for database \"refused_database\""), "{failure:?}");
        assert_eq!(failure.sqlstate, "42501");
    }
    pair.assert_nothing_left();
}
