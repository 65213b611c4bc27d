//! Columns: in another order, dropped, added later, on one side only; none at all, and as many as there can be.

use super::{arrives, pulls_alike};
use crate::harness::{Pair, text, texts};

#[test]
fn dropped_columns_and_another_order() {
    let mut pair = Pair::new("zoo_column_order");
    pair.source
        .batch_execute(
            "CREATE TABLE item (gone int, b text, a int, gone_too text, c numeric); ALTER TABLE item DROP gone, DROP gone_too;
             INSERT INTO item SELECT 'b' || i, i, i * 1.5 FROM generate_series(1, 500) i; ALTER TABLE item ADD d int DEFAULT 7",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (x text, c numeric, y int NOT NULL, d int, a int PRIMARY KEY, b text, z text);
             ALTER TABLE item DROP x, DROP y, DROP z",
        )
        .unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        let content = "SELECT md5(string_agg(concat_ws('|', a, b, c, d), ';' ORDER BY a)) FROM item";
        assert_eq!(text(&mut pair.source, content), text(&mut pair.destination, content));
    }
}

#[test]
fn fast_defaults_on_both_sides() {
    let mut pair = Pair::new("zoo_fast_defaults");
    pair.both("CREATE TABLE item (id int PRIMARY KEY)");
    pair.source
        .batch_execute(
            "INSERT INTO item SELECT generate_series(1, 100); ALTER TABLE item ADD a text DEFAULT 'there', ADD b int DEFAULT 1;
             INSERT INTO item VALUES (101, 'x', NULL); ALTER TABLE item ALTER a SET DEFAULT 'later'",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "INSERT INTO item VALUES (7); ALTER TABLE item ADD a text DEFAULT 'here', ADD b int DEFAULT 2;
             INSERT INTO item VALUES (8, 'y', 8)",
        )
        .unwrap();
    pulls_alike(&mut pair);
    // What is added from here on concerns the new rows.
    pair.destination.batch_execute("ALTER TABLE item ADD c int DEFAULT 3").unwrap();
    assert_eq!(
        text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE c = 3 AND a IN ('there', 'x')"),
        "101"
    );
}

#[test]
fn columns_that_the_destination_alone_has_get_their_defaults() {
    let mut pair = Pair::new("zoo_target_only");
    pair.source.batch_execute("CREATE TABLE item (id int); INSERT INTO item SELECT generate_series(1, 1000)").unwrap();
    pair.destination
        .batch_execute(
            "CREATE DOMAIN shade AS text DEFAULT 'grey';
             CREATE TABLE item (noted text, origin text NOT NULL DEFAULT 'production', id int,
                                number int GENERATED ALWAYS AS IDENTITY, own serial, at date DEFAULT current_date, s shade,
                                twice text GENERATED ALWAYS AS (origin || id) STORED, CHECK (origin <> ''))",
        )
        .unwrap();
    let right = "SELECT count(*)::text FROM item
                 WHERE noted IS NULL AND origin = 'production' AND at IS NOT NULL AND s = 'grey' AND twice = 'production' || id";
    for (pulls, workers) in [(1, 2), (2, 0)] {
        pair.notices();
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(text(&mut pair.destination, right), "1000");
        let numbers =
            "SELECT concat_ws(' ', count(DISTINCT number), max(number), count(DISTINCT own), max(own)) FROM item";
        assert_eq!(text(&mut pair.destination, numbers), format!("1000 {0} 1000 {0}", pulls * 1000));
        let notices = pair.notices();
        let words = "columns of public.item left to their defaults, because the source has none: noted, origin, number, own, at, s";
        assert!(notices.iter().any(|notice| notice == words), "{notices:?}");
    }
    let dsn = pair.dsn();
    let warnings = texts(&mut pair.destination, &format!("SELECT unnest(warnings) FROM pgcopy.plan('{dsn}')"));
    assert_eq!(warnings, ["left to their defaults, because the source has none: noted, origin, number, own, at, s"]);
}

#[test]
fn defaults_of_tables_that_are_loaded_in_place() {
    let mut pair = Pair::new("zoo_target_only_in_place");
    pair.source.batch_execute("CREATE TABLE item (id int); INSERT INTO item SELECT generate_series(1, 100)").unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (origin text NOT NULL DEFAULT 'production', id int, noted text) PARTITION BY RANGE (id);
             CREATE TABLE item_all PARTITION OF item DEFAULT",
        )
        .unwrap();
    pair.pull("");
    let right = "SELECT count(*)::text FROM item WHERE origin = 'production' AND noted IS NULL";
    assert_eq!(text(&mut pair.destination, right), "100");
}

#[test]
fn other_columns_of_one_side_are_listed_in_one_error() {
    let mut pair = Pair::new("zoo_one_sided");
    pair.source
        .batch_execute("CREATE TABLE item (id int, there int, \"There too\" int); CREATE TABLE other (a int)")
        .unwrap();
    pair.destination
        .batch_execute("CREATE TABLE item (id int, here int NOT NULL); CREATE TABLE other (a bigint)")
        .unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "42703");
    assert_eq!(
        failure.message,
        "cannot pull: public.item: column here exists on the destination only, and has no default (the first of 4 problems)"
    );
    assert_eq!(
        failure.detail.lines().collect::<Vec<_>>(),
        [
            "public.item: column here exists on the destination only, and has no default",
            "public.item: column there exists on the source only",
            "public.item: column \"There too\" exists on the source only",
            "public.other: column a is integer on the source and bigint on the destination",
        ]
    );
}

#[test]
fn no_columns_at_all() {
    let mut pair = arrives(
        "zoo_no_columns",
        "CREATE TABLE nothing (); CREATE TABLE gone (id int); ALTER TABLE gone DROP id",
        "INSERT INTO nothing SELECT FROM generate_series(1, 1000); INSERT INTO gone SELECT FROM generate_series(1, 70000)",
    );
    let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM nothing), (SELECT count(*) FROM gone))";
    assert_eq!(text(&mut pair.destination, rows), "1000 70000");
}

#[test]
fn as_many_columns_as_there_can_be() {
    let columns: Vec<String> =
        (1..=1600).map(|number| format!("c{number} {}", ["int", "bool", "\"char\"", "int2"][number % 4])).collect();
    let values: Vec<&str> = (1..=1600).map(|number| ["i", "i % 2 = 0", "'x'", "NULL"][number % 4]).collect();
    arrives(
        "zoo_1600_columns",
        &format!("CREATE TABLE item ({}); CREATE INDEX ON item (c1600)", columns.join(", ")),
        &format!(
            "INSERT INTO item SELECT {} FROM generate_series(1, 300) i; INSERT INTO item (c800) VALUES (NULL)",
            values.join(", ")
        ),
    );
}

#[test]
fn identity_columns_take_the_sources_values_and_go_on_from_there() {
    let mut pair = arrives(
        "zoo_identity",
        "CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5), note text);
         CREATE TABLE by_default (id bigint GENERATED BY DEFAULT AS IDENTITY, note text)",
        "INSERT INTO always (note) SELECT 'n' FROM generate_series(1, 100); INSERT INTO by_default VALUES (1000, 'given');
         INSERT INTO by_default (note) SELECT 'n' FROM generate_series(1, 10)",
    );
    for table in ["always", "by_default"] {
        let next = format!("INSERT INTO {table} (note) VALUES ('next') RETURNING id::text");
        assert_eq!(text(&mut pair.source, &next), text(&mut pair.destination, &next), "{table}");
    }
}
