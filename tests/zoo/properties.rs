//! What a table has beside its rows stays: replica identity, CLUSTER mark, rights, comments, owner.

use super::pulls_alike;
use crate::harness::{Pair, text, texts};

#[test]
fn replica_identity_and_cluster_mark() {
    let mut pair = Pair::with(
        "zoo_identity_marks",
        "CREATE TABLE full_rows (id int PRIMARY KEY); CREATE TABLE nothing (id int PRIMARY KEY); CREATE TABLE by_index (id int NOT NULL, t text);
         CREATE UNIQUE INDEX the_identity ON by_index (id); CREATE INDEX the_order ON by_index (t)",
        "INSERT INTO full_rows SELECT generate_series(1, 10); INSERT INTO by_index SELECT i, 't' || i FROM generate_series(1, 1000) i",
    );
    pair.destination
        .batch_execute(
            "ALTER TABLE full_rows REPLICA IDENTITY FULL; ALTER TABLE nothing REPLICA IDENTITY NOTHING;
             ALTER TABLE by_index REPLICA IDENTITY USING INDEX the_identity; ALTER TABLE by_index CLUSTER ON the_order",
        )
        .unwrap();
    pulls_alike(&mut pair);
    pair.destination.batch_execute("CLUSTER by_index").unwrap();
    pair.destination.batch_execute("CLUSTER").unwrap();
    pair.assert_same_content();
    let slot = "SELECT pg_create_logical_replication_slot('zoo_marks', 'test_decoding')";
    pair.destination
        .batch_execute(&format!(
            "{slot}; UPDATE by_index SET id = 5000 WHERE id = 1; UPDATE full_rows SET id = 11 WHERE id = 1"
        ))
        .unwrap();
    let decoded = texts(
        &mut pair.destination,
        "SELECT data FROM pg_logical_slot_get_changes('zoo_marks', NULL, NULL) WHERE data LIKE 'table public.%' ORDER BY data",
    );
    pair.destination.batch_execute("SELECT pg_drop_replication_slot('zoo_marks')").unwrap();
    assert_eq!(
        decoded,
        [
            "table public.by_index: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:5000 t[text]:'t1'",
            "table public.full_rows: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:11"
        ]
    );
}

#[test]
fn rights_comments_owners_and_dependents() {
    let mut pair = Pair::with(
        "zoo_rights",
        "CREATE TABLE item (id int PRIMARY KEY, t text)",
        "INSERT INTO item SELECT i, 't' FROM generate_series(1, 10) i",
    );
    pair.destination
        .batch_execute(
            "GRANT SELECT ON item TO PUBLIC; GRANT UPDATE (t) ON item TO pg_monitor; COMMENT ON TABLE item IS 'a table'; COMMENT ON COLUMN item.t IS 'a column';
             COMMENT ON INDEX item_pkey IS 'an index'; COMMENT ON CONSTRAINT item_pkey ON item IS 'a key'; ALTER TABLE item OWNER TO pg_monitor;
             CREATE VIEW seen AS SELECT * FROM item; CREATE FUNCTION rows_of() RETURNS SETOF item LANGUAGE sql BEGIN ATOMIC SELECT * FROM item; END;
             PREPARE all_rows AS SELECT count(*) FROM item; EXECUTE all_rows",
        )
        .unwrap();
    pulls_alike(&mut pair);
    for query in ["SELECT count(*)::text FROM seen", "SELECT count(*)::text FROM rows_of()"] {
        assert_eq!(text(&mut pair.destination, query), "10");
    }
}
