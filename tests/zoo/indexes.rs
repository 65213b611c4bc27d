//! Indexes of every access method and shape answer for the new rows, also where an earlier build had failed.

use super::{arrives, assert_sound, offered, pulls_alike};
use crate::harness::{OwnServers, Pair, text};
use xtask::server::{Options, ScratchDirectory};

#[test]
fn every_access_method() {
    if !offered(&["pg_trgm", "bloom", "btree_gin"]) {
        return;
    }
    let mut pair = arrives(
        "zoo_index_methods",
        "CREATE EXTENSION pg_trgm; CREATE EXTENSION bloom; CREATE EXTENSION btree_gin;
         CREATE TABLE item (id int PRIMARY KEY, t text, a int[], j jsonb, b box, p point, r int4range, v tsvector, i inet, n numeric);
         CREATE INDEX ON item USING hash (t); CREATE INDEX ON item USING gin (a); CREATE INDEX ON item USING gin (j jsonb_path_ops);
         CREATE INDEX ON item USING gin (t gin_trgm_ops, id) WITH (fastupdate = off); CREATE INDEX ON item USING gin (v);
         CREATE INDEX ON item USING gist (b); CREATE INDEX ON item USING gist (r) WITH (buffering = on);
         CREATE INDEX ON item USING gist (t gist_trgm_ops(siglen = 64)); CREATE INDEX ON item USING gist (i inet_ops);
         CREATE INDEX ON item USING spgist (p); CREATE INDEX ON item USING spgist (t); CREATE INDEX ON item USING spgist (r);
         CREATE INDEX ON item USING brin (id) WITH (pages_per_range = 2, autosummarize = on);
         CREATE INDEX ON item USING brin (id int4_minmax_multi_ops(values_per_range = 16), n numeric_bloom_ops);
         CREATE INDEX ON item USING bloom (id, t) WITH (length = 100, col1 = 3)",
        "INSERT INTO item SELECT i, 'text ' || i, ARRAY[i % 7, i], jsonb_build_object('k', i % 11), box(point(i, i), point(i + 2, i + 2)),
                                 point(i, -i), int4range(i, i + 10), to_tsvector('simple', 'w' || i % 13), '10.0.0.0'::inet + i, i / 3.0
         FROM generate_series(1, 3000) i",
    );
    pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
    for condition in [
        "t = 'text 77'",
        "a @> '{3}'",
        "j @> '{\"k\": 5}'",
        "t LIKE '%ext 20%'",
        "v @@ 'w7'",
        "b && box(point(5,5),point(6,6))",
        "r @> 500",
        "i << '10.0.1.0/24'",
        "p <@ box(point(0,-10),point(10,0))",
        "t > 'text 9' AND t ~>=~ 'text 99'",
        "id = 77",
        "id BETWEEN 500 AND 600",
        "n = 100",
    ] {
        let count = format!("SELECT count(*)::text FROM item WHERE {condition}");
        assert_eq!(text(&mut pair.source, &count), text(&mut pair.destination, &count), "{condition}");
    }
    assert_sound(&mut pair, "{item}");
}

#[test]
fn expression_partial_and_covering_indexes() {
    let mut pair = arrives(
        "zoo_index_shapes",
        "CREATE FUNCTION shorten(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN left($1, 3); END';
         CREATE TABLE item (id int, t text, c int);
         CREATE UNIQUE INDEX ON item (lower(t), (id / 2), c) INCLUDE (id) WHERE c IS NOT NULL;
         CREATE INDEX ON item (shorten(t) COLLATE \"C\" text_pattern_ops DESC NULLS LAST) WHERE shorten(t) > 'a';
         CREATE INDEX ON item (c NULLS FIRST) WITH (fillfactor = 40, deduplicate_items = off)",
        "INSERT INTO item SELECT i, 'Text ' || i, nullif(i % 5, 0) FROM generate_series(1, 2000) i",
    );
    pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
    for condition in
        ["lower(t) = 'text 77' AND c IS NOT NULL", "shorten(t) COLLATE \"C\" = 'Tex' AND shorten(t) > 'a'", "c IS NULL"]
    {
        let count = format!("SELECT count(*)::text FROM item WHERE {condition}");
        assert_eq!(text(&mut pair.source, &count), text(&mut pair.destination, &count), "{condition}");
    }
    assert_sound(&mut pair, "{item}");
}

#[test]
fn an_index_over_whole_rows_is_filled_in_place() {
    let mut pair = Pair::with(
        "zoo_index_whole_rows",
        "CREATE TABLE item (id int, t text); CREATE INDEX whole ON item ((item.*)); CREATE INDEX few ON item (id) WHERE item.* IS DISTINCT FROM NULL",
        "INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 200) i",
    );
    assert_eq!(super::plan(&mut pair), ["item in place binary"]);
    pulls_alike(&mut pair);
    pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE item.* = ROW(7, 't7')::item"), "1");
}

#[test]
fn invalid_indexes_neither_stop_a_pull_nor_become_valid() {
    let mut pair = Pair::new("zoo_index_invalid");
    pair.both("CREATE TABLE item (id int PRIMARY KEY, t text)");
    pair.source.batch_execute("INSERT INTO item SELECT i, 't' || i / 2 FROM generate_series(1, 100) i").unwrap();
    pair.destination.batch_execute("INSERT INTO item VALUES (1, 'same'), (2, 'same')").unwrap();
    // Twice the same text: the build of a unique index fails half way.
    pair.destination.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON item (t)").unwrap_err();
    let state = "SELECT concat_ws(' ', indisvalid, indisready, indisunique) FROM pg_index WHERE indexrelid = 'broken'::regclass";
    let before = text(&mut pair.destination, state);
    assert!(before.starts_with('f'), "{before}");
    pulls_alike(&mut pair);
    assert_eq!(text(&mut pair.destination, state), before);
    pair.destination
        .batch_execute("INSERT INTO item VALUES (1000, 'another'); DELETE FROM item WHERE id < 50")
        .unwrap();
    pair.destination.batch_execute("VACUUM item").unwrap();
    pair.destination
        .batch_execute("DELETE FROM item WHERE id % 2 = 1; REINDEX INDEX broken; INSERT INTO item VALUES (2000, 'new')")
        .unwrap();
    assert_eq!(text(&mut pair.destination, state), "t t t");
    pair.destination.batch_execute("INSERT INTO item VALUES (2001, 'new')").unwrap_err();
}

#[test]
fn tablespaces_stay() {
    let servers = OwnServers::start("tablespaces", Options::named("tablespaces-destination"));
    let mut pair = servers.pair("zoo_tablespaces");
    let places: Vec<ScratchDirectory> = (0..2).map(|_| ScratchDirectory::create("tablespace").unwrap()).collect();
    for (place, name) in places.iter().zip(["fast", "slow"]) {
        pair.destination
            .batch_execute(&format!("CREATE TABLESPACE {name} LOCATION '{}'", place.path().display()))
            .unwrap();
    }
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, t text); CREATE INDEX at_home ON item (id); CREATE INDEX slow_one ON item (t);
             INSERT INTO item SELECT i, repeat(md5(i::text), 500) FROM generate_series(1, 200) i; CREATE TABLE home AS TABLE item",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY USING INDEX TABLESPACE slow, t text) TABLESPACE fast;
             ALTER TABLE item ALTER t SET STORAGE EXTERNAL; CREATE INDEX at_home ON item (id); CREATE INDEX slow_one ON item (left(t, 9)) TABLESPACE slow;
             CREATE TABLE home (id int, t text); CREATE INDEX ON home (id);
             ALTER DATABASE zoo_tablespaces SET default_tablespace = slow; SET default_tablespace = fast",
        )
        .unwrap();
    let where_all_is = "SELECT string_agg(concat_ws(' ', c.relname, s.spcname), ', ' ORDER BY c.relname)
                        FROM pg_class c LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
                        WHERE c.relname IN ('item', 'item_pkey', 'at_home', 'slow_one', 'home', 'home_id_idx')
                           OR c.oid IN (SELECT reltoastrelid FROM pg_class WHERE relname = 'item') AND c.relname <> ''";
    let before = text(&mut pair.destination, where_all_is);
    assert!(before.contains("item fast, item_pkey slow") && before.contains("at_home,"), "{before}");
    let sizes = "SELECT count(*)::text FROM pg_class c WHERE relname LIKE 'item%' AND pg_relation_filepath(oid) NOT LIKE 'pg_tblspc/%'";
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        assert_eq!(text(&mut pair.destination, where_all_is), before, "with {workers} workers");
        assert_eq!(text(&mut pair.destination, sizes), "0");
    }
}
