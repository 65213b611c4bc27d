//! Every value of a file, in every form that a column may take it in, is the value that PostgreSQL's own types have.

use crate::harness::{Failure, Pair, describe, text, texts};
use postgres::Client;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use xtask::server::ScratchDirectory;

/// A file of `python/write_values.py`.
pub fn path(file: &str) -> String {
    directory().join(format!("{file}.parquet")).display().to_string()
}

pub fn directory() -> PathBuf {
    static DIRECTORY: OnceLock<ScratchDirectory> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = ScratchDirectory::create("parquet_values").unwrap();
        let output = Command::new(std::env::var("PGCOPY_TEST_PYTHON").expect("run the tests with `cargo xtask test`"))
            .arg(xtask::root().join("tests/python/write_values.py"))
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        directory
    });
    directory.path().to_owned()
}

fn run(client: &mut Client, sql: &str) {
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

fn load(client: &mut Client, arguments: &str) {
    run(client, &format!("SELECT pgcopy.load_parquet({arguments})"));
}

fn refused(client: &mut Client, sql: &str) -> Failure {
    match client.batch_execute(sql) {
        Ok(()) => panic!("{sql} succeeded"),
        Err(error) => Failure::of(&error),
    }
}

/// The ways that rows go, as the table that they go into: by workers, by the leader, COPY's, and COPY itself.
const WAYS: [&str; 4] = ["workers", "leader", "insert", "copy"];

/// Loads the file into a table of these columns.
fn load_by(client: &mut Client, way: &str, file: &str, table: &str, columns: &str) {
    run(client, &format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({columns})"));
    let path = path(file);
    match way {
        "workers" => load(client, &format!("'{path}', target => '{table}', parallel => 2")),
        "leader" => load(client, &format!("'{path}', target => '{table}', parallel => 0")),
        "insert" => {
            run(
                client,
                &format!(
                    "CREATE OR REPLACE FUNCTION unchanged() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                     CREATE TRIGGER unchanged BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION unchanged()"
                ),
            );
            load(client, &format!("'{path}', target => '{table}'"));
        }
        _ => run(client, &format!("COPY {table} FROM '{path}' (FORMAT parquet)")),
    }
}

fn columns_of(client: &mut Client, file: &str) -> Vec<(String, String)> {
    let sql = format!("SELECT \"column\", postgres_type FROM pgcopy.parquet_schema('{}')", path(file));
    client.query(&sql, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// With `type_of` the type of each column but the number of the row.
fn columns_as(columns: &[(String, String)], type_of: impl Fn(&str) -> String) -> String {
    let declared = columns.iter().map(|(name, native)| {
        let type_name = if name == "n" { native.clone() } else { type_of(native) };
        format!("{name} {type_name}")
    });
    declared.collect::<Vec<_>>().join(", ")
}

/// `native` and `other` hold the same rows; `same` says what a column of `other` must be, in terms of `v`, that of `native`.
fn assert_same(
    client: &mut Client,
    columns: &[(String, String)],
    other: &str,
    same: impl Fn(&str) -> String,
    what: &str,
) {
    for (name, native) in columns.iter().filter(|(name, _)| name != "n") {
        let wanted = same(&format!("native.{name}"));
        let different = texts(
            client,
            &format!(
                "SELECT concat_ws(' ', n, 'is', {other}.{name}, 'and not', {wanted}) FROM native FULL JOIN {other} USING (n)
                 WHERE {other}.{name}::text IS DISTINCT FROM ({wanted})::text LIMIT 3"
            ),
        );
        assert!(different.is_empty(), "{what}, column {name} ({native}): {different:?}");
    }
}

const SESSIONS: [&str; 3] = [
    "RESET ALL; SET timezone = 'UTC'",
    "SET datestyle = 'SQL, DMY'; SET intervalstyle = iso_8601; SET timezone = 'Asia/Kolkata'; SET bytea_output = escape",
    "SET datestyle = 'German'; SET intervalstyle = sql_standard; SET timezone = 'America/New_York'; SET extra_float_digits = 0",
];

#[test]
fn texts_and_documents_are_those_of_the_native_types() {
    let mut pair = Pair::new("parquet_texts");
    let client = &mut pair.destination;
    run(client, "LOAD 'pgcopy'");
    let columns = columns_of(client, "native");
    for (session, ways) in SESSIONS.into_iter().zip([&WAYS[..], &WAYS, &WAYS[..1]]) {
        run(client, session);
        load_by(client, ways[0], "native", "native", &columns_as(&columns, str::to_owned));
        for way in ways {
            // All digits of a number, whatever the session would show.
            run(client, "SET extra_float_digits = 1");
            for type_name in ["text", "varchar", "varchar(100)"] {
                // Bytes are a text already, if they are one.
                let of = |native: &str| if native == "bytea" { native.into() } else { type_name.into() };
                load_by(client, way, "native", "texts", &columns_as(&columns, of));
                assert_same(client, &columns, "texts", |v| format!("{v}::text"), &format!("{type_name} by {way}"));
            }
            load_by(client, way, "native", "documents", &columns_as(&columns, |_| "jsonb".into()));
            assert_same(client, &columns, "documents", |v| format!("to_jsonb({v})"), &format!("jsonb by {way}"));
            load_by(client, way, "native", "json_texts", &columns_as(&columns, |_| "json".into()));
            assert_same(client, &columns, "json_texts", |v| format!("to_json({v})"), &format!("json by {way}"));
        }
        let listed = columns_of(client, "listed");
        load_by(
            client,
            ways[0],
            "listed",
            "listed",
            &columns_as(&listed, |native| if native == "bytea[]" { native.into() } else { "text[]".into() }),
        );
        assert_same(client, &listed, "listed", |v| format!("ARRAY[{v}::text]"), "text[]");
        load_by(client, ways[0], "listed", "listed", &columns_as(&listed, |_| "jsonb".into()));
        assert_same(client, &listed, "listed", |v| format!("jsonb_build_array({v})"), "lists as jsonb");
        load_by(client, ways[0], "structure", "structure", "n bigint, s jsonb");
        let fields = texts(client, "SELECT DISTINCT jsonb_object_keys(s) FROM structure");
        for field in fields {
            let different = texts(
                client,
                &format!(
                    "SELECT concat_ws(' ', n, s -> '{field}', to_jsonb(native.{field})) FROM native JOIN structure USING (n)
                     WHERE s -> '{field}' IS DISTINCT FROM coalesce(to_jsonb(native.{field}), 'null') LIMIT 3"
                ),
            );
            assert!(different.is_empty(), "field {field}: {different:?}");
        }
        let mapped = columns_of(client, "mapped");
        load_by(client, ways[0], "mapped", "mapped", &columns_as(&mapped, |_| "jsonb".into()));
        run(client, "DELETE FROM native WHERE n = (SELECT max(n) FROM native)");
        assert_same(client, &mapped, "mapped", |v| format!("jsonb_build_object({v}, n)"), "maps as jsonb");
    }
}

#[test]
fn nanoseconds_keep_their_digits_in_texts() {
    let mut pair = Pair::new("parquet_nanoseconds");
    let client = &mut pair.destination;
    run(client, "LOAD 'pgcopy'; SET timezone = 'Asia/Kolkata'");
    load_by(client, "workers", "nanoseconds", "kept", "ts text, tstz text, t text");
    assert_eq!(
        texts(client, "SELECT concat_ws(' | ', ts, tstz, t) FROM kept"),
        [
            "1970-01-01 00:00:00.000000001 | 1970-01-01 05:30:00.000000001+05:30 | 00:00:00.000000001",
            "1969-12-31 23:59:59.999999999 | 1970-01-01 05:29:59.999999999+05:30 | 00:00:00",
            "1970-01-01 00:00:00.0000015 | 1970-01-01 05:30:00.0000015+05:30 | 00:00:00.0000015",
            "2023-11-14 22:13:20.123456789 | 2023-11-15 03:43:20.123456789+05:30 | 23:59:59.999999999",
            "1970-01-01 00:00:01 | 1970-01-01 05:30:01+05:30 | 00:01:00",
        ]
    );
    load_by(client, "insert", "nanoseconds", "kept", "ts jsonb, tstz jsonb, t jsonb");
    assert_eq!(
        texts(client, "SELECT concat_ws(' | ', ts, tstz, t) FROM kept OFFSET 3 LIMIT 1"),
        [r#""2023-11-14T22:13:20.123456789" | "2023-11-15T03:43:20.123456789+05:30" | "23:59:59.999999999""#]
    );
}

#[test]
fn intervals_are_written_as_postgresql_writes_them() {
    let mut pair = Pair::new("parquet_intervals");
    let client = &mut pair.destination;
    // Months that do not fit are an error, with text as with interval.
    for type_name in ["interval", "text", "jsonb", "varchar(100)"] {
        for style in ["postgres", "postgres_verbose", "sql_standard", "iso_8601"] {
            run(
                client,
                &format!("SET intervalstyle = {style}; DROP TABLE IF EXISTS t; CREATE TABLE t (i {type_name})"),
            );
            load(client, &format!("'{}', target => 't'", path("intervals")));
            let different = "SELECT concat_ws(' | ', t.i #>> '{}', w) FROM (SELECT to_jsonb(i) AS i, row_number() OVER () FROM t) t
                 JOIN (SELECT to_jsonb(v) #>> '{}' AS w, row_number() OVER () FROM unnest(ARRAY[
                     make_interval(months => 159), '0', make_interval(months => 12, days => 1, secs => 0.001),
                     make_interval(days => 100, secs => 86400), make_interval(months => 1, days => 2, secs => 4294967.295),
                     make_interval(months => 2147483647, days => 2147483647, secs => 0.999)]) v) w USING (row_number)
                 WHERE t.i #>> '{}' IS DISTINCT FROM w";
            assert_eq!(texts(client, different), [""; 0], "{type_name}, {style}");
        }
    }
}

#[test]
fn a_time_beyond_a_day_is_refused_in_every_form() {
    let mut pair = Pair::new("parquet_times");
    let client = &mut pair.destination;
    for number in 0..5 {
        for (file, types) in
            [("time", &["time", "text", "jsonb", "json", "varchar(20)"][..]), ("time_in_structure", &["jsonb", "json"])]
        {
            for type_name in types {
                for parallel in [0, 2] {
                    let column = if file == "time" { "t" } else { "s" };
                    let path = path(&format!("{file}_{number}"));
                    run(client, &format!("DROP TABLE IF EXISTS times; CREATE TABLE times ({column} {type_name})"));
                    let load =
                        format!("SELECT pgcopy.load_parquet('{path}', target => 'times', parallel => {parallel})");
                    let failure = refused(client, &load);
                    assert_eq!(failure.sqlstate, "22008", "{path} as {type_name}: {failure:?}");
                    assert_eq!(failure.message, "time out of range");
                    assert_eq!(failure.detail, format!("File {path}, row group 0, row 3, column {column}."));
                }
            }
        }
    }
    for type_name in ["time", "text", "json"] {
        load_by(client, "workers", "time_24", "times", &format!("t {type_name}"));
        assert_eq!(text(client, "SELECT trim('\"' FROM t::text) FROM times"), "24:00:00");
    }
}

#[test]
fn both_ends_of_dates_and_timestamps() {
    let mut pair = Pair::new("parquet_ends");
    let client = &mut pair.destination;
    run(client, "LOAD 'pgcopy'; SET timezone = 'UTC'; SET datestyle = 'ISO'");
    for way in WAYS {
        for declared in ["d date, us timestamp, ms timestamptz, i96 timestamp", "d text, us text, ms text, i96 varchar"]
        {
            load_by(client, way, "last_ones", "ends", declared);
            assert_eq!(
                texts(client, "SELECT concat_ws(' | ', d, us, ms, i96) FROM ends"),
                [
                    "4714-11-24 BC | 4714-11-24 00:00:00 BC | 4714-11-24 00:00:00+00 BC | 4714-11-24 00:00:00 BC",
                    "5874897-12-31 | 294247-01-10 04:00:54.775807 | 294276-12-31 23:59:59.999+00 | 294276-12-31 23:59:59.999999"
                ],
                "{declared} by {way}"
            );
        }
    }
    for (file, native, message) in [
        ("date_low", "date", "date out of range"),
        ("date_high", "date", "date out of range"),
        ("date_highest", "date", "date out of range"),
        ("date_lowest", "date", "date out of range"),
        ("us_low", "timestamp", "timestamp out of range"),
        ("us_lowest", "timestamptz", "timestamp out of range"),
        ("ms_high", "timestamptz", "timestamp out of range"),
        ("ms_highest", "timestamp", "timestamp out of range"),
        ("int96_low", "timestamp", "timestamp out of range"),
        ("int96_high", "timestamp", "timestamp out of range"),
    ] {
        for type_name in [native, "text", "jsonb"] {
            for target in ["CREATE TABLE", "CREATE TEMP TABLE"] {
                run(client, &format!("DROP TABLE IF EXISTS beyond; {target} beyond (v {type_name})"));
                let failure =
                    refused(client, &format!("SELECT pgcopy.load_parquet('{}', target => 'beyond')", path(file)));
                assert_eq!(
                    (failure.sqlstate.as_str(), failure.message.as_str()),
                    ("22008", message),
                    "{file} as {type_name}"
                );
                assert_eq!(failure.detail, format!("File {}, row group 0, row 2, column v.", path(file)));
            }
        }
    }
}

#[test]
fn infinity_of_duckdb_is_infinity() {
    let mut pair = Pair::new("parquet_infinity");
    let client = &mut pair.destination;
    run(client, "LOAD 'pgcopy'; SET timezone = 'UTC'; SET datestyle = 'ISO'");
    let native = "d date, us timestamp, tz timestamptz, ms timestamp, ns timestamp, ld date[], s jsonb";
    for way in WAYS {
        for declared in [native, "d text, us text, tz text, ms text, ns text, ld text[], s json"] {
            load_by(client, way, "duckdb_infinity", "endless", declared);
            assert_eq!(
                texts(client, "SELECT concat_ws(' | ', d, us, tz, ms, ns, ld, s) FROM endless"),
                [
                    r#"infinity | infinity | infinity | infinity | infinity | {infinity,NULL} | {"ts": "infinity"}"#,
                    r#"-infinity | -infinity | -infinity | -infinity | -infinity | {-infinity,NULL} | {"ts": "-infinity"}"#,
                    r#"2024-02-29 | 2024-02-29 00:00:00 | 2024-02-29 00:00:00+00 | 2024-02-29 00:00:00 | 2024-02-29 00:00:00 | {2024-02-29,NULL} | {"ts": "2024-02-29T00:00:00"}"#
                ],
                "{declared} by {way}"
            );
        }
    }
    load_by(
        client,
        "workers",
        "duckdb_infinity",
        "endless",
        "d jsonb, us date, tz jsonb, ms timestamp(0), ns jsonb, ld jsonb, s jsonb",
    );
    assert_eq!(
        text(client, "SELECT concat_ws(' | ', d, us, tz, ms, ns, ld) FROM endless WHERE us < '1000-01-01'"),
        r#""-infinity" | -infinity | "-infinity" | -infinity | "-infinity" | ["-infinity", null]"#
    );
}

#[test]
fn two_fields_of_one_name_lose_nothing_in_silence() {
    let mut pair = Pair::new("parquet_twice");
    let client = &mut pair.destination;
    run(client, "LOAD 'pgcopy'; CREATE TYPE ab AS (a bigint, b bigint); CREATE TYPE outer_ab AS (\"inner\" ab)");
    for (file, column, types) in [
        ("twice", "s", &["jsonb", "ab"][..]),
        ("twice_listed", "l", &["jsonb", "ab[]", "jsonb[]"]),
        ("twice_deep", "s", &["jsonb", "outer_ab"]),
        ("twice_in_map", "m", &["jsonb"]),
    ] {
        let path = path(file);
        let words = format!("{path}: column \"{column}\"");
        let failure = refused(client, &format!("SELECT pgcopy.load_parquet('{path}', target => 'made')"));
        assert!(failure.detail.contains(&words) && failure.detail.contains("two fields \"a\""), "{failure:?}");
        assert_eq!(text(client, "SELECT coalesce(to_regclass('made')::text, 'gone')"), "gone");
        for type_name in types {
            run(client, &format!("DROP TABLE IF EXISTS twice; CREATE TABLE twice ({column} {type_name})"));
            for sql in [
                format!("SELECT pgcopy.load_parquet('{path}', target => 'twice', skip => '{{n}}')"),
                format!("COPY twice ({column}) FROM '{path}' (FORMAT parquet)"),
            ] {
                let failure = refused(client, &sql);
                assert_eq!(failure.sqlstate, "42804", "{type_name}: {failure:?}");
                assert!(failure.detail.contains(&words) && failure.detail.contains("two fields \"a\""), "{failure:?}");
            }
        }
    }
    load_by(client, "workers", "twice", "kept", "n bigint, s json");
    assert_eq!(texts(client, "SELECT s::text FROM kept"), [r#"{"a": 1, "a": 2}"#, r#"{"a": 3, "a": 4}"#]);
    load_by(client, "insert", "twice_listed", "kept", "l json[]");
    assert_eq!(text(client, "SELECT l[1]::text || l[2] FROM kept"), r#"{"a": 1, "a": 2}{"a": 3, "a": 4}"#);
}

#[test]
fn decimals_of_any_width_arrive_exactly() {
    let mut pair = Pair::new("parquet_wide_decimals");
    let client = &mut pair.destination;
    run(client, "LOAD 'pgcopy'");
    load(client, &format!("'{}', target => 'made'", path("wide_decimals")));
    assert_eq!(
        texts(
            client,
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'made'::regclass AND attnum > 0"
        ),
        ["numeric(30,2)", "numeric(30,2)", "numeric(77,38)", "numeric(39,0)", "numeric(1000,500)", "numeric"]
    );
    let numbers = |largest: &str, smallest: &str, scale: u32| {
        format!("ARRAY[0, 1e-{scale}, -1e-{scale}, {largest}, {smallest}]::numeric[]")
    };
    for way in WAYS {
        for declared in ["numeric", "text"] {
            let columns =
                ["padded", "short", "d77", "d40_in_17", "d1000", "d5000"].map(|name| format!("{name} {declared}"));
            load_by(client, way, "wide_decimals", "wide", &columns.join(", "));
            for (column, largest, smallest, scale) in [
                ("padded", "(10::numeric ^ 30 - 1) * 0.01", "(1 - 10::numeric ^ 30) * 0.01", 2),
                ("short", "123.45", "-123.45", 2),
                ("d77", "(10::numeric ^ 77 - 1) * 1e-38", "(1 - 10::numeric ^ 77) * 1e-38", 38),
                ("d40_in_17", "2::numeric ^ 127 - 1", "-(2::numeric ^ 127)", 0),
                (
                    "d1000",
                    "(('1' || repeat('0', 1000))::numeric - 1) * 1e-500",
                    "(1 - ('1' || repeat('0', 1000))::numeric) * 1e-500",
                    500,
                ),
                (
                    "d5000",
                    "(('1' || repeat('0', 5000))::numeric - 1) * 1e-4000",
                    "-(256::numeric ^ 200) * 1e-4000",
                    4000,
                ),
            ] {
                let different = format!(
                    "SELECT concat_ws(' ', left(w.{column}, 60), left(v::text, 60))
                     FROM (SELECT {column}::text, row_number() OVER () FROM wide) w
                     JOIN (SELECT v, row_number() OVER () FROM unnest({}) v) v USING (row_number)
                     WHERE w.{column}::numeric IS DISTINCT FROM v OR scale(w.{column}::numeric) <> {scale}",
                    numbers(largest, smallest, scale)
                );
                assert_eq!(texts(client, &different), [""; 0], "{column} as {declared} by {way}");
            }
        }
    }
    for (file, row) in [("too_wide_decimal", 2), ("too_fine_decimal", 1)] {
        for type_name in ["numeric", "text", "jsonb", "bigint"] {
            run(client, &format!("DROP TABLE IF EXISTS wide; CREATE TABLE wide (d {type_name})"));
            let failure = refused(
                client,
                &format!("SELECT pgcopy.load_parquet('{}', target => 'wide', on_lossy => 'truncate')", path(file)),
            );
            assert_eq!(failure.sqlstate, "22003", "{failure:?}");
            assert_eq!(failure.message, "value overflows numeric format");
            assert_eq!(failure.detail, format!("File {}, row group 0, row {row}, column d.", path(file)));
        }
    }
}

#[test]
fn an_arrow_type_that_is_not_known_takes_no_other_with_it() {
    let mut pair = Pair::new("parquet_arrow_hints");
    let client = &mut pair.destination;
    load(client, &format!("'{}', target => 'durations'", path("durations")));
    assert_eq!(
        texts(client, "SELECT concat_ws(' ', d, pg_typeof(d), s, l, pg_typeof(l)) FROM durations"),
        [
            r#"00:00:01.5 interval {"d": "00:00:01.5", "other": 1} {00:00:01.5} interval[]"#,
            r#"interval {"d": null, "other": 2} {NULL} interval[]"#,
            r#"-00:00:00.000001 interval {"d": "-00:00:00.000001", "other": 3} {-00:00:00.000001} interval[]"#
        ]
    );
    let unknown = xtask::root().join("tests/data/parquet/duration_beside_int128.parquet");
    let types =
        "SELECT string_agg(\"column\" || ' ' || postgres_type, ', ' ORDER BY position) FROM pgcopy.parquet_schema";
    assert_eq!(text(client, &format!("{types}('{}')", unknown.display())), "du interval, i128 bytea");
}
