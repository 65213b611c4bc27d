//! Which columns of files go where, and what becomes of values that do not fit.

use crate::harness::{Failure, Pair, texts};
use xtask::server::ScratchDirectory;

struct Files {
    pair: Pair,
    directory: ScratchDirectory,
}

impl Files {
    fn new(name: &str) -> Self {
        let (pair, directory) = Pair::with_files(name);
        Self { pair, directory }
    }

    /// With a path in the test's directory for each `@name`.
    fn sql(&self, sql: &str) -> String {
        sql.replace('@', &format!("{}/", self.directory.path().display()))
    }

    /// A file of a query's rows, with the folders above it.
    fn write(&mut self, file: &str, query: &str) {
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

    fn run(&mut self, sql: &str) {
        let sql = self.sql(sql);
        let client = &mut self.pair.destination;
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", crate::harness::describe(&error)));
    }

    fn load(&mut self, arguments: &str) {
        self.run(&format!("SELECT pgcopy.load_parquet({arguments})"));
    }

    fn refused(&mut self, sql: &str) -> Failure {
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

    fn assert_rows(&mut self, query: &str, rows: &[&str]) {
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
