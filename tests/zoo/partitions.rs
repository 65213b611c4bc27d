//! Partitioned tables: leaf by leaf where both sides divide them alike, through the parent where not.

use super::{has_icu, plan, pulls_alike};
use crate::harness::{Failure, Pair, text};

/// The content of a partitioned table and where its rows are.
fn content(table: &str) -> String {
    format!("SELECT md5(string_agg(t::text, ';' ORDER BY t::text)) FROM {table} t")
}

#[test]
fn list_range_hash_and_several_levels() {
    let mut pair = Pair::new("zoo_partitions");
    pair.both(
        "CREATE TABLE by_list (id int, kind text COLLATE \"C\") PARTITION BY LIST (kind);
         CREATE TABLE by_list_a PARTITION OF by_list FOR VALUES IN ('a', 'b', NULL); CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT;
         CREATE TABLE by_range (id int, at timestamptz, note text) PARTITION BY RANGE (at, id);
         CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES FROM (MINVALUE, MINVALUE) TO ('2024-01-01 00:00+00', 100);
         CREATE TABLE by_range_2 (note text, gone int, id int, at timestamptz); ALTER TABLE by_range_2 DROP gone;
         ALTER TABLE by_range ATTACH PARTITION by_range_2 FOR VALUES FROM ('2024-01-01 00:00+00', 100) TO (MAXVALUE, MAXVALUE);
         CREATE TABLE by_hash (id int PRIMARY KEY, t text) PARTITION BY HASH (id);
         CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 4, REMAINDER 1);
         CREATE UNLOGGED TABLE by_hash_3 PARTITION OF by_hash FOR VALUES WITH (MODULUS 4, REMAINDER 3);
         CREATE TABLE deep (id int, day date, kind text) PARTITION BY RANGE (day);
         CREATE TABLE deep_1 PARTITION OF deep FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (lower(kind));
         CREATE TABLE deep_1_a PARTITION OF deep_1 FOR VALUES IN ('a') PARTITION BY HASH (id);
         CREATE TABLE deep_1_a_0 PARTITION OF deep_1_a FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         CREATE TABLE deep_1_rest PARTITION OF deep_1 DEFAULT; CREATE TABLE deep_rest PARTITION OF deep DEFAULT;
         CREATE INDEX ON deep (day, kind); CREATE TABLE none_yet (id int) PARTITION BY RANGE (id)",
    );
    pair.source
        .batch_execute(
            "INSERT INTO by_list SELECT i, (ARRAY['a', 'b', 'c', NULL])[1 + i % 4] FROM generate_series(1, 400) i;
             INSERT INTO by_range SELECT i, '2023-12-31 00:00+00'::timestamptz + i * interval '1 h', 'n' FROM generate_series(1, 500) i;
             INSERT INTO by_hash SELECT i, 't' FROM generate_series(1, 1000) i;
             INSERT INTO deep SELECT i, '2023-12-01'::date + i, (ARRAY['A', 'a', 'b'])[1 + i % 3] FROM generate_series(1, 600) i",
        )
        .unwrap();
    pulls_alike(&mut pair);
    assert!(plan(&mut pair).iter().all(|line| line.ends_with(" swap binary")), "{:?}", plan(&mut pair));
    for table in ["by_list", "by_range", "by_hash", "deep"] {
        assert_eq!(text(&mut pair.source, &content(table)), text(&mut pair.destination, &content(table)), "{table}");
    }
    // Rows are where their partitions' bounds want them.
    pair.destination
        .batch_execute("ALTER TABLE by_hash DETACH PARTITION by_hash_1; ALTER TABLE by_hash ATTACH PARTITION by_hash_1 FOR VALUES WITH (MODULUS 4, REMAINDER 1)")
        .unwrap();
}

#[test]
fn the_hash_of_an_enum_is_every_servers_own() {
    let mut pair = Pair::new("zoo_hash_enum");
    pair.source.batch_execute("CREATE TYPE before AS ENUM ('x', 'y', 'z')").unwrap();
    pair.both(
        "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f');
         CREATE TABLE item (id int, m mood) PARTITION BY HASH (m);
         CREATE TABLE item_0 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE item_1 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    );
    pair.source
        .batch_execute("INSERT INTO item SELECT i, (enum_range(NULL::mood))[1 + i % 6] FROM generate_series(1, 600) i")
        .unwrap();
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(text(&mut pair.source, &content("item")), text(&mut pair.destination, &content("item")));
    }
    // The labels' hashes are others here, and every row is where they want it.
    let misplaced = "SELECT count(*)::text FROM item
                     WHERE NOT satisfies_hash_partition('item'::regclass, 2, CASE tableoid WHEN 'item_1'::regclass THEN 1 ELSE 0 END, m)";
    assert_eq!(text(&mut pair.destination, misplaced), "0");
    // So it is for what holds enums.
    pair.both(
        "CREATE TABLE deep (ms mood[]) PARTITION BY HASH (ms); CREATE TABLE deep_0 PARTITION OF deep FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    );
    assert_eq!(plan(&mut pair), ["deep in place binary", "item in place binary"]);
}

#[test]
fn ranges_of_an_enum_in_another_order() {
    let mut pair = Pair::new("zoo_range_enum");
    let table = "CREATE TABLE item (id int, m mood) PARTITION BY RANGE (m);
                 CREATE TABLE item_0 PARTITION OF item FOR VALUES FROM (MINVALUE) TO ('b');
                 CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM ('b') TO (MAXVALUE)";
    pair.source.batch_execute(&format!("CREATE TYPE mood AS ENUM ('a', 'b', 'c'); {table}")).unwrap();
    pair.destination.batch_execute(&format!("CREATE TYPE mood AS ENUM ('c', 'b', 'a'); {table}")).unwrap();
    pair.source
        .batch_execute("INSERT INTO item SELECT i, (enum_range(NULL::mood))[1 + i % 3] FROM generate_series(1, 300) i")
        .unwrap();
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    pair.pull("");
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(DISTINCT m::text, '') FROM item_0"), "c");
    assert_eq!(text(&mut pair.source, &content("item")), text(&mut pair.destination, &content("item")));
}

#[test]
fn ranges_of_texts_in_another_collation() {
    let mut pair = Pair::new("zoo_range_collation");
    if !has_icu(&mut pair) {
        return;
    }
    let table = |collation: &str| {
        format!(
            "CREATE COLLATION own (PROVIDER = icu, LOCALE = '{collation}');
             CREATE TABLE item (m text COLLATE own) PARTITION BY RANGE (m);
             CREATE TABLE item_0 PARTITION OF item FOR VALUES FROM (MINVALUE) TO ('ö');
             CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM ('ö') TO (MAXVALUE)"
        )
    };
    pair.source.batch_execute(&table("de")).unwrap();
    pair.destination.batch_execute(&table("sv")).unwrap();
    pair.source.batch_execute("INSERT INTO item VALUES ('a'), ('p'), ('z'), ('ö'), ('ä')").unwrap();
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    pair.pull("");
    // In Swedish ö comes last.
    assert_eq!(text(&mut pair.source, "SELECT count(*)::text FROM item_0"), "2");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item_0"), "4");
    assert_eq!(text(&mut pair.source, &content("item")), text(&mut pair.destination, &content("item")));
}

#[test]
fn a_partition_that_is_a_foreign_table_is_refused_or_left_out() {
    let mut pair = Pair::new("zoo_foreign_partition");
    pair.both(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
         CREATE TABLE item (id int) PARTITION BY RANGE (id); CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (10);
         CREATE FOREIGN TABLE item_2 PARTITION OF item FOR VALUES FROM (10) TO (20) SERVER nowhere",
    );
    pair.source.batch_execute("INSERT INTO item VALUES (1), (2)").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.detail.as_str()),
        ("42809", "public.item_2: is a foreign table on the source, not a table")
    );
    pair.pull("exclude => '{item_2}'");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item_1"), "2");
}

#[test]
fn a_key_that_is_computed_otherwise_here_is_noticed() {
    let mut pair = Pair::with(
        "partition_computed",
        "CREATE FUNCTION side(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2';
         CREATE TABLE sided (id int) PARTITION BY LIST (side(id));
         CREATE TABLE even PARTITION OF sided FOR VALUES IN (0);
         CREATE TABLE odd PARTITION OF sided FOR VALUES IN (1)",
        "INSERT INTO sided SELECT generate_series(1, 100)",
    );
    pair.pull("");
    pair.assert_same_content();
    pair.destination
        .batch_execute("TRUNCATE sided; CREATE OR REPLACE FUNCTION side(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1 + 1) % 2'")
        .unwrap();
    for workers in [2, 0] {
        let failure = pair.pull_error(&format!("parallel => {workers}"));
        assert_eq!(failure.sqlstate, "23514", "{failure:?}");
        assert!(failure.message.ends_with("violates partition constraint"), "{failure:?}");
        assert!(failure.detail.contains("Failing row contains"), "{failure:?}");
    }
    pair.assert_nothing_left();
}

#[test]
fn files_are_checked_against_the_bounds_of_a_partition() {
    let (mut pair, files) = Pair::with_files("partition_files");
    let path = files.path().join("rows.parquet").display().to_string();
    let server = &mut pair.destination;
    server
        .batch_execute(&format!(
            "CREATE TABLE split (id int) PARTITION BY RANGE (id);
             CREATE TABLE low PARTITION OF split FOR VALUES FROM (0) TO (100);
             CREATE TABLE high PARTITION OF split FOR VALUES FROM (100) TO (1000) PARTITION BY LIST (id);
             CREATE TABLE high_default PARTITION OF high DEFAULT;
             SELECT pgcopy.version();
             COPY (SELECT generate_series(50, 149) AS id) TO '{path}' (FORMAT parquet)"
        ))
        .unwrap();
    for (target, arguments) in [
        ("low", ""),
        ("low", ", parallel => 0"),
        ("low", ", mode => 'replace', overwrite => true"),
        ("high_default", ""),
        ("high_default", ", mode => 'replace', overwrite => true"),
    ] {
        let sql = format!("SELECT * FROM pgcopy.load_parquet('{path}', target => '{target}'{arguments})");
        let failure = Failure::of(&server.batch_execute(&sql).unwrap_err());
        assert_eq!(failure.sqlstate, "23514", "{target}{arguments}: {failure:?}");
        assert!(failure.message.contains("violates partition constraint"), "{failure:?}");
    }
    server.batch_execute(&format!("SELECT * FROM pgcopy.load_parquet('{path}', target => 'split')")).unwrap();
    let counts = "SELECT (SELECT count(*) FROM low) || ' ' || (SELECT count(*) FROM high_default)";
    assert_eq!(text(server, counts), "50 50");
    server
        .batch_execute(&format!(
            "COPY low TO '{path}' (FORMAT parquet);
             SELECT * FROM pgcopy.load_parquet('{path}', target => 'low', mode => 'replace', overwrite => true)"
        ))
        .unwrap();
    assert_eq!(text(server, "SELECT count(*) || ' ' || max(id) FROM split WHERE id < 100"), "50 99");
    pair.assert_nothing_left();
}
