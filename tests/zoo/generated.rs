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
        (failure.sqlstate.as_str(), failure.problems().as_str()),
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
    assert_eq!(pair.pull_error("").problems(), "public.item: column b is generated on the destination only");
}

#[test]
fn expressions_know_the_table_that_a_row_is_in() {
    let mut pair = Pair::new("zoo_tableoid");
    pair.source
        .batch_execute("CREATE TABLE item (id int, b text) PARTITION BY LIST (id); CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
                        CREATE TABLE item_2 PARTITION OF item FOR VALUES IN (2); INSERT INTO item VALUES (1, 'a'), (2, 'b');
                        CREATE TABLE single (id int, b text); INSERT INTO single VALUES (1, repeat('x', 5000)), (2, NULL)")
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (id int, b text, place oid GENERATED ALWAYS AS (tableoid) STORED, CHECK (tableoid <> 0 AND tableoid <> 'item'::regclass)) PARTITION BY LIST (id);
             CREATE TABLE item_1 PARTITION OF item (CHECK (tableoid = 'item_1'::regclass)) FOR VALUES IN (1); CREATE TABLE item_2 PARTITION OF item FOR VALUES IN (2);
             CREATE TABLE single (id int, b text, place regclass GENERATED ALWAYS AS (tableoid::regclass) STORED, CHECK (tableoid = 'single'::regclass));
             CREATE FUNCTION whole(single) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
                 $$BEGIN RETURN $1.id > 0 AND pg_typeof($1)::text IN ('single', 'public.single') AND length(coalesce($1.b, '')) <> 1; END$$;
             ALTER TABLE single ADD CHECK (public.whole(single)), ADD CHECK (single IS NOT NULL OR b IS NULL)",
        )
        .unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        let places = "SELECT string_agg(place::regclass::text || (place = tableoid)::text, ' ' ORDER BY place::regclass::text) FROM";
        assert_eq!(text(&mut pair.destination, &format!("{places} item")), "item_1true item_2true");
        assert_eq!(text(&mut pair.destination, &format!("{places} single")), "singletrue singletrue");
    }
    pair.source.batch_execute("UPDATE single SET b = 'x' WHERE id = 2").unwrap();
    for workers in [2, 0] {
        let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(
            (failure.sqlstate.as_str(), failure.message.contains("single_check")),
            ("23514", true),
            "{}",
            failure.message
        );
    }
    pair.assert_nothing_left();
}

#[test]
fn so_do_those_of_files_and_conditions() {
    let (mut pair, directory) = Pair::with_files("zoo_tableoid_files");
    let path = directory.path().join("items.parquet").display().to_string();
    pair.destination
        .batch_execute(&format!(
            "COPY (SELECT i AS id FROM generate_series(1, 2) i) TO '{path}' WITH (FORMAT parquet);
             CREATE TABLE item (id int, place oid GENERATED ALWAYS AS (tableoid) STORED, CHECK (tableoid = 'item'::regclass));
             CREATE TABLE parted (LIKE item INCLUDING GENERATED) PARTITION BY LIST (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
             CREATE TABLE parted_2 PARTITION OF parted DEFAULT"
        ))
        .unwrap();
    let places = "SELECT string_agg(DISTINCT concat_ws(' ', place::regclass, place = tableoid), ', ') FROM";
    // Into an empty table, into one with rows, and into partitions.
    for load in ["parallel => 2", "mode => 'append'", "parallel => 0, mode => 'replace', overwrite => true"] {
        pair.destination
            .batch_execute(&format!("SELECT * FROM pgcopy.load_parquet('{path}', target => 'item', {load})"))
            .unwrap();
        assert_eq!(text(&mut pair.destination, &format!("{places} item")), "item t", "{load}");
    }
    pair.destination
        .batch_execute(&format!("SELECT * FROM pgcopy.load_parquet('{path}', target => 'parted')"))
        .unwrap();
    assert_eq!(text(&mut pair.destination, &format!("{places} parted")), "parted_1 t, parted_2 t");
    if installation().version().major() < 18 {
        for (condition, rows) in [
            ("tableoid = 'item'::regclass", "2"),
            ("tableoid = 0", "0"),
            ("tableoid = 'item'::regclass AND random() >= 0", "2"),
        ] {
            pair.destination
                .batch_execute(&format!(
                    "TRUNCATE item; COPY item FROM '{path}' WITH (FORMAT parquet) WHERE {condition}"
                ))
                .unwrap();
            assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), rows, "{condition}");
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn a_column_that_only_the_source_computes_is_told_of_where_the_destination_has_none() {
    let mut pair = Pair::new("zoo_generated_nowhere_here");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
             INSERT INTO item SELECT generate_series(1, 100)",
        )
        .unwrap();
    pair.destination.batch_execute("CREATE TABLE item (id int PRIMARY KEY)").unwrap();
    pair.pull("");
    let words = "columns of public.item left out, because the source computes them: twice";
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice == words), "{notices:?}");
    assert_eq!(text(&mut pair.destination, "SELECT sum(id)::text FROM item"), "5050");
}
