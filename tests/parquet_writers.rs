//! Files that leave the format, or use what is rare in it: their meaning is plain, or they are refused in words.

use crate::harness::{Failure, Pair, describe, texts};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use xtask::server::ScratchDirectory;

/// Files of `python/write_oddities.py`, and those of `data/parquet`.
fn directory() -> PathBuf {
    static DIRECTORY: OnceLock<ScratchDirectory> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = ScratchDirectory::create("parquet_oddities").unwrap();
        let output = Command::new(std::env::var("PGCOPY_TEST_PYTHON").expect("run the tests with `cargo xtask test`"))
            .arg(xtask::root().join("tests/python/write_oddities.py"))
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for entry in std::fs::read_dir(xtask::root().join("tests/data/parquet")).unwrap().flatten() {
            std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
        directory
    });
    directory.path().to_owned()
}

fn path(file: &str) -> String {
    directory().join(format!("{file}.parquet")).display().to_string()
}

struct Loads(Pair);

impl Loads {
    fn new(name: &str) -> Self {
        Self(Pair::new(name))
    }

    fn run(&mut self, sql: &str) {
        let client = &mut self.0.destination;
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    }

    /// Loads the file into a table of its name that is made for it, by workers and by the leader, and compares the rows.
    #[track_caller]
    fn assert_rows(&mut self, file: &str, rows: &[&str]) {
        for parallel in [0, 2] {
            self.run(&format!("DROP TABLE IF EXISTS {file}"));
            self.run(&format!("SELECT pgcopy.load_parquet('{}', parallel => {parallel})", path(file)));
            let query = format!("SELECT whole_row::text FROM {file} whole_row");
            assert_eq!(texts(&mut self.0.destination, &query), rows, "{file}");
        }
    }

    fn refused(&mut self, sql: &str) -> Failure {
        match self.0.destination.batch_execute(sql) {
            Ok(()) => panic!("{sql} succeeded"),
            Err(error) => Failure::of(&error),
        }
    }
}

#[test]
fn footers_of_other_writers() {
    let mut loads = Loads::new("parquet_footers");
    loads.assert_rows("nulls_of_old_arrow", &["(,1)", "(,2)"]);
    loads.assert_rows("rows_not_counted", &["(1)", "(2)"]);
    loads.assert_rows("interval_of_java", &["(\"1 mon 2 days 00:00:03\")"]);
    loads.assert_rows("private_field", &["(1)", "(2)"]);
    loads.assert_rows("number_among_texts", &["(1)"]);
    loads.assert_rows("decimal_without_scale", &["(1)", "(-2)", "()"]);
    loads.assert_rows("contradiction", &["(\"1970-01-01 00:16:40\")", "(\"1970-01-01 00:00:00\")"]);
    loads.assert_rows("misplaced", &["(1,\"\\\\x616263\",3,5)", "(2,\"\\\\x646566\",4,6)"]);
    loads.assert_rows("decimals", &["(1234567.89,-123.45,0.012)", "(0.05,0.05,0.005)"]);
}

#[test]
fn pages_of_other_writers() {
    let mut loads = Loads::new("parquet_odd_pages");
    let rows: Vec<String> = (0..60).map(|row| format!("({})", if row % 3 == 1 { "b" } else { "a" })).collect();
    let client = &mut loads.0.destination;
    client.batch_execute(&format!("SELECT pgcopy.load_parquet('{}')", path("size_without_dictionary_header"))).unwrap();
    let loaded = texts(client, "SELECT t::text FROM size_without_dictionary_header t");
    assert_eq!(loaded.len(), rows.len());
    assert!(loaded.iter().all(|row| row == "(a)" || row == "(b)"), "{loaded:?}");
    loads.assert_rows("checksum_of_zero", &["(1)", "(2)"]);
    loads.assert_rows("dictionary_at_zero", &["(1)", "(2)"]);
    loads.assert_rows("unpacked_below_zero", &["(1)", "(2)"]);
    loads.assert_rows("unpacked_beyond_all", &["(1)", "(1)"]);
    for (file, bytes) in [("unpacked_below_zero", 0), ("unpacked_beyond_all", i64::MAX)] {
        let query = format!("SELECT uncompressed_bytes::text FROM pgcopy.parquet_schema('{}')", path(file));
        assert_eq!(texts(&mut loads.0.destination, &query), [bytes.to_string()]);
    }
}

#[test]
fn pages_of_nulls_alone_need_no_beginning() {
    let mut loads = Loads::new("parquet_nulls_alone");
    loads.assert_rows("nulls_after_nothing", &["(,,,,)", "(,,,,)", "(7,x,x,t,1)", "(8,y,y,f,2)"]);
    loads.assert_rows("nulls_after_zeros", &["(,,)", "(,,)", "(7,x,x)", "(8,y,y)"]);
    let refused = loads.refused(&format!("SELECT pgcopy.load_parquet('{}')", path("values_after_nothing")));
    assert_eq!(refused.sqlstate, "XX001", "{refused:?}");
}

#[test]
fn a_prefix_is_that_of_the_value_before() {
    let mut loads = Loads::new("parquet_prefixes");
    loads.assert_rows(
        "prefix_of_the_page_before",
        &[
            r#"(ax,"\\x6178")"#,
            r#"(ay,"\\x6179")"#,
            "(,)",
            "(,)",
            r#"(az,"\\x617a")"#,
            r#"(bz,"\\x627a")"#,
            r#"(bz,"\\x627a")"#,
        ],
    );
    for file in [
        "prefix_of_the_page_before_of_others",
        "prefix_of_the_chunk_before",
        "prefix_of_the_page_in_another_encoding",
        "prefix_of_more_than_there_is",
    ] {
        let refused = loads.refused(&format!("SELECT pgcopy.load_parquet('{}')", path(file)));
        assert_eq!(refused.sqlstate, "XX001", "{refused:?}");
        let words = "bytes of the one before";
        assert!(refused.detail.contains(words) && refused.detail.contains(file), "{refused:?}");
    }
}

#[test]
fn pages_that_leave_the_format_in_what_is_plain() {
    let mut loads = Loads::new("parquet_odd_contents");
    loads.assert_rows("rows_over_pages", &[r#"("{1,2,3,4}","{1,2,3,4}")"#, r#"("{5,6,7}","{5,6,7}")"#]);
    loads.assert_rows("only_entry", &["(one,)", "(,7)", "(one,7)"]);
    loads.assert_rows("nulls_of_no_dictionary", &["(,)", "(,)", "(,)"]);
    loads.assert_rows("wide_differences", &["(-2147483648)", "(2147483647)", "()", "(-2147483648)", "(5)"]);
    let rows = [r#"("1970-01-01 00:00:00","\\x616263")"#, "(,)", r#"("1970-01-02 00:00:00","\\x646566")"#].repeat(2);
    loads.assert_rows("bytes_after_values", &rows);
}

#[test]
fn lists_and_maps_of_other_writers() {
    let mut loads = Loads::new("parquet_odd_nesting");
    loads.assert_rows(
        "list_of_maps_of_hive",
        &["(\"[{\"\"a\"\": 1}, {\"\"b\"\": 2, \"\"c\"\": null}]\")", "([])", "()"],
    );
}

#[test]
fn int96_of_a_far_year() {
    let mut loads = Loads::new("parquet_far_int96");
    loads.run(&format!("SELECT pgcopy.load_parquet('{}')", path("far_int96")));
    let seconds = texts(&mut loads.0.destination, "SELECT trim_scale(extract(epoch FROM t))::text FROM far_int96");
    assert_eq!(seconds, ["9089380393200", "0.000001"]);
}

#[test]
fn a_column_of_the_null_type_that_holds_values_is_refused() {
    let mut loads = Loads::new("parquet_nulls_with_values");
    let failure = loads.refused(&format!("SELECT pgcopy.load_parquet('{}', parallel => 0)", path("nulls_with_values")));
    assert!(failure.detail.contains("row 1, column n"), "{failure:?}");
}

/// Names of columns that a table cannot have are told with the file.
#[test]
fn a_name_that_cannot_be_is_refused_with_file_and_column() {
    let mut loads = Loads::new("parquet_nul_name");
    let file = path("nul_in_a_name");
    let failure = loads.refused(&format!("SELECT pgcopy.load_parquet('{file}')"));
    assert!(failure.message.contains("a\\x00b"), "{failure:?}");
    assert!(failure.detail.contains(&file) && failure.detail.contains("code 0"), "{failure:?}");
    loads.run("CREATE TABLE rest (c bigint)");
    loads.run(&format!("SELECT pgcopy.load_parquet('{file}', skip => '{{*}}', target => 'rest')"));
    assert_eq!(texts(&mut loads.0.destination, "SELECT c::text FROM rest"), ["2"]);
    let failure = loads.refused(&format!("SELECT pgcopy.load_parquet('{file}', target => 'rest')"));
    assert!(failure.detail.contains("a\\x00b"), "{failure:?}");
    loads.run(&format!("SELECT * FROM pgcopy.parquet_schema('{file}')"));
}

#[test]
fn texts_that_are_not_utf8() {
    let mut loads = Loads::new("parquet_invalid_texts");
    const REPLACED: [&str; 5] =
        ["valid", "caf\u{fffd} au lait", "nul\u{fffd}nul", "\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}"];
    let targets = ["text", "varchar(20)", "char(12)", "short_text"];
    loads.run("CREATE DOMAIN short_text AS text CHECK (length(value) < 20)");
    for way in ["parallel => 2", "parallel => 0", "insert", "copy"] {
        for target in targets {
            loads.run(&format!("DROP TABLE IF EXISTS texts; CREATE TABLE texts (id integer, t {target})"));
            let all = path("invalid_texts");
            match way {
                "copy" => loads.run(&format!("COPY texts FROM '{all}' (FORMAT parquet, on_invalid_text replace)")),
                "insert" => {
                    loads.run("INSERT INTO texts VALUES (-1, '')");
                    loads.run(&format!(
                        "SELECT pgcopy.load_parquet('{all}', on_invalid_text => 'replace', target => 'texts')"
                    ));
                    loads.run("DELETE FROM texts WHERE id < 0");
                }
                _ => loads.run(&format!(
                    "SELECT pgcopy.load_parquet('{all}', on_invalid_text => 'replace', target => 'texts', {way})"
                )),
            }
            let query = "SELECT t::text FROM texts ORDER BY id";
            assert_eq!(texts(&mut loads.0.destination, query), REPLACED, "{way} {target}");
        }
    }
    for position in 1..5 {
        for target in targets {
            loads.run(&format!("DROP TABLE IF EXISTS texts; CREATE TABLE texts (id integer, t {target})"));
            let file = path(&format!("invalid_text_{position}"));
            let failure = loads.refused(&format!("SELECT pgcopy.load_parquet('{file}', target => 'texts')"));
            assert_eq!(failure.sqlstate, "22021", "{failure:?}");
            for part in [&file, "row group 0", "row 2", "column t"] {
                assert!(failure.detail.contains(part), "{failure:?}");
            }
        }
    }
    let nested = path("invalid_nested");
    let failure = loads.refused(&format!("SELECT pgcopy.load_parquet('{nested}')"));
    assert!(failure.detail.contains("row 1, column l"), "{failure:?}");
    loads.run(&format!("SELECT pgcopy.load_parquet('{nested}', on_invalid_text => 'replace')"));
    assert_eq!(
        texts(&mut loads.0.destination, "SELECT l::text || s || m FROM invalid_nested"),
        [
            "{valid,\"caf\u{fffd} au lait\"}{\"f\": \"caf\u{fffd} au lait\"}{\"caf\u{fffd} au lait\": 1}",
            "{nul\u{fffd}nul,\u{fffd},\u{fffd}\u{fffd}\u{fffd}}{\"f\": \"nul\u{fffd}nul\"}{\"nul\u{fffd}nul\": 2}",
        ]
    );
    for (value, sqlstate) in [("'ignore'", "22023"), ("NULL", "22004")] {
        let failure = loads.refused(&format!("SELECT pgcopy.load_parquet('{nested}', on_invalid_text => {value})"));
        assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
    }
}
