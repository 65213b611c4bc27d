//! Tables of many shapes arrive as they are on the source.

use crate::harness::{Pair, text};

/// Pulls with workers and without, and compares.
fn arrives(name: &str, schema: &str, rows: &str) -> Pair {
    let mut pair = Pair::with(name, schema, rows);
    let definitions = pair.destination_state().definitions;
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        assert_eq!(pair.destination_state().definitions, definitions);
    }
    pair.assert_nothing_left();
    pair
}

#[test]
fn values_of_the_types_that_are_decoded_here() {
    arrives(
        "decoded_types",
        "CREATE TABLE item (
             b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, d date, ts timestamp, tz timestamptz, t time,
             ts3 timestamp(3), u uuid, tx text, vc varchar(5), c char(5), bin bytea, n numeric, n2 numeric(12,2),
             o oid, j json, jb jsonb, iv interval, ttz time with time zone, i inet, m money, ar int[], ta text[],
             r int4range, bits varbit(9), nm name, ch \"char\")",
        "INSERT INTO item (b, i2, i4, i8, f4, f8, d, ts, tz, t) VALUES
             (true, 32767, 2147483647, 9223372036854775807, 'NaN', '-Infinity', 'infinity', '-infinity', 'infinity', '24:00'),
             (false, -32768, -2147483648, -9223372036854775808, '-0', '1e-307', '4713-01-01 BC', '4713-01-01 BC', '294276-12-31', '0:00'),
             (NULL, 0, 0, 0, 'Infinity', 'NaN', '5874897-12-31', '294276-12-31 23:59:59.999999', '4714-11-24 BC', '12:34:56.789');
         INSERT INTO item (ts3, u, tx, vc, c, bin) VALUES
             ('2024-01-01 12:34:56.789', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '', '', '', ''),
             ('infinity', '00000000-0000-0000-0000-000000000000', 'größe €', 'ééééé', 'éé', '\\x00ff'),
             (NULL, NULL, repeat('x', 100000), '12345', '12345', decode(repeat('00', 5000), 'hex'));
         INSERT INTO item (n, n2) VALUES
             ('NaN', 'NaN'), ('Infinity', 0), ('-Infinity', 0.00), (0, 1), (0.000, -0.01), (1, 9999999999.99),
             (10000, 100), (-10000.0001, -9999999999.99), (1e100, 12345.60), (1e-100, 0.1), (123456789012345678901234567890.123456789, 5),
             (0.00010000, 10000), (9999.99990, 99.99), (repeat('9', 1000)::numeric, 0.05), (('1.' || repeat('1', 900))::numeric, 1000000);
         INSERT INTO item (o, j, jb, iv, ttz, i, m, ar, ta, r, bits, nm, ch) VALUES
             (4294967295, '{\"a\": 1}', '[null, {\"b\": \"c\"}]', '1 year -2 days 3.5 s', '12:00+14', '2001:db8::/32', -1.5,
              '{{1,NULL},{3,4}}', '[2:3]={a,\"b\"}', '[1,5)', B'10101', 'a name', 'x')",
    );
}

#[test]
fn long_values_use_the_toast_table() {
    let mut pair = arrives(
        "toasted",
        "CREATE TABLE doc (id int PRIMARY KEY, body text, plain bytea);
         ALTER TABLE doc ALTER plain SET STORAGE EXTERNAL;
         ALTER TABLE doc SET (toast.autovacuum_enabled = false, toast_tuple_target = 1000)",
        "INSERT INTO doc SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j),
                                decode(repeat(md5(i::text), 200), 'hex') FROM generate_series(1, 200) i;
         INSERT INTO doc VALUES (1000, repeat('y', 20000000), NULL)",
    );
    pair.destination.batch_execute("CREATE EXTENSION amcheck").unwrap();
    assert_eq!(
        text(&mut pair.destination, "SELECT count(*)::text FROM verify_heapam('doc', check_toast => true)"),
        "0"
    );
    pair.destination
        .batch_execute("UPDATE doc SET body = body || 'x' WHERE id < 10; CLUSTER doc USING doc_pkey; DROP TABLE doc")
        .unwrap();
    pair.assert_nothing_left();
}

#[test]
fn columns_that_differ_in_place_only() {
    let mut pair = Pair::new("columns");
    pair.source
        .batch_execute(
            "CREATE TABLE item (gone int, b text, a int, \"Odd \"\"name\"\"\" int, gone_too text, \"größe\" text, \"select\" int);
             ALTER TABLE item DROP gone, DROP gone_too;
             INSERT INTO item SELECT i::text, i, i, 'g', i FROM generate_series(1, 100) i;
             ALTER TABLE item ADD added int DEFAULT 7;
             CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (a int, dropped text, \"select\" int, \"größe\" text, b varchar(100), \"Odd \"\"name\"\"\" int);
             ALTER TABLE item DROP dropped; ALTER TABLE item ALTER b TYPE text;
             INSERT INTO item (a) VALUES (1); ALTER TABLE item ADD added int DEFAULT 8; CREATE INDEX ON item (added);
             CREATE TABLE nothing ()",
        )
        .unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        let content = "SELECT md5(string_agg(concat_ws(',', a, b, \"Odd \"\"name\"\"\", \"größe\", \"select\", added), ';' ORDER BY a)) FROM item";
        assert_eq!(text(&mut pair.source, content), text(&mut pair.destination, content));
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM nothing"), "2");
    }
    pair.destination.batch_execute("ALTER TABLE item ADD late int DEFAULT 9; INSERT INTO item (a) VALUES (0)").unwrap();
    assert_eq!(
        text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE late = 9 AND added IN (7, 8)"),
        "101"
    );
}

#[test]
fn generated_columns_are_computed_here() {
    let mut pair = Pair::new("generated");
    pair.source
        .batch_execute("CREATE TABLE item (a int, twice int GENERATED ALWAYS AS (a * 2) STORED, label text GENERATED ALWAYS AS ('s' || a) STORED); INSERT INTO item SELECT generate_series(1, 1000)")
        .unwrap();
    pair.destination
        .batch_execute("CREATE TABLE item (label text GENERATED ALWAYS AS ('d' || a || repeat('x', 50)) STORED, a int, twice int GENERATED ALWAYS AS (a * 2) STORED CHECK (twice > 0)); CREATE INDEX ON item (twice)")
        .unwrap();
    for workers in [1, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        let wrong = "SELECT count(*)::text FROM item WHERE twice <> a * 2 OR label <> 'd' || a || repeat('x', 50)";
        assert_eq!(text(&mut pair.destination, wrong), "0");
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "1000");
    }
}

#[test]
fn object_identifiers_travel_as_names() {
    let mut pair = Pair::new("regtypes");
    pair.source.batch_execute("CREATE TABLE first_here ()").unwrap();
    pair.both(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (value > 0);
         CREATE TYPE pair AS (a int, m mood);
         CREATE TABLE item (c regclass, t regtype, rs regclass[], m mood, p positive, pr pair, note text)",
    );
    pair.source
        .batch_execute("INSERT INTO item VALUES ('public.item', 'mood', '{pg_class,item}', 'ok', 5, '(1,sad)', E'tab\\there\\nand \\\\N')")
        .unwrap();
    let wire: String = pair
        .destination
        .query_one(&format!("SELECT wire FROM pgcopy.plan('{}', '{{item}}')", pair.dsn()), &[])
        .unwrap()
        .get(0);
    assert_eq!(wire, "text");
    pair.pull("include => '{item}'");
    let row = "SELECT item::text FROM item";
    assert_eq!(text(&mut pair.source, row), text(&mut pair.destination, row));
}

#[test]
fn indexes_of_many_kinds() {
    let mut pair = arrives(
        "index_kinds",
        "CREATE TABLE item (id int PRIMARY KEY, a int, b text, tags int[], box box, period int4range,
                            UNIQUE NULLS NOT DISTINCT (a), EXCLUDE USING gist (period WITH &&));
         CREATE UNIQUE INDEX ON item (lower(b)) INCLUDE (a) WHERE a > 10;
         CREATE INDEX ON item USING gin (tags); CREATE INDEX ON item USING gist (box);
         CREATE INDEX ON item USING spgist (b); CREATE INDEX ON item USING brin (a) WITH (pages_per_range = 4);
         CREATE INDEX ON item USING hash (b); CREATE INDEX ON item (b COLLATE \"C\" text_pattern_ops DESC NULLS LAST);
         ALTER TABLE item ADD CONSTRAINT later UNIQUE (b) DEFERRABLE INITIALLY DEFERRED;
         ALTER TABLE item REPLICA IDENTITY USING INDEX item_pkey",
        "INSERT INTO item SELECT i, i, 'b' || i, ARRAY[i, i % 10], box(point(i, i), point(i + 1, i + 1)), int4range(i, i + 1)
         FROM generate_series(1, 2000) i",
    );
    pair.destination.batch_execute("SET enable_seqscan = off; CREATE EXTENSION amcheck").unwrap();
    for (condition, rows) in [
        ("tags @> ARRAY[7]", 200),
        ("lower(b) = 'b77'", 1),
        ("b = 'b78'", 1),
        ("period @> 5", 1),
        ("a BETWEEN 3 AND 5", 3),
        ("box && box(point(5,5),point(6,6))", 3),
    ] {
        assert_eq!(
            text(&mut pair.destination, &format!("SELECT count(*)::text FROM item WHERE {condition}")),
            rows.to_string(),
            "{condition}"
        );
    }
    let statistics = "SELECT count(*)::text FROM pg_stats WHERE tablename = 'item_lower_a_idx'";
    assert_eq!(text(&mut pair.destination, statistics), "1", "index expressions have statistics");
    assert!(pair.destination.batch_execute("INSERT INTO item (id, a) VALUES (5000, 7)").is_err());
}

#[test]
fn partitioned_tables_go_leaf_by_leaf() {
    let mut pair = arrives(
        "partitions",
        "CREATE TABLE event (day date, kind int, note text) PARTITION BY RANGE (day);
         CREATE TABLE event_old PARTITION OF event FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
         CREATE TABLE event_new PARTITION OF event FOR VALUES FROM ('2024-01-01') TO (MAXVALUE) PARTITION BY LIST (kind);
         CREATE TABLE event_new_1 PARTITION OF event_new FOR VALUES IN (1);
         CREATE TABLE event_new_rest PARTITION OF event_new DEFAULT;
         CREATE INDEX ON event (day)",
        "INSERT INTO event SELECT '2023-12-01'::date + i, i % 3, 'n' FROM generate_series(1, 100) i",
    );
    pair.pull("include => '{event}', overwrite => true");
    pair.destination.batch_execute("INSERT INTO event VALUES ('2025-01-01', 1, 'x')").unwrap();
    pair.source.batch_execute("CREATE TABLE event_new_2 PARTITION OF event_new FOR VALUES IN (7)").unwrap();
}

#[test]
fn unlogged_and_inherited_tables_triggers_and_policies() {
    let mut pair = arrives(
        "mixed_tables",
        "CREATE UNLOGGED TABLE fast (id int PRIMARY KEY, body text);
         CREATE TABLE base (id int, note text); CREATE TABLE derived (extra int) INHERITS (base);
         CREATE TABLE guarded (id int, owner text); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON guarded USING (owner = current_user);
         CREATE TABLE watched (id int); CREATE TABLE seen (id int);
         CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (1); RETURN new; END';
         CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch();
         CREATE TRIGGER empty AFTER TRUNCATE ON watched EXECUTE FUNCTION watch();
         CREATE RULE swallow AS ON INSERT TO base DO INSTEAD NOTHING;",
        "ALTER TABLE watched DISABLE TRIGGER ALL; ALTER TABLE base DISABLE RULE swallow;
         INSERT INTO fast SELECT i, 'b' FROM generate_series(1, 100) i;
         INSERT INTO base VALUES (1, 'base'); INSERT INTO derived VALUES (2, 'derived', 3);
         INSERT INTO guarded SELECT i, 'somebody' FROM generate_series(1, 10) i;
         INSERT INTO watched VALUES (1)",
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM seen"), "0", "triggers do not fire");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM base"), "2");
}

#[test]
fn stage_rows_do_not_reach_logical_decoding() {
    let mut pair = Pair::with(
        "decoding",
        "CREATE TABLE item (id int PRIMARY KEY, body text)",
        "INSERT INTO item SELECT i, repeat(md5(i::text), 500) FROM generate_series(1, 100) i",
    );
    pair.destination
        .batch_execute("SELECT pg_create_logical_replication_slot('decoding_test', 'test_decoding')")
        .unwrap();
    pair.pull("overwrite => true, parallel => 2");
    pair.pull("overwrite => true, parallel => 0");
    let changes = text(
        &mut pair.destination,
        "SELECT count(*)::text FROM pg_logical_slot_get_changes('decoding_test', NULL, NULL) WHERE data LIKE 'table public.%' OR data LIKE 'table pgcopy_stage.%'",
    );
    pair.destination.batch_execute("SELECT pg_drop_replication_slot('decoding_test')").unwrap();
    assert_eq!(changes, "0");
}

#[test]
fn many_small_tables() {
    let tables: String = (0..300).map(|n| format!("CREATE TABLE t{n} (id int PRIMARY KEY, body text);")).collect();
    let rows: String =
        (0..300).map(|n| format!("INSERT INTO t{n} SELECT i, '{n}' FROM generate_series(1, 20) i;")).collect();
    let mut pair = Pair::with("many_tables", &tables, &rows);
    assert_eq!(pair.pull("parallel => 2").len(), 300);
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn several_schemas_with_the_same_names() {
    let mut pair = Pair::with(
        "schemas",
        "CREATE SCHEMA a; CREATE SCHEMA \"B b\";
         CREATE TABLE a.item (id int PRIMARY KEY); CREATE TABLE \"B b\".item (id int PRIMARY KEY);
         CREATE TABLE \"B b\".\"Item\" (id int PRIMARY KEY REFERENCES a.item)",
        "INSERT INTO a.item VALUES (1); INSERT INTO \"B b\".item VALUES (2); INSERT INTO \"B b\".\"Item\" VALUES (1)",
    );
    pair.pull("include => ARRAY['\"B b\".*', 'a.item']");
    pair.assert_same_content();
    assert_eq!(pair.pull("include => ARRAY['\"Item\"'], overwrite => true").len(), 1);
    assert_eq!(pair.pull("include => '{item}', overwrite => true").len(), 2);
}

#[test]
fn a_wide_table_is_analyzed_in_full() {
    let columns: Vec<String> = (1..=450)
        .map(|number| match number % 3 {
            0 => format!("c{number} int"),
            1 => format!("c{number} text"),
            _ => format!("c{number} numeric"),
        })
        .collect();
    let values: Vec<String> =
        (1..=450).map(|number| if number % 50 == 0 { "NULL".to_owned() } else { format!("i + {number}") }).collect();
    let mut pair = arrives(
        "wide",
        &format!("CREATE TABLE wide ({}, PRIMARY KEY (c3))", columns.join(", ")),
        &format!("INSERT INTO wide SELECT {} FROM generate_series(1, 500) i", values.join(", ")),
    );
    let analyzed = "SELECT count(*)::text FROM pg_stats WHERE tablename = 'wide'";
    pair.source.batch_execute("ANALYZE wide").unwrap();
    assert_eq!(text(&mut pair.destination, analyzed), text(&mut pair.source, analyzed));
    assert_eq!(
        text(
            &mut pair.destination,
            "SELECT (relallvisible = relpages AND reltuples = 500)::text FROM pg_class WHERE relname = 'wide'"
        ),
        "true"
    );
}

#[test]
fn all_workers_analyze_a_table_that_is_alone() {
    let mut pair = Pair::with(
        "alone",
        "CREATE TABLE alone (a int, b text, c int, d date, e int, f int, g text, h numeric, i int DEFAULT 1)",
        "INSERT INTO alone SELECT i, i % 7, i % 3, date '2000-01-01' + i % 100, i, -i, 'text ' || i % 11, i / 10.0
           FROM generate_series(1, 20000) i; ANALYZE alone",
    );
    pair.pull("parallel => 2");
    pair.assert_same_content();
    pair.assert_nothing_left();
    let slices = "SELECT string_agg(task, '; ' ORDER BY task) FROM pgcopy.job_tasks WHERE task LIKE 'analyzing%'";
    assert_eq!(
        text(&mut pair.destination, slices),
        "analyzing public.alone, columns 1 of 2; analyzing public.alone, columns 2 of 2"
    );
    // All rows are in each sample, so that nothing depends on chance.
    let statistics = "SELECT string_agg(concat_ws(' ', attname, null_frac, avg_width, n_distinct, most_common_vals,
                                                  most_common_freqs, histogram_bounds), '; ' ORDER BY attname)
                        FROM pg_stats WHERE tablename = 'alone'";
    assert_eq!(text(&mut pair.destination, statistics), text(&mut pair.source, statistics));
}

#[test]
fn a_row_that_outgrows_its_page_although_nobody_expected_it() {
    // Compressed inside the row on the source, not here: the stage table needs the TOAST table that it was made without.
    let mut pair = Pair::new("unexpected_toast");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, body text);
             INSERT INTO item SELECT i, repeat('x', 50000) FROM generate_series(1, 300) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, body text); ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
             CREATE TABLE other (id int PRIMARY KEY, body text); CREATE EXTENSION amcheck",
        )
        .unwrap();
    pair.source.batch_execute("CREATE TABLE other AS TABLE item").unwrap();
    for workers in [2, 1, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        let damage =
            text(&mut pair.destination, "SELECT count(*)::text FROM verify_heapam('item', check_toast => true)");
        assert_eq!(damage, "0");
        pair.assert_nothing_left();
    }
    pair.destination
        .batch_execute("UPDATE item SET body = body || 'y' WHERE id < 5; UPDATE other SET body = body || 'y'")
        .unwrap();
}

#[test]
fn an_excluded_partitioned_table_keeps_its_partitions() {
    let mut pair = Pair::new("excluded_partitions");
    pair.both(
        "CREATE TABLE part (id int, kind text) PARTITION BY LIST (kind);
         CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
         CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b') PARTITION BY RANGE (id);
         CREATE TABLE part_b1 PARTITION OF part_b FOR VALUES FROM (0) TO (100);
         CREATE TABLE part_b2 PARTITION OF part_b FOR VALUES FROM (100) TO (200);
         CREATE TABLE alone (id int)",
    );
    pair.source
        .batch_execute("INSERT INTO part SELECT i, 'a' FROM generate_series(1, 50) i; INSERT INTO part SELECT i, 'b' FROM generate_series(1, 150) i; INSERT INTO alone VALUES (1)")
        .unwrap();
    pair.destination.batch_execute("INSERT INTO part VALUES (7, 'b'), (107, 'b'), (7, 'a')").unwrap();
    let planned = |pair: &mut Pair, arguments: &str| {
        let dsn = pair.dsn();
        crate::harness::texts(&mut pair.destination, &format!("SELECT \"table\" FROM pgcopy.plan('{dsn}'{arguments})"))
    };
    assert_eq!(planned(&mut pair, ", exclude => '{part}'"), ["alone"]);
    assert_eq!(planned(&mut pair, ", exclude => '{part_b}'"), ["alone", "part_a"]);
    assert_eq!(planned(&mut pair, ", include => '{public.*}', exclude => '{part_b}'"), ["alone", "part_a"]);
    assert_eq!(planned(&mut pair, ", include => '{part_b}'"), ["part_b1", "part_b2"]);
    assert_eq!(planned(&mut pair, ", include => '{part}', exclude => '{part_b1}'"), ["part_a", "part_b2"]);
    pair.pull("include => '{part}', exclude => '{part_b}', overwrite => true");
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ',' ORDER BY id) FROM part_b"), "7,107");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM part_a"), "50");
    // Where the partitions differ, only all of them can be pulled.
    pair.destination.batch_execute("CREATE TABLE part_c PARTITION OF part FOR VALUES IN ('c')").unwrap();
    let failure = pair.pull_error("include => '{part}', exclude => '{part_b}', overwrite => true");
    assert!(failure.problems().contains("public.part_b: cannot be left out"), "{}", failure.problems());
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ',' ORDER BY id) FROM part_b"), "7,107");
}

#[test]
fn composite_types_that_differ_are_refused() {
    let mut pair = Pair::new("composites");
    pair.source
        .batch_execute("CREATE TYPE pos AS (x int, y int); CREATE TYPE box2 AS (a pos, b pos); CREATE TABLE item (p pos, q pos[], r box2); INSERT INTO item VALUES ((1, 2), ARRAY[(3, 4)::pos], ((1, 2), (3, 4)))")
        .unwrap();
    pair.destination
        .batch_execute("CREATE TYPE pos AS (y int, x int); CREATE TYPE box2 AS (a pos, b pos); CREATE TABLE item (p pos, q pos[], r box2)")
        .unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "42804");
    for column in ["p", "q", "r"] {
        assert!(failure.problems().contains(&format!("column {column}")), "{}", failure.problems());
    }
    assert!(
        failure.problems().contains("(x integer, y integer)") && failure.problems().contains("(y integer, x integer)"),
        "{}",
        failure.problems()
    );
    pair.destination
        .batch_execute("DROP TABLE item; DROP TYPE box2, pos; CREATE TYPE pos AS (x int, y int); CREATE TYPE box2 AS (a pos, b pos); CREATE TABLE item (p pos, q pos[], r box2)")
        .unwrap();
    pair.pull("");
    pair.assert_same_content();
}
