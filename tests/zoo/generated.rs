//! Generated columns are computed on the destination; what the source alone computes is read.

use super::arrives;
use crate::harness::{Pair, installation, text};

#[test]
fn generated_on_both_sides() {
    arrives(
        "zoo_generated",
        "CREATE TABLE item (twice bigint GENERATED ALWAYS AS (a * 2) STORED, a int,
                            label text GENERATED ALWAYS AS ('n' || a::text || repeat('x', 3000)) STORED UNIQUE, b int[],
                            many int GENERATED ALWAYS AS (cardinality(b)) STORED CHECK (many >= 0))",
        "INSERT INTO item (a, b) SELECT i, ARRAY[i, i] FROM generate_series(1, 500) i; INSERT INTO item DEFAULT VALUES",
    );
}

#[test]
fn another_expression_is_the_destinations() {
    let mut pair = Pair::new("zoo_generated_other");
    pair.source
        .batch_execute("CREATE TABLE item (a int, b int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO item SELECT generate_series(1, 100)")
        .unwrap();
    pair.destination.batch_execute("CREATE TABLE item (a int, b int GENERATED ALWAYS AS (a * 3) STORED)").unwrap();
    pair.pull("");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE b = a * 3"), "100");
}

#[test]
fn generated_on_the_source_alone() {
    let mut pair = Pair::new("zoo_generated_there");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
             INSERT INTO item SELECT i, i FROM generate_series(1, 1000) i",
        )
        .unwrap();
    pair.destination.batch_execute("CREATE TABLE item (id int PRIMARY KEY, a int, b int)").unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
    }
}

#[test]
fn generated_on_the_destination_alone_is_refused() {
    let mut pair = Pair::new("zoo_generated_here");
    pair.source.batch_execute("CREATE TABLE item (a int, b int)").unwrap();
    pair.destination.batch_execute("CREATE TABLE item (a int, b int GENERATED ALWAYS AS (a * 2) STORED)").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.detail.as_str()),
        ("42703", "public.item: column b is generated on the destination only")
    );
}

#[test]
fn a_generated_column_that_the_source_does_not_have_is_computed() {
    let mut pair = Pair::new("zoo_generated_new");
    pair.source.batch_execute("CREATE TABLE item (a int); INSERT INTO item SELECT generate_series(1, 100)").unwrap();
    pair.destination.batch_execute("CREATE TABLE item (b int GENERATED ALWAYS AS (a + 1) STORED, a int)").unwrap();
    pair.pull("");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE b = a + 1"), "100");
}

#[test]
fn virtual_on_both_sides_or_on_one() {
    if installation().version().major() < 18 {
        println!("not checked: this server's version has no virtual columns");
        return;
    }
    arrives(
        "zoo_virtual",
        "CREATE TABLE item (twice bigint GENERATED ALWAYS AS (a * 2) VIRTUAL, a int, label text GENERATED ALWAYS AS ('n' || a) VIRTUAL NOT NULL,
                            body text, CHECK (twice < 100000), kept int GENERATED ALWAYS AS (a + 1) STORED);
         CREATE TABLE event (id int, half int GENERATED ALWAYS AS (id / 2), PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (250);
         CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (250) TO (1000)",
        "INSERT INTO item (a, body) SELECT i, repeat('x', i * 20) FROM generate_series(1, 500) i;
         INSERT INTO event SELECT generate_series(1, 500)",
    );
    let mut pair = Pair::new("zoo_virtual_one_side");
    let rows = "INSERT INTO item (a) SELECT generate_series(1, 100)";
    let content = "SELECT md5(string_agg(concat_ws(' ', a, b), ',' ORDER BY a)) FROM item";
    for (there, here) in [
        ("b int GENERATED ALWAYS AS (a * 2) VIRTUAL", "b int GENERATED ALWAYS AS (a * 2) STORED"),
        ("b int GENERATED ALWAYS AS (a * 2) STORED", "b int GENERATED ALWAYS AS (a * 2) VIRTUAL"),
        ("b int GENERATED ALWAYS AS (a * 2) VIRTUAL", "b int"),
    ] {
        pair.both("DROP TABLE IF EXISTS item");
        pair.source.batch_execute(&format!("CREATE TABLE item (a int, {there}); {rows}")).unwrap();
        pair.destination.batch_execute(&format!("CREATE TABLE item (a int, {here})")).unwrap();
        for workers in [2, 0] {
            pair.pull(&format!("overwrite => true, parallel => {workers}"));
            assert_eq!(text(&mut pair.source, content), text(&mut pair.destination, content), "{there}, {here}");
        }
    }
    pair.both("DROP TABLE item");
    pair.source.batch_execute("CREATE TABLE item (a int, b int)").unwrap();
    pair.destination.batch_execute("CREATE TABLE item (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)").unwrap();
    assert_eq!(pair.pull_error("").detail, "public.item: column b is generated on the destination only");
}
