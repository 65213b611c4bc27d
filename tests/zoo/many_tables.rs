//! Thousands of tables in one pull: no query for each, and no lock too many.

use super::offered;
use crate::harness::{OwnServers, Pair, text, texts};
use xtask::server::Options;

/// `PGCOPY_TEST_TABLES=10000` makes it as many.
fn number_of_tables() -> usize {
    std::env::var("PGCOPY_TEST_TABLES").ok().and_then(|number| number.parse().ok()).unwrap_or(1000)
}

fn create(client: &mut postgres::Client, tables: usize, rows: bool) {
    for first in (0..tables).step_by(25) {
        let statements: String = (first..(first + 25).min(tables))
            .map(|number| {
                let rows = if rows {
                    format!(
                        "INSERT INTO t{number} (t) SELECT 'n{number} ' || i FROM generate_series(1, {}) i;",
                        number % 7
                    )
                } else {
                    String::new()
                };
                format!("CREATE TABLE t{number} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text); {rows}")
            })
            .collect();
        client.batch_execute(&statements).unwrap();
    }
}

#[test]
fn thousands_of_small_tables() {
    if !offered(&["pg_stat_statements"]) {
        return;
    }
    let tables = number_of_tables();
    let locks = format!("max_locks_per_transaction = {}", (tables / 20).max(64));
    let servers = OwnServers::start_with(
        Options::named("many-source")
            .setting(locks.as_str())
            .setting("shared_preload_libraries = 'pg_stat_statements'"),
        Options::named("many-destination")
            .setting(locks.as_str())
            .setting("max_worker_processes = 20")
            .setting("shared_buffers = 512MB"),
    );
    let mut pair = servers.pair("zoo_many");
    create(&mut pair.source, tables, true);
    create(&mut pair.destination, tables, false);
    pair.source.batch_execute("CREATE EXTENSION pg_stat_statements; ANALYZE").unwrap();
    for (overwrite, arguments) in [(false, "parallel => 2"), (true, "parallel => 2, overwrite => true")] {
        pair.source.batch_execute("SELECT pg_stat_statements_reset()").unwrap();
        let started = std::time::Instant::now();
        assert_eq!(pair.pull(arguments).len(), tables);
        let seconds = started.elapsed().as_secs_f64();
        // Besides a lock, together with others, and the COPY of its rows nothing is asked for each table; sequences are asked for in hundreds.
        let asked = "SELECT calls || ' ' || left(query, 200) FROM pg_stat_statements WHERE query NOT LIKE 'COPY public.%' AND query NOT LIKE 'LOCK TABLE %' AND query NOT LIKE '%pg_stat_statements%' ORDER BY calls DESC";
        let asked = texts(&mut pair.source, asked);
        let queries: usize = asked.iter().map(|line| line.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        println!(
            "{tables} tables, overwrite {overwrite}: {seconds:.1} s, {queries} queries on the source besides COPY"
        );
        assert!(queries < 100 + tables / 400, "{queries} queries: {asked:#?}");
        pair.assert_same_content();
        let sequences = "SELECT md5(string_agg(concat_ws(' ', sequencename, last_value), ',' ORDER BY sequencename)) FROM pg_sequences WHERE schemaname = 'public'";
        assert_eq!(text(&mut pair.source, sequences), text(&mut pair.destination, sequences));
    }
    let next = "INSERT INTO t6 (t) VALUES ('next') RETURNING id::text";
    assert_eq!(text(&mut pair.destination, next), "7");
}

#[test]
fn too_few_locks_are_found_before_anything_happens() {
    let servers = OwnServers::start_with(
        Options::named("locks-source").setting("max_locks_per_transaction = 64"),
        Options::named("locks-destination").setting("max_locks_per_transaction = 10").setting("max_connections = 30"),
    );
    let mut pair = servers.pair("zoo_locks");
    create(&mut pair.source, 300, true);
    create(&mut pair.destination, 300, false);
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "53400");
    assert_eq!(failure.message, "the lock table of the destination is too small for this pull; nothing was touched");
    assert!(failure.detail.starts_with("The pull takes about "), "{failure:?}");
    let setting: u32 = failure.hint.split_whitespace().find_map(|word| word.parse().ok()).expect("a value to set");
    assert!(
        failure.hint.starts_with(&format!("Set max_locks_per_transaction to {setting} or more on the destination")),
        "{failure:?}"
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy_internal.job"), "0");
    pair.assert_nothing_left();
    // Fewer tables fit, and so do all with what the hint says.
    pair.pull("include => '{t29*}'");
    drop(pair);
    let OwnServers { source, mut destination } = servers;
    destination
        .connect("postgres")
        .batch_execute(&format!("ALTER SYSTEM SET max_locks_per_transaction = {setting}"))
        .unwrap();
    destination.restart().unwrap();
    let servers = OwnServers { source, destination };
    let mut pair = Pair::existing(servers.source.port(), servers.destination.port(), "zoo_locks");
    assert_eq!(pair.pull("overwrite => true, parallel => 2").len(), 300);
    pair.assert_same_content();
}

#[test]
fn the_sources_locks_count_too() {
    let servers = OwnServers::start_with(
        Options::named("source-locks-source").setting("max_locks_per_transaction = 10").setting("max_connections = 20"),
        Options::named("source-locks-destination"),
    );
    let mut pair = servers.pair("zoo_source_locks");
    // Newer servers have more room.
    create(&mut pair.source, 900, false);
    create(&mut pair.destination, 900, false);
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "53400");
    assert_eq!(failure.message, "the lock table of the source is too small for this pull; nothing was touched");
    assert!(failure.hint.contains("on the source and restart it"), "{failure:?}");
}
