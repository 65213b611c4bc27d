//! TPC-H with all its keys and indexes: every number of workers gives the same database.

use crate::harness::{Pair, text, texts};
use xtask::data;

const SCALE: f64 = 0.05;

fn pair(name: &str) -> Pair {
    let mut pair = Pair::new(name);
    data::create_filled(&mut pair.source, SCALE).expect("the source is filled");
    data::create_schema(&mut pair.destination).expect("the schema is created");
    pair.destination
        .batch_execute(
            "CREATE EXTENSION amcheck;
             CREATE VIEW big_orders AS SELECT o_orderkey, o_totalprice FROM orders WHERE o_totalprice > 400000;
             COMMENT ON TABLE orders IS 'what customers ordered';
             COMMENT ON INDEX orders_pkey IS 'its key';
             COMMENT ON CONSTRAINT nation_n_regionkey_fkey ON nation IS 'every nation has its region';
             GRANT SELECT ON customer TO pg_monitor;
             GRANT SELECT (o_orderkey) ON orders TO PUBLIC;
             ALTER TABLE lineitem ALTER l_shipdate SET STATISTICS 500;
             ALTER TABLE part SET (fillfactor = 90);
             CLUSTER orders USING orders_pkey;",
        )
        .expect("decorations");
    pair
}

fn assert_consistent_storage(pair: &mut Pair) {
    let client = &mut pair.destination;
    let indexes = texts(
        client,
        "SELECT i.indexrelid::regclass::text || bt_index_check(i.indexrelid, true)::text
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         WHERE c.relnamespace = 'public'::regnamespace",
    );
    assert_eq!(indexes.len(), 12);
    for table in data::TABLES {
        let damage = texts(client, &format!("SELECT msg FROM verify_heapam('{table}', check_toast => true)"));
        assert!(damage.is_empty(), "{table}: {damage:?}");
    }
}

#[test]
fn every_number_of_workers_gives_the_same_database() {
    let mut pair = pair("tpch_workers");
    let definitions = pair.destination_state().definitions;
    for workers in [0, 1, 2, 4] {
        let report = pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(report.len(), 8);
        let lineitem = report.iter().find(|row| row.table == "lineitem").expect("a row per table");
        assert_eq!(lineitem.rows.to_string(), text(&mut pair.source, "SELECT count(*)::text FROM lineitem"));
        assert!(lineitem.bytes > 1_000_000 && lineitem.seconds > 0.0);
        pair.assert_same_content();
        assert_eq!(pair.destination_state().definitions, definitions, "{workers} workers");
        assert_consistent_storage(&mut pair);
        pair.assert_nothing_left();
        pair.destination.batch_execute("TRUNCATE lineitem, orders").expect("the tables are usable");
    }
}

#[test]
fn planner_statistics_and_counters_describe_the_new_rows() {
    let mut pair = pair("tpch_statistics");
    pair.pull("");
    let estimates = texts(
        &mut pair.destination,
        "SELECT c.relname::text FROM pg_class c
         WHERE c.relname IN ('lineitem', 'orders', 'region') AND (c.relpages = 0 OR c.reltuples < 5)",
    );
    assert!(estimates.is_empty(), "{estimates:?}");
    let columns = "SELECT count(*)::text FROM pg_stats WHERE schemaname = 'public'";
    assert_eq!(text(&mut pair.destination, columns), text(&mut pair.source, columns));
    let visible = "SELECT (relallvisible = relpages)::text FROM pg_class WHERE relname = 'lineitem'";
    assert_eq!(text(&mut pair.destination, visible), "true", "frozen pages are marked in the visibility map");
    let rows = text(&mut pair.source, "SELECT count(*)::text FROM lineitem");
    crate::harness::eventually("the counters are reported", || {
        text(&mut pair.destination, "SELECT n_live_tup::text FROM pg_stat_user_tables WHERE relname = 'lineitem'")
            == rows
    });
    let plan = texts(&mut pair.destination, "EXPLAIN SELECT * FROM lineitem WHERE l_orderkey = 1").join("\n");
    assert!(plan.contains("lineitem_pkey"), "{plan}");
}

#[test]
fn big_tables_are_split_and_still_complete() {
    let mut pair = Pair::with(
        "tpch_parts",
        "CREATE TABLE big (id int PRIMARY KEY, filler text)",
        "INSERT INTO big SELECT i, repeat('x', 700) FROM generate_series(1, 100000) i;
         DELETE FROM big WHERE id % 7 = 0;
         UPDATE big SET filler = 'moved' WHERE id % 1000 = 0",
    );
    let dsn = pair.dsn();
    let parts: i32 = pair
        .destination
        .query_one(&format!("SELECT parts FROM pgcopy.plan('{dsn}', parallel => 4)"), &[])
        .unwrap()
        .get(0);
    assert!(parts > 3, "{parts} parts");
    pair.pull("parallel => 4");
    pair.assert_same_content();
}
