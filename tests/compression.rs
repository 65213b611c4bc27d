//! Rows that pgcopy on the source compresses.

use crate::harness::proxy::Proxy;
use crate::harness::{Failure, Pair, connect, connect_as, describe, eventually, text, texts, wait_for_worker};
use frames::{Codec, Decoder, Form, Opened};
use postgres::Client;
use std::io::Read;

/// Values of all kinds: those that are encoded without a call of the server's functions, and others.
const KINDS: &str = "CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE TABLE kind (id int PRIMARY KEY, b bool, s int2, l int8, f4 float4, f8 float8, n numeric, fixed numeric(12,3), d date,
        t time, tz timetz, ts timestamp, tstz timestamptz, i interval, u uuid, tx text, vc varchar(100), bp char(12), by bytea,
        j json, jb jsonb, m mood, p positive, o oid, na name, c \"char\", a int[], ta text[], r int4range, ip inet, bits varbit(20),
        pt point, made int GENERATED ALWAYS AS (id * 2) STORED)";

const KINDS_ROWS: &str = r#"INSERT INTO kind SELECT i, i % 2 = 0, i, i::int8 * 5000000000, i / 3.0, CASE i % 7 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE i / 7.0 END,
        CASE i % 11 WHEN 0 THEN 'NaN'::numeric WHEN 1 THEN '-Infinity' WHEN 2 THEN 0 WHEN 3 THEN -0.000012345 WHEN 4 THEN 1e300 * i
                    WHEN 5 THEN -1e-300 WHEN 6 THEN 10000 WHEN 7 THEN repeat('9', 700)::numeric ELSE i * 1.0001 END,
        i * 1.5, '1900-01-01'::date + i * 50, '00:00:00.000001'::time + i * interval '1 s', '12:00+03', '1700-01-01'::timestamp + i * interval '1 day 3 us',
        CASE WHEN i % 9 = 0 THEN 'infinity' ELSE '2020-01-01 00:00+00'::timestamptz - i * interval '7 days' END, i * interval '1 month 2 us',
        ('feedface-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, repeat('täxt \ ' || chr(9) || chr(10) || chr(13) || chr(8) || chr(11) || chr(12) || chr(1), i % 5), 'v' || i, 'b' || i,
        decode(repeat('00ff5c', i % 40), 'hex'), '{"a": [1, 2,  3]}', jsonb_build_object('i', i, 'n', NULL),
        CASE i % 2 WHEN 0 THEN 'sad' ELSE 'happy' END::mood, i + 1, i, 'name' || i, 'c', ARRAY[i, NULL, -i], ARRAY['x', NULL, '"'],
        int4range(i, i + 5), '10.0.0.1/8', B'1010', point(i, -i)
        FROM generate_series(0, 3000) i;
    INSERT INTO kind (id) VALUES (-1);
    INSERT INTO kind (id, tx, by) SELECT -2, string_agg(md5(i::text), ''), decode(string_agg(md5(i::text), ''), 'hex') FROM generate_series(1, 100000) i"#;

const COLUMNS: &str = "id, b, s, l, f4, f8, n, fixed, d, t, tz, ts, tstz, i, u, tx, vc, bp, by, j, jb, m, p, o, na, c, a, ta, r, ip, bits, pt";

fn with_extension(name: &str, schema: &str, rows: &str) -> Pair {
    let mut pair = Pair::with(name, schema, rows);
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    pair
}

fn copied(client: &mut Client, statement: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = client.copy_out(statement).unwrap_or_else(|error| panic!("{statement}: {}", describe(&error)));
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The frames in a stream of binary COPY.
fn frames_of(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut copy = copystream::BinaryStream::new(1);
    copy.feed::<copystream::StreamError>(stream, |mut row| {
        frames.push(row.next_field().unwrap().to_vec());
        Ok(())
    })
    .unwrap();
    copy.finish().unwrap();
    frames
}

fn sent(client: &mut Client, query: &str, form: Form, codec: &str) -> Vec<Vec<u8>> {
    let statement = format!(
        "COPY (SELECT pgcopy.send_frames(wire => 1, query => $query${query}$query$, form => '{}', codec => '{codec}')) TO STDOUT (FORMAT binary)",
        form.name()
    );
    frames_of(&copied(client, &statement))
}

#[test]
fn what_is_sent_in_frames_is_what_copy_sends() {
    let mut pair = with_extension("frames_streams", KINDS, KINDS_ROWS);
    let source = &mut pair.source;
    source.batch_execute("BEGIN READ ONLY").unwrap();
    for (table, columns) in
        [("kind", COLUMNS), ("(SELECT * FROM kind LIMIT 0) none", "*"), ("kind", "made, id"), ("kind", "")]
    {
        let query = format!("SELECT {columns} FROM {table}");
        for form in Form::ALL {
            let expected = copied(source, &format!("COPY ({query}) TO STDOUT (FORMAT {})", form.name()));
            let count: i64 = source.query_one(&format!("SELECT count(*) FROM {table}"), &[]).unwrap().get(0);
            for codec in Codec::ALL {
                let frames = sent(source, &query, form, codec.name());
                let mut decoder = Decoder::new(form);
                let mut stream = Vec::new();
                for frame in &frames {
                    let Opened { piece, .. } = decoder.open(frame).unwrap();
                    stream.extend_from_slice(piece);
                }
                assert!(stream == expected, "{query} {form:?} {codec:?}: {} {}", stream.len(), expected.len());
                assert_eq!(decoder.finish(), Ok(count as u64));
            }
        }
    }
}

#[test]
fn pulls_with_every_codec() {
    let mut pair = with_extension(
        "frames_pulls",
        &format!(
            "{KINDS}; CREATE TABLE empty (a int); CREATE TABLE bare (); CREATE TABLE big (id int PRIMARY KEY, body text)"
        ),
        &format!(
            "{KINDS_ROWS}; INSERT INTO bare SELECT FROM generate_series(1, 10);
                  INSERT INTO big SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 20000) i; ANALYZE"
        ),
    );
    for codec in ["none", "gzip", "lz4", "zstd"] {
        for workers in [0, 2] {
            let report = pair.pull(&format!("overwrite => true, compress => '{codec}', parallel => {workers}"));
            let rows: Vec<_> = report.iter().map(|row| (row.table.as_str(), row.rows)).collect();
            assert_eq!(rows, [("bare", 10), ("big", 20000), ("empty", 0), ("kind", 3003)]);
            pair.assert_same_content();
        }
        pair.pull(&format!("overwrite => true, compress => '{codec}', method => 'in place'"));
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
}

#[test]
fn a_source_without_the_extension_is_told_of_before_anything_is_touched() {
    let mut pair = Pair::with("frames_without", "CREATE TABLE item (a int)", "INSERT INTO item VALUES (1)");
    for call in ["compress => 'zstd'", "compress => 'gzip', overwrite => true"] {
        let failure = pair.pull_error(call);
        assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
        assert!(failure.message.starts_with("the source cannot compress rows with "), "{failure:?}");
        assert_eq!(failure.detail, "The database has no extension pgcopy.");
        assert!(failure.hint.contains("ssh -C"), "{failure:?}");
    }
    let failure = pair.pull_error("compress => 'best'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.hint.as_str()),
        ("22023", "Available values: none, auto, gzip, lz4, zstd.")
    );
    for compress in ["auto", "none"] {
        pair.pull(&format!("compress => '{compress}', overwrite => true"));
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(state, ' ') FROM pgcopy.jobs"), "completed completed");
    let dsn = pair.dsn();
    let plan = pair.destination.query(&format!("SELECT * FROM pgcopy.plan('{dsn}', compress => 'lz4')"), &[]);
    assert_eq!(crate::harness::Failure::of(&plan.unwrap_err()).sqlstate, "0A000");
}

fn try_pull_through(pair: &mut Pair, dsn: &str, arguments: &str) -> Result<u64, Failure> {
    let sql = format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true, {arguments})");
    pair.destination.execute(&sql, &[]).map_err(|error| Failure::of(&error))
}

/// Wire bytes and codecs of the last job, table by table.
fn travelled(pair: &mut Pair) -> Vec<String> {
    pair.assert_nothing_left();
    texts(
        &mut pair.destination,
        "SELECT concat_ws(' ', \"table\", wire_bytes < bytes, codec) FROM pgcopy.job_tables
         WHERE job = (SELECT max(job) FROM pgcopy.jobs) ORDER BY 1",
    )
}

const BIG: &str = "CREATE TABLE big (id int PRIMARY KEY, body text)";
const BIG_ROWS: &str =
    "INSERT INTO big SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 20000) i; ANALYZE big";

#[test]
fn reports_say_what_has_travelled() {
    let mut pair = with_extension("frames_reports", BIG, BIG_ROWS);
    pair.notices();
    pair.pull("compress => 'zstd'");
    let notices = pair.notices();
    assert!(
        notices.iter().any(|notice| notice.contains(" travelled as ") && notice.contains(", with zstd")),
        "{notices:?}"
    );
    assert_eq!(travelled(&mut pair), ["big t zstd"]);
    pair.pull("compress => 'gzip', method => 'in place', overwrite => true");
    assert_eq!(travelled(&mut pair), ["big t gzip"]);
    let dsn = pair.dsn();
    for (arguments, wire) in [("compress => 'lz4'", "binary, lz4"), ("overwrite => true", "binary")] {
        let plan = format!("SELECT DISTINCT wire FROM pgcopy.plan('{dsn}', {arguments})");
        assert_eq!(texts(&mut pair.destination, &plan), [wire]);
    }
    // The source is on this machine.
    pair.pull("overwrite => true");
    assert_eq!(travelled(&mut pair), ["big"]);
    assert_eq!(pair.notices().iter().filter(|notice| notice.contains("travelled")).count(), 1);
}

#[test]
fn rows_are_compressed_on_a_slow_link() {
    let rows = "INSERT INTO big SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 20) j)
                FROM generate_series(1, 60000) i; ANALYZE big";
    let mut pair = with_extension("frames_auto", BIG, rows);
    let proxy = Proxy::start(pair.source_port);
    let dsn = proxy.dsn(&pair.database);
    // Much slower than any processor that the test shares with others.
    proxy.throttle(2_000_000);
    try_pull_through(&mut pair, &dsn, "parallel => 1").unwrap();
    assert!(proxy.passed() < 37_000_000, "{} of 40 MB", proxy.passed());
    pair.assert_same_content();
    let travelled = travelled(&mut pair);
    // The last choice is told, which on a busy machine may be to leave the rows alone for a while.
    assert!(travelled.len() == 1 && travelled[0].starts_with("big t "), "{travelled:?}");
}

#[test]
fn auto_goes_on_without_what_the_source_lacks() {
    let mut pair = with_extension("frames_lacking", "CREATE TABLE item (a int)", "INSERT INTO item VALUES (1)");
    pair.source
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE plain_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT SELECT ON item TO plain_reader",
        )
        .unwrap();
    let proxy = Proxy::start(pair.source_port);
    let dsn = proxy.dsn(&pair.database).replace("user=postgres", "user=plain_reader");
    let steps = [
        ("SELECT", None),
        (
            "REVOKE EXECUTE ON FUNCTION pgcopy.send_frames FROM PUBLIC",
            Some("The user of the source may not execute pgcopy.send_frames."),
        ),
        ("GRANT EXECUTE ON FUNCTION pgcopy.send_frames TO plain_reader", None),
        // As an older version has it.
        (
            "ALTER EXTENSION pgcopy DROP FUNCTION pgcopy.send_frames; DROP FUNCTION pgcopy.send_frames",
            Some("The extension pgcopy there is an older version, which does not compress."),
        ),
        // Somebody's own function is not called.
        (
            "DROP EXTENSION pgcopy; CREATE SCHEMA pgcopy;
             CREATE FUNCTION pgcopy.wire_versions() RETURNS int[] LANGUAGE sql AS 'SELECT ARRAY[1/0]';
             CREATE FUNCTION pgcopy.send_frames(wire int, query text, form text, codec text) RETURNS SETOF bytea LANGUAGE sql
                AS 'SELECT (1/0)::text::bytea'; GRANT USAGE ON SCHEMA pgcopy TO PUBLIC",
            Some("The database has no extension pgcopy."),
        ),
    ];
    for (change, reason) in steps {
        pair.source.batch_execute(change).unwrap();
        pair.notices();
        try_pull_through(&mut pair, &dsn, "include => '{item}'")
            .unwrap_or_else(|failure| panic!("{change}: {failure:?}"));
        pair.assert_same_content();
        let notices = pair.notices();
        let told: Vec<_> = notices.iter().filter(|notice| notice.starts_with("the source does not compress")).collect();
        assert_eq!(told.len(), usize::from(reason.is_some()), "{change}: {notices:?}");
        match (try_pull_through(&mut pair, &dsn, "include => '{item}', compress => 'lz4'"), reason) {
            (Ok(_), None) => {}
            (Err(failure), Some(reason)) => {
                assert_eq!((failure.sqlstate.as_str(), failure.detail.as_str()), ("0A000", reason), "{change}");
            }
            (outcome, _) => panic!("{change}: {outcome:?}"),
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn the_function_reveals_what_select_does() {
    let mut pair = with_extension(
        "frames_rights",
        "CREATE TABLE item (id int, owner text, secret text)",
        "INSERT INTO item SELECT i, CASE i % 2 WHEN 0 THEN 'frames_reader' ELSE 'other' END, 's' FROM generate_series(1, 10) i",
    );
    pair.source
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE frames_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT SELECT (id, owner) ON item TO frames_reader; ALTER TABLE item ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON item USING (owner = current_user);
             CREATE TABLE written (a int); GRANT ALL ON written TO frames_reader;
             CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO written VALUES (1) RETURNING a'",
        )
        .unwrap();
    let call = |query: &str, wire: i32, form: &str, codec: &str| {
        format!("SELECT pgcopy.send_frames({wire}, $q${query}$q$, '{form}', '{codec}')")
    };
    let mut reader = connect_as(pair.source_port, &pair.database, "frames_reader");
    let outside = Failure::of(&reader.query(&call("SELECT 1", 1, "text", "none"), &[]).unwrap_err());
    assert_eq!(outside.sqlstate, "55000", "{outside:?}");
    reader.batch_execute("BEGIN READ ONLY").unwrap();
    let mut fails = |sql: &str, sqlstate: &str| {
        reader.batch_execute("SAVEPOINT s").unwrap();
        let failure = Failure::of(&reader.query(sql, &[]).unwrap_err());
        assert_eq!(failure.sqlstate, sqlstate, "{sql}: {failure:?}");
        reader.batch_execute("ROLLBACK TO s").unwrap();
    };
    for (query, sqlstate) in [
        ("SELECT secret FROM item", "42501"),
        ("SELECT * FROM item", "42501"),
        ("SELECT writes()", "25006"),
        ("INSERT INTO written VALUES (1) RETURNING a", "0A000"),
        ("WITH w AS (INSERT INTO written VALUES (1) RETURNING a) SELECT * FROM w", "0A000"),
        ("SELECT a FROM written FOR UPDATE", "0A000"),
        ("SELECT a INTO other FROM written", "0A000"),
        ("SELECT 1; SELECT 2", "0A000"),
        ("", "0A000"),
        ("SHOW work_mem", "0A000"),
        ("SELEC 1", "42601"),
        ("SELECT 1/0", "22012"),
        ("SELECT $1", "42P02"),
    ] {
        fails(&call(query, 1, "text", "none"), sqlstate);
    }
    fails(&call("SELECT 1", 2, "text", "none"), "0A000");
    fails(&call("SELECT 1", 1, "heap", "none"), "22023");
    fails(&call("SELECT 1", 1, "text", "best"), "22023");
    fails("SELECT pgcopy.send_frames(1, NULL, 'text', 'none')", "22004");
    let frames = sent(&mut reader, "SELECT id FROM item ORDER BY id", Form::Text, "none");
    let piece = Decoder::new(Form::Text).open(&frames[0]).unwrap().piece.to_vec();
    assert_eq!(String::from_utf8(piece).unwrap(), "2\n4\n6\n8\n10\n");
    // A statement that does not want all of them ends what was begun.
    let first = "SELECT pgcopy.send_frames(1, 'SELECT repeat(''x'', 1000) FROM generate_series(1, 5000)', 'text', 'none') LIMIT 1";
    for _ in 0..3 {
        assert_eq!(reader.query(first, &[]).unwrap().len(), 1);
    }
    // A pull must not take a part of the rows for all of them.
    let dsn = pair.dsn().replace("user=postgres", "user=frames_reader");
    let failure = try_pull_through(&mut pair, &dsn, "include => '{item}', compress => 'zstd'").unwrap_err();
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
}

#[test]
fn sources_that_lie_in_frames() {
    let mut pair = with_extension("frames_hostile", BIG, BIG_ROWS);
    pair.destination.batch_execute("INSERT INTO big VALUES (0, 'old')").unwrap();
    let before = pair.destination_state();
    pair.source
        .batch_execute(
            "ALTER EXTENSION pgcopy DROP FUNCTION pgcopy.send_frames; ALTER FUNCTION pgcopy.send_frames RENAME TO honest",
        )
        .unwrap();
    let lies = [
        ("XX001", "SELECT set_bit(f, 8 * 1000, 1 - get_bit(f, 8 * 1000)) FROM h"),
        ("XX001", "SELECT set_byte(f, 17, 255 - get_byte(f, 17)) FROM h"),
        ("XX001", "SELECT substr(f, 1, length(f) - 1) FROM h"),
        ("08P01", "SELECT substr(f, 1, 20) FROM h"),
        ("08P01", "SELECT ''::bytea FROM h"),
        ("08P01", "SELECT NULL::bytea FROM h"),
        ("08P01", "SELECT f FROM h ORDER BY n DESC"),
        ("08P01", "SELECT f FROM h WHERE n > 1"),
        ("08P01", "SELECT f FROM h WHERE n < (SELECT max(n) FROM h)"),
        ("08P01", "SELECT f FROM h WHERE n <> 3"),
        ("08P01", "SELECT f FROM h, generate_series(1, 2)"),
        ("08P01", "SELECT f FROM h UNION ALL SELECT f FROM h"),
        ("08P01", "SELECT f FROM h WHERE false"),
        ("XX001", "SELECT CASE WHEN n = (SELECT max(n) FROM h) THEN set_byte(f, 25, 1) ELSE f END FROM h"),
        ("08P01", "SELECT set_byte(f, 3, 9) FROM h"),
        ("08P01", "SELECT set_byte(f, 4, 2) FROM h"),
        ("08P01", "SELECT set_byte(f, 5, 7) FROM h"),
        ("08P01", "SELECT set_byte(f, 6, 64) FROM h"),
        ("54000", "SELECT set_byte(f, 12, 127) FROM h"),
        ("54000", "SELECT f || decode(repeat('00', 6000000), 'hex') FROM h"),
        ("08P01", "SELECT decode('504743', 'hex') FROM h"),
    ];
    for (number, (sqlstate, lie)) in lies.into_iter().enumerate() {
        pair.source
            .batch_execute(&format!(
                "CREATE FUNCTION pgcopy.send_frames(wire int, query text, form text, codec text) RETURNS SETOF bytea
                     LANGUAGE plpgsql AS $$
                 BEGIN
                     RETURN QUERY WITH h AS MATERIALIZED
                         (SELECT f, n FROM pgcopy.honest(wire, query, form, codec) WITH ORDINALITY h(f, n)) {lie};
                 END $$; ALTER EXTENSION pgcopy ADD FUNCTION pgcopy.send_frames"
            ))
            .unwrap();
        let codec = ["zstd", "lz4", "gzip"][number % 3];
        let in_place = if number % 5 == 0 { ", method => 'in place'" } else { "" };
        let failure =
            pair.pull_error(&format!("overwrite => true, compress => '{codec}', parallel => {}{in_place}", number % 2));
        assert_eq!(failure.sqlstate, sqlstate, "{lie}: {failure:?}");
        pair.source
            .batch_execute("ALTER EXTENSION pgcopy DROP FUNCTION pgcopy.send_frames; DROP FUNCTION pgcopy.send_frames")
            .unwrap();
    }
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
}

#[test]
fn parts_of_the_data_masks_and_text() {
    let mut pair = with_extension(
        "frames_parts",
        "CREATE TABLE item (id int PRIMARY KEY, name text, note text, kind regtype);
         CREATE TABLE sorted (id int, region text) PARTITION BY LIST (region);
         CREATE TABLE sorted_a PARTITION OF sorted FOR VALUES IN ('a'); CREATE TABLE sorted_b PARTITION OF sorted FOR VALUES IN ('b')",
        r"INSERT INTO item SELECT i, 'Secret' || i, 'a\b' || chr(9) || chr(39) || i, 'int4' FROM generate_series(1, 5000) i;
         INSERT INTO sorted SELECT i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 5000) i",
    );
    let tables =
        r#"{"item": {"where": "id % 3 = 0 AND note <> E'\\'' || '\\\\'", "columns": {"name": {"mask": "name"}}}}"#;
    let tables = tables.replace('\'', "''");
    let mut contents = Vec::new();
    for codec in ["none", "zstd", "lz4"] {
        let arguments = format!("compress => '{codec}', mask_key => 'correct horse battery', tables => '{tables}'");
        let dsn = pair.dsn();
        try_pull_through(&mut pair, &dsn, &arguments).unwrap_or_else(|failure| panic!("{codec}: {failure:?}"));
        contents.push(pair.destination_state().rows);
        let masked = "SELECT concat(count(*), ' ', count(*) FILTER (WHERE name ~ 'Secret')) FROM item";
        assert_eq!(text(&mut pair.destination, masked), "1666 0");
    }
    assert_eq!(contents[1], contents[0]);
    assert_eq!(contents[2], contents[0]);
    // Values that expressions fail for stay on the source.
    let failing = r#"{"item": {"columns": {"note": {"value": "(name::int)::text"}}}}"#;
    let failure = pair
        .pull_error(&format!("overwrite => true, compress => 'zstd', include => '{{item}}', tables => '{failing}'"));
    assert_eq!(failure.sqlstate, "22P02", "{failure:?}");
    assert!(!format!("{failure:?}").contains("Secret"), "{failure:?}");
    pair.assert_nothing_left();
}

#[test]
fn values_of_many_megabytes() {
    let mut pair = with_extension(
        "frames_huge",
        "CREATE TABLE item (id int PRIMARY KEY, body text, raw bytea)",
        "INSERT INTO item SELECT i, repeat(md5(i::text), 20 * 32768), NULL FROM generate_series(1, 2) i;
         INSERT INTO item SELECT 3, 'short', decode(string_agg(md5(i::text), ''), 'hex') FROM generate_series(1, 600000) i",
    );
    for codec in ["gzip", "lz4", "zstd"] {
        pair.pull(&format!("overwrite => true, compress => '{codec}'"));
        pair.assert_same_content();
    }
}

#[test]
fn a_cancel_and_a_lost_worker_end_a_compressed_pull() {
    let rows = "INSERT INTO big SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 20) j)
                FROM generate_series(1, 20000) i; ANALYZE big";
    let mut pair = with_extension("frames_ended", BIG, rows);
    let before = pair.destination_state();
    let proxy = Proxy::start(pair.source_port);
    let dsn = proxy.dsn(&pair.database);
    for (end, sqlstate) in [("cancel", "57014"), ("terminate", "57P01")] {
        proxy.throttle(1_000_000);
        let (port, database) = (pair.destination_port, pair.database.clone());
        let sql = format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true, compress => 'lz4', parallel => 1)");
        let pulling = std::thread::spawn(move || connect(port, &database).execute(&sql, &[]));
        let worker = wait_for_worker(&mut pair.destination, "%copying public.big%");
        let victim = match end {
            "cancel" => text(&mut pair.destination, "SELECT leader_pid::text FROM pgcopy.jobs WHERE state = 'running'"),
            _ => worker.to_string(),
        };
        pair.destination.batch_execute(&format!("SELECT pg_{end}_backend({victim})")).unwrap();
        let failure = Failure::of(&pulling.join().unwrap().unwrap_err());
        assert_eq!(failure.sqlstate, sqlstate, "{end}: {failure:?}");
        // The source gives its query up, too.
        proxy.throttle(0);
        let left = "SELECT count(*)::text FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE '%send_frames%' AND pid <> pg_backend_pid()";
        eventually("the source's sessions end", || text(&mut pair.source, left) == "0");
        assert_eq!(pair.destination_state(), before);
        pair.assert_nothing_left();
    }
}

#[test]
fn texts_of_another_encoding() {
    let options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    let mut pair =
        Pair::created_with("frames_latin", "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0", options);
    pair.both("CREATE TABLE item (id int PRIMARY KEY, body text, document json, kind regtype)");
    pair.both("CREATE TABLE plain (id int, body text, c char(5))");
    pair.source
        .batch_execute(
            "CREATE EXTENSION pgcopy;
             INSERT INTO item SELECT i, 'caf\u{e9} ' || i, to_json('\u{e4}' || i), 'text' FROM generate_series(1, 3000) i;
             INSERT INTO plain SELECT i, '\u{fc}' || chr(9) || i, '\u{f6}' FROM generate_series(1, 3000) i",
        )
        .unwrap();
    let mut contents = Vec::new();
    for codec in ["none", "zstd"] {
        pair.pull(&format!("overwrite => true, compress => '{codec}'"));
        contents.push(pair.destination_state().rows);
    }
    assert_eq!(contents[1], contents[0]);
    assert_eq!(text(&mut pair.destination, "SELECT max(body) FROM plain WHERE id = 7"), "\u{fc}\t7");
}

#[test]
fn what_gets_no_shorter_travels_as_it_is() {
    let rows = "INSERT INTO item SELECT i, (SELECT string_agg(sha512((i * 1000 + j)::text::bytea), '') FROM generate_series(1, 100) j)
                FROM generate_series(1, 200) i";
    let mut pair = with_extension("frames_noise", "CREATE TABLE item (id int, body bytea)", rows);
    pair.pull("compress => 'zstd'");
    assert_eq!(travelled(&mut pair), ["item f none"]);
    pair.assert_same_content();
}

#[test]
fn a_migration_is_compressed_too() {
    if !crate::migrate::has_pg_dump() {
        println!("not checked: these servers come without pg_dump");
        return;
    }
    let mut pair = with_extension("frames_migrate", "", "");
    pair.source.batch_execute(&format!("{BIG}; {BIG_ROWS}")).unwrap();
    pair.migrate(", compress => 'lz4'");
    pair.assert_same_content();
    assert_eq!(travelled(&mut pair), ["big t lz4"]);
}

#[test]
fn rows_that_verify_looks_at_one_by_one_are_compressed() {
    let mut pair = with_extension(
        "frames_verify",
        "CREATE TABLE item (id int PRIMARY KEY, a int, b int, c text)",
        "INSERT INTO item SELECT i, i, i, 'c' || i FROM generate_series(1, 20000) i; ANALYZE",
    );
    pair.pull("");
    pair.destination
        .batch_execute("UPDATE item SET a = -a WHERE id % 50 = 0; DELETE FROM item WHERE id = 7; ANALYZE")
        .unwrap();
    let proxy = Proxy::start(pair.source_port);
    let dsn = proxy.dsn(&pair.database);
    let verify = |arguments: &str| {
        format!("SELECT array_to_string(differences, '; ') FROM pgcopy.verify('{dsn}', most_rows => 1000, {arguments})")
    };
    let mut passed = Vec::new();
    let expected = text(&mut pair.destination, &verify("level => 'rows', compress => 'none'"));
    assert!(expected.contains("missing here: (id)=(7)") && expected.contains("changed: (id)=(50) in a"), "{expected}");
    for codec in ["none", "auto", "gzip", "lz4", "zstd"] {
        let before = proxy.passed();
        let sql = verify(&format!("level => 'rows', compress => '{codec}'"));
        assert_eq!(text(&mut pair.destination, &sql), expected, "{codec}");
        passed.push(proxy.passed() - before);
    }
    assert!(passed[1..].iter().all(|bytes| *bytes < passed[0] * 7 / 10), "{passed:?}");
    pair.source.batch_execute("DROP EXTENSION pgcopy").unwrap();
    pair.notices();
    assert_eq!(text(&mut pair.destination, &verify("level => 'rows'")), expected);
    assert_eq!(pair.notices(), ["the source does not compress the rows: the database has no extension pgcopy"]);
    let failure = Failure::of(&pair.destination.query(&verify("level => 'rows', compress => 'lz4'"), &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    // Nothing else of a comparison is long.
    text(&mut pair.destination, &verify("level => 'digest', compress => 'lz4'"));
    let failure = Failure::of(&pair.destination.query(&verify("compress => 'best'"), &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "22023", "{failure:?}");
}
