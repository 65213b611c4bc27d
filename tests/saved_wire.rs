//! What earlier versions said to each other. A pgcopy of today reads from them, and answers them, as they did.
//!
//! `tests/data/wire_1` has, for each call of a destination that spoke wire version 1, its text and what the source returned. A
//! version that is new gets a directory of its own, written by `PGCOPY_TEST_RECORD=1 cargo xtask test --tests-only saved_wire`;
//! those of released versions are never written again.

use crate::harness::forger::{Forged, Forger, message as framed};
use crate::harness::proxy::Proxy;
use crate::harness::{Failure, Pair, connect, describe, pulled, texts};
use copystream::BinaryStream;
use postgres::Client;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

/// Values whose bytes are the same on every supported version.
const SCHEMA: &str = "CREATE TABLE kind (id int, b bool, s int2, l int8, f float8, n numeric, d date, ts timestamptz, i interval, u uuid, tx text,
        bp char(5), by bytea, jb jsonb, a int[], ip inet);
    CREATE TABLE named (id int, kind regtype, note text);
    CREATE TABLE long (id int, body text);
    CREATE TABLE stored (id int, b bool, n numeric, d date, u uuid, tx text, by bytea, jb jsonb, a int[], long text)";

const ROWS: &str = r#"INSERT INTO kind SELECT i, i % 2 = 0, i, i * 5000000000, i / 4.0, i * 1.25, '2020-02-29'::date + i,
        '2020-01-01 00:00+00'::timestamptz + i * interval '1 s', i * interval '1 month 2 us', ('feedface-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid,
        'täxt ' || i, 'b', '\x00ff', '{"k": [1, null, true, "v"]}', ARRAY[i, NULL], '10.0.0.1/8' FROM generate_series(1, 5) i;
    INSERT INTO kind (id) VALUES (-1);
    INSERT INTO named SELECT i, 'int4', 'a\b' || chr(9) || chr(39) || i FROM generate_series(1, 5) i;
    INSERT INTO long SELECT i, repeat('a long row ', 30000) FROM generate_series(1, 3) i;
    INSERT INTO stored SELECT i, i % 2 = 0, i * 1.25, '2020-02-29'::date + i, ('feedface-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, 'täxt ' || i, '\x00ff',
        '{"k": [1, null, true, "v"]}', ARRAY[i, NULL], repeat('compressed ', 400) FROM generate_series(1, 5) i;
    INSERT INTO stored (id) VALUES (-1)"#;

const CODECS: [&str; 4] = ["auto", "gzip", "lz4", "zstd"];

/// A call of a destination, and the stream of COPY that the source answered with.
struct Saved {
    call: String,
    answer: Vec<u8>,
}

fn directory() -> PathBuf {
    xtask::root().join("tests/data/wire_1")
}

fn saved() -> Vec<Saved> {
    let mut calls: Vec<PathBuf> = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    calls.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    calls.sort();
    assert!(!calls.is_empty());
    let of = |path: PathBuf| Saved {
        call: fs::read_to_string(&path).unwrap().trim_end().to_owned(),
        answer: fs::read(path.with_extension("copy")).unwrap(),
    };
    calls.into_iter().map(of).collect()
}

impl Saved {
    fn is_of_stored_rows(&self) -> bool {
        self.call.contains("pgcopy.send_stored_frames(")
    }

    fn frames(&self) -> Vec<Vec<u8>> {
        frames_of(&self.answer)
    }
}

fn frames_of(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut copy, mut frames) = (BinaryStream::new(1), Vec::new());
    copy.feed(stream, |mut row| -> Result<(), copystream::StreamError> {
        frames.push(row.next_field().unwrap().to_vec());
        Ok(())
    })
    .unwrap();
    copy.finish().unwrap();
    frames
}

fn copied(client: &mut Client, statement: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = client.copy_out(statement).unwrap_or_else(|error| panic!("{statement}: {}", describe(&error)));
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn with_extension(name: &str) -> Pair {
    let mut pair = Pair::with(name, SCHEMA, ROWS);
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    pair
}

fn try_pull(client: &mut Client, dsn: &str, arguments: &str) -> Result<usize, Failure> {
    let sql = format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true, {arguments})");
    client.query(&sql, &[]).map(|rows| pulled(rows).len()).map_err(|error| Failure::of(&error))
}

/// The frames of wire version 1, read by the rules that it was published with. Returns the stream and the number of rows.
fn opened_as_version_1(frames: &[Vec<u8>], form: u8, codecs: &[u8]) -> (Vec<u8>, u64) {
    let (mut stream, mut rows) = (Vec::new(), 0);
    for (number, frame) in frames.iter().enumerate() {
        let (header, body) = frame.split_at(36);
        let four = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(&header[..4], b"PGF\x01");
        assert_eq!(header[4], form);
        assert!(codecs.contains(&header[5]), "codec {}", header[5]);
        assert_eq!(header[6], u8::from(number + 1 == frames.len()), "the last frame, and no other one, is marked");
        assert_eq!(header[7], 0);
        assert_eq!(four(8) as usize, number);
        let length = four(12) as usize;
        assert!(length <= 4 * 1024 * 1024);
        let piece = match header[5] {
            0 => body.to_vec(),
            1 => {
                let mut piece = Vec::new();
                flate2::read::ZlibDecoder::new(body).read_to_end(&mut piece).unwrap();
                piece
            }
            2 => lz4_flex::block::decompress(body, length).unwrap(),
            _ => zstd::bulk::decompress(body, length).unwrap(),
        };
        assert_eq!(piece.len(), length);
        assert!(header[5] == 0 || body.len() < length, "what gets no shorter is not compressed");
        assert_eq!(four(16), crc32c(&piece));
        let ended = u64::from(four(20)) << 32 | u64::from(four(24));
        assert!(ended >= rows);
        rows = ended;
        stream.extend(piece);
    }
    (stream, rows)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
    })
}

#[test]
fn a_source_of_today_answers_saved_calls_as_ever() {
    let mut pair = with_extension("wire_saved_calls");
    if std::env::var_os("PGCOPY_TEST_RECORD").is_some() {
        record(&mut pair);
    }
    pair.source.batch_execute("BEGIN READ ONLY").unwrap();
    for saved in saved() {
        let named = ["none", "gzip", "lz4", "zstd"].map(|codec| saved.call.contains(&format!("codec => '{codec}'")));
        let codecs: Vec<u8> = match named.iter().position(|is| *is) {
            Some(codec) => vec![0, codec as u8],
            None => vec![0, 1, 2, 3],
        };
        let form = match (saved.is_of_stored_rows(), saved.call.contains("form => 'text'")) {
            (true, _) => 3,
            (_, true) => 2,
            _ => 1,
        };
        let answer = frames_of(&copied(&mut pair.source, &saved.call));
        let (stream, rows) = opened_as_version_1(&answer, form, &codecs);
        let (expected, expected_rows) = opened_as_version_1(&saved.frames(), form, &codecs);
        assert!(stream == expected, "{}", saved.call);
        assert_eq!(rows, expected_rows, "{}", saved.call);
    }
    let form = texts(&mut pair.source, "SELECT pgcopy.stored_form()").remove(0);
    assert!(form.starts_with("form 1, PostgreSQL ") && form.contains(", pages of 8192, UTF8, pglz"), "{form}");
    assert!(texts(&mut pair.source, "SELECT unnest(pgcopy.wire_versions())::text").contains(&"1".to_owned()));
}

/// Functions with the signatures that they had, which return what was saved for the very calls that were saved.
fn stand_in(source: &mut Client, versions: &str) {
    source
        .batch_execute(&format!(
            "ALTER EXTENSION pgcopy DROP FUNCTION pgcopy.send_frames; DROP FUNCTION pgcopy.send_frames;
             ALTER EXTENSION pgcopy DROP FUNCTION pgcopy.wire_versions; DROP FUNCTION pgcopy.wire_versions;
             CREATE SCHEMA saved; CREATE TABLE saved.answer (call text, number serial, frame bytea);
             CREATE FUNCTION pgcopy.wire_versions() RETURNS integer[] LANGUAGE sql AS $$SELECT '{versions}'::integer[]$$;
             CREATE FUNCTION pgcopy.send_frames(wire integer, query text, form text, codec text) RETURNS SETOF bytea LANGUAGE plpgsql AS $$
             DECLARE called text := format(
                 'COPY (SELECT pgcopy.send_frames(wire => %s, query => %L, form => %L, codec => %L)) TO STDOUT (FORMAT binary)',
                 wire, query, form, codec);
             BEGIN
                 RETURN QUERY SELECT a.frame FROM saved.answer a WHERE a.call = called ORDER BY a.number;
                 IF NOT FOUND THEN RAISE 'not a call that wire version 1 knows: %', called; END IF;
             END $$;
             ALTER EXTENSION pgcopy ADD FUNCTION pgcopy.send_frames; ALTER EXTENSION pgcopy ADD FUNCTION pgcopy.wire_versions"
        ))
        .unwrap();
    for saved in saved().iter().filter(|saved| !saved.is_of_stored_rows()) {
        for frame in saved.frames() {
            source.execute("INSERT INTO saved.answer (call, frame) VALUES ($1, $2)", &[&saved.call, &frame]).unwrap();
        }
    }
}

#[test]
fn a_destination_of_today_pulls_from_a_saved_source() {
    for (name, versions) in [("wire_saved_source", "{1}"), ("wire_saved_and_newer", "{1,2000000000}")] {
        let mut pair = with_extension(name);
        stand_in(&mut pair.source, versions);
        let proxy = Proxy::start(pair.source_port);
        for codec in CODECS {
            let arguments = format!("exclude => '{{saved.*,stored}}', compress => '{codec}', parallel => 1");
            let tables = try_pull(&mut pair.destination, &proxy.dsn(name), &arguments);
            assert_eq!(tables.unwrap_or_else(|failure| panic!("{codec}: {failure:?}")), 3);
            for table in ["kind", "named", "long"] {
                assert_same_rows(&mut pair, table);
            }
            pair.assert_nothing_left();
            // The rows of the stand-in's answers have travelled, and no others.
            let framed = "SELECT \"table\" FROM pgcopy.job_tables WHERE job = (SELECT max(job) FROM pgcopy.jobs) AND wire_bytes > 0 ORDER BY 1";
            assert_eq!(texts(&mut pair.destination, framed), ["kind", "long", "named"]);
        }
    }
}

fn assert_same_rows(pair: &mut Pair, table: &str) {
    let sql = format!("SELECT t::text FROM {table} t ORDER BY id, 1");
    let expected = texts(&mut pair.source, &sql);
    assert!(!expected.is_empty());
    assert_eq!(texts(&mut pair.destination, &sql), expected);
}

#[test]
fn a_destination_of_today_takes_saved_stored_rows() {
    let mut pair = with_extension("wire_saved_heap");
    let stored: Vec<Saved> = saved().into_iter().filter(Saved::is_of_stored_rows).collect();
    let codecs: Vec<&str> = ["none"].into_iter().chain(CODECS).collect();
    assert_eq!(stored.len(), codecs.len());
    let forger = Forger::start(pair.source_port, move |message| {
        let Some(saved) = stored.iter().find(|saved| message.query.contains(&saved.call)) else {
            let is_call = message.query.contains("SELECT pgcopy.send_stored_frames(");
            assert!(!is_call, "not a call that was saved: {}", message.query);
            return Forged::Same;
        };
        match (message.kind, message.number) {
            (b'd', 0) => Forged::Bytes(framed(b'd', &saved.answer)),
            (b'd', _) => Forged::Bytes(Vec::new()),
            (b'C', _) if message.body.starts_with(b"COPY ") => {
                Forged::Bytes(framed(b'C', format!("COPY {}\0", saved.frames().len()).as_bytes()))
            }
            _ => Forged::Same,
        }
    });
    for codec in codecs {
        let before = forger.forged();
        let arguments = format!("include => '{{stored}}', trust_source => true, compress => '{codec}', parallel => 1");
        try_pull(&mut pair.destination, &forger.dsn("wire_saved_heap"), &arguments)
            .unwrap_or_else(|failure| panic!("{codec}: {failure:?}"));
        assert!(forger.forged() > before);
        assert_same_rows(&mut pair, "stored");
    }
    pair.assert_nothing_left();
}

#[test]
fn a_source_of_no_common_version_is_told_of() {
    let mut pair = with_extension("wire_unknown");
    let proxy = Proxy::start(pair.source_port);
    let dsn = proxy.dsn("wire_unknown");
    for versions in ["{0}", "{2}", "{10,11}", "{}", "{NULL}"] {
        pair.source.batch_execute("DROP SCHEMA IF EXISTS saved CASCADE").unwrap();
        stand_in(&mut pair.source, versions);
        pair.notices();
        try_pull(&mut pair.destination, &dsn, "include => '{kind,long,named}'").unwrap();
        for table in ["kind", "named", "long"] {
            assert_same_rows(&mut pair, table);
        }
        let told: Vec<_> = pair.notices().into_iter().filter(|notice| notice.contains("does not compress")).collect();
        let why = format!("knows the wire versions {versions}, and not 1");
        assert!(told.len() == 1 && told[0].ends_with(&why), "{told:?}");
        for call in ["pull", "plan"] {
            let sql = format!("SELECT pgcopy.{call}('{dsn}', overwrite => true, compress => 'zstd')");
            let failure = Failure::of(&pair.destination.batch_execute(&sql).unwrap_err());
            assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
            assert_eq!(failure.detail, format!("The extension pgcopy there {why}."));
            for way in ["Install this version of pgcopy on the source", "a tunnel that compresses"] {
                assert!(failure.hint.contains(way), "{failure:?}");
            }
        }
    }
    pair.assert_nothing_left();
    let jobs = "SELECT DISTINCT state FROM pgcopy.jobs";
    assert_eq!(texts(&mut pair.destination, jobs), ["completed"], "a codec that is not to be had makes no job");
}

/// Writes what a destination of today calls, and what a source of today answers.
fn record(pair: &mut Pair) {
    let proxy = Proxy::start(pair.source_port);
    let dsn = proxy.dsn(&pair.database);
    let mut calls = BTreeSet::new();
    let pulls = CODECS.map(|codec| format!("exclude => '{{stored}}', compress => '{codec}', parallel => 1"));
    let stored = ["none"]
        .into_iter()
        .chain(CODECS)
        .map(|codec| format!("include => '{{stored}}', trust_source => true, compress => '{codec}', parallel => 1"));
    for arguments in pulls.into_iter().chain(stored) {
        proxy.record();
        try_pull(&mut pair.destination, &dsn, &arguments).unwrap();
        let passed = String::from_utf8_lossy(&proxy.recorded()).into_owned();
        let (begin, end) = ("COPY (SELECT pgcopy.send_", ")) TO STDOUT (FORMAT binary)");
        for (at, _) in passed.match_indices(begin) {
            let length = passed[at..].find(end).unwrap() + end.len();
            calls.insert(passed[at..at + length].to_owned());
        }
    }
    fs::create_dir_all(directory()).unwrap();
    let mut source = connect(pair.source_port, &pair.database);
    source.batch_execute("BEGIN READ ONLY").unwrap();
    for call in calls {
        let table =
            ["kind", "named", "long", "stored"].into_iter().find(|name| call.contains(&format!("public.{name}")));
        let codec = call.rsplit("codec => '").next().unwrap().split('\'').next().unwrap();
        let path = directory().join(format!("{}_{codec}.sql", table.unwrap()));
        fs::write(path.with_extension("copy"), copied(&mut source, &call)).unwrap();
        writeln!(fs::File::create(path).unwrap(), "{call}").unwrap();
    }
}
