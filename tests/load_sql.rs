//! Scripts of `pg_dump` are loaded: what arrives is what was dumped, and nothing else happens.

use crate::harness::{Failure, Pair, Random, connect, describe, eventually, installation, text, texts};
use crate::migrate::{definitions, fill, has_pg_dump};
use postgres::Client;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::data;
use xtask::server::ScratchDirectory;

/// What `pg_dump` of this version writes with these arguments.
pub fn dump(port: u16, database: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(installation().program("pg_dump"))
        .args(["--no-password", "--host=127.0.0.1", "--username=postgres"])
        .args([format!("--port={port}"), format!("--dbname={database}")])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn write(directory: &ScratchDirectory, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Kind, name, objects or rows, and what was passed over, of each line of the report.
pub fn load(client: &mut Client, path: &str, arguments: &str) -> Result<Vec<String>, postgres::Error> {
    let sql = format!(
        "SELECT concat_ws(' ', kind, schema, name, objects, rows, line, statement) FROM pgcopy.load_sql('{path}'{arguments})"
    );
    Ok(client.query(&sql, &[])?.iter().map(|row| row.get(0)).collect())
}

pub fn load_well(client: &mut Client, path: &str, arguments: &str) -> Vec<String> {
    load(client, path, arguments).unwrap_or_else(|error| panic!("{path}{arguments}: {}", describe(&error)))
}

pub fn failure(client: &mut Client, path: &str, arguments: &str) -> Failure {
    match load(client, path, arguments) {
        Ok(report) => panic!("{path} was loaded: {report:?}"),
        Err(error) => Failure::of(&error),
    }
}

/// A new database of the destination, with the extension.
pub fn new_database(port: u16, name: &str) -> Client {
    let mut client = connect(port, "postgres");
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    let mut client = connect(port, name);
    client.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    client
}

fn compressed(program: &str, path: &str) -> PathBuf {
    let extension = if program == "gzip" { "gz" } else { "zst" };
    let output = Command::new(program).args(["-c", path]).output().unwrap();
    assert!(output.status.success());
    let to = PathBuf::from(format!("{path}.{extension}"));
    fs::write(&to, output.stdout).unwrap();
    to
}

#[test]
fn a_dump_arrives_as_pg_dump_describes_it() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_all");
    fill(&mut pair);
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    let path = write(&directory, "all.sql", dump(pair.source_port, "load_sql_all", &[]));
    pair.destination.batch_execute("SET search_path = public").unwrap();
    let report = load_well(&mut pair.destination, &path, "");
    let there = definitions(pair.source_port, "load_sql_all");
    assert_eq!(definitions(pair.destination_port, "load_sql_all"), there);
    pair.assert_same_content();
    for (sequence, next) in [("shop.alone", "21"), ("shop.customer_id_seq", "2001"), ("shop.purchase_id_seq", "10001")]
    {
        assert_eq!(text(&mut pair.destination, &format!("SELECT nextval('{sequence}')::text")), next, "{sequence}");
    }
    for line in ["rows shop purchase 10000", "rows shop customer 2000", "foreign key 2", "trigger 1", "event trigger 1"]
    {
        assert!(report.iter().any(|found| found == line), "{line}: {report:?}");
    }
    // Settings of the script end with it.
    for (setting, value) in [
        ("search_path", "public"),
        ("check_function_bodies", "on"),
        ("statement_timeout", "0"),
        ("row_security", "on"),
        ("client_encoding", "UTF8"),
        ("default_table_access_method", "heap"),
    ] {
        assert_eq!(text(&mut pair.destination, &format!("SHOW {setting}")), value, "{setting}");
    }
    pair.assert_nothing_left();
    // Once more, over what is there.
    let failure = failure(&mut pair.destination, &path, "");
    assert!(failure.message.contains("already exists"), "{failure:?}");
    assert!(failure.detail.contains("Line ") && failure.detail.contains("CREATE "), "{failure:?}");
}

/// Options that change the text of a dump, and those of the loads.
#[test]
fn dumps_with_every_option() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_options");
    fill(&mut pair);
    pair.source
        .batch_execute(
            "CREATE EXTENSION pgcopy; INSERT INTO shop.customer (name) VALUES (E'tab\\t back\\\\slash \\\\. ''quote''\\n\\r\\\\N');
             SELECT lo_from_bytea(0, decode(repeat('00ff', 3000), 'hex'))",
        )
        .unwrap();
    let there = definitions(pair.source_port, "load_sql_options");
    let whole: [&[&str]; 12] = [
        &["--inserts"],
        &["--column-inserts", "--rows-per-insert=7"],
        &["--inserts", "--on-conflict-do-nothing"],
        &["--clean", "--if-exists"],
        &["--create"],
        &["--create", "--clean", "--if-exists"],
        &["--disable-triggers"],
        &["--enable-row-security"],
        &["--use-set-session-authorization"],
        &["--quote-all-identifiers"],
        &["--encoding=LATIN1"],
        &["--disable-dollar-quoting", "--verbose"],
    ];
    for (number, options) in whole.iter().enumerate() {
        let name = format!("load_sql_option_{number}");
        let mut client = new_database(pair.destination_port, &name);
        // Whom the script makes the session's must be allowed to do it.
        client.batch_execute(&format!("GRANT CREATE ON DATABASE {name} TO migrate_owner")).unwrap();
        let mut script = dump(pair.source_port, "load_sql_options", options);
        if options.contains(&"--create") {
            // As of a database of that name.
            let text = String::from_utf8(script).unwrap();
            script = text.replace("load_sql_options", &name).into_bytes();
        }
        if **options == ["--clean", "--if-exists"] {
            // It replaces what is there; into an empty database psql could not load it, either.
            let path = write(&directory, "first.sql", dump(pair.source_port, "load_sql_options", &["--no-blobs"]));
            load_well(&mut client, &path, "");
        }
        let path = write(&directory, &format!("{number}.sql"), script);
        load_well(&mut client, &path, "");
        assert_eq!(definitions(pair.destination_port, &name), there, "{options:?}");
        let tables = crate::harness::user_tables(&mut client);
        assert!(tables.len() > 8);
        assert_eq!(
            data::checksums(&mut client, &tables).unwrap(),
            data::checksums(&mut pair.source, &tables).unwrap(),
            "{options:?}"
        );
        assert_eq!(text(&mut client, "SELECT count(*)::text FROM pg_largeobject_metadata"), "1", "{options:?}");
    }
    // In sections, one after the other.
    let mut client = new_database(pair.destination_port, "load_sql_sections");
    for options in [&["--section=pre-data"][..], &["--section=data", "--disable-triggers"], &["--section=post-data"]] {
        let path = write(&directory, "section.sql", dump(pair.source_port, "load_sql_options", options));
        load_well(&mut client, &path, "");
    }
    assert_eq!(definitions(pair.destination_port, "load_sql_sections"), there);
    let tables = crate::harness::user_tables(&mut client);
    assert_eq!(data::checksums(&mut client, &tables).unwrap(), data::checksums(&mut pair.source, &tables).unwrap());
    let mut client = new_database(pair.destination_port, "load_sql_one");
    client.batch_execute("CREATE SCHEMA shop").unwrap();
    let options = ["-t", "shop.parent", "--no-owner", "--no-privileges", "--no-toast-compression"];
    let path = write(&directory, "one.sql", dump(pair.source_port, "load_sql_options", &options));
    assert!(load_well(&mut client, &path, "").contains(&"rows shop parent 1".to_owned()));
}

#[test]
fn compressed_scripts_are_told_by_their_content() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_compressed");
    pair.source
        .batch_execute("CREATE TABLE item (id int PRIMARY KEY, note text); INSERT INTO item SELECT i, md5(i::text) FROM generate_series(1, 50000) i")
        .unwrap();
    let path = write(&directory, "a.sql", dump(pair.source_port, "load_sql_compressed", &[]));
    for program in ["gzip", "zstd"] {
        let compressed = compressed(program, &path);
        let renamed = directory.path().join(format!("{program}.sql"));
        fs::copy(&compressed, &renamed).unwrap();
        for path in [&compressed, &renamed] {
            let report = load_well(&mut pair.destination, path.to_str().unwrap(), "");
            assert!(report.contains(&"rows public item 50000".to_owned()), "{report:?}");
            pair.assert_same_content();
            pair.destination.batch_execute("DROP TABLE item").unwrap();
        }
        // Two members are one script; half a member is an error.
        let bytes = fs::read(&compressed).unwrap();
        let cut = write(&directory, "cut", &bytes[..bytes.len() / 2]);
        let failure = failure(&mut pair.destination, &cut, "");
        assert!(failure.message.starts_with("could not read file"), "{failure:?}");
        assert!(texts(&mut pair.destination, "SELECT relname::text FROM pg_class WHERE relname = 'item'").is_empty());
        let script = write(&directory, "second.sql", "CREATE TABLE public.second (a int);");
        let second = fs::read(self::compressed(program, &script)).unwrap();
        let both = write(&directory, "both", [bytes, second].concat());
        load_well(&mut pair.destination, &both, "");
        pair.destination.batch_execute("DROP TABLE item, second").unwrap();
        let twice = write(&directory, "twice", fs::read(self::compressed(program, &both)).unwrap());
        assert!(self::failure(&mut pair.destination, &twice, "").message.ends_with("is compressed twice"));
    }
    // Behind the compressed text there may be zeros, as on tapes, and nothing else.
    let small = write(&directory, "small.sql", "CREATE TABLE public.small (a int);");
    let small = fs::read(compressed("gzip", &small)).unwrap();
    for (rest, is_taken) in
        [(&[0_u8; 10_000][..], true), (b"\0", true), (b"\n", false), (b"\0\0x", false), (b"garbage", false)]
    {
        let path = write(&directory, "rest.sql.gz", [&small[..], rest].concat());
        if is_taken {
            load_well(&mut pair.destination, &path, "");
            pair.destination.batch_execute("DROP TABLE small").unwrap();
        } else {
            let failed = failure(&mut pair.destination, &path, "");
            assert!(failed.message.ends_with("other data follows the compressed text"), "{failed:?}");
        }
    }
    let path = directory.path().join("window.zst");
    let window = Command::new("zstd")
        .args(["-q", "--long=31", "-o"])
        .arg(&path)
        .stdin(fs::File::open(directory.path().join("small.sql")).unwrap())
        .status();
    assert!(window.unwrap().success());
    let failed = failure(&mut pair.destination, path.to_str().unwrap(), "");
    assert!(failed.hint.contains("--long"), "{failed:?}");
    pair.assert_nothing_left();
}

/// Every beginning of a dump is an error in the eyes of the splitter; the server sees a sample. `PGCOPY_TEST_CUTS` sets how many
/// random ones, `PGCOPY_TEST_SEED` which.
#[test]
fn scripts_that_are_cut_off_leave_nothing() {
    if !has_pg_dump() {
        return;
    }
    const MOST: usize = 1 << 16;
    let (mut pair, directory) = Pair::with_files("load_sql_cut");
    fill(&mut pair);
    let script = dump(pair.source_port, "load_sql_cut", &[]);
    let end = String::from_utf8_lossy(&script).find("-- PostgreSQL database dump complete").unwrap();
    let mut splitter = dumpscript::Splitter::new();
    let mut commands = dumpscript::Commands::default();
    let mut whole = 0;
    for position in 0..MOST.min(end) {
        splitter.feed(&script[position..=position]).unwrap();
        for is_end in [false, true] {
            // What is left at this place.
            let (mut left, mut left_commands) = (splitter.clone(), commands.clone());
            let (splitter, commands) =
                if is_end { (&mut left, &mut left_commands) } else { (&mut splitter, &mut commands) };
            if is_end {
                splitter.end();
            }
            let outcome = loop {
                match splitter.next_piece() {
                    Ok(Some(dumpscript::Piece::Command { text, line })) => {
                        if let Err(error) = commands.take(text, line) {
                            break Err(error);
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break commands.end(1),
                    Err(error) => break Err(error),
                }
            };
            if is_end && outcome.is_ok() {
                whole = position;
            }
        }
    }
    assert_eq!(whole, 0, "a beginning that is a whole script");
    let before = definitions(pair.destination_port, "load_sql_cut");
    let mut random = Random(crate::harness::number("PGCOPY_TEST_SEED", 1));
    let count = crate::harness::number("PGCOPY_TEST_CUTS", 20);
    let at_random = (0..count).map(|_| random.below(end as u64) as usize);
    let cuts: Vec<usize> = (0..40).map(|place| place * 1601 % end).chain(at_random).collect();
    for (turn, cut) in cuts.into_iter().enumerate() {
        let path = write(&directory, "cut.sql", &script[..cut]);
        let arguments = if turn % 2 == 0 { "" } else { ", parallel => 2" };
        let failure = failure(&mut pair.destination, &path, arguments);
        assert!(failure.message.contains("cannot be run"), "{cut}: {failure:?}");
    }
    assert_eq!(definitions(pair.destination_port, "load_sql_cut"), before);
    pair.assert_nothing_left();
}

#[test]
fn errors_name_the_line_and_the_row() {
    let (mut pair, directory) = Pair::with_files("load_sql_errors");
    let client = &mut pair.destination;
    let script = "-- rows\nCREATE TABLE t (a int, b date NOT NULL);\n\nCOPY t (a, b) FROM stdin;\n1\t2020-01-01\n2\tnever\n\\.\n";
    let path = write(&directory, "a.sql", script);
    let failed = failure(client, &path, "");
    assert_eq!(failed.sqlstate, "22007");
    assert!(failed.detail.contains("Line 6 of") && failed.detail.contains("row 2, column b of COPY t"), "{failed:?}");
    let error = client.query(&format!("SELECT pgcopy.load_sql('{path}')"), &[]).unwrap_err();
    assert_eq!(error.as_db_error().and_then(|error| error.table()), Some("t"));
    let path = write(&directory, "b.sql", "CREATE TABLE t (a int);\nINSERT INTO t\nVALUES ('x');");
    let failed = failure(client, &path, "");
    assert!(failed.detail.contains("Line 2 of") && failed.detail.contains("INSERT INTO t VALUES ('x');"), "{failed:?}");
    let path = write(&directory, "c.sql", "CREATE TABLE t (a int UNIQUE);\nCOPY t FROM stdin;\n1\n2\n1\n\\.\n");
    let failed = failure(client, &path, "");
    assert!(failed.sqlstate == "23505" && failed.detail.contains("Line 5 of"), "{failed:?}");
    assert!(texts(client, "SELECT relname::text FROM pg_class WHERE relname = 't'").is_empty());
    pair.assert_nothing_left();
}

#[test]
fn statements_that_fail_are_passed_over_on_request() {
    let (mut pair, directory) = Pair::with_files("load_sql_skip");
    let client = &mut pair.destination;
    let script = "CREATE TABLE t (a int);\nALTER TABLE t OWNER TO load_sql_nobody;\nGRANT SELECT ON TABLE t TO load_sql_nobody;\n\
                  CREATE EXTENSION load_sql_missing;\nCREATE TABLE bad (a date);\nCOPY bad FROM stdin;\n2020-01-01\nnever\n\\.\n\
                  COPY t FROM stdin;\n1\n\\.\nCOPY missing FROM stdin;\n1\n\\.\nCREATE INDEX ON t (a);\n";
    let path = write(&directory, "a.sql", script);
    let failed = failure(client, &path, "");
    assert_eq!(failed.message, "role \"load_sql_nobody\" does not exist");
    assert!(failed.hint.contains("owners => false"), "{failed:?}");
    let failed = failure(client, &path, ", owners => false, privileges => false");
    assert!(failed.detail.contains("Line 4 of"), "{failed:?}");
    let report = load_well(client, &path, ", on_error => 'skip'");
    let skipped: Vec<_> = report.iter().filter(|line| line.starts_with("skipped")).collect();
    assert_eq!(
        skipped,
        [
            "skipped 2 ALTER TABLE t OWNER TO load_sql_nobody;",
            "skipped 3 GRANT SELECT ON TABLE t TO load_sql_nobody;",
            "skipped 4 CREATE EXTENSION load_sql_missing;",
            "skipped 8 COPY bad FROM stdin;",
            "skipped 13 COPY missing FROM stdin;",
        ]
    );
    assert_eq!(text(client, "SELECT count(*)::text FROM t"), "1");
    assert_eq!(text(client, "SELECT count(*)::text FROM bad"), "0");
    assert!(report.contains(&"rows public t 1".to_owned()) && report.contains(&"index 1".to_owned()), "{report:?}");
    // Rows are not passed over one by one, and a script that is cut off is an error in any case.
    let path = write(&directory, "b.sql", "INSERT INTO t VALUES (2);INSERT INTO t VALUES ('x');");
    assert_eq!(failure(client, &path, ", on_error => 'skip'").sqlstate, "22P02");
    let path = write(&directory, "c.sql", "INSERT INTO t VALUES (2);COPY t FROM stdin;\n3\n");
    assert!(failure(client, &path, ", on_error => 'skip'").message.contains("ends within the rows"));
    assert_eq!(text(client, "SELECT count(*)::text FROM t"), "1");
    assert!(failure(client, &path, ", on_error => 'stop'").message.contains("not recognized"));
}

/// Roles of another server are made by a script of `pg_dumpall`, where the caller may make roles.
#[test]
fn roles_of_another_server() {
    let program = installation().program("pg_dumpall");
    if !program.exists() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_globals");
    let drop_roles = "DROP ROLE IF EXISTS load_sql_member; DROP ROLE IF EXISTS load_sql_group";
    pair.both(drop_roles);
    pair.source
        .batch_execute(
            "CREATE ROLE load_sql_group; CREATE ROLE load_sql_member LOGIN CONNECTION LIMIT 3;
             GRANT load_sql_group TO load_sql_member; ALTER ROLE load_sql_member SET work_mem = '5MB';
             COMMENT ON ROLE load_sql_group IS 'it''s; theirs'",
        )
        .unwrap();
    let output = Command::new(program)
        .args(["--globals-only", "--no-password", "--host=127.0.0.1", "--username=postgres"])
        .arg(format!("--port={}", pair.source_port))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Those of other tests are none of ours.
    let is_ours = |line: &&str| {
        let of_roles =
            ["CREATE ROLE", "ALTER ROLE", "COMMENT ON ROLE", "GRANT ", "CREATE TABLESPACE", "ALTER TABLESPACE"];
        line.contains("load_sql_") || !of_roles.iter().any(|words| line.starts_with(words))
    };
    let script: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().filter(is_ours).map(str::to_owned).collect();
    let path = write(&directory, "roles.sql", script.join("\n") + "\n");
    let client = &mut pair.destination;
    load_well(client, &path, "");
    let sql = "SELECT concat_ws(' ', rolname, rolcanlogin, rolconnlimit, rolconfig, pg_has_role(oid, 'load_sql_group', 'USAGE'),
                   shobj_description(oid, 'pg_authid'))
               FROM pg_roles WHERE rolname ~ '^load_sql_(group|member)' ORDER BY rolname";
    assert_eq!(texts(client, sql), ["load_sql_group f -1 t it's; theirs", "load_sql_member t 3 {work_mem=5MB} t"]);
    client.batch_execute("GRANT pg_read_server_files TO load_sql_member; SET ROLE load_sql_member").unwrap();
    let failed = failure(client, &path, "");
    assert!(failed.sqlstate == "42501" && failed.message.contains("create role"), "{failed:?}");
    client.batch_execute("RESET ROLE").unwrap();
    pair.both(drop_roles);
}

/// Newer versions of `pg_dump` set what older servers do not know.
#[test]
fn settings_of_other_versions_are_ignored() {
    let (mut pair, directory) = Pair::with_files("load_sql_settings");
    let client = &mut pair.destination;
    let script = "SET transaction_timeout = 0;\nCREATE TABLE t (a int);\n";
    let path = write(&directory, "a.sql", script);
    load_well(client, &path, "");
    let known = text(client, "SELECT (count(*) > 0)::text FROM pg_settings WHERE name = 'transaction_timeout'");
    let ignored = "setting \"transaction_timeout\" of the script is ignored: this server does not have it";
    assert_eq!(pair.notices().iter().any(|notice| notice.contains(ignored)), known == "false");
    let path = write(&directory, "b.sql", "SET no_such_setting = 0;\n");
    assert_eq!(failure(&mut pair.destination, &path, "").sqlstate, "42704");
}

/// What has no place here is passed over, and the report says so.
#[test]
fn statements_without_a_place_here_are_told_of() {
    let (mut pair, directory) = Pair::with_files("load_sql_no_place");
    let client = &mut pair.destination;
    let script = "DROP EXTENSION IF EXISTS pgcopy;\nCREATE TABLE public.t (a int);\n
SELECT * FROM pg_catalog.pg_restore_relation_stats(
\t'version', '180000'::integer, 'schemaname', 'public', 'relname', 't', 'relpages', '7'::integer, 'reltuples', '700'::real,
\t'relallvisible', '0'::integer);
SELECT * FROM pg_catalog.pg_restore_attribute_stats(
\t'version', '180000'::integer, 'schemaname', 'public', 'relname', 't', 'attname', 'a', 'inherited', 'f'::boolean,
\t'null_frac', '0.5'::real, 'avg_width', '4'::integer, 'n_distinct', '-0.5'::real);
";
    let path = write(&directory, "a.sql", script);
    let report = load_well(client, &path, "");
    assert!(report.contains(&"skipped 1 DROP EXTENSION IF EXISTS pgcopy;".to_owned()), "{report:?}");
    let is_told = |line: &str| report.iter().filter(|found| found.starts_with(line)).count();
    let takes_statistics = text(client, "SHOW server_version_num").parse::<u32>().unwrap() >= 180_000;
    if takes_statistics {
        assert_eq!(is_told("skipped"), 1, "{report:?}");
        assert_eq!(text(client, "SELECT reltuples::text FROM pg_class WHERE relname = 't'"), "700");
        assert_eq!(text(client, "SELECT null_frac::text FROM pg_stats WHERE tablename = 't'"), "0.5");
    } else {
        assert_eq!(is_told("skipped 4 SELECT * FROM pg_catalog.pg_restore_relation_stats("), 1, "{report:?}");
        assert_eq!(is_told("skipped"), 2, "{report:?}");
        let told = "statistics are left out: this server has no function pg_restore_relation_stats";
        assert!(pair.notices().iter().any(|notice| notice.contains(told)), "{:?}", pair.notices());
    }
    pair.assert_nothing_left();
}

#[test]
fn tables_are_chosen_by_patterns() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_patterns");
    fill(&mut pair);
    let path = write(&directory, "a.sql", dump(pair.source_port, "load_sql_patterns", &[]));
    // Without those that refer to them: views, statistics and keys.
    let arguments = ", exclude => ARRAY['shop.reading*', 'shop.\"Odd.Name\"']";
    let report = load_well(&mut pair.destination, &path, arguments);
    assert!(report.contains(&"rows shop purchase 10000".to_owned()), "{report:?}");
    let tables = texts(
        &mut pair.destination,
        "SELECT relname::text FROM pg_class WHERE relname ~ '^(reading|Odd)' AND relkind IN ('r', 'p')",
    );
    assert!(tables.is_empty(), "{tables:?}");
    pair.assert_same_content();
    let failed = failure(&mut pair.destination, &path, ", include => '{shop.parent, shop.nothing}'");
    assert!(failed.message.contains("already exists") || failed.detail.contains("nothing"), "{failed:?}");
    let mut client = new_database(pair.destination_port, "load_sql_patterns_one");
    let inserts = write(
        &directory,
        "b.sql",
        "CREATE TABLE a (i int); CREATE TABLE b (i int); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);",
    );
    assert_eq!(load_well(&mut client, &inserts, ", include => '{a}'"), ["rows a 1", "table 1"]);
    // Tables whose names begin alike, up to a parenthesis.
    let alike = "CREATE TABLE \"a(b\" (i int); CREATE TABLE \"a(c\" (i int); INSERT INTO \"a(b\" VALUES (1); INSERT INTO \"a(c\" VALUES (1);
        INSERT INTO /* ( */ \"a(b\" VALUES (2); INSERT INTO /* ( */ \"a(c\" VALUES (2);";
    let alike = write(&directory, "c.sql", alike);
    assert_eq!(load_well(&mut client, &alike, ", exclude => ARRAY['\"a(c\"']"), ["rows a(b 2", "table 1"]);
    client.batch_execute("DROP TABLE \"a(b\"").unwrap();
    assert_eq!(load_well(&mut client, &alike, ""), ["rows a(b 2", "rows a(c 2", "table 2"]);
    let failed = failure(&mut client, &inserts, ", exclude => '{a*, c}'");
    assert_eq!((failed.message.as_str(), failed.detail.as_str()), ("patterns match no table of the script", "c"));
}

/// An INSERT with queries in front of it fills its table as any other, and names are the same however they are written.
#[test]
fn inserts_behind_queries_and_escaped_names_are_those_of_their_tables() {
    let (mut pair, directory) = Pair::with_files("load_sql_with");
    let client = &mut pair.destination;
    let script = "CREATE TABLE a (i int); CREATE TABLE b (i int); CREATE TABLE U&\"gr!00F6!00DFe\" UESCAPE '!' (i int);
        WITH x AS (SELECT 1), y(n) AS (SELECT generate_series(2, 3)) INSERT INTO a SELECT * FROM x UNION ALL SELECT n FROM y;
        with x as (select 5) insert into b select * from x;
        WITH x AS (SELECT 4) INSERT INTO a SELECT * FROM x;
        INSERT INTO U&\"gr\\00f6\\00DFe\" VALUES (7);
        COPY U&\"gr!00f6!00DFe\" UESCAPE '!' FROM stdin;\n8\n\\.\n";
    let path = write(&directory, "a.sql", script);
    let report = load_well(client, &path, ", exclude => '{b, größe}'");
    assert_eq!(report, ["rows a 4", "table 1"]);
    assert_eq!(texts(client, "SELECT i::text FROM a ORDER BY i"), ["1", "2", "3", "4"]);
    client.batch_execute("DROP TABLE a").unwrap();
    let report = load_well(client, &path, ", include => '{b, größe}'");
    assert_eq!(report, ["rows b 1", "rows größe 1", "rows public größe 1", "table 2"]);
    // Rows are not passed over one by one, here neither.
    let bad = "CREATE TABLE c (i int);WITH x AS (SELECT 'x'::text AS v) INSERT INTO c SELECT v::int FROM x;";
    let bad = write(&directory, "b.sql", bad);
    assert_eq!(failure(client, &bad, ", on_error => 'skip'").sqlstate, "22P02");
    pair.assert_nothing_left();
}

#[test]
fn scripts_in_other_encodings() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_encodings");
    // Characters that end in a backslash in one of these encodings: U+8868 (SJIS), U+529F (BIG5), U+8A98 (GBK).
    pair.source
        .batch_execute(
            "CREATE TABLE \"表\" (\"a表\" text, b text DEFAULT E'表\\'; x');
             INSERT INTO \"表\" VALUES (E'表\\t功\\n誘', '表\\'), ('表', NULL);
             COMMENT ON TABLE \"表\" IS 'ソ表'';'",
        )
        .unwrap();
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    for (encoding, of_both) in
        [("SJIS", "表"), ("BIG5", "功"), ("GBK", "表"), ("GB18030", "表"), ("UHC", "表"), ("EUC_JP", "表")]
    {
        let options = ["--inserts", "--column-inserts", ""].map(|option| (option, format!("--encoding={encoding}")));
        for (option, encoding_option) in &options {
            // Not every encoding has every character.
            let mut client = connect(pair.source_port, "load_sql_encodings");
            if client
                .batch_execute(&format!("SET client_encoding = '{encoding}'; SELECT * FROM \"表\"; SELECT 'ソ功誘'"))
                .is_err()
            {
                continue;
            }
            let mut arguments = vec![encoding_option.as_str()];
            arguments.extend((!option.is_empty()).then_some(*option));
            let path = write(&directory, "a.sql", dump(pair.source_port, "load_sql_encodings", &arguments));
            load_well(&mut pair.destination, &path, "");
            pair.assert_same_content();
            assert_eq!(
                definitions(pair.destination_port, "load_sql_encodings"),
                definitions(pair.source_port, "load_sql_encodings"),
                "{encoding} {of_both}"
            );
            assert_eq!(text(&mut pair.destination, "SHOW client_encoding"), "UTF8");
            pair.destination.batch_execute("DROP TABLE \"表\"").unwrap();
        }
    }
    let path = write(&directory, "b.sql", b"SET client_encoding = 'LATIN1';\nCREATE TABLE l (\xe4 text);\nCOPY l FROM stdin;\n\xf6\n\\.\nSET client_encoding = 'UTF8';\nINSERT INTO l VALUES ('\xc3\xbc');");
    load_well(&mut pair.destination, &path, "");
    assert_eq!(texts(&mut pair.destination, "SELECT \"ä\" FROM l ORDER BY 1"), ["ö", "ü"]);
    for (bad, line) in [
        (&b"CREATE TABLE bad (a text);\nINSERT INTO bad VALUES ('\xff');"[..], 2),
        (b"CREATE TABLE bad (a text);\n\nCOPY bad (\xff) FROM stdin;\n\\.\n", 3),
    ] {
        let path = write(&directory, "c.sql", bad);
        let failed = failure(&mut pair.destination, &path, "");
        assert_eq!(failed.sqlstate, "22021");
        assert!(failed.detail.contains(&format!("Line {line} of")), "{failed:?}");
    }
    // However a script sets its encoding, and gives it up again; the session's own is not the script's.
    for set in [
        "SET client_encoding TO latin1",
        "SET NAMES 'LATIN1'",
        "SET LOCAL client_encoding = 'LATIN1'",
        "SELECT pg_catalog.set_config('client_encoding', 'LATIN1', false)",
        "DO $$BEGIN SET client_encoding = 'LATIN1'; END$$",
        "DO $$BEGIN EXECUTE 'SET client_' || 'encoding = LATIN1'; END$$",
    ] {
        for reset in ["SET client_encoding = 'UTF8'", "SET NAMES 'UTF8'", "RESET client_encoding", "RESET ALL"] {
            let mut script = format!("{set};\nCREATE TABLE n (a text);\nINSERT INTO n VALUES ('").into_bytes();
            script.extend_from_slice(b"\xe4');\nCOPY n FROM stdin;\n\xf6\n\\.\n");
            script.extend_from_slice(format!("{reset};\nINSERT INTO n VALUES ('ü'), ('Ã¤');\n").as_bytes());
            let path = write(&directory, "d.sql", script);
            load_well(&mut pair.destination, &path, "");
            assert_eq!(
                texts(&mut pair.destination, "SELECT a FROM n ORDER BY a COLLATE \"C\""),
                ["Ã¤", "ä", "ö", "ü"],
                "{set} {reset}"
            );
            assert_eq!(text(&mut pair.destination, "SHOW client_encoding"), "UTF8");
            pair.destination.batch_execute("DROP TABLE n").unwrap();
        }
    }
}

/// A load is a job: seen while it runs, and ended within a second.
#[test]
fn a_load_is_a_job() {
    let (mut pair, directory) = Pair::with_files("load_sql_jobs");
    let client = &mut pair.destination;
    let path =
        write(&directory, "good.sql", "CREATE TABLE good (a int); INSERT INTO good SELECT generate_series(1, 10);");
    let job: i64 = client.query_one(&format!("SELECT pgcopy.start_load_sql('{path}')"), &[]).unwrap().get(0);
    assert_eq!(text(client, &format!("SELECT pgcopy.wait({job})")), "completed");
    let row =
        "SELECT concat_ws('|', state, source, rows, arguments::jsonb ->> 'on_error') FROM pgcopy.jobs WHERE job = ";
    assert_eq!(text(client, &format!("{row}{job}")), format!("completed|{path}|10|error"));
    assert_eq!(text(client, "SELECT count(*)::text FROM good"), "10");
    for script in [
        "CREATE TABLE slow (a int);\nSELECT pg_sleep(600);\n",
        "CREATE TABLE slow (a int);\nDO $$ BEGIN LOOP END LOOP; END $$;\n",
    ] {
        let path = write(&directory, "slow.sql", script);
        let job: i64 = client.query_one(&format!("SELECT pgcopy.start_load_sql('{path}')"), &[]).unwrap().get(0);
        eventually("it works", || {
            text(client, &format!("SELECT phase FROM pgcopy.jobs WHERE job = {job}")) == "in place"
        });
        assert_eq!(text(client, &format!("SELECT pgcopy.cancel({job})::text")), "true");
        assert_eq!(text(client, &format!("SELECT pgcopy.wait({job})")), "failed");
        assert!(texts(client, "SELECT relname::text FROM pg_class WHERE relname = 'slow'").is_empty());
    }
    let path = write(&directory, "bad.sql", "CREATE TABLE good (a int);");
    let job: i64 = client.query_one(&format!("SELECT pgcopy.start_load_sql('{path}')"), &[]).unwrap().get(0);
    assert_eq!(text(client, &format!("SELECT pgcopy.wait({job})")), "failed");
    let error = text(client, &format!("SELECT error || ' ' || detail FROM pgcopy.jobs WHERE job = {job}"));
    assert!(error.contains("\"good\" already exists") && error.contains("Line 1 of"), "{error}");
    // In a transaction that is rolled back, and in one of several calls.
    client.batch_execute("DROP TABLE good").unwrap();
    client.batch_execute("BEGIN").unwrap();
    load_well(client, &path, "");
    client.batch_execute("ROLLBACK").unwrap();
    client.batch_execute("BEGIN").unwrap();
    load_well(client, &path, "");
    let path = write(&directory, "more.sql", "COPY good FROM stdin;\n1\n\\.\n");
    load_well(client, &path, "");
    load_well(client, &path, "");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(text(client, "SELECT count(*)::text FROM good"), "2");
    pair.assert_nothing_left();
}

/// Tables of every kind get the rows of COPY as from psql.
#[test]
fn rows_reach_every_kind_of_table() {
    let (mut pair, directory) = Pair::with_files("load_sql_tables");
    let client = &mut pair.destination;
    client
        .batch_execute(
            "CREATE TABLE parted (a int, b text DEFAULT 'd', c int GENERATED ALWAYS AS (a * 2) STORED) PARTITION BY LIST (a);
             CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1); CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
             CREATE TABLE base (a int); CREATE VIEW seen AS SELECT a FROM base;
             CREATE FUNCTION into_base() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO base VALUES (NEW.a); RETURN NEW; END';
             CREATE TRIGGER instead INSTEAD OF INSERT ON seen FOR EACH ROW EXECUTE FUNCTION into_base();
             CREATE TEMPORARY TABLE temporary (a int CHECK (a > 0))",
        )
        .unwrap();
    let script = "COPY parted (a) FROM stdin;\n1\n2\n\\.\nCOPY seen FROM stdin;\n7\n\\.\n\
                  COPY temporary FROM stdin WITH (FORMAT csv, HEADER);\na\n\"1\"\n\\.\n\
                  COPY temporary FROM stdin WITH DELIMITER ';' NULL 'nothing';\n2\nnothing\n\\.\n\
                  COPY base FROM stdin WHERE a > 1;\n1\n2\n\\.\n";
    let path = write(&directory, "a.sql", script);
    load_well(client, &path, "");
    assert_eq!(
        texts(client, "SELECT concat_ws(' ', tableoid::regclass, a, b, c) FROM parted ORDER BY 1"),
        ["parted_1 1 d 2", "parted_2 2 d 4"]
    );
    assert_eq!(text(client, "SELECT string_agg(a::text, ' ' ORDER BY a) FROM base"), "2 7");
    assert_eq!(text(client, "SELECT count(*)::text || max(a)::text FROM temporary"), "32");
    let path = write(&directory, "b.sql", "COPY base FROM stdin WITH (FORMAT binary);\n\\.\n");
    assert!(failure(client, &path, "").message.contains("binary format"));
    let path = write(&directory, "c.sql", "COPY base TO stdout;\n");
    assert!(failure(client, &path, "").message.contains("to or from the client"));
}

#[test]
fn only_scripts_are_taken() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_formats");
    pair.source.batch_execute("CREATE TABLE t (a int)").unwrap();
    let client = &mut pair.destination;
    let port = pair.source_port;
    for (format, words) in [("custom", "custom format"), ("tar", "tar archive")] {
        let path = write(&directory, format, dump(port, "load_sql_formats", &[&format!("--format={format}")]));
        let failed = failure(client, &path, "");
        assert!(failed.message.contains(words) && failed.hint.contains("pg_restore -f"), "{failed:?}");
    }
    let folder = directory.path().join("folder");
    dump(port, "load_sql_formats", &["--format=directory", &format!("--file={}", folder.display())]);
    Command::new("chmod").args(["-R", "a+rX"]).arg(&folder).status().unwrap();
    let failed = failure(client, folder.to_str().unwrap(), "");
    assert!(failed.message.contains("directory format") && failed.hint.contains("pg_restore -f"), "{failed:?}");
    for (name, bytes, words) in [
        ("mysql", &b"-- MySQL dump 10.13  Distrib 8.0.36\n"[..], "MySQL"),
        ("maria", b"/*!999999\\- enable the sandbox mode */ \n-- MariaDB dump", "MariaDB"),
        ("sqlite", b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;", "SQLite"),
        ("utf16", b"\xff\xfeS\0E\0L\0", "UTF-16"),
        ("bzip2", b"BZh91AY&SY", "bzip2"),
        ("empty", b"", "no statement"),
        ("noise", b"\x01\x02\x03", "unfinished statement"),
    ] {
        let path = write(&directory, name, bytes);
        let failed = failure(client, &path, "");
        assert!(failed.message.contains(words), "{name}: {failed:?}");
    }
    assert_eq!(failure(client, "/nonexistent/x.sql", "").sqlstate, "58P01");
    assert_eq!(failure(client, directory.path().to_str().unwrap(), "").sqlstate, "42809");
    assert!(Path::new("/dev/zero").exists() && failure(client, "/dev/zero", "").message.contains("not a regular file"));
}
