//! Files that COPY TO writes, read by other people's readers and compared value by value with what the server says.

use crate::harness::{Failure, Pair, describe, text, texts};
use postgres::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use xtask::server::ScratchDirectory;

/// A database with the extension and a directory that its server may write.
struct Files {
    pair: Pair,
    directory: ScratchDirectory,
}

/// What a reader found in a file.
struct Read {
    types: Vec<String>,
    rows: Vec<BTreeMap<String, Value>>,
}

impl Files {
    fn new(name: &str) -> Self {
        let (pair, directory) = Pair::with_files(name);
        Self { pair, directory }
    }

    fn client(&mut self) -> &mut Client {
        &mut self.pair.destination
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn sql(&self, what: &str, file: &str, options: &str) -> String {
        let separator = if options.is_empty() { "" } else { ", " };
        format!("COPY {what} TO '{}' (FORMAT parquet{separator}{options})", self.path(file).display())
    }

    /// Returns the number of rows that the server says it copied.
    fn copy(&mut self, what: &str, file: &str, options: &str) -> u64 {
        let sql = self.sql(what, file, options);
        self.client().execute(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)))
    }

    fn refused(&mut self, what: &str, file: &str, options: &str) -> Failure {
        let sql = self.sql(what, file, options);
        match self.client().batch_execute(&sql) {
            Ok(()) => panic!("{sql} succeeded"),
            Err(error) => Failure::of(&error),
        }
    }

    fn read(&self, reader: &str, file: &str) -> Read {
        let output = Command::new(std::env::var("PGCOPY_TEST_PYTHON").expect("run the tests with `cargo xtask test`"))
            .arg(xtask::root().join("tests/python/read_parquet.py"))
            .arg(reader)
            .arg(self.path(file))
            .output()
            .unwrap();
        assert!(output.status.success(), "{reader}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let mut lines = lines.lines();
        let types = serde_json::from_str(lines.next().unwrap()).unwrap();
        Read { types, rows: lines.map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    /// The names of what is in the directory.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

const READERS: [&str; 3] = ["pyarrow", "duckdb", "polars"];

/// A type with values at its edges, and the form in which they are compared. `v` stands for the value.
struct Case {
    sql_type: &'static str,
    canonical: &'static str,
    values: &'static [&'static str],
    /// As pyarrow, DuckDB and polars call what they read.
    types: [&'static str; 3],
}

const TEXT: &str = "v::text";
const HEX: &str = "encode(v, 'hex')";
const DATE: &str = "(v - date '1970-01-01')::text";
const TIME: &str = "(extract(epoch FROM v) * 1000000)::numeric(30, 0)::text";
const STRINGS: [&str; 3] = ["string", "VARCHAR", "String"];

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { sql_type: "boolean", canonical: TEXT, values: &["true", "false"], types: ["bool", "BOOLEAN", "Boolean"] },
    Case { sql_type: "int2", canonical: TEXT, values: &["-32768", "32767", "0"], types: ["int16", "SMALLINT", "Int16"] },
    Case { sql_type: "int4", canonical: TEXT, values: &["-2147483648", "2147483647"], types: ["int32", "INTEGER", "Int32"] },
    Case { sql_type: "int8", canonical: TEXT, values: &["-9223372036854775808", "9223372036854775807"], types: ["int64", "BIGINT", "Int64"] },
    Case { sql_type: "oid", canonical: TEXT, values: &["0", "4294967295"], types: ["uint32", "UINTEGER", "UInt32"] },
    Case { sql_type: "float4", canonical: "encode(float4send(v), 'hex')", values: &["NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38"], types: ["float", "FLOAT", "Float32"] },
    Case { sql_type: "float8", canonical: "encode(float8send(v), 'hex')", values: &["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308"], types: ["double", "DOUBLE", "Float64"] },
    Case { sql_type: "numeric(9,2)", canonical: TEXT, values: &["9999999.99", "-9999999.99", "0", "0.01", "-100"], types: ["decimal128(9, 2)", "DECIMAL(9,2)", "Decimal(precision=9, scale=2)"] },
    Case { sql_type: "numeric(18,7)", canonical: TEXT, values: &["99999999999.9999999", "-0.0000001", "10000", "0.0001", "12340000.5"], types: ["decimal128(18, 7)", "DECIMAL(18,7)", "Decimal(precision=18, scale=7)"] },
    Case { sql_type: "numeric(38,10)", canonical: TEXT, values: &["9999999999999999999999999999.9999999999", "-9999999999999999999999999999.9999999999", "1e27"], types: ["decimal128(38, 10)", "DECIMAL(38,10)", "Decimal(precision=38, scale=10)"] },
    Case { sql_type: "numeric(5,-2)", canonical: TEXT, values: &["9999900", "-100", "50"], types: ["decimal128(7, 0)", "DECIMAL(7,0)", "Decimal(precision=7, scale=0)"] },
    Case { sql_type: "numeric(3,5)", canonical: TEXT, values: &["0.00999", "-0.00001", "0"], types: ["decimal128(5, 5)", "DECIMAL(5,5)", "Decimal(precision=5, scale=5)"] },
    Case { sql_type: "numeric", canonical: TEXT, values: &["NaN", "Infinity", "1e-400", "12345678901234567890123456789012345678901234567890.5", "1.10"], types: STRINGS },
    Case { sql_type: "numeric(100,3)", canonical: TEXT, values: &["1e90", "-0.001"], types: STRINGS },
    Case { sql_type: "text", canonical: TEXT, values: &["", "ä€😀", "line\nline\ttab \"quoted\" \\", "' || repeat('x', 5000) || '"], types: STRINGS },
    Case { sql_type: "varchar(5)", canonical: TEXT, values: &["äöüß€"], types: STRINGS },
    Case { sql_type: "char(5)", canonical: "rpad(v::text, 5)", values: &["ä", "", "12345"], types: STRINGS },
    Case { sql_type: "name", canonical: TEXT, values: &["ä name", ""], types: STRINGS },
    Case { sql_type: "\"char\"", canonical: TEXT, values: &["x", "A"], types: STRINGS },
    Case { sql_type: "citext", canonical: TEXT, values: &["Case"], types: STRINGS },
    Case { sql_type: "bytea", canonical: HEX, values: &["", "\\x00ff80"], types: ["binary", "BLOB", "Binary"] },
    Case { sql_type: "date", canonical: DATE, values: &["4713-01-01 BC", "5874897-12-31", "0001-01-01", "1970-01-01", "2024-02-29"], types: ["date32[day]", "DATE", "Date"] },
    Case { sql_type: "time", canonical: TIME, values: &["00:00", "23:59:59.999999"], types: ["time64[us]", "TIME", "Time"] },
    Case { sql_type: "timetz", canonical: TEXT, values: &["00:00+15:59", "24:00:00-12:30"], types: STRINGS },
    Case { sql_type: "timestamp", canonical: TIME, values: &["4713-01-01 00:00:00 BC", "294246-12-31 23:59:59.999999", "1970-01-01", "1999-12-31 23:59:59.999999"], types: ["timestamp[us]", "TIMESTAMP", "Datetime(time_unit='us', time_zone=None)"] },
    Case { sql_type: "timestamptz", canonical: TIME, values: &["4713-01-02 00:00:00+00 BC", "294246-12-31 23:59:59.999999+00", "1970-01-01 00:00:00+00"], types: ["timestamp[us, tz=UTC]", "TIMESTAMP WITH TIME ZONE", "Datetime(time_unit='us', time_zone='UTC')"] },
    Case { sql_type: "timestamp(3)", canonical: TIME, values: &["2024-02-29 12:00:00.123"], types: ["timestamp[us]", "TIMESTAMP", "Datetime(time_unit='us', time_zone=None)"] },
    Case { sql_type: "interval", canonical: TEXT, values: &["1 year 2 months -3 days 04:05:06.789", "-178000000 years", "00:00"], types: STRINGS },
    Case { sql_type: "uuid", canonical: "replace(v::text, '-', '')", values: &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], types: ["extension<arrow.uuid>", "UUID", "Binary"] },
    Case { sql_type: "json", canonical: TEXT, values: &["{\"b\": 1,  \"a\": [null]}", "null"], types: ["extension<arrow.json>", "JSON", "Extension('arrow.json', String, '')"] },
    Case { sql_type: "jsonb", canonical: TEXT, values: &["{\"b\": 1,  \"a\": [null]}", "\"€\""], types: ["extension<arrow.json>", "JSON", "Extension('arrow.json', String, '')"] },
    Case { sql_type: "mood", canonical: TEXT, values: &["sad", "glücklich"], types: STRINGS },
    Case { sql_type: "small", canonical: TEXT, values: &["1", "9"], types: ["int32", "INTEGER", "Int32"] },
    Case { sql_type: "price", canonical: TEXT, values: &["1.5", "999.99"], types: ["decimal128(5, 2)", "DECIMAL(5,2)", "Decimal(precision=5, scale=2)"] },
    Case { sql_type: "int4range", canonical: TEXT, values: &["[1,5)", "empty", "(,)"], types: STRINGS },
    Case { sql_type: "tsrange", canonical: TEXT, values: &["[2024-02-01 00:00,2024-03-01 12:00]"], types: STRINGS },
    Case { sql_type: "datemultirange", canonical: TEXT, values: &["{[2024-02-01,2024-02-03),[2024-03-01,)}"], types: STRINGS },
    Case { sql_type: "point", canonical: TEXT, values: &["(0.1,1e300)"], types: STRINGS },
    Case { sql_type: "polygon", canonical: TEXT, values: &["((0,0),(0.30000000000000004,1))"], types: STRINGS },
    Case { sql_type: "inet", canonical: "format('%s', v)", values: &["10.0.0.1", "::1/64"], types: STRINGS },
    Case { sql_type: "macaddr", canonical: TEXT, values: &["08:00:2b:01:02:03"], types: STRINGS },
    Case { sql_type: "bit(3)", canonical: TEXT, values: &["101"], types: STRINGS },
    Case { sql_type: "varbit", canonical: TEXT, values: &["", "1"], types: STRINGS },
    Case { sql_type: "xml", canonical: TEXT, values: &["<a>ä</a>"], types: STRINGS },
    Case { sql_type: "money", canonical: TEXT, values: &["-1234567.89"], types: STRINGS },
    Case { sql_type: "pg_lsn", canonical: TEXT, values: &["16/B374D848"], types: STRINGS },
    Case { sql_type: "tsvector", canonical: TEXT, values: &["a:1 b:2A"], types: STRINGS },
    Case { sql_type: "hstore", canonical: TEXT, values: &["a=>1, b=>NULL"], types: STRINGS },
    Case { sql_type: "regclass", canonical: TEXT, values: &["pg_class"], types: STRINGS },
    Case { sql_type: "int2vector", canonical: TEXT, values: &["1 2 3"], types: STRINGS },
    Case { sql_type: "int4[]", canonical: "to_json(v::text[])", values: &["{}", "{1,NULL,-3}", "{NULL}"], types: ["list<element: int32>", "INTEGER[]", "List(Int32)"] },
    Case { sql_type: "text[]", canonical: "to_json(v)", values: &["{\"\",NULL,\"NULL\",\"a,b\"}"], types: ["list<element: string>", "VARCHAR[]", "List(String)"] },
    Case { sql_type: "numeric(30,3)[]", canonical: "to_json(v::text[])", values: &["{1.5,-99999999999999999999.999}"], types: ["list<element: decimal128(30, 3)>", "DECIMAL(30,3)[]", "List(Decimal(precision=30, scale=3))"] },
    Case { sql_type: "mood[]", canonical: "to_json(v)", values: &["{sad,NULL,glücklich}"], types: ["list<element: string>", "VARCHAR[]", "List(String)"] },
    Case { sql_type: "int8[][]", canonical: "to_json(v::text[])", values: &["{{1,2,3},{4,NULL,6}}", "{}", "{{7}}"], types: ["list<element: list<element: int64>>", "BIGINT[][]", "List(List(Int64))"] },
    Case { sql_type: "matrix", canonical: "to_json(v::text[])", values: &["{{1},{NULL}}"], types: ["list<element: list<element: int32>>", "INTEGER[][]", "List(List(Int32))"] },
    Case { sql_type: "pair", canonical: "json_build_object('a', (v).a::text, 'Odd \"b', (v).\"Odd \"\"b\", 'c', to_json((v).c::text[]))",
        values: &["(1,x,\"{1,NULL}\")", "(,,)", "(2,\"\",{})"],
        types: ["struct<a: int32, Odd \"b: string, c: list<element: int32>>", "STRUCT(a INTEGER, \"Odd \"\"b\" VARCHAR, c INTEGER[])", "Struct({'a': Int32, 'Odd \"b': String, 'c': List(Int32)})"] },
    Case { sql_type: "pair[]", canonical: "(SELECT coalesce(json_agg(CASE WHEN v[o] IS DISTINCT FROM NULL THEN json_build_object('a', (v[o]).a::text, 'Odd \"b', (v[o]).\"Odd \"\"b\", 'c', to_json((v[o]).c::text[])) END ORDER BY o), '[]') FROM generate_subscripts(v, 1) o)",
        values: &["{\"(1,x,\\\"{1,NULL}\\\")\",NULL}", "{}"],
        types: ["list<element: struct<a: int32, Odd \"b: string, c: list<element: int32>>>", "STRUCT(a INTEGER, \"Odd \"\"b\" VARCHAR, c INTEGER[])[]", "List(Struct({'a': Int32, 'Odd \"b': String, 'c': List(Int32)}))"] },
];

const TYPES: &str = r#"
    CREATE EXTENSION citext; CREATE EXTENSION hstore;
    CREATE TYPE mood AS ENUM ('sad', 'glücklich');
    CREATE DOMAIN small AS int CHECK (VALUE < 10);
    CREATE DOMAIN base_price AS numeric(5,2);
    CREATE DOMAIN price AS base_price NOT NULL;
    ALTER DOMAIN price DROP NOT NULL;
    CREATE DOMAIN matrix AS int4[][];
    CREATE TYPE pair AS (a int, dropped text, "Odd ""b" text, c int[]);
    ALTER TYPE pair DROP ATTRIBUTE dropped;
"#;

/// Settings that change texts; none of them may reach a file.
const ODD_SETTINGS: &str = "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -15;
    SET TimeZone = 'Asia/Kolkata'; SET bytea_output = 'escape'";
const USUAL_SETTINGS: &str = "SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1;
    SET TimeZone = 'UTC'; SET bytea_output = 'hex'";

/// A table `every` with a column for each case, written to `every.parquet`. Returns the number of its rows.
fn write_every_type(files: &mut Files) -> usize {
    files.client().batch_execute(TYPES).unwrap();
    let columns: Vec<_> =
        CASES.iter().enumerate().map(|(number, case)| format!("c{number} {}", case.sql_type)).collect();
    files.client().batch_execute(&format!("CREATE TABLE every (id int, {})", columns.join(", "))).unwrap();
    let longest = CASES.iter().map(|case| case.values.len()).max().unwrap();
    for row in 0..longest + 1 {
        // The last row is all NULL.
        let values: Vec<_> = CASES
            .iter()
            .map(|case| match case.values.get(row) {
                Some(value) if value.starts_with("' ||") => format!("('{value}')::{}", case.sql_type),
                Some(value) => format!("'{value}'::{}", case.sql_type),
                None => "NULL".into(),
            })
            .collect();
        files.client().batch_execute(&format!("INSERT INTO every VALUES ({row}, {})", values.join(", "))).unwrap();
    }
    files.client().batch_execute(ODD_SETTINGS).unwrap();
    assert_eq!(files.copy("every", "every.parquet", ""), longest as u64 + 1);
    files.client().batch_execute(USUAL_SETTINGS).unwrap();
    longest + 1
}

#[test]
fn every_type_reads_the_same_here() {
    let mut files = Files::new("parquet_round_trip");
    let rows = write_every_type(&mut files);
    let path = files.path("one.parquet");
    let mut differences = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        files.copy(&format!("every (id, c{number})"), "one.parquet", "");
        let sql = format!(
            "CREATE TABLE back{number} (id int, c{number} {});
             COPY back{number} FROM '{}' (FORMAT parquet)",
            case.sql_type,
            path.display()
        );
        if let Err(error) = files.client().batch_execute(&sql) {
            differences.push(format!("{}: {}", case.sql_type, describe(&error)));
            continue;
        }
        let values = |table: &str| {
            format!(
                "SELECT coalesce(c{number}::text, 'NULL') || (c{number} IS DISTINCT FROM NULL) FROM {table} ORDER BY id"
            )
        };
        let (expected, found) =
            (texts(files.client(), &values("every")), texts(files.client(), &values(&format!("back{number}"))));
        assert_eq!(expected.len(), rows);
        if found != expected {
            differences.push(format!("{}: {found:?} instead of {expected:?}", case.sql_type));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_type_reads_the_same_elsewhere() {
    let mut files = Files::new("parquet_types");
    let rows = write_every_type(&mut files);
    let expected: Vec<Vec<Value>> = CASES
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let form = case.canonical;
            let sql = format!(
                "SELECT json_agg(CASE WHEN v IS DISTINCT FROM NULL THEN to_json({form}) END ORDER BY id)::text
                 FROM (SELECT id, c{number} AS v FROM every) q"
            );
            serde_json::from_str(&text(files.client(), &sql)).unwrap()
        })
        .collect();
    for (reader, name) in READERS.into_iter().enumerate() {
        let read = files.read(name, "every.parquet");
        assert_eq!(read.rows.len(), rows);
        let mut differences = Vec::new();
        for (number, case) in CASES.iter().enumerate() {
            if read.types[number + 1] != case.types[reader] {
                differences.push(format!(
                    "{}: type {} instead of {}",
                    case.sql_type,
                    read.types[number + 1],
                    case.types[reader]
                ));
            }
            for (row, expected) in read.rows.iter().zip(&expected[number]) {
                let found = &row[&format!("c{number}")];
                if found != expected {
                    differences.push(format!("{}: {found} instead of {expected}", case.sql_type));
                }
            }
        }
        assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
    }
}

/// A column with values, as every reader sees it.
fn column(read: &Read, name: &str) -> Vec<Value> {
    read.rows.iter().map(|row| row[name].clone()).collect()
}

/// A table of its own: DuckDB reads such decimals as double precision, and polars refuses the whole file.
#[test]
fn decimals_of_76_digits() {
    let mut files = Files::new("parquet_decimals");
    let nines = format!("{0}.{0}", "9".repeat(38));
    files
        .client()
        .batch_execute(&format!(
            "CREATE TABLE t (v numeric(76,38), w numeric(39,0));
             INSERT INTO t VALUES ('{nines}', '{0}'), ('-{nines}', -1), ('-1e-38', 10000), (1e37, NULL), (NULL, 0)",
            "9".repeat(39)
        ))
        .unwrap();
    files.copy("t", "t.parquet", "");
    let read = files.read("pyarrow", "t.parquet");
    assert_eq!(read.types, ["decimal256(76, 38)", "decimal256(39, 0)"]);
    for name in ["v", "w"] {
        let sql = format!("SELECT coalesce(to_json({name}::text), 'null')::text FROM t");
        let expected: Vec<Value> =
            texts(files.client(), &sql).iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        assert_eq!(column(&read, name), expected);
    }
}

#[test]
fn files_without_rows_keep_their_columns() {
    let mut files = Files::new("parquet_empty");
    files.client().batch_execute("CREATE TABLE empty (a int, b text[], c numeric(5,2))").unwrap();
    assert_eq!(files.copy("empty", "empty.parquet", ""), 0);
    for reader in READERS {
        let read = files.read(reader, "empty.parquet");
        assert_eq!((read.types.len(), read.rows.len()), (3, 0), "{reader}");
    }
}

#[test]
fn queries_are_written_as_tables_are() {
    let mut files = Files::new("parquet_queries");
    files
        .client()
        .batch_execute(
            "CREATE TABLE item (id int, name text, twice int GENERATED ALWAYS AS (id * 2) STORED);
             INSERT INTO item SELECT i, 'n' || i FROM generate_series(1, 5000) i;
             CREATE TABLE old (a int); INSERT INTO old VALUES (1); ALTER TABLE old ADD COLUMN b int DEFAULT 7;",
        )
        .unwrap();
    // Many batches, in order.
    assert_eq!(files.copy("(SELECT id, name, twice FROM item ORDER BY id DESC)", "q.parquet", ""), 5000);
    let read = files.read("pyarrow", "q.parquet");
    let wanted: Vec<_> = (1..=5000).rev().map(|id| format!("{id} n{id} {}", id * 2)).collect();
    let found: Vec<_> = read
        .rows
        .iter()
        .map(|row| ["id", "name", "twice"].map(|name| row[name].as_str().unwrap().to_owned()).join(" "))
        .collect();
    assert_eq!(found, wanted);
    // COPY leaves generated columns out of a table, and the rows of tables that inherit from it.
    files.client().batch_execute("CREATE TABLE heir () INHERITS (item); INSERT INTO heir VALUES (0, 'heir')").unwrap();
    files.copy("item (name, id)", "t.parquet", "");
    let read = files.read("pyarrow", "t.parquet");
    assert_eq!(read.types, ["string", "int32"]);
    assert_eq!(files.copy("item", "t.parquet", ""), 5000);
    assert_eq!(files.read("pyarrow", "t.parquet").types, ["int32", "string"]);
    // Statements that write and return rows; values of no table; rows of a table that was older than its column.
    assert_eq!(files.copy("(DELETE FROM item WHERE id > 4998 RETURNING id)", "d.parquet", ""), 2);
    assert_eq!(text(files.client(), "SELECT count(*)::text FROM ONLY item"), "4998");
    assert_eq!(files.copy("(VALUES (1, ROW(1, 'x')), (NULL, NULL))", "v.parquet", ""), 2);
    assert_eq!(column(&files.read("pyarrow", "v.parquet"), "column2"), ["(1,x)".into(), Value::Null]);
    files.copy("(SELECT old FROM old)", "o.parquet", "");
    let row: Value = serde_json::from_str(r#"{"a": "1", "b": "7"}"#).unwrap();
    assert_eq!(column(&files.read("pyarrow", "o.parquet"), "old"), [row]);
    // Arrays that a function builds in memory.
    files.copy("(SELECT array_agg(id ORDER BY id) AS a FROM ONLY item WHERE id < 4)", "a.parquet", "");
    assert_eq!(column(&files.read("pyarrow", "a.parquet"), "a"), [serde_json::json!(["1", "2", "3"])]);
    // Values that are stored compressed or elsewhere.
    files
        .client()
        .batch_execute(
            "CREATE TABLE big (a text, b bytea);
             INSERT INTO big SELECT repeat('ab', 100000), decode(string_agg(md5(i::text), ''), 'hex') FROM generate_series(1, 20000) i",
        )
        .unwrap();
    files.copy("big", "big.parquet", "");
    let read = files.read("polars", "big.parquet");
    assert_eq!(read.rows[0]["a"].as_str().unwrap(), "ab".repeat(100_000));
    assert_eq!(read.rows[0]["b"].as_str().unwrap(), text(files.client(), "SELECT encode(b, 'hex') FROM big"));
}

#[test]
fn codecs_and_row_groups_are_those_that_were_asked_for() {
    let mut files = Files::new("parquet_options");
    files
        .client()
        .batch_execute("CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 1000) i")
        .unwrap();
    let codecs = [
        ("codec 'uncompressed'", "UNCOMPRESSED"),
        ("codec 'snappy'", "SNAPPY"),
        ("codec gzip, compression_level 9", "GZIP"),
        ("codec brotli, compression_level '1'", "BROTLI"),
        ("codec lz4_raw", "LZ4"),
        ("codec 'zstd', compression_level 19", "ZSTD"),
        ("", "ZSTD"),
    ];
    std::fs::create_dir(files.path("codecs")).unwrap();
    let owner = std::fs::metadata(files.directory.path()).unwrap();
    let (user, group) = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
    std::os::unix::fs::chown(files.path("codecs"), Some(user), Some(group)).unwrap();
    for (number, (options, codec)) in codecs.into_iter().enumerate() {
        let file = format!("codecs/{number}.parquet");
        files.copy("t", &file, options);
        let read = files.read("metadata", &file);
        assert_eq!(read.types, [format!("1000 {codec}")], "{options}");
    }
    for reader in READERS {
        let read = files.read(reader, "codecs/*.parquet");
        let mut found: Vec<_> = column(&read, "m").iter().map(|value| value.as_str().unwrap().to_owned()).collect();
        found.sort();
        let sql = "SELECT m FROM t, generate_series(1, 7) ORDER BY m COLLATE \"C\"";
        assert_eq!(found, texts(files.client(), sql), "{reader}");
    }
    files.copy("t", "groups.parquet", "row_group_rows 300, codec snappy");
    let groups = files.read("metadata", "groups.parquet").types;
    assert_eq!(groups, ["300 SNAPPY", "300 SNAPPY", "300 SNAPPY", "100 SNAPPY"]);
    files.copy("t", "groups.parquet", "row_group_bytes '1kB'");
    let groups = files.read("metadata", "groups.parquet").types;
    assert!(groups.len() > 10, "{groups:?}");
    assert_eq!(files.read("duckdb", "groups.parquet").rows.len(), 1000);
}

#[test]
fn wide_tables() {
    let mut files = Files::new("parquet_wide");
    let columns: Vec<_> = (1..=1600).map(|number| format!("c{number} int2")).collect();
    let values: Vec<_> = (1..=1600).map(|number| number.to_string()).collect();
    files
        .client()
        .batch_execute(&format!(
            "CREATE TABLE wide ({}); INSERT INTO wide VALUES ({})",
            columns.join(", "),
            values.join(", ")
        ))
        .unwrap();
    assert_eq!(files.copy("wide", "wide.parquet", ""), 1);
    let read = files.read("pyarrow", "wide.parquet");
    assert_eq!(read.rows[0].len(), 1600);
    assert!((1..=1600).all(|number| read.rows[0][&format!("c{number}")].as_str() == Some(&number.to_string())));
}

#[test]
fn values_that_parquet_cannot_hold_are_named_with_column_and_row() {
    let mut files = Files::new("parquet_refused");
    files.client().batch_execute("CREATE TYPE deep AS (\"When\" date, list numeric(5,2)[])").unwrap();
    let range = "22008";
    for (query, sqlstate, message, detail) in [
        (
            "SELECT 1 AS a, d FROM unnest('{today,infinity}'::date[]) d",
            range,
            "date \"infinity\" has no equivalent in a Parquet file",
            "Row 2, column d.",
        ),
        (
            "SELECT '-infinity'::timestamp AS \"T\"",
            range,
            "timestamp \"-infinity\" has no equivalent in a Parquet file",
            "Row 1, column \"T\".",
        ),
        (
            "SELECT timestamptz 'infinity' AS t",
            range,
            "timestamp \"infinity\" has no equivalent in a Parquet file",
            "Row 1, column t.",
        ),
        ("SELECT '294247-01-10 04:00:54.775807'::timestamp AS t", range, "", ""),
        (
            "SELECT '294276-12-31'::timestamp AS t",
            range,
            "timestamp out of range for a Parquet file, whose last year is 294246",
            "Row 1, column t.",
        ),
        (
            "SELECT time '24:00' AS t",
            range,
            "time \"24:00:00\" has no equivalent in a Parquet file",
            "Row 1, column t.",
        ),
        (
            "SELECT 'NaN'::numeric(5,2) AS n",
            "22003",
            "numeric \"NaN\" has no equivalent in a Parquet file",
            "Row 1, column n.",
        ),
        (
            "SELECT '{{1,2}}'::int[] AS a",
            "2202E",
            "array has 2 dimensions, but its column is written with 1",
            "Row 1, column a.",
        ),
        (
            "SELECT '[0:1]={1,2}'::int[] AS a",
            "2202E",
            "array whose subscripts do not begin with 1 has no equivalent in a Parquet file",
            "Row 1, column a.",
        ),
        (
            "SELECT ARRAY[ROW('infinity', NULL)::deep] AS a",
            range,
            "date \"infinity\" has no equivalent in a Parquet file",
            "Row 1, column a[].\"When\".",
        ),
        (
            "SELECT ROW(NULL, '{1,NaN}')::deep AS a",
            "22003",
            "numeric \"NaN\" has no equivalent in a Parquet file",
            "Row 1, column a.list[].",
        ),
        ("SELECT 1, 2", "42701", "column name \"?column?\" appears more than once", ""),
        ("SELECT", "0A000", "cannot write a Parquet file without columns", ""),
        ("SELECT 1 / (3 - i) AS a FROM generate_series(1, 5) i", "22012", "division by zero", ""),
    ] {
        let query = format!("({query})");
        if message.is_empty() {
            // The last microsecond that fits.
            files.copy(&query, "last.parquet", "");
            assert_eq!(column(&files.read("pyarrow", "last.parquet"), "t"), ["9223372036854775807"]);
            std::fs::remove_file(files.path("last.parquet")).unwrap();
            continue;
        }
        let failure = files.refused(&query, "refused.parquet", "");
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message), "{query}");
        assert_eq!(failure.detail, detail, "{query}");
        assert_eq!(files.files(), [""; 0], "{query}");
    }
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt;
    let mut files = Files::new("parquet_files");
    files.copy("(SELECT 1 AS a)", "a.parquet", "");
    let mode = |files: &Files| std::fs::metadata(files.path("a.parquet")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&files), 0o644);
    let before = std::fs::read(files.path("a.parquet")).unwrap();
    files.refused("(SELECT 1 / (5000 - i) AS a FROM generate_series(1, 5000) i)", "a.parquet", "");
    assert_eq!(std::fs::read(files.path("a.parquet")).unwrap(), before);
    assert_eq!(files.files(), ["a.parquet"]);
    // Rights that somebody took from the file stay taken, and a link stays a link.
    std::fs::set_permissions(files.path("a.parquet"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(files.path("a.parquet"), files.path("link.parquet")).unwrap();
    files.copy("(SELECT 2 AS a)", "link.parquet", "");
    assert_eq!(mode(&files), 0o600);
    assert!(files.path("link.parquet").is_symlink());
    assert_eq!(column(&files.read("pyarrow", "a.parquet"), "a"), ["2"]);
    for (file, sqlstate, message) in [
        ("missing/a.parquet", "58P01", "could not open file \"{}\": No such file or directory"),
        ("", "42809", "\"{}\" is a directory"),
        ("a.parquet/b.parquet", "42809", "could not open file \"{}\": Not a directory"),
    ] {
        let failure = files.refused("(SELECT 1 AS a)", file, "");
        let message = message.replace("{}", &files.path(file).display().to_string());
        assert_eq!((failure.sqlstate.as_str(), failure.message), (sqlstate, message));
    }
    for (path, sqlstate, message) in [
        ("a.parquet", "42602", "relative path not allowed for COPY to file"),
        ("s3://bucket/a.parquet", "0A000", "cannot copy to a URL in format \"parquet\""),
        ("/dev/null", "42809", "\"/dev/null\" is not a regular file"),
    ] {
        let sql = format!("COPY (SELECT 1 AS a) TO '{path}' (FORMAT parquet)");
        let failure = Failure::of(&files.client().batch_execute(&sql).unwrap_err());
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message));
    }
    assert_eq!(files.files(), ["a.parquet", "link.parquet"]);
}

#[test]
fn a_session_that_is_ended_leaves_no_half_file() {
    let mut files = Files::new("parquet_ended");
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        let mut session = files.pair.another_destination_session();
        session.batch_execute("LOAD 'pgcopy'").unwrap();
        let sql = files.sql("(SELECT i, pg_sleep(0.001) FROM generate_series(1, 1000000) i)", "a.parquet", "");
        let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        let running = std::thread::spawn(move || session.batch_execute(&sql).unwrap_err());
        crate::harness::eventually("the file is begun", || !files.files().is_empty());
        assert!(files.files()[0].starts_with(".pgcopy-"));
        let progress = format!("SELECT command || ' ' || type FROM pg_stat_progress_copy WHERE pid = {pid}");
        assert_eq!(text(files.client(), &progress), "COPY TO FILE");
        files.client().execute(&format!("SELECT {function}({pid})"), &[]).unwrap();
        // Of a connection that is closed the client may see nothing but that.
        if let Some(code) = running.join().unwrap().as_db_error().map(|error| error.code().code().to_owned()) {
            assert!(["57014", "57P01"].contains(&code.as_str()), "{code}");
        }
        crate::harness::eventually("the file is gone", || files.files().is_empty());
    }
}

#[test]
fn texts_of_other_encodings_become_utf8() {
    let mut files = Files::new("parquet_encodings");
    let port = files.pair.destination_port;
    let mut postgres = crate::harness::connect(port, "postgres");
    postgres.batch_execute("DROP DATABASE IF EXISTS parquet_latin1").unwrap();
    postgres.batch_execute("CREATE DATABASE parquet_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").unwrap();
    let mut latin1 = crate::harness::connect(port, "parquet_latin1");
    latin1
        .batch_execute(
            "LOAD 'pgcopy'; CREATE TYPE größe AS ENUM ('groß');
             CREATE TABLE öl (ä text, é größe, j json); INSERT INTO öl VALUES ('süß', 'groß', '{\"ü\": 1}')",
        )
        .unwrap();
    let sql = files.sql("öl", "a.parquet", "");
    latin1.batch_execute(&sql).unwrap();
    let read = files.read("duckdb", "a.parquet");
    let row = serde_json::json!({"ä": "süß", "é": "groß", "j": "{\"ü\": 1}"});
    assert_eq!(serde_json::to_value(&read.rows[0]).unwrap(), row);
    let _ = files.client();
}
