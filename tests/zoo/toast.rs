//! Long values: every storage and compression, in tables with and without a TOAST table of their own.

use super::{arrives, assert_sound, pulls_alike};
use crate::harness::{Pair, text};

const OFFERS_LZ4: &str =
    "SELECT ('lz4' = ANY (enumvals))::text FROM pg_settings WHERE name = 'default_toast_compression'";

#[test]
fn every_storage_and_compression() {
    // Servers may be built without.
    let other =
        if text(&mut Pair::new("zoo_storage_offered").destination, OFFERS_LZ4) == "true" { "lz4" } else { "pglz" };
    let schema = format!(
        "CREATE TABLE item (id int, plain text, main text, external text, extended text, lz text COMPRESSION {other}, pg text COMPRESSION pglz);
         ALTER TABLE item ALTER plain SET STORAGE PLAIN, ALTER main SET STORAGE MAIN, ALTER external SET STORAGE EXTERNAL"
    );
    let mut pair = arrives(
        "zoo_storage",
        &schema,
        "INSERT INTO item SELECT i, repeat('p', i), repeat('m' || i, 500), repeat(md5(i::text), 300),
                                 (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 200) j), repeat('l' || i, 3000), repeat('g' || i, 3000)
         FROM generate_series(1, 100) i;
         INSERT INTO item VALUES (1000, NULL, NULL, repeat('e', 5000000), repeat('x', 50000000), repeat('lz', 5000000), repeat('pg', 5000000))",
    );
    let compression = "SELECT concat_ws(' ', string_agg(DISTINCT pg_column_compression(lz), ''), string_agg(DISTINCT pg_column_compression(pg), ''),
                                        coalesce(string_agg(DISTINCT pg_column_compression(external), ''), 'none')) FROM item";
    assert_eq!(text(&mut pair.destination, compression), format!("{other} pglz none"));
    assert_sound(&mut pair, "{item}");
}

#[test]
fn storage_parameters_of_the_table_and_of_its_toast_table() {
    let mut pair = arrives(
        "zoo_storage_parameters",
        "CREATE TABLE item (id int PRIMARY KEY WITH (fillfactor = 70), t text)
             WITH (fillfactor = 30, toast_tuple_target = 256, autovacuum_enabled = false, parallel_workers = 3,
                   toast.autovacuum_enabled = false, toast.vacuum_truncate = off);
         CREATE TABLE sparse (id int, t text) WITH (fillfactor = 10)",
        "INSERT INTO item SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 100) j) FROM generate_series(1, 1000) i;
         INSERT INTO sparse SELECT i, 'x' FROM generate_series(1, 1000) i",
    );
    // They count: rows are short because most is in the TOAST table, and pages are left as empty as asked for.
    for (condition, table) in [
        ("pg_relation_size(reltoastrelid) > 0 AND pg_relation_size(oid) < 1000 * 300", "item"),
        ("pg_relation_size(oid) > 1000 * 300", "sparse"),
    ] {
        let holds = format!("SELECT ({condition})::text FROM pg_class WHERE oid = '{table}'::regclass");
        assert_eq!(text(&mut pair.destination, &holds), "true", "{table}");
    }
}

#[test]
fn a_toast_table_on_one_side_only() {
    let mut pair = Pair::new("zoo_toast_one_side");
    pair.source
        .batch_execute("CREATE TABLE a (t varchar(100)); CREATE TABLE b (t text); INSERT INTO a VALUES ('x'); INSERT INTO b VALUES (repeat('x', 100))")
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE a (t varchar); CREATE TABLE b (t text); INSERT INTO b VALUES (repeat(md5('x'), 100000))",
        )
        .unwrap();
    // A text column that was dropped has left its TOAST table behind.
    pair.both("CREATE TABLE c (id int, t text)");
    pair.destination
        .batch_execute("INSERT INTO c VALUES (1, repeat(md5('x'), 100000)); ALTER TABLE c DROP t, ADD t int")
        .unwrap();
    pair.source.batch_execute("ALTER TABLE c DROP t, ADD t int; INSERT INTO c VALUES (2, 3)").unwrap();
    pulls_alike(&mut pair);
}

#[test]
fn a_row_that_no_page_can_hold_is_an_error() {
    let columns: Vec<String> = (1..=1200).map(|number| format!("c{number} numeric")).collect();
    let mut pair = Pair::new("zoo_too_long");
    pair.source
        .batch_execute(&format!("CREATE TABLE item ({}); INSERT INTO item (c1) VALUES (1)", columns.join(", ")))
        .unwrap();
    pair.destination
        .batch_execute(&format!(
            "CREATE TABLE item ({})",
            columns.join(", ").replace("numeric", "numeric STORAGE PLAIN").replace(" STORAGE PLAIN", "")
        ))
        .unwrap();
    let plain: Vec<String> = (1..=1200).map(|number| format!("ALTER c{number} SET STORAGE PLAIN")).collect();
    pair.destination.batch_execute(&format!("ALTER TABLE item {}", plain.join(", "))).unwrap();
    let values = vec!["'123456789012'"; 1200].join(", ");
    pair.source.batch_execute(&format!("INSERT INTO item VALUES ({values})")).unwrap_or_default();
    if text(&mut pair.source, "SELECT count(*)::text FROM item") == "2" {
        let failure = pair.pull_error("");
        assert_eq!(failure.sqlstate, "54000");
        assert!(failure.message.starts_with("row is too big"), "{failure:?}");
        assert_eq!(failure.detail, "Table public.item, row 2.");
    }
}
