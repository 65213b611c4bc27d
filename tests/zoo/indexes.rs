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

/// An unsigned integer of somebody's own, in the family of the server's integers. It does not sort as they do.
#[test]
fn operator_classes_of_somebodys_own_in_the_servers_families() {
    let function = |name: &str, of: &str, arguments: &str, result: &str| {
        format!("CREATE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE internal STRICT IMMUTABLE AS '{of}';")
    };
    let both = "unsigned, unsigned";
    let mut pair = arrives(
        "zoo_own_operators",
        &format!(
            "CREATE TYPE unsigned; {}
             CREATE TYPE unsigned (INPUT = unsigned_in, OUTPUT = unsigned_out, RECEIVE = unsigned_receive, SEND = unsigned_send, LIKE = oid);
             {}
             CREATE OPERATOR < (LEFTARG = unsigned, RIGHTARG = unsigned, FUNCTION = unsigned_lt, COMMUTATOR = >, NEGATOR = >=);
             CREATE OPERATOR <= (LEFTARG = unsigned, RIGHTARG = unsigned, FUNCTION = unsigned_le, COMMUTATOR = >=, NEGATOR = >);
             CREATE OPERATOR = (LEFTARG = unsigned, RIGHTARG = unsigned, FUNCTION = unsigned_eq, COMMUTATOR = =, NEGATOR = <>, MERGES);
             CREATE OPERATOR <> (LEFTARG = unsigned, RIGHTARG = unsigned, FUNCTION = unsigned_ne, COMMUTATOR = <>, NEGATOR = =);
             CREATE OPERATOR >= (LEFTARG = unsigned, RIGHTARG = unsigned, FUNCTION = unsigned_ge, COMMUTATOR = <=, NEGATOR = <);
             CREATE OPERATOR > (LEFTARG = unsigned, RIGHTARG = unsigned, FUNCTION = unsigned_gt, COMMUTATOR = <, NEGATOR = <=);
             CREATE OPERATOR CLASS unsigned_ops DEFAULT FOR TYPE unsigned USING btree FAMILY integer_ops AS
                 OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 unsigned_compare(unsigned, unsigned);
             CREATE DOMAIN even AS int4 CHECK (VALUE % 2 = 0); CREATE DOMAIN of_own AS unsigned;
             CREATE TABLE counter (id unsigned PRIMARY KEY, e even UNIQUE, o of_own UNIQUE);
             CREATE TABLE reading (id int PRIMARY KEY, counter unsigned REFERENCES counter, e even REFERENCES counter (e))",
            [
                function("unsigned_in", "oidin", "cstring", "unsigned"),
                function("unsigned_out", "oidout", "unsigned", "cstring"),
                function("unsigned_receive", "oidrecv", "internal", "unsigned"),
                function("unsigned_send", "oidsend", "unsigned", "bytea"),
            ]
            .concat(),
            [
                function("unsigned_lt", "oidlt", both, "boolean"),
                function("unsigned_le", "oidle", both, "boolean"),
                function("unsigned_eq", "oideq", both, "boolean"),
                function("unsigned_ne", "oidne", both, "boolean"),
                function("unsigned_ge", "oidge", both, "boolean"),
                function("unsigned_gt", "oidgt", both, "boolean"),
                function("unsigned_compare", "btoidcmp", both, "int4"),
            ]
            .concat(),
        ),
        "INSERT INTO counter SELECT (i * 40000000)::text::unsigned, i * 2 - 100, (i * 40000000)::text::unsigned FROM generate_series(0::bigint, 100) i;
         INSERT INTO reading SELECT i, (i * 40000000)::text::unsigned, i * 2 - 100 FROM generate_series(0::bigint, 100) i",
    );
    assert_sound(&mut pair, "{counter, reading}");
    pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
    for condition in ["id > '2000000000'", "id = '3600000000'", "e < 0", "o >= '4000000000'"] {
        let count = format!("SELECT count(*)::text FROM counter WHERE {condition}");
        assert_eq!(text(&mut pair.source, &count), text(&mut pair.destination, &count), "{condition}");
    }
}

/// Keys are read from the file itself: what the buffer manager would refuse is refused.
#[test]
fn a_page_that_was_damaged_before_its_index_is_built_is_found() {
    if crate::harness::server_stores() {
        // The server reads what it has in its buffers.
        return;
    }
    for (name, checksums, at) in [("damaged-row", true, 8000), ("damaged-line-pointer", false, 24)] {
        let options = Options::named(&format!("{name}-destination"));
        let options = if checksums { options.with_checksums() } else { options };
        let servers = OwnServers::start(name, options);
        let mut pair = servers.pair("damaged_page");
        pair.both(
            "CREATE FUNCTION held(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN id; END';
             CREATE TABLE item (id int NOT NULL, note text)",
        );
        // Indexes of equal weight are built in the order in which they were made.
        pair.destination
            .batch_execute("CREATE INDEX ON item (held(id)); ALTER TABLE item ADD PRIMARY KEY (id)")
            .unwrap();
        pair.source.batch_execute("INSERT INTO item SELECT i, 'note ' || i FROM generate_series(1, 500) i").unwrap();
        let mut watcher = pair.another_destination_session();
        watcher.batch_execute("SELECT pg_advisory_lock(4711)").unwrap();
        let failure = std::thread::scope(|scope| {
            let pull = scope.spawn(|| pair.pull_error("parallel => 1"));
            crate::harness::eventually("the first index is being built", || {
                text(&mut watcher, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                    == "1"
            });
            let path = text(
                &mut watcher,
                "SELECT pg_relation_filepath(oid) FROM pg_class WHERE relnamespace = 'pgcopy_stage'::regnamespace AND relkind = 'r'",
            );
            let file = std::fs::OpenOptions::new().write(true).open(servers.destination.data().join(path)).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4], at).unwrap();
            watcher.batch_execute("SELECT pg_advisory_unlock(4711)").unwrap();
            pull.join().unwrap()
        });
        assert_eq!(failure.sqlstate, "XX001", "{failure:?}");
        assert!(failure.message.starts_with("invalid page in block 0 of relation base/"), "{failure:?}");
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "0");
        pair.assert_nothing_left();
    }
}
