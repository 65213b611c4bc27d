//! Rows that travel as the source's heap stores them.

use crate::harness::forger::{Forged, Forger, message as framed, report};
use crate::harness::{Failure, Pair, connect_as, describe, text, texts};
use frames::{Codec, Decoder, Encoder, Form, Opened, Timing};
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn with_extension(name: &str, schema: &str, rows: &str) -> Pair {
    let mut pair = Pair::with(name, schema, rows);
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    pair
}

/// The wire and the warnings of each table, as the plan has them.
fn planned(pair: &mut Pair, arguments: &str) -> Vec<String> {
    let sql = format!(
        "SELECT \"table\" || ' ' || wire || ' ' || array_to_string(warnings, '; ') FROM pgcopy.plan('{}', overwrite => true{arguments}) ORDER BY 1",
        pair.dsn()
    );
    texts(&mut pair.destination, &sql)
}

/// Pages and indexes of all tables of the user are sound.
fn assert_sound(client: &mut Client) {
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck").unwrap();
    let damage = texts(
        client,
        "SELECT c.relname || ': ' || h.msg FROM pg_class c, verify_heapam(c.oid, check_toast => true) h
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace",
    );
    assert!(damage.is_empty(), "{damage:?}");
    client
        .batch_execute(
            "DO $$ DECLARE i regclass; BEGIN
                 FOR i IN SELECT x.indexrelid FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam
                          WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace LOOP
                     PERFORM bt_index_check(i, true);
                 END LOOP;
             END $$",
        )
        .unwrap();
}

const ZOO: &str = "CREATE TABLE zoo (id int PRIMARY KEY, b bool, c \"char\", s int2, l int8, f4 float4, f8 float8, n numeric,
        fixed numeric(12,3), d date, t time, tz timetz, ts timestamp, tstz timestamptz(3), i interval, u uuid, tx text, vc varchar(100),
        bp char(12), by bytea, j json, jb jsonb, ip inet, net cidr, m macaddr, m8 macaddr8, bits bit(5), vb bit varying, pt point, bx box,
        ls lseg, ln line, ci circle, lsn pg_lsn, a int[], ta text[], na numeric[], ja jsonb[], tza timetz[]);
    CREATE INDEX ON zoo (l, tstz); CREATE INDEX ON zoo USING gin (jb); CREATE INDEX ON zoo (bp)";

const ZOO_ROWS: &str = r#"INSERT INTO zoo SELECT i, i % 2 = 0, 'x', i, i::int8 * 5000000000, i / 3.0,
        CASE i % 7 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE i / 7.0 END,
        CASE i % 11 WHEN 0 THEN 'NaN'::numeric WHEN 1 THEN '-Infinity' WHEN 2 THEN 0 WHEN 3 THEN -0.000012345 WHEN 4 THEN 1e300 * i
                    WHEN 5 THEN -1e-300 WHEN 6 THEN 10000 WHEN 7 THEN repeat('9', 700)::numeric ELSE i * 1.0001 END,
        i * 1.5, CASE i % 9 WHEN 0 THEN 'infinity' ELSE '1900-01-01'::date + i * 50 END, '00:00:00.000001'::time + i * interval '1 s', '12:00+03',
        '1700-01-01'::timestamp + i * interval '1 day 3 us', CASE WHEN i % 9 = 0 THEN '-infinity' ELSE '2020-01-01 00:00+00'::timestamptz - i * interval '7 days' END,
        i * interval '1 month 2 us', ('feedface-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, repeat('täxt ', i % 50), 'v' || i, 'bé' || i,
        decode(repeat('00ff5c', i % 40), 'hex'), '{"a": [1, 2,  3]}', jsonb_build_object('i', i, 'n', NULL, 'deep', jsonb_build_array(i * 1.5, repeat('ü', i % 5), jsonb_build_object('k', true))),
        '10.0.0.1/8', '2001:db8::/32', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10101', (B'1011'::bit(4) || repeat('1', i % 9)::bit varying),
        point(i, -i), box(point(1, i), point(i, 2)), '[(0,1),(2,3)]', '{1,-2,3}', '<(1,2),3>', '16/B374D848', ARRAY[i, NULL, -i], ARRAY['x', NULL, '"', repeat('é', i % 30)],
        ARRAY[[1.5, i], ['NaN', 1e20]], ARRAY[jsonb_build_object('a', i)], ARRAY['12:00+03', '13:00-08']::timetz[]
        FROM generate_series(0, 4000) i;
    INSERT INTO zoo (id) VALUES (-1);
    INSERT INTO zoo (id, a, ta) VALUES (-2, '{}', '[5:6]={a,b}');
    INSERT INTO zoo (id, tx, by, jb, n, ta) SELECT -3, string_agg(md5(i::text), ''), decode(string_agg(md5(i::text), ''), 'hex'), jsonb_agg(md5(i::text)),
        repeat('123456789', 5000)::numeric, array_agg(md5(i::text)) FROM generate_series(1, 20000) i;
    INSERT INTO zoo (id, tx, by, jb, n, ta) SELECT -4, repeat('long ', 100000), decode(repeat('00', 100000), 'hex'), jsonb_agg(i % 3), repeat('1', 20000)::numeric,
        array_agg('same'::text) FROM generate_series(1, 20000) i;
    ALTER TABLE zoo ALTER tx SET STORAGE EXTERNAL;
    INSERT INTO zoo (id, tx) SELECT -5, string_agg(md5(i::text), '') FROM generate_series(1, 134000) i;
    ALTER TABLE zoo ALTER tx SET STORAGE EXTENDED;
    INSERT INTO zoo (id, tx, jb) SELECT i, repeat('compressed in line ', 200), jsonb_build_object('k', repeat('compressed in line ', 200)) FROM generate_series(5000, 5200) i"#;

#[test]
fn rows_of_all_types_that_mean_the_same_are_taken_as_they_are_stored() {
    let mut pair = with_extension("stored_zoo", ZOO, ZOO_ROWS);
    assert_eq!(planned(&mut pair, ", trust_source => true"), ["zoo heap "]);
    for arguments in ["", ", parallel => 0", ", parallel => 2, verify => true", ", parallel => 1, compress => 'zstd'"] {
        pair.pull(&format!("overwrite => true, trust_source => true{arguments}"));
        pair.assert_same_content();
        assert_sound(&mut pair.destination);
    }
    pair.assert_verified();
    pair.assert_nothing_left();
    // A row that is longer than a frame by a little is followed by others.
    pair.pull("overwrite => true, compress => 'lz4'");
    pair.assert_same_content();
    assert_eq!(
        text(
            &mut pair.destination,
            "SELECT count(*)::text FROM zoo WHERE tx = repeat('täxt ', 3) AND jb @> '{\"n\": null}'"
        ),
        text(
            &mut pair.source,
            "SELECT count(*)::text FROM zoo WHERE tx = repeat('täxt ', 3) AND jb @> '{\"n\": null}'"
        )
    );
}

#[test]
fn values_stay_compressed_by_the_method_that_they_were_compressed_by() {
    let methods = text(
        &mut crate::harness::shared_destination(),
        "SELECT array_to_string(enumvals, ' ') FROM pg_settings WHERE name = 'default_toast_compression'",
    );
    for method in methods.split(' ') {
        let mut pair = with_extension(
            &format!("stored_{method}"),
            "CREATE TABLE doc (id int PRIMARY KEY, body text, note jsonb, raw text)",
            &format!(
                "ALTER TABLE doc ALTER body SET COMPRESSION {method}; ALTER TABLE doc ALTER note SET COMPRESSION {method}; ALTER TABLE doc ALTER raw SET STORAGE EXTERNAL;
                 INSERT INTO doc SELECT i, repeat('abc' || i, i * 20), jsonb_build_object('k', repeat('long', i * 30)), repeat(md5(i::text), i % 200) FROM generate_series(1, 1500) i"
            ),
        );
        pair.pull("trust_source => true");
        pair.assert_same_content();
        assert_sound(&mut pair.destination);
        let of = "SELECT string_agg(coalesce(pg_column_compression(body), '-') || coalesce(pg_column_compression(note), '-'), ',' ORDER BY id) FROM doc";
        assert_eq!(text(&mut pair.destination, of), text(&mut pair.source, of));
        assert!(text(&mut pair.destination, of).contains(method));
    }
}

#[test]
fn only_row_versions_that_the_snapshot_sees_arrive() {
    let mut pair = with_extension(
        "stored_versions",
        "CREATE TABLE account (id int PRIMARY KEY, note text) WITH (fillfactor = 60)",
        "INSERT INTO account SELECT i, 'old' || i FROM generate_series(1, 20000) i",
    );
    for statement in [
        "UPDATE account SET note = 'new' || id WHERE id % 3 = 0",
        "DELETE FROM account WHERE id % 7 = 0",
        "BEGIN; UPDATE account SET note = 'never' WHERE id % 5 = 0; INSERT INTO account VALUES (-1, 'never'); ROLLBACK",
    ] {
        pair.source.batch_execute(statement).unwrap();
    }
    // Others hold and lock rows meanwhile.
    let mut others = [pair.another_source_session(), pair.another_source_session(), pair.another_source_session()];
    others[0].batch_execute("BEGIN; SELECT FROM account WHERE id % 4 = 1 FOR KEY SHARE").unwrap();
    others[1].batch_execute("BEGIN; SELECT FROM account WHERE id % 8 = 1 FOR KEY SHARE; UPDATE account SET note = 'not yet' WHERE id % 4 = 1").unwrap();
    others[2].batch_execute("BEGIN; INSERT INTO account SELECT -i, 'not yet' FROM generate_series(2, 5000) i; DELETE FROM account WHERE id % 4 = 2").unwrap();
    for parallel in [0, 2] {
        pair.pull(&format!("overwrite => true, trust_source => true, parallel => {parallel}"));
        pair.assert_same_content();
        assert_sound(&mut pair.destination);
    }
    others[0].batch_execute("COMMIT").unwrap();
    others[1].batch_execute("COMMIT").unwrap();
    others[2].batch_execute("ROLLBACK").unwrap();
    pair.pull("overwrite => true, trust_source => true");
    pair.assert_same_content();
    let changed = "SELECT (count(*) > 0)::text FROM account WHERE note = 'not yet' AND id % 4 = 1";
    assert_eq!(text(&mut pair.destination, changed), "true");
}

#[test]
fn parts_of_a_large_table_arrive_while_it_changes() {
    let mut pair = with_extension(
        "stored_parts",
        "CREATE TABLE event (id int PRIMARY KEY, body text)",
        "INSERT INTO event SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 120000) i; DELETE FROM event WHERE id BETWEEN 30000 AND 60000",
    );
    let plan = format!(
        "SELECT (parts > 1)::text || wire FROM pgcopy.plan('{}', parallel => 2, trust_source => true)",
        pair.dsn()
    );
    let parts = text(&mut pair.destination, &plan);
    assert_eq!(parts, "trueheap");
    let sum = "SELECT count(*) || ' ' || sum(hashtext(id || body)::int8) FROM event";
    let mut writer = pair.another_source_session();
    let before = text(&mut pair.source, sum);
    let stop = Arc::new(AtomicUsize::new(0));
    let stopped = Arc::clone(&stop);
    let writing = std::thread::spawn(move || {
        // What it changes it changes back, in one transaction: every snapshot sees the same rows.
        while stopped.load(SeqCst) == 0 {
            writer
                .batch_execute(
                    "BEGIN; UPDATE event SET body = body || 'x' WHERE id % 100 = 7; INSERT INTO event SELECT -i, 'x' FROM generate_series(1, 100) i;
                     UPDATE event SET body = left(body, -1) WHERE id % 100 = 7; DELETE FROM event WHERE id < 0; COMMIT",
                )
                .unwrap();
        }
    });
    let pulled = pair.try_pull("parallel => 2, trust_source => true");
    stop.store(1, SeqCst);
    writing.join().unwrap();
    pulled.unwrap_or_else(|error| panic!("{}", describe(&error)));
    assert_eq!(text(&mut pair.destination, sum), before);
    assert_sound(&mut pair.destination);
}

#[test]
fn definitions_may_differ_where_the_columns_are_the_same() {
    let mut pair = Pair::new("stored_definitions");
    pair.source
        .batch_execute(
            "CREATE EXTENSION pgcopy;
             CREATE TABLE grown (id int PRIMARY KEY, a text);
             INSERT INTO grown SELECT i, 'a' || i FROM generate_series(1, 500) i;
             ALTER TABLE grown ADD n numeric DEFAULT 12.5, ADD long text DEFAULT repeat('default ', 300), ADD nothing int;
             INSERT INTO grown VALUES (501, 'b', 1, 'short', 7);
             CREATE TABLE shrunk (gone1 int8, id int PRIMARY KEY, gone2 text, b text, gone3 text);
             INSERT INTO shrunk SELECT i, i, repeat('x', i), 'b' || i, NULL FROM generate_series(1, 500) i;
             ALTER TABLE shrunk DROP gone1, DROP gone2, DROP gone3;
             INSERT INTO shrunk VALUES (501, 'after');
             CREATE TABLE turned (a int, b text, c int8 PRIMARY KEY); INSERT INTO turned SELECT i, 'b' || i, i FROM generate_series(1, 500) i;
             CREATE TABLE dropped_here (id int PRIMARY KEY, a text); INSERT INTO dropped_here SELECT i, 'a' || i FROM generate_series(1, 500) i;
             CREATE TABLE made (id int PRIMARY KEY, a text); INSERT INTO made SELECT i, nullif('a' || i, 'a7') FROM generate_series(1, 500) i;
             CREATE TABLE empty (id int, a text);
             CREATE TABLE parted (id int, a text) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
             CREATE TABLE parted_2 PARTITION OF parted DEFAULT; INSERT INTO parted SELECT i, 'p' || i FROM generate_series(1, 300) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE grown (id int PRIMARY KEY, a text, n numeric, long text, nothing int);
             CREATE TABLE shrunk (id int PRIMARY KEY, b text);
             CREATE TABLE turned (c int8 PRIMARY KEY, b text, a int);
             CREATE TABLE dropped_here (gone int8, id int PRIMARY KEY, gone2 text, a text); ALTER TABLE dropped_here DROP gone, DROP gone2;
             CREATE TABLE made (id int PRIMARY KEY, a text, twice int GENERATED ALWAYS AS (id * 2) STORED, extra text DEFAULT 'none', CHECK (id > 0));
             CREATE TABLE empty (id int, a text);
             CREATE TABLE parted (id int, a text) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
             CREATE TABLE parted_2 PARTITION OF parted DEFAULT",
        )
        .unwrap();
    // More values than the first buffer of a row holds.
    for (client, end) in
        [(&mut pair.source, ""), (&mut pair.destination, "ALTER TABLE wide ADD gone int; ALTER TABLE wide DROP gone")]
    {
        let columns =
            |kind: &str| (1..=900).map(|number| format!("{kind}{number} {kind}8")).collect::<Vec<_>>().join(", ");
        client.batch_execute(&format!("CREATE TABLE wide ({}); {end}", columns("int"))).unwrap();
    }
    let values = |from: i32| (from..from + 900).map(|value| value.to_string()).collect::<Vec<_>>().join(", ");
    pair.source.batch_execute(&format!("INSERT INTO wide VALUES ({}), ({})", values(1), values(-450))).unwrap();
    let plan = planned(&mut pair, ", trust_source => true");
    assert!(plan.iter().all(|line| line.split(' ').nth(1) == Some("heap")), "{plan:?}");
    for parallel in [0, 2] {
        pair.pull(&format!("overwrite => true, trust_source => true, parallel => {parallel}"));
        for columns in [
            "grown",
            "shrunk",
            "dropped_here",
            "empty",
            "wide",
            "parted",
            "(SELECT id, a FROM made) made",
            "(SELECT a, b, c FROM turned) turned",
        ] {
            let sql = format!(
                "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) FROM {columns} AS x"
            );
            let sql = if columns.starts_with('(') {
                format!(
                    "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) FROM (SELECT * FROM {columns}) x"
                )
            } else {
                sql
            };
            assert_eq!(text(&mut pair.destination, &sql), text(&mut pair.source, &sql), "{columns}");
        }
        assert_eq!(
            text(&mut pair.destination, "SELECT count(*)::text FROM made WHERE twice = id * 2 AND extra = 'none'"),
            "500"
        );
        assert_sound(&mut pair.destination);
    }
}

#[test]
fn constraints_of_the_target_hold() {
    let schema = "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric)";
    let mut pair = with_extension(
        "stored_constraints",
        schema,
        "INSERT INTO item SELECT i, 'name' || i, i FROM generate_series(1, 100) i; UPDATE item SET name = NULL, price = -1 WHERE id = 70",
    );
    pair.destination.batch_execute("INSERT INTO item VALUES (7, 'mine', 7)").unwrap();
    for (constraint, sqlstate) in [
        ("ALTER TABLE item ALTER name SET NOT NULL", "23502"),
        ("ALTER TABLE item ALTER name DROP NOT NULL, ADD CHECK (price > 0)", "23514"),
    ] {
        pair.destination.batch_execute(constraint).unwrap();
        let failure = pair.pull_error("overwrite => true, trust_source => true");
        assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
        assert!(failure.detail.contains("item") && failure.detail.contains("row"), "{failure:?}");
        assert!(failure.detail.contains("Failing row contains (70, null, -1)."), "{failure:?}");
        assert_eq!(text(&mut pair.destination, "SELECT name FROM item"), "mine");
        pair.assert_nothing_left();
    }
    // The first row is described, too.
    pair.destination.batch_execute("ALTER TABLE item ALTER name SET NOT NULL").unwrap();
    pair.source.batch_execute("TRUNCATE item; INSERT INTO item VALUES (1, NULL, 2.5)").unwrap();
    for parallel in [0, 1] {
        let failure = pair.pull_error(&format!("overwrite => true, trust_source => true, parallel => {parallel}"));
        assert_eq!(failure.sqlstate, "23502", "{failure:?}");
        assert!(failure.detail.contains("Failing row contains (1, null, 2.5)."), "{failure:?}");
    }
}

#[test]
fn tables_that_hold_what_means_something_else_here_travel_as_ever() {
    let mut pair = with_extension(
        "stored_others",
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN positive AS int CHECK (value > 0);
         CREATE TABLE some_enums (m mood[]); CREATE TABLE a_domain (p positive); CREATE TABLE an_oid (o oid); CREATE TABLE a_range (r int4range);
         CREATE TABLE ok (id int); CREATE TABLE a_name (n name); CREATE VIEW seen AS SELECT 1",
        "INSERT INTO some_enums VALUES ('{happy}'); INSERT INTO a_domain VALUES (7); INSERT INTO an_oid VALUES (17); INSERT INTO a_range VALUES ('[1,5)');
         INSERT INTO ok VALUES (1); INSERT INTO a_name VALUES ('n'); CREATE TABLE wide (v varchar(20)); INSERT INTO wide VALUES ('abc')",
    );
    pair.destination.batch_execute("CREATE TABLE wide (v varchar(30))").unwrap();
    let plan = planned(&mut pair, ", trust_source => true");
    let heap: Vec<_> = plan.iter().filter(|line| line.contains(" heap ")).collect();
    assert_eq!(heap, ["ok heap "]);
    for line in plan.iter().filter(|line| !line.contains(" heap ")) {
        assert!(line.contains("not taken as they are stored"), "{line}");
    }
    pair.pull("trust_source => true, overwrite => true");
    pair.assert_same_content();
    // Part of a table, and other modes.
    let part =
        planned(&mut pair, ", trust_source => true, include => '{ok}', tables => '{\"ok\": {\"where\": \"id > 0\"}}'");
    assert!(part[0].starts_with("ok binary "), "{part:?}");
    let in_place = planned(&mut pair, ", trust_source => true, include => '{ok}', method => 'in place'");
    assert!(in_place[0].starts_with("ok binary "), "{in_place:?}");
}

#[test]
fn labels_of_enums_get_the_numbers_that_they_have_here() {
    let mut pair = Pair::new("stored_enums");
    let columns = "id int PRIMARY KEY, m mood NOT NULL, note text, second mood, third \"Odd\".\"Kind\"";
    pair.source
        .batch_execute(&format!(
            "CREATE EXTENSION pgcopy; CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); ALTER TYPE mood ADD VALUE 'meh' BEFORE 'ok';
             CREATE SCHEMA \"Odd\"; CREATE TYPE \"Odd\".\"Kind\" AS ENUM ('a''b', 'c');
             CREATE TABLE item ({columns}); CREATE TABLE made ({columns}, gone int); ALTER TABLE made DROP gone"
        ))
        .unwrap();
    pair.destination
        .batch_execute(&format!(
            "CREATE TYPE unrelated AS ENUM ('x', 'y'); CREATE TYPE mood AS ENUM ('extra', 'happy', 'ok', 'sad', 'meh');
             CREATE SCHEMA \"Odd\"; CREATE TYPE \"Odd\".\"Kind\" AS ENUM ('c', 'd', 'a''b');
             CREATE TABLE item ({columns}, CHECK (second <> 'extra')); CREATE INDEX ON item (m, second);
             CREATE TABLE made ({columns}, is_ok bool GENERATED ALWAYS AS (m = 'ok') STORED); CREATE INDEX ON made (third)"
        ))
        .unwrap();
    for table in ["item", "made"] {
        pair.source
            .batch_execute(&format!(
                "INSERT INTO {table} SELECT i, (enum_range(NULL::mood))[1 + i % 4], repeat('x', i % 50), (enum_range(NULL::mood))[i % 5],
                        (enum_range(NULL::\"Odd\".\"Kind\"))[i % 3] FROM generate_series(1, 2000) i;
                 ALTER TABLE {table} ADD late mood DEFAULT 'meh'"
            ))
            .unwrap();
        pair.destination.batch_execute(&format!("ALTER TABLE {table} ADD late mood")).unwrap();
    }
    let plan = planned(&mut pair, ", trust_source => true");
    assert_eq!(plan, ["item heap ", "made heap "]);
    for arguments in ["parallel => 0", "parallel => 2, compress => 'lz4', verify => true"] {
        pair.pull(&format!("overwrite => true, trust_source => true, {arguments}"));
        for table in ["item", "made"] {
            let rows = format!("SELECT concat_ws(' ', id, m, note, second, third, late) FROM {table} ORDER BY id");
            let expected = texts(&mut pair.source, &rows);
            assert_eq!(expected.len(), 2000);
            assert!(texts(&mut pair.destination, &rows) == expected, "{table}");
        }
        assert_sound(&mut pair.destination);
        let wrong = "SELECT count(*)::text FROM made WHERE is_ok <> (m = 'ok')";
        assert_eq!(text(&mut pair.destination, wrong), "0");
    }
    // A label that is missing here is told of before anything is touched.
    pair.source.batch_execute("ALTER TYPE mood ADD VALUE 'new'").unwrap();
    let failure = pair.pull_error("overwrite => true, trust_source => true");
    assert!(failure.problems().contains("type public.mood has no 'new'"), "{failure:?}");
    pair.destination.batch_execute("ALTER TYPE mood ADD VALUE 'new'").unwrap();
    // A number of no label is no value.
    let forger = forging(&pair, |piece| {
        // The first row: length, number of columns, bitmap, id, m.
        let at = 6 + usize::from(piece[5] >> 7) + 4;
        piece[at..at + 4].copy_from_slice(&7u32.to_le_bytes());
    });
    let dsn = forger.dsn("stored_enums");
    let pull = format!(
        "SELECT pgcopy.pull('{dsn}', trust_source => true, overwrite => true, include => '{{item}}', parallel => 0)"
    );
    let failure = failure_of(&mut pair.destination, &pull);
    assert_eq!(failure.sqlstate, "XX001", "{failure:?}");
    assert!(failure.message.ends_with("there is no label of that number"), "{failure:?}");
    assert!(failure.detail.contains("item") && failure.detail.contains("column m"), "{failure:?}");
    pair.assert_nothing_left();
}

#[test]
fn a_source_that_does_not_send_enums_is_read_as_ever() {
    let mut pair = with_extension(
        "stored_no_enums",
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE item (id int, m mood); CREATE TABLE plain (id int)",
        "INSERT INTO item VALUES (1, 'happy'), (2, 'sad'); INSERT INTO plain VALUES (1)",
    );
    // As an older version answers.
    let forger = Forger::start(pair.source_port, |message| {
        if !message.query.contains("send_stored_frames") || !message.query.contains("end_page => 0,") {
            return Forged::Same;
        }
        match message.kind {
            b'T' => Forged::Bytes(report(b'E', "rows of \"item\" are not sent as they are stored", "", "")),
            b'D' | b'C' => Forged::Bytes(Vec::new()),
            _ => Forged::Same,
        }
    });
    let dsn = forger.dsn("stored_no_enums");
    let plan = texts(
        &mut pair.destination,
        &format!(
            "SELECT concat_ws(' ', \"table\", wire, warnings) FROM pgcopy.plan('{dsn}', trust_source => true, compress => 'none') ORDER BY 1"
        ),
    );
    assert!(plan[0].starts_with("item binary") && plan[0].contains("the source reports: rows of"), "{plan:?}");
    assert!(plan[1].starts_with("plain heap"), "{plan:?}");
    pair.destination
        .batch_execute(&format!("SELECT pgcopy.pull('{dsn}', trust_source => true, overwrite => true)"))
        .unwrap();
    pair.assert_same_content();
}

#[test]
fn a_migration_takes_rows_as_they_are_stored() {
    if !crate::harness::installation().program("pg_dump").exists() {
        return;
    }
    let mut pair = Pair::new("stored_migration");
    pair.source
        .batch_execute(
            "CREATE EXTENSION pgcopy; CREATE TYPE mood AS ENUM ('sad', 'happy');
             CREATE TABLE plain (gone int, id int PRIMARY KEY, body text, twice int GENERATED ALWAYS AS (id * 2) STORED);
             INSERT INTO plain (id, body) SELECT i, repeat('b', i) FROM generate_series(1, 3000) i; ALTER TABLE plain DROP gone;
             CREATE TABLE moody (id int PRIMARY KEY REFERENCES plain, m mood); INSERT INTO moody SELECT i, 'happy' FROM generate_series(1, 100) i",
        )
        .unwrap();
    let sql = format!("SELECT pgcopy.migrate('{}', trust_source => true)", pair.dsn());
    pair.destination.batch_execute(&sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
    pair.assert_same_content();
    assert_sound(&mut pair.destination);
}

#[test]
fn tables_of_a_subset_that_holds_together_travel_as_ever() {
    let mut pair = with_extension(
        "stored_subset",
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
        "INSERT INTO parent SELECT generate_series(1, 100); INSERT INTO child SELECT i, i % 100 + 1 FROM generate_series(1, 1000) i",
    );
    pair.notices();
    pair.pull(r#"trust_source => true, follow_keys => true, tables => '{"parent": {"where": "id <= 3"}}'"#);
    let rows = "SELECT (SELECT count(*) FROM parent) || ' ' || (SELECT count(*) FROM child)";
    assert_eq!(text(&mut pair.destination, rows), "3 30");
    assert!(pair.notices().iter().any(|notice| notice.contains("follow_keys takes a part of them")));
}

fn role(pair: &mut Pair, name: &str) {
    pair.both(&format!(
        "DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    ));
}

fn failure_of(client: &mut Client, sql: &str) -> Failure {
    match client.batch_execute(sql) {
        Ok(()) => panic!("succeeded: {sql}"),
        Err(error) => Failure::of(&error),
    }
}

#[test]
fn only_superusers_trust_a_source() {
    let mut pair = with_extension(
        "stored_trust",
        "CREATE TABLE item (id int PRIMARY KEY)",
        "INSERT INTO item SELECT generate_series(1, 500)",
    );
    role(&mut pair, "app");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination
        .batch_execute(&format!(
            "ALTER TABLE item OWNER TO app; GRANT USAGE ON FOREIGN DATA WRAPPER pgcopy TO app;
             CREATE SERVER plain FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{port}', dbname 'stored_trust');
             CREATE SERVER trusted FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{port}', dbname 'stored_trust', trusted 'true');
             ALTER SERVER plain OWNER TO app; ALTER SERVER trusted OWNER TO app;
             CREATE USER MAPPING FOR app SERVER plain OPTIONS (user 'app', password 'secret');
             CREATE USER MAPPING FOR app SERVER trusted OPTIONS (user 'app', password 'secret')",
            port = pair.source_port
        ))
        .unwrap();
    let mut app = connect_as(pair.destination_port, "stored_trust", "app");
    let wire = |client: &mut Client, source: &str| text(client, &format!("SELECT wire FROM pgcopy.plan('{source}')"));
    assert_eq!([wire(&mut app, "plain"), wire(&mut app, "trusted")], ["binary", "heap"]);
    app.batch_execute("SELECT pgcopy.pull('trusted')").unwrap();
    pair.assert_same_content();
    for sql in [
        "SELECT pgcopy.pull('plain', overwrite => true, trust_source => true)",
        "SELECT pgcopy.plan('plain', trust_source => true)",
        "ALTER SERVER plain OPTIONS (ADD trusted 'true')",
        // The server would be another one.
        "ALTER SERVER trusted OPTIONS (SET host '127.0.0.2')",
        "ALTER SERVER trusted OPTIONS (ADD hostaddr '127.0.0.2')",
        "CREATE SERVER mine FOREIGN DATA WRAPPER pgcopy OPTIONS (host 'x', trusted 'true')",
    ] {
        assert_eq!(failure_of(&mut app, sql).sqlstate, "42501", "{sql}");
    }
    assert_eq!(failure_of(&mut app, "ALTER SERVER plain OPTIONS (ADD trusted 'maybe')").sqlstate, "HV024");
    let misplaced = "ALTER USER MAPPING FOR app SERVER plain OPTIONS (ADD trusted 'true')";
    assert_eq!(failure_of(&mut app, misplaced).sqlstate, "HV00D");
    app.batch_execute("ALTER SERVER trusted OPTIONS (DROP trusted, SET host 'localhost')").unwrap();
    assert_eq!(wire(&mut app, "trusted"), "binary");
    // A superuser is told.
    pair.notices();
    assert_eq!(planned(&mut pair, ""), ["item binary "]);
    let notices = pair.notices();
    assert!(
        notices.iter().any(|notice| notice.contains("no superuser has declared the source trusted")),
        "{notices:?}"
    );
}

#[test]
fn a_source_that_cannot_send_stored_rows_is_read_as_ever() {
    let mut pair =
        Pair::with("stored_absent", "CREATE TABLE item (id int)", "INSERT INTO item SELECT generate_series(1, 500)");
    pair.notices();
    pair.pull("trust_source => true");
    pair.assert_same_content();
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice.contains("no rows are taken as they are stored")), "{notices:?}");
    // Functions of somebody else are not asked.
    pair.source
        .batch_execute(
            "CREATE SCHEMA pgcopy; CREATE FUNCTION pgcopy.stored_form() RETURNS text LANGUAGE sql AS $$SELECT 1 / 0 || ''$$;
             CREATE FUNCTION pgcopy.send_stored_frames() RETURNS bytea LANGUAGE sql AS $$SELECT ''::bytea$$",
        )
        .unwrap();
    pair.pull("trust_source => true, overwrite => true");
    pair.assert_same_content();
}

#[test]
fn the_source_sends_what_its_user_may_select_and_no_more() {
    let mut pair = with_extension(
        "stored_rights",
        "CREATE SCHEMA closed; CREATE TABLE item (id int, secret text); CREATE TABLE ruled (id int); CREATE TABLE closed.item (id int)",
        "INSERT INTO item VALUES (1, 's'); INSERT INTO ruled VALUES (1); INSERT INTO closed.item VALUES (1);
         ALTER TABLE ruled ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON ruled USING (id > 5); CREATE VIEW seen AS SELECT * FROM item",
    );
    role(&mut pair, "stored_reader");
    pair.source
        .batch_execute(
            "GRANT SELECT (id) ON item TO stored_reader; GRANT SELECT ON ruled, closed.item, seen TO stored_reader; REVOKE ALL ON SCHEMA closed FROM PUBLIC",
        )
        .unwrap();
    let send = |table: &str, columns: &str| {
        format!("SELECT pgcopy.send_stored_frames(1, '{table}', '{columns}', 0, 4294967295, 'none')")
    };
    let mut reader = connect_as(pair.source_port, "stored_rights", "stored_reader");
    reader.batch_execute(&send("public.item", "{id}")).unwrap();
    let oid = text(&mut pair.source, "SELECT 'closed.item'::regclass::oid::text");
    for (table, columns, sqlstate) in [
        ("public.item", "{id,secret}", "42501"),
        ("public.item", "{}", "42501"),
        ("public.item", "{ctid}", "42703"),
        ("closed.item", "{id}", "42501"),
        (oid.as_str(), "{id}", "42602"),
        ("public.ruled", "{id}", "0A000"),
        ("public.seen", "{id}", "0A000"),
        ("public.nothing", "{id}", "42P01"),
        ("pg_catalog.pg_authid", "{rolname}", "42501"),
    ] {
        assert_eq!(failure_of(&mut reader, &send(table, columns)).sqlstate, sqlstate, "{table} {columns}");
    }
    reader.batch_execute("SET row_security = off").unwrap();
    assert_eq!(failure_of(&mut reader, &send("public.ruled", "{id}")).sqlstate, "42501");
    assert_eq!(
        failure_of(&mut reader, "SELECT pgcopy.send_stored_frames(99, 'public.item', '{id}', 0, 1, 'none')").sqlstate,
        "0A000"
    );
    // A statement that ends early leaves nothing open.
    reader.batch_execute(&format!("{} LIMIT 1", send("public.item", "{id}"))).unwrap();
    // Rows of temporary tables are in the memory of their session.
    reader.batch_execute("CREATE TEMP TABLE mine AS SELECT 1 AS id").unwrap();
    reader.batch_execute(&send("pg_temp.mine", "{id}")).unwrap();
    let schema = text(&mut pair.source, "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'mine'");
    let other = failure_of(&mut pair.source, &send(&format!("{schema}.mine"), "{id}"));
    assert_eq!(other.sqlstate, "0A000", "{other:?}");
}

#[test]
fn a_table_that_the_reading_transaction_changes_is_not_read_on() {
    let mut pair = with_extension("stored_unsteady", "", "");
    // A table of the same transaction would be truncated in place.
    let make = "DROP TABLE IF EXISTS item; CREATE TABLE item AS SELECT i AS id, repeat('x', 100) AS body, 1::int8 AS n FROM generate_series(1, 30000) i";
    for (columns, change) in [
        ("{id}", "ALTER TABLE item ADD a int DEFAULT 1, ADD b text DEFAULT 'b'"),
        ("{id,body,n}", "ALTER TABLE item ADD a int"),
        ("{body}", "ALTER TABLE item ALTER body TYPE int8 USING 7"),
        ("{n}", "ALTER TABLE item ALTER n TYPE text"),
        ("{id,body}", "ALTER TABLE item DROP body"),
        ("{id,body,n}", "ALTER TABLE item DROP body, ADD body text"),
        ("{id,body,n}", "TRUNCATE item"),
        ("{id,body,n}", "CREATE INDEX item_id ON item (id); CLUSTER item USING item_id"),
    ] {
        pair.source.batch_execute(make).unwrap();
        let send = format!("SELECT pgcopy.send_stored_frames(1, 'item', '{columns}', 0, 4294967295, 'none')");
        let begin = format!("BEGIN; DECLARE sent CURSOR FOR {send}; FETCH 1 FROM sent; {change}");
        pair.source.batch_execute(&begin).unwrap();
        let failure = failure_of(&mut pair.source, "FETCH ALL FROM sent");
        assert_eq!(failure.sqlstate, "55000", "{change}: {failure:?}");
        pair.source.batch_execute("ROLLBACK").unwrap();
    }
    // Rows that come and go do not matter.
    pair.source.batch_execute(make).unwrap();
    let send = "SELECT octet_length(pgcopy.send_stored_frames(1, 'item', '{id,body,n}', 0, 4294967295, 'none'))";
    let change =
        "UPDATE item SET body = 'y'; CREATE INDEX ON item (id); ANALYZE item; ALTER TABLE item ADD CHECK (id > 0)";
    pair.source
        .batch_execute(&format!(
            "BEGIN; DECLARE sent CURSOR FOR {send}; FETCH 1 FROM sent; {change}; FETCH ALL FROM sent; COMMIT"
        ))
        .unwrap();
}

/// A source whose stored rows are changed on the way, all of them in one frame.
fn forging(pair: &Pair, forge: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Forger {
    Forger::start(pair.source_port, move |message| {
        let Some(at) = message.body.windows(3).position(|bytes| bytes == b"PGF").filter(|_| message.kind == b'd')
        else {
            return Forged::Same;
        };
        let mut decoder = Decoder::new(Form::Heap);
        let Ok(Opened { piece, .. }) = decoder.open(&message.body[at..]) else { return Forged::Same };
        let mut piece = piece.to_vec();
        let rows = decoder.finish().unwrap();
        forge(&mut piece);
        let mut frame = Vec::new();
        Encoder::new(Form::Heap).encode(&piece, rows, true, (Codec::None, 0), Timing::default(), &mut frame);
        let mut body = message.body[..at - 4].to_vec();
        body.extend((frame.len() as u32).to_be_bytes());
        body.extend(frame);
        Forged::Bytes(framed(b'd', &body))
    })
}

const FORGED: &str = "CREATE TABLE forged (id int, n numeric, tx text, jb jsonb, a int[], d date, long text)";
const FORGED_ROWS: &str = "INSERT INTO forged VALUES (1, 12.5, 'text', '{\"a\": [1, \"b\"]}', '{1,2,NULL}', '2020-01-01', repeat('compressed ', 400)), (2, NULL, 'x', '1', '{}', NULL, NULL)";

#[test]
fn forged_rows_are_refused_before_they_are_stored() {
    let mut pair = with_extension("stored_forged", FORGED, FORGED_ROWS);
    type Forge = fn(&mut Vec<u8>);
    let forgeries: [(&str, Forge); 8] = [
        ("cut off", |piece| {
            piece.pop();
        }),
        ("another number of columns", |piece| piece[4] += 1),
        ("not UTF-8", |piece| {
            let at = piece.windows(4).position(|bytes| bytes == b"text").unwrap();
            piece[at] = 0xff;
        }),
        ("lies outside of the row", |piece| {
            let at = piece.windows(4).position(|bytes| bytes == b"text").unwrap();
            piece[at - 1] = 1;
        }),
        ("cut off", |piece| {
            // The length of the compressed value.
            let at = piece.windows(4).position(|bytes| bytes == b"comp").unwrap();
            piece[at - 7] = 0x7f;
        }),
        ("digits that are none", |piece| {
            // 12.5 is 12 and 5000.
            let at = piece.windows(4).position(|bytes| bytes == [12, 0, 0x88, 0x13]).unwrap();
            piece[at + 2..at + 4].copy_from_slice(&10_000u16.to_le_bytes());
        }),
        ("compressed value is damaged", |piece| {
            let at = piece.windows(4).position(|bytes| bytes == b"comp").unwrap();
            piece[at - 5] = piece[at - 5].wrapping_add(1);
        }),
        ("something behind the last value", |piece| {
            // The second row becomes one byte longer.
            let length = u32::from_le_bytes(piece[..4].try_into().unwrap()) as usize;
            let second = 6 + length;
            let bytes = if piece[5] & 0x80 == 0 { 0 } else { 1 };
            piece[second + bytes] += 1;
            piece.push(0);
        }),
    ];
    for (reason, forge) in forgeries {
        let forger = forging(&pair, forge);
        let sql = format!("SELECT pgcopy.pull('{}', trust_source => true, parallel => 0)", forger.dsn("stored_forged"));
        let failure = failure_of(&mut pair.destination, &sql);
        assert_eq!(failure.sqlstate, "XX001", "{reason}: {failure:?}");
        assert!(failure.message.contains(reason), "{reason}: {failure:?}");
        assert!(failure.detail.contains("forged"), "{failure:?}");
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM forged"), "0");
    }
}

#[test]
fn changed_bytes_of_stored_rows_do_not_end_the_server() {
    let mut pair = with_extension("stored_changed", FORGED, FORGED_ROWS);
    let tries = crate::harness::number("PGCOPY_TEST_CHANGES", 40);
    let seed = crate::harness::number("PGCOPY_TEST_SEED", 1);
    let turn = Arc::new(AtomicUsize::new(0));
    let at = Arc::clone(&turn);
    let forger = forging(&pair, move |piece| {
        let mut random =
            (at.load(SeqCst) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 16) as usize
        };
        let position = next() % piece.len();
        piece[position] ^= 1 << (next() % 8);
    });
    let mut refused = 0;
    for number in 0..tries as usize {
        turn.store(number, SeqCst);
        let sql = format!(
            "SELECT pgcopy.pull('{}', trust_source => true, overwrite => true, parallel => 0)",
            forger.dsn("stored_changed")
        );
        match pair.destination.batch_execute(&sql) {
            Ok(()) => {
                let read = "SELECT count(x::text)::text || count(jb -> 'a')::text || count(n + 1)::text || count(a[2])::text || count(d + 1)::text || count(upper(long))::text FROM forged x";
                text(&mut pair.destination, read);
                assert_sound(&mut pair.destination);
            }
            Err(error) => {
                assert_eq!(Failure::of(&error).sqlstate, "XX001", "{}", describe(&error));
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && forger.forged() > 0);
}
