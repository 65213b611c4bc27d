//! `COPY … (FORMAT parquet)` as a statement: rights, row security, options, and where it can be called from.

use crate::harness::{Failure, OwnServers, Pair, text, texts};
use postgres::Client;
use xtask::server::{Options, ScratchDirectory};

struct Copies {
    pair: Pair,
    directory: ScratchDirectory,
}

impl Copies {
    fn new(name: &str) -> Self {
        let (pair, directory) = Pair::with_files(name);
        Self { pair, directory }
    }

    fn client(&mut self) -> &mut Client {
        &mut self.pair.destination
    }

    /// With a path in the test's directory for each `@name`.
    fn sql(&self, sql: &str) -> String {
        sql.replace('@', &format!("{}/", self.directory.path().display()))
    }

    fn run(&mut self, sql: &str) {
        let sql = self.sql(sql);
        self.client().batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", crate::harness::describe(&error)));
    }

    fn refused(&mut self, sql: &str) -> Failure {
        let sql = self.sql(sql);
        match self.client().batch_execute(&sql) {
            Ok(()) => panic!("{sql} succeeded"),
            Err(error) => Failure::of(&error),
        }
    }

    fn assert_refused(&mut self, sql: &str, sqlstate: &str, message: &str) {
        let failure = self.refused(sql);
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message), "{sql}");
    }

    fn has(&self, file: &str) -> bool {
        self.directory.path().join(file).exists()
    }
}

#[test]
fn options_are_checked() {
    let mut copies = Copies::new("copy_options");
    copies.run("CREATE TABLE t (a int)");
    for (options, sqlstate, message) in [
        ("FORMAT parquet, nonsense 1", "42601", "option \"nonsense\" not recognized"),
        ("FORMAT parquet, \"Codec\" zstd", "42601", "option \"Codec\" not recognized"),
        ("FORMAT parquet, codec zstd, codec zstd", "42601", "conflicting or redundant options"),
        ("FORMAT csv, FORMAT parquet", "42601", "conflicting or redundant options"),
        ("FORMAT parquet, delimiter ','", "42601", "cannot specify DELIMITER in PARQUET mode"),
        ("FORMAT parquet, FORCE_QUOTE (a)", "42601", "cannot specify FORCE_QUOTE in PARQUET mode"),
        ("FORMAT parquet, match_by name", "0A000", "COPY MATCH_BY cannot be used with COPY TO"),
        ("FORMAT parquet, codec", "42601", "codec requires a parameter"),
        ("FORMAT parquet, codec lzma", "22023", "COPY codec \"lzma\" not recognized"),
        (
            "FORMAT parquet, compression_level 23",
            "22023",
            "argument to option \"compression_level\" must be between 1 and 22 for codec \"zstd\"",
        ),
        (
            "FORMAT parquet, codec gzip, compression_level -1",
            "22023",
            "argument to option \"compression_level\" must be between 0 and 9 for codec \"gzip\"",
        ),
        ("FORMAT parquet, codec snappy, compression_level 1", "22023", "codec \"snappy\" has no compression levels"),
        (
            "FORMAT parquet, compression_level high",
            "22023",
            "argument to option \"compression_level\" must be an integer",
        ),
        (
            "FORMAT parquet, row_group_rows 0",
            "22023",
            "argument to option \"row_group_rows\" must be a positive integer",
        ),
        (
            "FORMAT parquet, row_group_rows '1MB'",
            "22023",
            "argument to option \"row_group_rows\" must be a positive integer",
        ),
        (
            "FORMAT parquet, row_group_bytes '1 parsec'",
            "22023",
            "argument to option \"row_group_bytes\" must be a positive integer",
        ),
        // Not ours: the server's own words.
        ("FORMAT \"Parquet\"", "22023", "COPY format \"Parquet\" not recognized"),
        ("FORMAT orc", "22023", "COPY format \"orc\" not recognized"),
    ] {
        copies.assert_refused(&format!("COPY t TO '@t.parquet' ({options})"), sqlstate, message);
    }
    for (options, sqlstate, message) in [
        ("FORMAT parquet, codec zstd", "0A000", "COPY CODEC cannot be used with COPY FROM"),
        ("FORMAT parquet, match_by colour", "22023", "COPY match_by \"colour\" not recognized"),
        ("FORMAT parquet, on_lossy ignore", "22023", "COPY on_lossy \"ignore\" not recognized"),
    ] {
        copies.assert_refused(&format!("COPY t FROM '@t.parquet' ({options})"), sqlstate, message);
    }
    for (sql, message) in [
        ("COPY t FROM STDIN (FORMAT parquet)", "cannot copy from standard input in format \"parquet\""),
        ("COPY t TO STDOUT (FORMAT parquet)", "cannot copy to standard output in format \"parquet\""),
        ("COPY t FROM PROGRAM 'cat' (FORMAT parquet)", "cannot copy from a program in format \"parquet\""),
        ("COPY t TO PROGRAM 'cat' (FORMAT parquet)", "cannot copy to a program in format \"parquet\""),
    ] {
        copies.assert_refused(sql, "0A000", message);
    }
    assert!(!copies.has("t.parquet"));
}

#[test]
fn other_formats_are_left_to_the_server() {
    let mut copies = Copies::new("copy_others");
    copies.run("CREATE TABLE t AS SELECT 1 AS a");
    // A name is not a format.
    copies.run("COPY t TO '@t.parquet'; COPY t FROM '@t.parquet' (FORMAT text); COPY t TO '@t.csv' CSV");
    assert_eq!(std::fs::read_to_string(copies.directory.path().join("t.parquet")).unwrap(), "1\n");
    assert_eq!(text(copies.client(), "SELECT count(*)::text FROM t"), "2");
}

#[test]
fn copying_works_wherever_statements_do() {
    let mut copies = Copies::new("copy_everywhere");
    copies.run("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 10) i");
    // With the extended protocol, which says how many rows.
    let sql = copies.sql("COPY t TO '@1.parquet' (FORMAT parquet)");
    assert_eq!(copies.client().execute(&sql, &[]).unwrap(), 10);
    assert_eq!(copies.client().execute(&sql, &[]).unwrap(), 10);
    copies.run(
        "CREATE FUNCTION copies(path text) RETURNS int LANGUAGE plpgsql AS $$
         DECLARE n int;
         BEGIN
             COPY t TO '@2.parquet' (FORMAT parquet);
             EXECUTE format('COPY (SELECT a FROM t WHERE a > 3) TO %L (FORMAT parquet)', path);
             GET DIAGNOSTICS n = ROW_COUNT;
             RETURN n;
         END $$",
    );
    let call = copies.sql("SELECT copies('@3.parquet')::text");
    assert_eq!(texts(copies.client(), &call), ["7"]);
    assert_eq!(texts(copies.client(), &call), ["7"]);
    assert!(copies.has("2.parquet") && copies.has("3.parquet"));
    // A query sees what its transaction did; nothing is written by a transaction that may only read.
    copies.run("BEGIN READ ONLY; COPY t TO '@4.parquet' (FORMAT parquet); COMMIT");
    assert!(copies.has("4.parquet"));
    copies.assert_refused(
        "BEGIN READ ONLY; COPY t FROM '@4.parquet' (FORMAT parquet)",
        "25006",
        "cannot execute COPY FROM in a read-only transaction",
    );
    copies.run("ROLLBACK");
    // What a query copies may itself be a function that copies.
    copies.run("COPY (SELECT copies('@5.parquet') AS n) TO '@6.parquet' (FORMAT parquet)");
    assert!(copies.has("5.parquet") && copies.has("6.parquet"));
}

#[test]
fn rights_are_those_that_the_server_asks_for() {
    let mut copies = Copies::new("copy_rights");
    copies.run(
        "DROP ROLE IF EXISTS parquet_nobody; CREATE ROLE parquet_nobody;
         CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2);
         CREATE TABLE own (a int)",
    );
    copies.run("SET ROLE parquet_nobody");
    let failure = copies.refused("COPY t TO '@t.parquet' (FORMAT parquet)");
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("42501", "permission denied to COPY to a file"));
    assert_eq!(failure.detail, "Only roles with privileges of the \"pg_write_server_files\" role may COPY to a file.");
    copies.assert_refused(
        "COPY t FROM '@t.parquet' (FORMAT parquet)",
        "42501",
        "permission denied to COPY from a file",
    );
    copies.run(
        "RESET ROLE; GRANT pg_write_server_files, pg_read_server_files TO parquet_nobody; SET ROLE parquet_nobody",
    );
    copies.assert_refused("COPY t TO '@t.parquet' (FORMAT parquet)", "42501", "permission denied for table t");
    copies.assert_refused("COPY t FROM '@t.parquet' (FORMAT parquet)", "42501", "permission denied for table t");
    copies.assert_refused(
        "COPY (SELECT a FROM t) TO '@t.parquet' (FORMAT parquet)",
        "42501",
        "permission denied for table t",
    );
    copies.run("RESET ROLE; GRANT SELECT (a), INSERT (a) ON t TO parquet_nobody; SET ROLE parquet_nobody");
    copies.run("COPY t (a) TO '@t.parquet' (FORMAT parquet)");
    copies.assert_refused("COPY t TO '@t.parquet' (FORMAT parquet)", "42501", "permission denied for table t");
    copies.assert_refused("COPY t (a, b) FROM '@t.parquet' (FORMAT parquet)", "42501", "permission denied for table t");
    copies.assert_refused(
        "COPY t (a) FROM '@t.parquet' (FORMAT parquet) WHERE b > 0",
        "42501",
        "permission denied for table t",
    );
    copies.run("RESET ROLE; DROP OWNED BY parquet_nobody; DROP ROLE parquet_nobody");
}

#[test]
fn row_security_applies() {
    let mut copies = Copies::new("copy_row_security");
    copies.run(
        "DROP ROLE IF EXISTS parquet_tenant; CREATE ROLE parquet_tenant;
         GRANT pg_write_server_files, pg_read_server_files TO parquet_tenant;
         CREATE TABLE t (a int, twice int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO t SELECT generate_series(1, 10);
         GRANT ALL ON t TO parquet_tenant; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON t USING (a < 4); SET ROLE parquet_tenant",
    );
    let sql = copies.sql("COPY t TO '@t.parquet' (FORMAT parquet)");
    assert_eq!(copies.client().execute(&sql, &[]).unwrap(), 3);
    let failure = copies.refused("COPY t FROM '@t.parquet' (FORMAT parquet)");
    assert_eq!(failure.message, "COPY FROM not supported with row-level security");
    copies.assert_refused(
        "SET row_security = off; COPY t TO '@t.parquet' (FORMAT parquet)",
        "42501",
        "query would be affected by row-level security policy for table \"t\"",
    );
    copies.run("RESET ROLE; DROP OWNED BY parquet_tenant; DROP ROLE parquet_tenant");
}

#[test]
fn what_the_server_refuses_is_refused_in_its_words() {
    let mut copies = Copies::new("copy_refusals");
    copies.run(
        "CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a) STORED); CREATE VIEW v AS SELECT 1 AS a;
         CREATE MATERIALIZED VIEW m AS SELECT 1 AS a; CREATE TABLE p (a int) PARTITION BY LIST (a);
         CREATE SEQUENCE s; CREATE TYPE c AS (a int)",
    );
    // Compared with the server's own format, whatever its version says.
    for statement in [
        "COPY v TO",
        "COPY p TO",
        "COPY s TO",
        "COPY missing TO",
        "COPY t (a, b) TO",
        "COPY t (a, a) TO",
        "COPY t (g) TO",
        "COPY c TO",
        "COPY (INSERT INTO t VALUES (1)) TO",
        "COPY (SELECT 1 AS a INTO x) TO",
        "COPY (SELECT nothing) TO",
        "COPY (SELECT $1) TO",
        "COPY missing FROM",
        "COPY v FROM",
        "COPY m FROM",
        "COPY s FROM",
        "COPY t (a, b) FROM",
        "COPY t (g) FROM",
    ] {
        let own = copies.refused(&format!("{statement} '@x' (FORMAT parquet)"));
        // For the server to find one where it reads.
        std::fs::write(copies.directory.path().join("x"), "").unwrap();
        let servers = copies.refused(&format!("{statement} '@x' (FORMAT text)"));
        std::fs::remove_file(copies.directory.path().join("x")).unwrap();
        assert_eq!(own, servers, "{statement}");
    }
    for (condition, sqlstate, message) in [
        ("b > 1", "42703", "column \"b\" does not exist"),
        ("a + 1", "42804", "argument of WHERE must be type boolean, not type integer"),
        ("sum(a) > 1", "42803", "aggregate functions are not allowed in COPY FROM WHERE conditions"),
        ("a IN (SELECT 1)", "0A000", "cannot use subquery in COPY FROM WHERE condition"),
        ("g > 1", "42P10", "generated columns are not supported in COPY FROM WHERE conditions"),
        ("t IS NOT NULL", "42P10", "generated columns are not supported in COPY FROM WHERE conditions"),
    ] {
        copies.assert_refused(&format!("COPY t FROM '@x' (FORMAT parquet) WHERE {condition}"), sqlstate, message);
    }
    assert!(!copies.has("x"));
}

#[test]
fn the_library_can_be_loaded_before_it_is_called() {
    let preloaded = OwnServers::start(
        "copy_preloaded",
        Options::named("copy_preloaded-destination")
            .setting("shared_preload_libraries = 'pgcopy, pg_stat_statements'")
            .setting("pg_stat_statements.track = all"),
    );
    let directory = ScratchDirectory::create("copy_preloaded").unwrap();
    let mut client = preloaded.destination.connect("postgres");
    // Without the extension: the library is enough. Hooks of libraries that were loaded later see the statement.
    client.batch_execute("CREATE EXTENSION pg_stat_statements").unwrap();
    let path = directory.path().join("a.parquet");
    let sql = format!("COPY (SELECT generate_series(1, 7) AS a) TO '{}' (FORMAT parquet)", path.display());
    assert_eq!(client.execute(&sql, &[]).unwrap(), 7);
    assert!(path.exists());
    let seen = text(
        &mut client,
        "SELECT concat_ws(' ', calls, rows) FROM pg_stat_statements WHERE query LIKE 'COPY (SELECT generate%' AND toplevel",
    );
    assert_eq!(seen, "1 7");
}

#[test]
fn sessions_load_the_library_by_a_setting() {
    let mut copies = Copies::new("copy_session_preload");
    copies.run("ALTER DATABASE copy_session_preload SET session_preload_libraries = 'pgcopy'");
    let sql = copies.sql("COPY (SELECT 1 AS a) TO '@a.parquet' (FORMAT parquet)");
    let mut session = copies.pair.another_destination_session();
    session.batch_execute(&sql).unwrap();
    assert!(copies.has("a.parquet"));
}
