//! Rows that pgcopy on the source compresses.

use crate::harness::{Pair, describe, text};
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
