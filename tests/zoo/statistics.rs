//! Statistics are those of the new rows: of columns, with their own targets, of expressions, and extended ones.

use super::arrives;
use crate::harness::{Pair, text, texts};

#[test]
fn columns_with_targets_and_options_of_their_own() {
    let mut pair = arrives(
        "zoo_statistics_targets",
        "CREATE TABLE item (gone int, many int, none int, fixed int, plain int, t text); ALTER TABLE item DROP gone;
         ALTER TABLE item ALTER many SET STATISTICS 500, ALTER none SET STATISTICS 0, ALTER fixed SET (n_distinct = -0.25);
         CREATE INDEX by_half ON item ((many / 2), (lower(t))); ALTER INDEX by_half ALTER COLUMN 1 SET STATISTICS 300",
        "INSERT INTO item SELECT i, i, i % 7, i, 't' || i FROM generate_series(1, 5000) i",
    );
    let buckets = "SELECT string_agg(concat_ws(' ', tablename, attname, cardinality(histogram_bounds::text::text[]),
                                               CASE WHEN attname = 'fixed' THEN n_distinct END), ', ' ORDER BY tablename, attname)
                   FROM pg_stats WHERE schemaname = 'public'";
    assert_eq!(
        text(&mut pair.destination, buckets),
        "by_half expr 301, by_half lower 101, item fixed -0.25, item many 501, item plain 101, item t 101"
    );
    pair.source.batch_execute("ANALYZE item").unwrap();
    assert_eq!(text(&mut pair.destination, buckets), text(&mut pair.source, buckets));
}

const EXTENDED: &str = "
    CREATE TABLE item (a int, b int, \"C c\" text, d int); CREATE SCHEMA \"Other\";
    CREATE STATISTICS all_kinds ON a, b, \"C c\" FROM item; CREATE STATISTICS \"Other\".\"Mcv only\" (mcv) ON a, b FROM item;
    CREATE STATISTICS of_expressions (ndistinct, mcv) ON (a % 10), (lower(\"C c\")), b FROM item;
    CREATE STATISTICS one_expression ON (a + b) FROM item; CREATE STATISTICS deep (dependencies) ON a, d FROM item;
    ALTER STATISTICS all_kinds SET STATISTICS 7;";

/// Objects with what their data says, as the server shows it.
const DATA: &str = "
    SELECT concat_ws(' ', s.stxname, s.stxkind, d.stxdinherit, d.stxdndistinct, d.stxddependencies,
                     (SELECT string_agg(concat_ws(' ', m.values, m.frequency), ', ' ORDER BY m.index) FROM pg_mcv_list_items(d.stxdmcv) m),
                     (SELECT string_agg(x.expr || ' ' || coalesce(x.n_distinct, 0), ', ' ORDER BY x.expr) FROM pg_stats_ext_exprs x WHERE x.statistics_name = s.stxname))
    FROM pg_statistic_ext s LEFT JOIN pg_statistic_ext_data d ON d.stxoid = s.oid
    WHERE s.stxnamespace::regnamespace::text <> 'pgcopy_stage' ORDER BY 1";

#[test]
fn extended_statistics_are_computed_anew() {
    let mut pair = Pair::with(
        "zoo_statistics_extended",
        EXTENDED,
        "INSERT INTO item SELECT i % 20, (i % 20) / 2, 'T' || i % 5, i % 20 FROM generate_series(1, 3000) i; ANALYZE item",
    );
    pair.destination
        .batch_execute("INSERT INTO item SELECT 1, i % 2, 'old', i FROM generate_series(1, 100) i; ANALYZE item")
        .unwrap();
    let old = texts(&mut pair.destination, DATA);
    let definitions = "SELECT string_agg(concat_ws(' ', oid, stxname, stxowner, stxkind, stxstattarget, obj_description(oid, 'pg_statistic_ext')), ', ' ORDER BY oid) FROM pg_statistic_ext";
    let before = text(&mut pair.destination, definitions);
    // A rollback brings back what there was.
    let sql = pair.pull_sql("overwrite => true");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; ROLLBACK")).unwrap();
    assert_eq!(texts(&mut pair.destination, DATA), old);
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_ne!(texts(&mut pair.destination, DATA), old);
        assert_eq!(texts(&mut pair.destination, DATA), texts(&mut pair.source, DATA), "with {workers} workers");
        pair.assert_nothing_left();
        assert_eq!(text(&mut pair.destination, definitions), before);
    }
    let estimate = |pair: &mut Pair| text(&mut pair.destination, "SELECT count(*)::text FROM pg_statistic_ext_data");
    assert_eq!(estimate(&mut pair), "5");
    pair.destination.batch_execute("DROP TABLE item").unwrap();
    assert_eq!(estimate(&mut pair), "0");
}

#[test]
fn an_empty_table_has_none_of_the_old_ones() {
    let mut pair = Pair::with("zoo_statistics_empty", EXTENDED, "");
    pair.destination
        .batch_execute("INSERT INTO item SELECT i % 2, i % 2, 'x', i FROM generate_series(1, 100) i; ANALYZE")
        .unwrap();
    pair.pull("overwrite => true");
    assert_eq!(
        text(&mut pair.destination, "SELECT count(*)::text FROM pg_statistic_ext_data WHERE stxdndistinct IS NOT NULL"),
        "0"
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pg_stats WHERE tablename = 'item'"), "0");
}

#[test]
fn those_of_an_inheritance_tree_stay() {
    let mut pair = Pair::with(
        "zoo_statistics_tree",
        "CREATE TABLE item (id int PRIMARY KEY, v text); CREATE TABLE item_more () INHERITS (item); CREATE INDEX ON item ((id % 3));
         CREATE STATISTICS item_iv ON id, v FROM item; CREATE STATISTICS item_e ON (id + 1) FROM item",
        "INSERT INTO item SELECT i, 'p' FROM generate_series(1, 5) i; INSERT INTO item_more SELECT i, 'c' FROM generate_series(11, 15) i; ANALYZE",
    );
    pair.destination
        .batch_execute("INSERT INTO item VALUES (1, 'old'); INSERT INTO item_more VALUES (2, 'older'); ANALYZE")
        .unwrap();
    let of = |pair: &mut Pair, inherited: bool| {
        texts(
            &mut pair.destination,
            &format!(
                "SELECT concat_ws(' ', tablename, attname, n_distinct, most_common_vals, histogram_bounds) FROM pg_stats
                 WHERE schemaname = 'public' AND inherited = {inherited} AND tablename LIKE 'item%'
                 UNION ALL SELECT concat_ws(' ', statistics_name, n_distinct, dependencies, most_common_vals) FROM pg_stats_ext WHERE inherited = {inherited}
                 UNION ALL SELECT concat_ws(' ', statistics_name, expr, n_distinct, histogram_bounds) FROM pg_stats_ext_exprs WHERE inherited = {inherited}
                 ORDER BY 1"
            ),
        )
    };
    let tree = of(&mut pair, true);
    assert!(tree.len() >= 4, "{tree:?}");
    let old = of(&mut pair, false);
    for workers in [2, 0] {
        pair.pull(&format!("include => '{{item}}', overwrite => true, parallel => {workers}"));
        assert_eq!(of(&mut pair, true), tree, "with {workers} workers");
        let new = of(&mut pair, false);
        assert_ne!(new, old);
        pair.destination.batch_execute("ANALYZE item").unwrap();
        assert_eq!(of(&mut pair, false), new, "with {workers} workers");
        pair.destination
            .batch_execute("BEGIN; TRUNCATE ONLY item; INSERT INTO item VALUES (1, 'old'); COMMIT; ANALYZE")
            .unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn those_of_a_partitioned_table_stay_until_it_is_analyzed() {
    let mut pair = Pair::with(
        "zoo_statistics_partitioned",
        "CREATE TABLE item (id int, v int) PARTITION BY LIST (v); CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
         CREATE TABLE item_2 PARTITION OF item FOR VALUES IN (2)",
        "INSERT INTO item SELECT i, 1 + i % 2 FROM generate_series(1, 1000) i",
    );
    pair.destination.batch_execute("INSERT INTO item SELECT i, 1 FROM generate_series(1, 10) i; ANALYZE").unwrap();
    let of = |pair: &mut Pair, table: &str| {
        let sql = format!(
            "SELECT string_agg(concat_ws(' ', attname, n_distinct, most_common_vals, histogram_bounds), ', ' ORDER BY attname)
             FROM pg_stats WHERE tablename = '{table}'"
        );
        text(&mut pair.destination, &sql)
    };
    let (whole, part) = (of(&mut pair, "item"), of(&mut pair, "item_1"));
    pair.pull("overwrite => true, parallel => 2");
    assert_eq!(of(&mut pair, "item"), whole);
    assert_ne!(of(&mut pair, "item_1"), part);
    pair.destination.batch_execute("ANALYZE item").unwrap();
    assert_ne!(of(&mut pair, "item"), whole);
}
