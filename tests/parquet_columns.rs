//! Which columns of files go where, and what becomes of values that do not fit.

use crate::harness::{Failure, Pair, texts};
use xtask::server::ScratchDirectory;

pub struct Files {
    pub pair: Pair,
    directory: ScratchDirectory,
}

impl Files {
    pub fn new(name: &str) -> Self {
        let (pair, directory) = Pair::with_files(name);
        Self { pair, directory }
    }

    /// With a path in the test's directory for each `@name`.
    pub fn sql(&self, sql: &str) -> String {
        sql.replace('@', &format!("{}/", self.directory.path().display()))
    }

    /// A file of a query's rows, with the folders above it.
    pub fn write(&mut self, file: &str, query: &str) {
        let path = self.directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // The server may be another user's.
        let mut folder = path.parent().unwrap();
        while folder != self.directory.path() {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(folder, mode).unwrap();
            folder = folder.parent().unwrap();
        }
        self.run(&format!("COPY ({query}) TO '@{file}' (FORMAT parquet)"));
    }

    pub fn run(&mut self, sql: &str) {
        let sql = self.sql(sql);
        let client = &mut self.pair.destination;
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", crate::harness::describe(&error)));
    }

    pub fn load(&mut self, arguments: &str) {
        self.run(&format!("SELECT pgcopy.load_parquet({arguments})"));
    }

    pub fn refused(&mut self, sql: &str) -> Failure {
        let sql = self.sql(sql);
        match self.pair.destination.batch_execute(&sql) {
            Ok(()) => panic!("{sql} succeeded"),
            Err(error) => Failure::of(&error),
        }
    }

    fn assert_load_refused(&mut self, arguments: &str, words: &str) {
        let failure = self.refused(&format!("SELECT pgcopy.load_parquet({arguments})"));
        assert!(failure.message.contains(words) || failure.detail.contains(words), "{arguments}: {failure:?}");
    }

    pub fn assert_rows(&mut self, query: &str, rows: &[&str]) {
        assert_eq!(texts(&mut self.pair.destination, query), rows, "{query}");
    }
}

#[test]
fn digits_that_do_not_fit_are_cut_off_where_that_is_asked_for() {
    let mut files = Files::new("parquet_cut");
    files.run("CREATE TYPE priced AS (price numeric(5,2)); CREATE TYPE fine AS (price numeric(10,3))");
    files.write(
        "cut.parquet",
        "SELECT v::numeric(10,3) AS d, v::numeric(60,3) AS wide, v::float8 AS f, ARRAY[v]::numeric(10,3)[] AS a,
                ROW(v)::fine AS c, v::numeric(10,3) AS tens
         FROM unnest('{1.999,-1.239,0.001,12.5,NULL}'::numeric[]) v",
    );
    let columns = "d numeric(5,2), wide numeric(5,2), f numeric(5,2), a numeric(5,2)[], c priced, tens numeric(5,-1)";
    files.run(&format!("CREATE TABLE cut ({columns})"));
    files.assert_load_refused("'@cut.parquet', target => 'cut'", "more digits behind the point");
    files.load("'@cut.parquet', target => 'cut', on_lossy => 'truncate'");
    files.assert_rows(
        "SELECT concat_ws(' ', d, wide, f, a, c, tens) FROM cut",
        &[
            "1.99 1.99 1.99 {1.99} (1.99) 0",
            "-1.23 -1.23 -1.23 {-1.23} (-1.23) 0",
            "0.00 0.00 0.00 {0.00} (0.00) 0",
            "12.50 12.50 12.50 {12.50} (12.50) 10",
            "{NULL} ()",
        ],
    );
    files.write("small.parquet", "SELECT v::float8 AS f FROM unnest('{1e-7,-2.5e-9,NaN,123456.789}'::float8[]) v");
    files.run("CREATE TABLE small (f numeric(9,2))");
    files.load("'@small.parquet', target => 'small', on_lossy => 'truncate'");
    files.assert_rows("SELECT f::text FROM small", &["0.00", "0.00", "NaN", "123456.78"]);
}

#[test]
fn texts_that_a_type_would_round_are_refused() {
    let mut files = Files::new("parquet_rounded_texts");
    files.run("CREATE DOMAIN short AS numeric(3,1)");
    for (type_name, whole, fine, rounded, sqlstate) in [
        ("numeric(3,1)", "1.20", "1.25", "1.3", "22003"),
        ("short", "1.20", "1.25", "1.3", "22003"),
        ("numeric(3,1)[]", "{1.2}", "{1.2,1.25}", "{1.2,1.3}", "22003"),
        ("timestamp(0)", "2020-01-01 00:00:00", "2020-01-01 00:00:00.9", "2020-01-01 00:00:01", "22008"),
        ("time(1)", "10:00:00.1", "10:00:00.16", "10:00:00.2", "22008"),
        ("interval(0)", "1 day 00:00:01", "00:00:01.2", "00:00:01", "22008"),
    ] {
        files.run(&format!("CREATE TABLE rounded (v {type_name})"));
        files.write("whole.parquet", &format!("SELECT '{whole}'::text AS v"));
        files.write("fine.parquet", &format!("SELECT v FROM (VALUES ('{whole}'::text), ('{fine}')) t (v)"));
        files.load("'@whole.parquet', target => 'rounded'");
        let failure = files.refused("SELECT pgcopy.load_parquet('@fine.parquet', target => 'rounded')");
        assert_eq!(failure.sqlstate, sqlstate, "{type_name}: {failure:?}");
        assert!(failure.message.contains("would be changed by type"), "{failure:?}");
        assert!(failure.detail.ends_with("row group 0, row 2, column v."), "{failure:?}");
        let failure = files.refused("COPY rounded FROM '@fine.parquet' (FORMAT parquet)");
        assert_eq!(failure.sqlstate, sqlstate, "{type_name}: {failure:?}");
        files.run("COPY rounded FROM '@fine.parquet' (FORMAT parquet, on_lossy truncate)");
        files.assert_rows(&format!("SELECT count(*)::text FROM rounded WHERE v = '{rounded}'"), &["1"]);
        files.run("DROP TABLE rounded");
    }
}

#[test]
fn columns_of_folders_are_matched_as_those_of_files() {
    let mut files = Files::new("parquet_folders");
    for year in [2024, 2025] {
        files.write(&format!("lake/year={year}/x.parquet"), &format!("SELECT {year}::bigint - 2000 AS id"));
    }
    let rows = ["24 2024", "25 2025"];
    files.run("CREATE TABLE narrow (id bigint)");
    files.assert_load_refused("'@lake', target => 'narrow'", "folders year=…: the target has no column for \"year\"");
    let failure = files.refused("COPY narrow FROM '@lake' (FORMAT parquet)");
    assert!(failure.detail.contains("no column for \"year\"") && !failure.hint.contains("skip"), "{failure:?}");
    for arguments in ["skip => '{year}'", "skip => '{*}'"] {
        files.run("TRUNCATE narrow");
        files.load(&format!("'@lake', target => 'narrow', {arguments}"));
        files.assert_rows("SELECT id::text FROM narrow ORDER BY 1", &["24", "25"]);
    }
    files.load("'@lake', target => 'made_narrow', skip => '{year}'");
    files.assert_rows("SELECT to_jsonb(t)::text FROM made_narrow t ORDER BY id", &["{\"id\": 24}", "{\"id\": 25}"]);
    files.run(
        "CREATE TABLE upper (id bigint, \"Year\" integer); CREATE TABLE positioned (a bigint, b integer);
         CREATE TABLE mapped (id bigint, y text)",
    );
    files.load("'@lake', target => 'upper'");
    files.assert_rows("SELECT concat_ws(' ', id, \"Year\") FROM upper ORDER BY 1", &rows);
    files.load("'@lake', target => 'positioned', match_by => 'position'");
    files.assert_rows("SELECT concat_ws(' ', a, b) FROM positioned ORDER BY 1", &rows);
    files.load("'@lake', target => 'mapped', columns => '{\"y\": \"year\"}'");
    files.assert_rows("SELECT concat_ws(' ', id, y) FROM mapped ORDER BY 1", &rows);
    files.load("'@lake', target => 'made_mapped', columns => '{\"y\": \"year\"}'");
    files.assert_rows("SELECT concat_ws(' ', id, y) FROM made_mapped ORDER BY 1", &rows);
    // A folder and a file that say the same.
    files.write("both/year=2024/x.parquet", "SELECT 24::bigint AS id, 1999 AS year");
    let both = "both the file and a folder above it have a column \"year\"";
    files.assert_load_refused("'@both', target => 'twice'", both);
    files.assert_load_refused("'@both', target => 'upper'", both);
    files.load("'@both', target => 'twice', skip => '{year}'");
    files.assert_rows("SELECT concat_ws(' ', id, year) FROM twice", &["24 2024"]);
}

#[test]
fn columns_that_are_left_out_are_named_and_use_up_no_position() {
    let mut files = Files::new("parquet_left_out");
    files.write("x.parquet", "SELECT 1::bigint AS a, 'left out'::text AS b, 3::bigint AS c");
    files.run("CREATE TABLE positioned (x bigint, y bigint)");
    files.load("'@x.parquet', target => 'positioned', match_by => 'position', skip => '{b}'");
    files.assert_rows("SELECT concat_ws(' ', x, y) FROM positioned", &["1 3"]);
    let failure = files.refused(
        "SELECT pgcopy.load_parquet('@x.parquet', target => 'positioned', match_by => 'position', skip => '{b,nope}')",
    );
    assert_eq!(failure.detail, "no file has a column \"nope\" to skip");
    files.run("CREATE TABLE pair (a bigint, c bigint)");
    let failure = files.refused(
        "SELECT pgcopy.load_parquet('@x.parquet', target => 'pair', columns => '{\"a\": \"c\", \"c\": \"a\"}', skip => '{}')",
    );
    assert!(failure.detail.contains("the target has no column for \"b\""), "{failure:?}");
    files.write("v.parquet", "SELECT 1::bigint AS id, 'v'::text AS v, 'extra'::text AS extra");
    files.run("CREATE TABLE taken (id bigint, v text)");
    files.assert_load_refused(
        "'@v.parquet', target => 'taken', columns => '{\"id\": \"id\", \"v\": \"extra\"}'",
        "\"v\" has no place left: the target's column \"v\" takes \"extra\"",
    );
    files.assert_rows(&files.sql("SELECT DISTINCT codec FROM pgcopy.parquet_schema('@v.parquet')"), &["zstd"]);
}

#[test]
fn a_list_of_columns_says_which_of_a_file_are_wanted() {
    let mut files = Files::new("parquet_copy_list");
    files.write("x.parquet", "SELECT 1::bigint AS a, 'two'::text AS b, 3::bigint AS c");
    files.run("CREATE TABLE chosen (a bigint, c bigint, d bigint)");
    let failure = files.refused("COPY chosen FROM '@x.parquet' (FORMAT parquet)");
    assert!(failure.detail.contains("the target has no column for \"b\""), "{failure:?}");
    assert!(failure.hint.contains("a list of columns") && !failure.hint.contains("=>"), "{failure:?}");
    files.run("COPY chosen (c, a) FROM '@x.parquet' (FORMAT parquet)");
    files.run("COPY chosen (c) FROM '@x.parquet' (FORMAT parquet)");
    files.assert_rows("SELECT concat_ws(' ', a, c, d) FROM chosen", &["1 3", "3"]);
    let failure = files.refused("COPY chosen (a, d) FROM '@x.parquet' (FORMAT parquet)");
    assert_eq!(failure.detail, "there is nothing for the listed column \"d\"");
    // In order, nothing tells which are wanted.
    let failure = files.refused("COPY chosen (a, c) FROM '@x.parquet' (FORMAT parquet, match_by position)");
    assert!(failure.detail.contains("no column for \"c\""), "{failure:?}");
    files.run(
        "ALTER TABLE chosen ADD b text; COPY chosen (c, b, a) FROM '@x.parquet' (FORMAT parquet, match_by position)",
    );
    files.assert_rows("SELECT concat_ws(' ', a, b, c) FROM chosen WHERE b IS NOT NULL", &["3 two 1"]);
}

#[test]
fn names_that_a_table_cannot_have_are_told_before_it_is_made() {
    let mut files = Files::new("parquet_awkward_names");
    let long = "n".repeat(70);
    // Names as COPY TO cannot write them.
    let renamed = |files: &Files, from: &str, to: &str| {
        let path = files.directory.path().join("x.parquet");
        let bytes = std::fs::read(&path).unwrap();
        let (from, to) = (from.as_bytes(), to.as_bytes());
        assert_eq!(from.len(), to.len());
        let mut changed = bytes.clone();
        for at in 0..bytes.len().saturating_sub(from.len()) {
            if bytes[at..].starts_with(from) {
                changed[at..at + to.len()].copy_from_slice(to);
            }
        }
        std::fs::write(files.directory.path().join("y.parquet"), changed).unwrap();
    };
    files.write("x.parquet", "SELECT 1::bigint AS id, 7::bigint AS xxxx");
    renamed(&files, "xxxx", "ctid");
    let failure = files.refused("SELECT pgcopy.load_parquet('@y.parquet', target => 'made')");
    assert_eq!(failure.message, "column \"ctid\" of the files cannot get a column of its name");
    assert!(failure.detail.contains("a system column. The file is") && failure.hint.contains("skip"), "{failure:?}");
    files.load("'@y.parquet', target => 'without', skip => '{ctid}'");
    files.load("'@y.parquet', target => 'renamed', columns => '{\"key\": \"id\", \"place\": \"ctid\"}'");
    files.assert_rows("SELECT to_jsonb(t)::text FROM renamed t", &["{\"key\": 1, \"place\": 7}"]);
    files.assert_load_refused(
        "'@y.parquet', target => 'same', columns => '{\"id\": \"ctid\", \"key\": \"ctid\"}'",
        "Column \"id\" becomes \"id\", too.",
    );
    files.load(&format!("'@y.parquet', target => 'long', columns => '{{\"{long}\": \"ctid\"}}', skip => '{{id}}'"));
    files.assert_rows(
        "SELECT octet_length(attname)::text FROM pg_attribute WHERE attrelid = 'long'::regclass AND attnum > 0",
        &["63"],
    );
}

#[test]
fn a_background_load_refuses_a_temporary_table() {
    let mut files = Files::new("parquet_temporary");
    files.write("item.parquet", "SELECT 1::bigint AS id");
    files.run("CREATE TEMP TABLE item (id bigint)");
    for arguments in ["", ", target => 'item'", ", target => 'pg_temp.item'", ", target => 'pg_temp.other'"] {
        let failure = files.refused(&format!("SELECT pgcopy.start_load_parquet('@item.parquet'{arguments})"));
        assert_eq!(failure.sqlstate, "42809", "{failure:?}");
        assert!(failure.message.starts_with("cannot load into temporary table"), "{failure:?}");
    }
    files.load("'@item.parquet', target => 'pg_temp.item'");
    files.load("'@item.parquet', target => 'pg_temp.other'");
    files.assert_rows("SELECT id::text FROM pg_temp.item UNION ALL SELECT id::text FROM pg_temp.other", &["1", "1"]);
}

/// A column that only some files have is NULL in the rows of the others, or the table's default.
#[test]
fn columns_that_only_some_files_have() {
    let mut files = Files::new("parquet_partial_columns");
    files.write("parts/1.parquet", "SELECT 1 AS id, 'one' AS name, 10::bigint AS n");
    files.write("parts/2.parquet", "SELECT 2 AS id, 20::int AS n, '{1,2}'::int[] AS list");
    files.write("parts/3.parquet", "SELECT 3 AS id, NULL::text AS name, 1.5::float8 AS n");
    const ROWS: [&str; 3] = ["(1,one,10,)", "(2,,20,\"{1,2}\")", "(3,,1.5,)"];
    for parallel in [0, 2] {
        files.run("DROP TABLE IF EXISTS made");
        files.load(&format!("'@parts', target => 'made', parallel => {parallel}"));
        files.assert_rows("SELECT m::text FROM (SELECT id, name, n, list FROM made ORDER BY id) m", &ROWS);
    }
    // What the rows of a file say, NULL too, goes before a default; the default is that of each row.
    const WITH_DEFAULTS: [&str; 3] = ["(1,one,10,{})", "(2,nobody,20,\"{1,2}\")", "(3,,1.5,{})"];
    let columns = "id integer, name text DEFAULT 'nobody', n float8, list int[] NOT NULL DEFAULT '{}', s serial,
                   twice float8 GENERATED ALWAYS AS (n * 2) STORED";
    let query = "SELECT m::text FROM (SELECT id, name, n, list FROM given ORDER BY id) m";
    for way in ["parallel => 0", "parallel => 2", "insert", "copy"] {
        files.run(&format!("DROP TABLE IF EXISTS given; CREATE TABLE given ({columns})"));
        match way {
            "copy" => files.run("COPY given FROM '@parts' (FORMAT parquet)"),
            "insert" => {
                files.run("INSERT INTO given (id) VALUES (0)");
                files.load("'@parts', target => 'given'");
                files.run("DELETE FROM given WHERE id = 0");
            }
            _ => files.load(&format!("'@parts', target => 'given', {way}")),
        }
        files.assert_rows(query, &WITH_DEFAULTS);
        files.assert_rows("SELECT count(DISTINCT s)::text FROM given WHERE twice = n * 2", &["3"]);
    }
    // Nothing of a file would be kept, and a list of columns is one that each file must have.
    files.write("parts/4.parquet", "SELECT 4 AS other");
    files.assert_load_refused("'@parts', target => 'given', skip => '{*}'", "none of the table's columns");
    let failure = files.refused("COPY given (id, name) FROM '@parts/2.parquet' (FORMAT parquet)");
    assert!(failure.detail.contains("listed column \"name\""), "{failure:?}");
}

/// Files that disagree on a type make a column that takes the values of both.
#[test]
fn types_that_widen() {
    let mut files = Files::new("parquet_widening");
    for (one, other, type_name, rows) in [
        ("1::smallint", "100000::int", "integer", ["1", "100000"]),
        ("1::int", "1.5::float8", "double precision", ["1", "1.5"]),
        ("12::int", "1.25::numeric(5,2)", "numeric(12,2)", ["1.25", "12.00"]),
        ("1.5::numeric(4,1)", "12.345::numeric(6,3)", "numeric(6,3)", ["1.500", "12.345"]),
        (
            "'2024-01-02'::date",
            "'2024-01-02 03:04'::timestamp",
            "timestamp without time zone",
            ["2024-01-02 00:00:00", "2024-01-02 03:04:00"],
        ),
        ("'{1}'::int[]", "'{5000000000}'::bigint[]", "bigint[]", ["{1}", "{5000000000}"]),
    ] {
        files.write("wide/1.parquet", &format!("SELECT {one} AS v"));
        files.write("wide/2.parquet", &format!("SELECT {other} AS v"));
        files.run("DROP TABLE IF EXISTS wide");
        files.load("'@wide', target => 'wide'");
        files.assert_rows("SELECT v::text FROM wide ORDER BY v::text", &rows);
        files.assert_rows(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'wide'::regclass AND attname = 'v'",
            &[type_name],
        );
    }
    files.write("wide/1.parquet", "SELECT 1 AS v");
    files.write("wide/2.parquet", "SELECT 'text' AS v");
    files.run("DROP TABLE IF EXISTS wide");
    files.assert_load_refused("'@wide', target => 'wide'", "disagree on the type of column \"v\"");
}
