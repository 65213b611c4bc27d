//! A script does what its caller may do by hand, and no more; texts that have broken other tools are loaded or refused.

use crate::harness::{Pair, connect_as, describe, text, texts};
use crate::load_sql::{dump, failure, load, load_well, write};
use crate::migrate::has_pg_dump;
use postgres::Client;

/// A role that may read files, and no more.
fn reader(pair: &mut Pair, role: &str) -> Client {
    pair.destination
        .batch_execute(&format!(
            "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; GRANT pg_read_server_files TO {role}; GRANT CREATE ON SCHEMA public TO {role};
             GRANT USAGE ON SCHEMA pgcopy TO {role}"
        ))
        .unwrap();
    connect_as(pair.destination_port, &pair.database, role)
}

#[test]
fn scripts_gain_no_rights() {
    let (mut pair, directory) = Pair::with_files("load_sql_rights");
    pair.destination.batch_execute("CREATE TABLE private (a int)").unwrap();
    let mut client = reader(&mut pair, "load_sql_reader");
    let file = directory.path().join("out");
    for (script, sqlstate) in [
        ("SET ROLE postgres; CREATE TABLE x (a int);".to_owned(), "42501"),
        ("SET SESSION AUTHORIZATION postgres; CREATE TABLE x (a int);".to_owned(), "42501"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'system';".to_owned(), "42501"),
        (format!("COPY (SELECT 1) TO '{}';", file.display()), "42501"),
        ("CREATE TABLE x (a text); COPY x FROM PROGRAM 'id';".to_owned(), "42501"),
        ("CREATE EXTENSION file_fdw;".to_owned(), "42501"),
        ("INSERT INTO private VALUES (1);".to_owned(), "42501"),
        ("COPY private FROM stdin;\n1\n\\.\n".to_owned(), "42501"),
        ("ALTER TABLE private OWNER TO load_sql_reader;".to_owned(), "42501"),
        ("SET session_replication_role = replica;".to_owned(), "42501"),
        ("ALTER SYSTEM SET work_mem = '1GB';".to_owned(), ""),
        ("COMMIT; DROP TABLE private;".to_owned(), "42501"),
        ("ROLLBACK; CREATE TABLE x (a int);".to_owned(), "0A000"),
        ("SET search_path = pg_temp, public; CREATE FUNCTION pg_temp.now() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT 1/0;".to_owned(), "22012"),
    ] {
        let path = write(&directory, "a.sql", &script);
        let failed = failure(&mut client, &path, "");
        assert!(sqlstate.is_empty() || failed.sqlstate == sqlstate, "{script}: {failed:?}");
        assert_eq!(text(&mut client, "SELECT current_user::text || session_user"), "load_sql_readerload_sql_reader");
        assert_eq!(text(&mut client, "SHOW search_path"), "\"$user\", public");
    }
    assert!(!file.exists());
    assert!(texts(&mut client, "SELECT relname::text FROM pg_class WHERE relname = 'x'").is_empty());
    // A role that may not read files.
    pair.destination.batch_execute("REVOKE pg_read_server_files FROM load_sql_reader").unwrap();
    let path = write(&directory, "a.sql", "SELECT 1;");
    for path in [path.as_str(), "https://127.0.0.1:1/x.sql", "/etc/passwd", "/nonexistent"] {
        assert_eq!(failure(&mut client, path, "").sqlstate, "42501", "{path}");
    }
    let error = client.query(&format!("SELECT pgcopy.start_load_sql('{path}')"), &[]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
    pair.assert_nothing_left();
}

/// Who has put rights down with SET ROLE does not take them up again in a script, and roles of a script end with it.
#[test]
fn roles_of_scripts_end_with_them() {
    let (mut pair, directory) = Pair::with_files("load_sql_roles");
    drop(reader(&mut pair, "load_sql_lesser"));
    let client = &mut pair.destination;
    client.batch_execute("SET ROLE load_sql_lesser").unwrap();
    for script in [
        "RESET ROLE; CREATE TABLE x (a int);",
        "SET ROLE postgres; CREATE TABLE x (a int);",
        "SET SESSION AUTHORIZATION postgres;",
    ] {
        let path = write(&directory, "a.sql", script);
        assert_eq!(failure(client, &path, "").sqlstate, "42501", "{script}");
    }
    assert_eq!(text(client, "SELECT current_user::text"), "load_sql_lesser");
    client.batch_execute("RESET ROLE").unwrap();
    let script = "SET SESSION AUTHORIZATION load_sql_lesser; CREATE TABLE theirs (a int); SET work_mem = '1MB'; SET default_tablespace = '';";
    let path = write(&directory, "b.sql", script);
    load_well(client, &path, "");
    assert_eq!(text(client, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'theirs'"), "load_sql_lesser");
    assert_eq!(text(client, "SELECT current_user::text || session_user"), "postgrespostgres");
    assert_ne!(text(client, "SHOW work_mem"), "1MB");
    let path = write(&directory, "c.sql", format!("{script} SELECT 1/0;"));
    client.batch_execute("DROP TABLE theirs").unwrap();
    failure(client, &path, "");
    assert_eq!(text(client, "SELECT current_user::text || session_user"), "postgrespostgres");
    // pgcopy.protected is for all that may replace rows.
    client.batch_execute("SET pgcopy.protected = on").unwrap();
    assert_eq!(failure(client, &path, "").sqlstate, "55000");
}

#[test]
fn commands_of_psql_are_never_run() {
    let (mut pair, directory) = Pair::with_files("load_sql_commands");
    let client = &mut pair.destination;
    let mark = directory.path().join("mark");
    for command in [
        "\\! touch MARK",
        "\\copy t FROM '/etc/passwd'",
        "\\i MARK",
        "\\ir MARK",
        "\\o MARK",
        "SELECT 'CREATE TABLE x ()' \\gexec",
        "SELECT 1 \\g MARK",
        "SELECT 1 \\gset",
        "\\set x `touch MARK`",
        "\\if true",
        "\\c postgres",
        "\\connect postgres",
        "\\connect -reuse-previous=on \"host=elsewhere dbname='load_sql_commands'\"",
        "\\password",
        "\\N",
        "\\.",
        // The key of the end is a command for psql in versions that expand it.
        "\\restrict a\n\\unrestrict `touch MARK`",
        "\\restrict a\n\\! touch MARK\n\\unrestrict a",
        "\\restrict a",
        "\\unrestrict a",
        "\\restrict `touch MARK`",
    ] {
        let script =
            format!("CREATE TABLE t (a text);\n{}\nSELECT 1;\n", command.replace("MARK", mark.to_str().unwrap()));
        let path = write(&directory, "a.sql", script);
        let failed = failure(client, &path, "");
        let is_expected = failed.message.contains("cannot be run") || failed.message.contains("which is not this one");
        assert!(is_expected, "{command}: {failed:?}");
        assert!(failed.detail.contains("Line ") && !mark.exists(), "{command}: {failed:?}");
    }
    assert!(texts(client, "SELECT relname::text FROM pg_class WHERE relname IN ('t', 'x')").is_empty());
    let script = "\\restrict a1B2\nCREATE TABLE t (a text);\n\\unrestrict a1B2\n\\connect load_sql_commands\n";
    let path = write(&directory, "b.sql", script);
    load_well(client, &path, "");
    assert!(pair.notices().iter().any(|notice| notice.contains("\\connect of the script is ignored")));
}

/// Texts that are known to have been taken for something else by psql, by libraries and by their users.
#[test]
fn texts_that_have_broken_others() {
    let (mut pair, directory) = Pair::with_files("load_sql_reports");
    let client = &mut pair.destination;
    let mark = directory.path().join("mark");
    // Names with newlines, which older versions of pg_dump write into comments.
    let script = format!("--\n-- Name: a\n\\! touch {}\n; Type: TABLE\n--\nCREATE TABLE a (a int);\n", mark.display());
    let path = write(&directory, "newline.sql", script);
    assert!(failure(client, &path, "").message.contains("command of psql") && !mark.exists());
    // The rows of a COPY that fails are not taken for statements.
    let script = "CREATE TABLE n (a int);\nCOPY missing (a) FROM stdin;\n\\N\n1; DROP TABLE n;\n\\.\nCREATE TABLE after (a int);\n";
    let path = write(&directory, "rows.sql", script);
    assert_eq!(failure(client, &path, "").message, "relation \"missing\" does not exist");
    let report = load_well(client, &path, ", on_error => 'skip'");
    assert!(report.contains(&"table 2".to_owned()), "{report:?}");
    // A byte order mark, and lines that end as on Windows.
    let script = "\u{feff}CREATE TABLE windows (a int, b text);\r\nCOPY windows (a, b) FROM stdin;\r\n1\tx\r\n2\t\\N\r\n\\.\r\n\
                  CREATE FUNCTION w() RETURNS int LANGUAGE sql AS $$\r\nSELECT 1;\r\n$$;\r\n";
    let path = write(&directory, "windows.sql", script);
    load_well(client, &path, "");
    assert_eq!(texts(client, "SELECT concat_ws(' ', a, b) FROM windows ORDER BY a"), ["1 x", "2"]);
    // Rows behind the statement, without a line of their own.
    let path = write(&directory, "behind.sql", "COPY windows (a) FROM stdin33\t2020\n\\.\n");
    assert!(load(client, &path, "").is_err());
    let path = write(&directory, "semicolon.sql", "COPY windows (a) FROM stdin; 33\n\\.\n");
    assert!(failure(client, &path, "").message.contains("line of their own"));
    // A mark of the end within CSV, and quoted identifiers of several lines.
    let script = "CREATE TABLE \"of two\nlines\" (\"a;\n\\\" text);\nCOPY \"of two\nlines\" FROM stdin WITH (FORMAT csv);\n\"x\ny\"\n\\.\n";
    let path = write(&directory, "csv.sql", script);
    load_well(client, &path, "");
    assert_eq!(text(client, "SELECT \"a;\n\\\" FROM \"of two\nlines\""), "x\ny");
    // Statements without an end at the end.
    let path = write(&directory, "end.sql", "SELECT 1;\nSELECT 2");
    assert!(failure(client, &path, "").message.contains("unfinished statement"));
    pair.assert_nothing_left();
}

/// A row that ends like the mark of the end ends nothing: servers before 18 would drop the rows behind it without a word.
#[test]
fn rows_that_end_in_the_mark_of_the_end() {
    let (mut pair, directory) = Pair::with_files("load_sql_marks");
    let client = &mut pair.destination;
    let head = "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE public.t (a int, b text);\n";
    for (copy, rows, line) in [
        ("COPY public.t (a, b) FROM stdin;", "1\tx\\.\n2\ty\n", 4),
        ("COPY public.t (a, b) FROM stdin;", "1\tx\n2\ty\\.\n", 5),
        ("COPY public.t (a, b) FROM stdin WITH (NULL 'n');", "1\tx\n2\tn\n3\t\\\\\\.\n4\ty\n", 6),
    ] {
        let path = write(&directory, "a.sql", format!("{head}{copy}\n{rows}\\.\n"));
        for parallel in [0, 2] {
            let failed = failure(client, &path, &format!(", parallel => {parallel}"));
            assert_eq!(failed.sqlstate, "22P04", "{rows}: {failed:?}");
            assert_eq!(failed.message, "end-of-copy marker is not alone on its line", "{rows}");
            assert!(failed.detail.contains(&format!("Line {line} of")), "{rows}: {failed:?}");
        }
        let report = load_well(client, &path, ", on_error => 'skip'");
        assert!(report.iter().any(|row| row.starts_with(&format!("skipped {line} COPY"))), "{report:?}");
        assert_eq!(text(client, "SELECT count(*)::text FROM public.t"), "0");
        client.batch_execute("DROP TABLE public.t").unwrap();
    }
    // These rows do not end so, and CSV knows no such mark within a row.
    let csv = "COPY public.t (a, b) FROM stdin WITH (FORMAT csv);\n3,x\\.\n4,\"\\.\"\n\\.\n";
    let path = write(&directory, "b.sql", format!("{head}COPY public.t FROM stdin;\n1\t\\\\.\n2\t.\n\\.\n{csv}"));
    for parallel in [0, 2] {
        load_well(client, &path, &format!(", parallel => {parallel}"));
        assert_eq!(texts(client, "SELECT b FROM public.t ORDER BY a"), ["\\.", ".", "x\\.", "\\."]);
        client.batch_execute("DROP TABLE public.t").unwrap();
    }
    pair.assert_nothing_left();
}

/// A dump of a source whose owner has named objects with newlines.
#[test]
fn names_of_a_hostile_source() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_names");
    pair.source
        .batch_execute(
            "CREATE SCHEMA \"s\n\\! false\n;\"; CREATE TABLE \"s\n\\! false\n;\".\"t\n\\.\n--\" (\"c\n\\connect x\n\" int, \"$$\" text);
             INSERT INTO \"s\n\\! false\n;\".\"t\n\\.\n--\" VALUES (1, E'\\\\.\\n\\\\.');
             COMMENT ON TABLE \"s\n\\! false\n;\".\"t\n\\.\n--\" IS E'\\n\\\\! false\\n-- PostgreSQL database dump complete\\n'",
        )
        .unwrap();
    for options in [&[][..], &["--inserts"], &["--quote-all-identifiers", "--verbose"]] {
        let path = write(&directory, "a.sql", dump(pair.source_port, "load_sql_names", options));
        let loaded = load(&mut pair.destination, &path, "");
        loaded.unwrap_or_else(|error| panic!("{options:?}: {}", describe(&error)));
        pair.assert_same_content();
        pair.destination.batch_execute("DROP SCHEMA \"s\n\\! false\n;\" CASCADE").unwrap();
    }
}
