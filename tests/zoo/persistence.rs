//! Unlogged tables stay unlogged; temporary tables are no targets.

use super::{arrives, pulls_alike};
use crate::harness::{Pair, text};

#[test]
fn unlogged_tables() {
    let mut pair = arrives(
        "zoo_unlogged",
        "CREATE UNLOGGED TABLE item (id serial PRIMARY KEY, t text); CREATE INDEX ON item USING gin (to_tsvector('simple', t));
         CREATE INDEX ON item USING gist (point(id, id)); CREATE UNLOGGED TABLE empty (id int PRIMARY KEY, t text)",
        "INSERT INTO item (t) SELECT repeat(md5(i::text), 200) FROM generate_series(1, 300) i; INSERT INTO item (t) VALUES (repeat('y', 9000000))",
    );
    let forks = "SELECT count(*)::text FROM pg_class c WHERE c.relpersistence <> 'u' AND (c.relname LIKE 'item%' OR c.relname LIKE 'empty%')
                 AND c.relkind IN ('r', 'i')";
    assert_eq!(text(&mut pair.destination, forks), "0");
}

#[test]
fn unlogged_on_one_side_only() {
    let mut pair = Pair::new("zoo_unlogged_one_side");
    pair.source
        .batch_execute(
            "CREATE UNLOGGED TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
             INSERT INTO a SELECT generate_series(1, 100); INSERT INTO b SELECT generate_series(1, 100)",
        )
        .unwrap();
    pair.destination
        .batch_execute("CREATE TABLE a (id int PRIMARY KEY); CREATE UNLOGGED TABLE b (id int PRIMARY KEY)")
        .unwrap();
    pulls_alike(&mut pair);
}

#[test]
fn temporary_tables_are_refused() {
    let mut pair = Pair::with("zoo_temporary", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination.batch_execute("CREATE TEMPORARY TABLE item (id int); INSERT INTO item VALUES (7)").unwrap();
    let failure = pair.pull_error("include => '{pg_temp.item}'");
    assert_eq!(failure.sqlstate, "42P01");
    assert_eq!(failure.problems(), "include pattern pg_temp.item: temporary tables cannot be pulled");
    // One that hides the table of its name does not get in the way.
    pair.pull("include => '{item}'");
    assert_eq!(text(&mut pair.destination, "SELECT id::text FROM public.item"), "1");
    assert_eq!(text(&mut pair.destination, "SELECT id::text FROM pg_temp.item"), "7");
}
