//! Sources that lie about lengths, counts and sizes, or never stop to send: an ERROR that says where, never a crash, and no
//! byte of a value is taken for anything else.

use crate::harness::forger::{BINARY_HEADER, Forge, Forged, Forger, Message, announced, message, report};
use crate::harness::{Failure, Pair, eventually, number, text};
use postgres::Client;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

const LENGTHS: [i64; 17] = [
    (1 << 30) - 5,
    (1 << 30) - 4,
    (1 << 30) - 3,
    (1 << 30) - 2,
    (1 << 30) - 1,
    1 << 30,
    (1 << 30) + 1,
    (1 << 30) + 2,
    (1 << 30) + 3,
    (1 << 30) + 4,
    (1 << 30) + 5,
    (1 << 30) + 96,
    i32::MAX as i64 - 1,
    i32::MAX as i64,
    -2,
    -(1 << 30),
    i32::MIN as i64,
];

const TABLE: &str = "CREATE TABLE item (id int, body bytea, note text, tail int)";
const ROWS: &str = "INSERT INTO item SELECT i, 'body', 'note', i FROM generate_series(1, 10) i";

/// A field of a binary row, which may announce another length than it has.
fn field(length: i64, bytes: &[u8]) -> Vec<u8> {
    [&(length as i32).to_be_bytes()[..], bytes].concat()
}

fn sound(bytes: &[u8]) -> Vec<u8> {
    field(bytes.len() as i64, bytes)
}

fn row(fields: &[Vec<u8>]) -> Vec<u8> {
    [&(fields.len() as i16).to_be_bytes()[..], &fields.concat()].concat()
}

/// Takes the place of the COPY stream of `item`.
fn instead_of_rows(data: Vec<Vec<u8>>) -> impl Fn(&Message<'_>) -> Forged + Send + Sync + 'static {
    move |message_of_source| {
        let is_row = message_of_source.kind == b'd' && message_of_source.query.contains("item");
        match (is_row && message_of_source.query.contains("COPY public.item"), message_of_source.number) {
            (true, 0) => Forged::Bytes(data.iter().flat_map(|data| message(b'd', data)).collect()),
            (true, _) => Forged::Bytes(Vec::new()),
            (false, _) => Forged::Same,
        }
    }
}

fn try_pull(client: &mut Client, dsn: &str, workers: usize) -> Result<(), Failure> {
    let sql = format!("SELECT * FROM pgcopy.pull('{dsn}', '{{item}}', overwrite => true, parallel => {workers})");
    client.query(&sql, &[]).map(|_| ()).map_err(|error| Failure::of(&error))
}

/// The failure of a pull from a source that sends this in the place of the rows.
fn failure_of(pair: &mut Pair, data: Vec<Vec<u8>>, workers: usize) -> Failure {
    let forger = Forger::start(pair.source_port, instead_of_rows(data));
    let outcome = try_pull(&mut pair.destination, &forger.dsn(&pair.database), workers);
    assert!(forger.forged() > 0);
    outcome.expect_err("nothing of it can be stored")
}

#[test]
fn lengths_of_fields_that_no_server_sends() {
    let mut pair = Pair::with("hostile_lengths", TABLE, ROWS);
    pair.destination.batch_execute("INSERT INTO item VALUES (0, 'old', 'old', 0)").unwrap();
    let before = pair.destination_state();
    let first = row(&[sound(&1i32.to_be_bytes()), sound(b"body"), sound(b"note"), sound(&1i32.to_be_bytes())]);
    for (number, length) in LENGTHS.into_iter().enumerate() {
        for (position, column) in ["body", "note", "tail"].into_iter().enumerate() {
            let mut fields = vec![sound(&2i32.to_be_bytes()), sound(b"b"), sound(b"n"), sound(&2i32.to_be_bytes())];
            // What follows would be read as the next columns, if the length were cut to the bits that a header has.
            fields[position + 1] = field(length, &[0x41; 200]);
            let data = vec![[BINARY_HEADER, &first].concat(), row(&fields)];
            let failure = failure_of(&mut pair, data, number % 2);
            let expected = if length < 0 { "22P04" } else { "54000" };
            assert_eq!(failure.sqlstate, expected, "{length} {column}: {failure:?}");
            assert!(failure.detail.contains("Table public.item, row 2"), "{length}: {failure:?}");
            assert!(failure.detail.contains(&format!("column {column}.")), "{length}: {failure:?}");
        }
    }
    // Several fields that are too long together.
    let half = field((1 << 29) + 5, &[0x41; 100]);
    let fields = [sound(&2i32.to_be_bytes()), sound(b"b"), half.clone(), half];
    let data = vec![[BINARY_HEADER, &first].concat(), row(&fields[..3]), Vec::new()];
    assert_eq!(failure_of(&mut pair, data, 1).sqlstate, "22P04");
    for count in [3i16, 5, -2, i16::MAX, i16::MIN] {
        let data = vec![[BINARY_HEADER, &first, &count.to_be_bytes()].concat()];
        let failure = failure_of(&mut pair, data, 0);
        assert_eq!(failure.sqlstate, "22P04", "{count}: {failure:?}");
        assert!(failure.detail.contains("Table public.item, row 2."), "{failure:?}");
    }
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

#[test]
fn lengths_of_fields_where_copy_from_stores_the_rows() {
    let mut pair = Pair::with("hostile_in_place", TABLE, ROWS);
    pair.destination.batch_execute("CREATE PUBLICATION everything FOR TABLE item").unwrap();
    let first = row(&[sound(&1i32.to_be_bytes()), sound(b"body"), sound(b"note"), sound(&1i32.to_be_bytes())]);
    for length in LENGTHS {
        let fields = [sound(&2i32.to_be_bytes()), field(length, &[0x41; 200]), sound(b"n"), sound(&2i32.to_be_bytes())];
        let failure = failure_of(&mut pair, vec![[BINARY_HEADER, &first].concat(), row(&fields)], 0);
        assert_eq!(failure.sqlstate, if length < 0 { "22P04" } else { "54000" }, "{length}: {failure:?}");
        assert!(failure.detail.contains("Table public.item, row 2, column body."), "{length}: {failure:?}");
    }
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

#[test]
fn rows_of_the_text_wire_that_no_server_sends() {
    let mut pair = Pair::with(
        "hostile_text",
        "CREATE TABLE item (kind regtype, note text)",
        "INSERT INTO item SELECT 'int4', 'note' FROM generate_series(1, 10)",
    );
    for (workers, published) in [(1, false), (0, true)] {
        if published {
            pair.destination.batch_execute("CREATE PUBLICATION everything FOR TABLE item").unwrap();
        }
        let piece = message(b'd', &[b'x'; 1 << 20]);
        let forger = Forger::start(pair.source_port, move |message_of_source| {
            match (
                message_of_source.query.contains("COPY public.item"),
                message_of_source.kind,
                message_of_source.number,
            ) {
                (true, b'd', 0) => Forged::Bytes(message(b'd', b"int4\tsound\nint4\t")),
                (true, b'd', 1) => Forged::Repeated(piece.clone(), 1 << 10),
                _ => Forged::Same,
            }
        });
        let failure = try_pull(&mut pair.destination, &forger.dsn(&pair.database), workers).unwrap_err();
        assert_eq!(failure.sqlstate, "54000", "{failure:?}");
        assert!(failure.detail.contains("Table public.item, row 2"), "{failure:?}");
    }
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

/// Bytes of address space that this process has, beside its share of the memory of all.
fn limit_memory(client: &mut Client, more: u64) {
    let pid = text(client, "SELECT pg_backend_pid()::text");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kilobytes: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))
        .and_then(|size| size.trim().strip_suffix(" kB"))
        .unwrap()
        .parse()
        .unwrap();
    let limit = kilobytes * 1024 + more;
    // Its own user may lower it.
    let owner = std::fs::metadata(format!("/proc/{pid}")).unwrap();
    let identity = [format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid()), "--clear-groups".into()];
    let set = Command::new("setpriv")
        .args(identity)
        .args(["prlimit", "--pid", &pid, &format!("--as={limit}")])
        .status()
        .unwrap();
    assert!(set.success());
}

/// The backend is the one that it was: the server has not started anew.
struct Survivor {
    pid: String,
}

impl Survivor {
    fn of(client: &mut Client) -> Self {
        Self { pid: text(client, "SELECT concat(pg_backend_pid(), ' ', pg_postmaster_start_time())") }
    }

    fn is_alive(&self, client: &mut Client) -> bool {
        Self::of(client).pid == self.pid
    }
}

const PLENTY: u64 = 256 << 20;

/// Sources that send more than there is memory for, as messages in the place of what the source says.
fn floods() -> Vec<(&'static str, Box<Forge>)> {
    let first_row = [BINARY_HEADER, &4i16.to_be_bytes(), &sound(&1i32.to_be_bytes())].concat();
    let piece = message(b'd', &[b'x'; 1 << 20]);
    let catalog = |m: &Message<'_>| m.query.contains("pg_class");
    let description = message(b'T', &[&1i16.to_be_bytes()[..], b"v\0", &[0; 18]].concat());
    let data_row = |value: &[u8]| message(b'D', &[&1i16.to_be_bytes()[..], &sound(value)].concat());
    let big_row = data_row(&[b'x'; 1 << 19]);
    let rows_of = move |json: Vec<u8>| {
        let stream = [BINARY_HEADER, &row(&[sound(&json)]), &(-1i16).to_be_bytes()].concat();
        stream.chunks(1 << 20).flat_map(|chunk| message(b'd', chunk)).collect::<Vec<u8>>()
    };
    let dense = |element: &str, times: usize| {
        let list = vec![element; times].join(",");
        format!(
            "[{{\"oid\":1,\"schema\":\"s\",\"name\":\"t\",\"kind\":\"r\",\"persistence\":\"p\",\"pages\":0,\"toast_pages\":0,\
             \"bytes\":0,\"tuples\":0,\"partition_ancestors\":[{list}]}}]"
        )
        .into_bytes()
    };
    let copy_of = |json: Vec<u8>| [message(b'H', &[1, 0, 1, 0, 1]), rows_of(json), message(b'c', b"")].concat();
    let ancestors = copy_of(dense("1", 40 << 20));
    let garbage = copy_of(vec![b'['; 30 << 20]);
    let names = copy_of(format!("[{}\"\"]", "\"\",".repeat(30 << 20)).into_bytes());
    let (startup_notice, notice) =
        (report(b'N', &"x".repeat(1 << 20), "", ""), report(b'N', &"x".repeat(1 << 20), "", ""));
    let row_data = first_row.clone();
    let row_piece = piece.clone();
    let sent = AtomicBool::new(false);
    vec![
        (
            "a row of nearly 1 GB",
            Box::new(move |m| match (m.query.contains("COPY public.item"), m.kind, m.number) {
                (true, b'd', 0) => Forged::Bytes(message(b'd', &[&row_data[..], &field(1_000_000_000, b"")].concat())),
                (true, b'd', _) => Forged::Endless(row_piece.clone()),
                _ => Forged::Same,
            }),
        ),
        (
            "a catalog answer without an end",
            Box::new(move |m| match (catalog(m), m.kind, m.number) {
                (true, b'd', 0) => Forged::Bytes(message(
                    b'd',
                    &[BINARY_HEADER, &1i16.to_be_bytes(), &field(1_000_000_000, b"")].concat(),
                )),
                (true, b'H' | b'd', _) if m.kind == b'H' => Forged::Same,
                (true, b'c', _) => Forged::Endless(piece.clone()),
                _ => Forged::Same,
            }),
        ),
        (
            "rows in the place of a COPY of the catalog",
            Box::new(move |m| match (catalog(m), m.kind) {
                (true, b'H') => Forged::Bytes(description.clone()),
                (true, b'd') => Forged::Endless(big_row.clone()),
                _ => Forged::Same,
            }),
        ),
        (
            "a message of 1.5 GB",
            Box::new(move |m| match (catalog(m), m.kind) {
                (true, b'H') => Forged::Bytes(announced(b'D', 1_500_000_000, &[b'x'; 1000])),
                (true, b'd') => Forged::Endless(vec![b'x'; 1 << 20]),
                _ => Forged::Same,
            }),
        ),
        (
            "an error of 1.5 GB",
            Box::new(move |m| match (m.query.contains("COPY public.item"), m.kind) {
                (true, b'H') => Forged::Bytes(announced(b'E', 1_500_000_000, b"SERROR\0M")),
                (true, b'd') => Forged::Endless(vec![b'x'; 1 << 20]),
                _ => Forged::Same,
            }),
        ),
        (
            "numbers",
            Box::new(move |m| match (catalog(m), m.kind) {
                (true, b'H') => Forged::Bytes(ancestors.clone()),
                (true, b'd' | b'c') => Forged::Bytes(Vec::new()),
                _ => Forged::Same,
            }),
        ),
        (
            "brackets",
            Box::new(move |m| match (catalog(m), m.kind) {
                (true, b'H') => Forged::Bytes(garbage.clone()),
                (true, b'd' | b'c') => Forged::Bytes(Vec::new()),
                _ => Forged::Same,
            }),
        ),
        (
            "empty names",
            Box::new(move |m| match (catalog(m), m.kind) {
                (true, b'H') => Forged::Bytes(names.clone()),
                (true, b'd' | b'c') => Forged::Bytes(Vec::new()),
                _ => Forged::Same,
            }),
        ),
        (
            "messages of 3 bytes",
            Box::new(move |m| match (catalog(m), m.kind) {
                (true, b'H') => Forged::Bytes(vec![b'D', 0, 0, 0, 3]),
                _ => Forged::Same,
            }),
        ),
        (
            "notices before the session begins, which nobody keeps",
            Box::new(move |m| match (m.query, m.kind) {
                ("", b'K') => Forged::Repeated(startup_notice.clone(), 300),
                _ => Forged::Same,
            }),
        ),
        (
            "notices in a session, and settings, which nobody keeps",
            Box::new(move |m| match (catalog(m), m.kind) {
                (true, b'C') if !sent.swap(true, SeqCst) => {
                    let settings = (0..300)
                        .map(|number| message(b'S', format!("name{number}\0{}\0", "x".repeat(1 << 20)).as_bytes()));
                    Forged::Bytes(settings.flatten().chain(notice.clone()).chain(message(m.kind, m.body)).collect())
                }
                _ => Forged::Same,
            }),
        ),
    ]
}

#[test]
fn more_than_there_is_memory_for() {
    let mut pair = Pair::with("hostile_floods", TABLE, ROWS);
    for (what, flood) in floods() {
        let forger = Forger::start(pair.source_port, flood);
        let dsn = forger.dsn(&pair.database);
        let mut session = pair.another_destination_session();
        session.batch_execute("SET pgcopy.source_timeout = '600s'; SELECT pgcopy.version()").unwrap();
        try_pull(&mut session, &pair.dsn(), 0).unwrap();
        let survivor = Survivor::of(&mut session);
        limit_memory(&mut session, PLENTY);
        let outcome = try_pull(&mut session, &dsn, 0);
        assert!(forger.forged() > 0, "{what}");
        assert!(survivor.is_alive(&mut session), "{what}: {outcome:?}");
        match outcome {
            Ok(()) => assert!(what.ends_with("nobody keeps"), "{what}"),
            Err(failure) => {
                assert!(["53200", "54000", "08P01"].contains(&failure.sqlstate.as_str()), "{what}: {failure:?}");
                assert!(!what.ends_with("nobody keeps"), "{what}: {failure:?}");
            }
        }
        // Later ones get what they need.
        try_pull(&mut session, &pair.dsn(), 0).unwrap();
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
}

#[test]
fn a_source_that_never_stops_to_send_can_be_cancelled() {
    let mut pair = Pair::with("hostile_endless", TABLE, ROWS);
    pair.destination.batch_execute("LOAD 'pgcopy'").unwrap();
    let empty_data = message(b'd', b"").repeat(10_000);
    let single_bytes = message(b'd', b"x").repeat(10_000);
    let notices = report(b'N', "again", "", "").repeat(1000);
    let description = message(b'T', &[&1i16.to_be_bytes()[..], b"v\0", &[0; 18]].concat());
    let values = message(b'D', &[0, 1, 0, 0, 0, 1, b'x']).repeat(1000);
    let open_row = [BINARY_HEADER, &4i16.to_be_bytes(), &sound(&[0; 4]), &field(1_000_000_000, b"")].concat();
    for (what, query, kind, first, endless) in [
        ("rows without a byte", "COPY public.item", b'd', message(b'd', BINARY_HEADER), empty_data),
        ("a row byte by byte", "COPY public.item", b'd', message(b'd', &open_row), single_bytes),
        ("notices while rows are due", "COPY public.item", b'd', Vec::new(), notices.clone()),
        ("notices while the catalog is due", "pg_class", b'd', Vec::new(), notices.clone()),
        ("notices while the session begins", "", b'Z', Vec::new(), notices),
        ("values that nobody asked for", "SELECT current_setting", b'C', description, values),
    ] {
        let started = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&started);
        let forger = Forger::start(pair.source_port, move |m| {
            if m.kind != kind || !m.query.contains(query) || query.is_empty() != m.query.is_empty() {
                return Forged::Same;
            }
            match begun.swap(true, SeqCst) {
                false if !first.is_empty() => Forged::Bytes(first.clone()),
                _ => Forged::Endless(endless.clone()),
            }
        });
        let dsn = forger.dsn(&pair.database);
        let cancel = pair.destination.cancel_token();
        let failure = std::thread::scope(|scope| {
            let destination = &mut pair.destination;
            let pull = scope.spawn(move || try_pull(destination, &dsn, 0));
            eventually(what, || started.load(SeqCst));
            std::thread::sleep(Duration::from_millis(200));
            cancel.cancel_query(postgres::NoTls).unwrap();
            pull.join().unwrap().unwrap_err()
        });
        // What is too much may be refused before.
        assert!(["57014", "54000"].contains(&failure.sqlstate.as_str()), "{what}: {failure:?}");
    }
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

/// A reproducible source of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// `PGCOPY_FUZZ_PULLS` sets how many pulls there are, `PGCOPY_TEST_SEED` where they are damaged.
#[test]
fn damaged_rows_are_stored_or_refused() {
    let pulls = number("PGCOPY_FUZZ_PULLS", 30);
    let seed = number("PGCOPY_TEST_SEED", 0).wrapping_mul(1_000_000);
    let mut pair = Pair::with(
        "hostile_damage",
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair_of AS (a int, b text); CREATE DOMAIN few AS int CHECK (VALUE < 1000);
         CREATE TABLE item (
             a bool, b int2, c int4 PRIMARY KEY, d int8, e float8, f date, g timestamp, h time, i uuid, j inet, k numeric,
             l numeric(10,2), m text, n varchar(8), o char(8), p bytea, q json, r jsonb, s mood, t int[], u text[],
             v int4range, w pair_of, x interval, y bit varying, z few, tsv tsvector, mr int4multirange, money money)",
        "INSERT INTO item SELECT i % 2 = 0, i, i, i, i / 3.0, date '2000-01-01' + i, now(), '12:34', md5(i::text)::uuid,
             '10.0.0.1', i / 7.0, i / 4.0, repeat('text', i), 'größe', 'padded', decode(repeat('00ff', i), 'hex'),
             '{\"a\": [1, 2, {\"b\": null}]}', jsonb_build_object('k', i, 'v', ARRAY[i, i]), 'ok', ARRAY[i, NULL, 3],
             ARRAY['a', NULL], int4range(i, i + 5), (i, 'x')::pair_of, '1 day', B'1010', i % 1000, 'a:1 b:2',
             int4multirange(int4range(1, 5)), 12.34
         FROM generate_series(1, 60) i",
    );
    let lengths: [i32; 9] = [0, 1, 3, 0x1000, (1 << 30) - 5, 1 << 30, (1 << 30) + 96, i32::MAX, -2];
    let mut session = pair.another_destination_session();
    session.batch_execute("SELECT pgcopy.version()").unwrap();
    try_pull(&mut session, &pair.dsn(), 0).unwrap();
    let survivor = Survivor::of(&mut session);
    limit_memory(&mut session, PLENTY);
    let (mut stored, mut refused) = (0, 0);
    for number in 0..pulls {
        let forger = Forger::start(pair.source_port, move |m| {
            if m.kind != b'd' || !m.query.contains("COPY public.item") {
                return Forged::Same;
            }
            let mut random = Random(seed.wrapping_add(number * 1000 + m.number));
            if random.below(15) != 0 || m.body.len() < 40 {
                return Forged::Same;
            }
            let mut body = m.body.to_vec();
            for _ in 0..1 + random.below(3) {
                let position = random.below(body.len());
                match random.below(5) {
                    0 if position + 4 <= body.len() => {
                        let length = lengths[random.below(lengths.len())];
                        body[position..position + 4].copy_from_slice(&length.to_be_bytes());
                    }
                    1 => body[position] ^= 1 << random.below(8),
                    2 => body[position] = [0, 0xff, 0x7f, 0x80, b'"'][random.below(5)],
                    3 => body.truncate(position),
                    _ => body.insert(position, random.below(256) as u8),
                }
            }
            Forged::Bytes(message(b'd', &body))
        });
        let outcome = try_pull(&mut session, &forger.dsn(&pair.database), 0);
        assert!(survivor.is_alive(&mut session), "{number}: {outcome:?}");
        match outcome {
            // Every value can be read.
            Ok(()) => {
                stored += 1;
                text(&mut session, "SELECT md5(string_agg(i::text, ' ')) FROM item i");
            }
            Err(failure) => {
                refused += 1;
                let class = &failure.sqlstate[..2];
                assert!(
                    ["08", "22", "23", "42", "53", "54"].contains(&class) || failure.sqlstate == "XX000",
                    "{failure:?}"
                );
            }
        }
    }
    assert!(stored > 0 && refused > 0, "{stored} were stored, {refused} refused");
    pair.pull("overwrite => true");
    pair.assert_same_content();
    pair.assert_nothing_left();
}
