//! A source that is the destination itself is found out before anything is touched, however it is named.

use crate::harness::proxy::Proxy;
use crate::harness::{Failure, OwnServers, Pair, text, texts};
use xtask::server::{self, Options};

const MESSAGE: &str = "the source is the database that the pull would replace tables of";

#[test]
fn the_very_database_is_refused() {
    let mut pair = Pair::with("self_pull", "CREATE TABLE item (id int PRIMARY KEY)", "");
    // Published, it would be loaded in place, which waits for the pull's own session on the source.
    pair.destination.batch_execute("INSERT INTO item VALUES (1), (2); CREATE PUBLICATION news FOR TABLE item").unwrap();
    let port = pair.destination_port;
    let proxy = Proxy::start(port);
    pair.destination
        .batch_execute(&format!(
            "SET statement_timeout = '60s';
             CREATE SERVER myself FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{port}', dbname 'self_pull');
             CREATE USER MAPPING FOR postgres SERVER myself OPTIONS (user 'postgres')"
        ))
        .unwrap();
    let behind_a_proxy = proxy.dsn("self_pull");
    let sources = [
        server::dsn(port, "self_pull"),
        format!("postgres://postgres@localhost:{port}/self_pull"),
        "myself".into(),
        behind_a_proxy,
    ];
    for source in &sources {
        for arguments in ["", ", include => '{item}'", ", parallel => 0", ", method => 'in place'"] {
            for call in ["plan", "pull"] {
                let sql = format!("SELECT * FROM pgcopy.{call}('{source}', overwrite => true{arguments})");
                let failure = Failure::of(&pair.destination.batch_execute(&sql).unwrap_err());
                assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("22023", MESSAGE), "{sql}");
                assert_eq!(failure.detail, "The connection leads to database \"self_pull\" of this server itself.");
                assert!(failure.hint.starts_with("Name another server or database as the source."), "{failure:?}");
            }
        }
        // In a transaction whose locks the session on the source would wait for.
        let sql = format!("BEGIN; TRUNCATE item; SELECT * FROM pgcopy.pull('{source}')");
        assert_eq!(Failure::of(&pair.destination.batch_execute(&sql).unwrap_err()).message, MESSAGE, "{sql}");
        pair.destination.batch_execute("ROLLBACK").unwrap();
        let sql = format!("SELECT pgcopy.wait(pgcopy.start_pull('{source}', overwrite => true))");
        let _ = pair.destination.batch_execute(&sql);
        assert_eq!(text(&mut pair.destination, "SELECT error FROM pgcopy.jobs ORDER BY job DESC LIMIT 1"), MESSAGE);
        // To look is allowed.
        let listed = texts(&mut pair.destination, &format!("SELECT \"table\"::text FROM pgcopy.list('{source}')"));
        assert_eq!(listed, ["item"]);
    }
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM item"), "1 2");
    pair.assert_nothing_left();
}

#[test]
fn another_database_of_the_same_server_is_a_source() {
    let port = crate::harness::shared_ports()[1];
    let _other = Pair::on(port, port, "self_pull_other");
    let mut here = Pair::on(port, port, "self_pull_here");
    let mut there = crate::harness::connect(port, "self_pull_other");
    there.batch_execute("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (7)").unwrap();
    here.destination.batch_execute("CREATE TABLE item (id int PRIMARY KEY)").unwrap();
    let source = server::dsn(port, "self_pull_other");
    for arguments in ["", ", method => 'in place'"] {
        here.destination
            .batch_execute(&format!("SELECT * FROM pgcopy.pull('{source}', overwrite => true{arguments})"))
            .unwrap();
        assert_eq!(text(&mut here.destination, "SELECT string_agg(id::text, ' ') FROM item"), "7");
    }
}

/// A standby has the system identifier, the databases and their OIDs of its primary, and is none the less another server.
#[test]
fn a_standby_of_the_destination_is_a_source() {
    let servers =
        OwnServers::start("self-standby", Options::named("self-standby-destination").setting("wal_level = replica"));
    let mut pair = servers.pair("self_standby");
    pair.destination.batch_execute("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1), (2)").unwrap();
    let standby = servers.destination.start_standby(Options::named("self-standby-standby")).unwrap();
    let mut reader = standby.connect("self_standby");
    crate::harness::eventually("the standby has caught up", || {
        texts(&mut reader, "SELECT count(*)::text FROM pg_class WHERE relname = 'item'") == ["1"]
            && text(&mut reader, "SELECT count(*)::text FROM item") == "2"
    });
    pair.destination.batch_execute("DELETE FROM item WHERE id = 2; INSERT INTO item VALUES (3)").unwrap();
    crate::harness::eventually("the standby has caught up", || {
        text(&mut reader, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM item") == "1 3"
    });
    drop(reader);
    let source = standby.dsn("self_standby");
    pair.destination.batch_execute(&format!("SELECT * FROM pgcopy.pull('{source}', overwrite => true)")).unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM item"), "1 3");
    pair.assert_nothing_left();
}
