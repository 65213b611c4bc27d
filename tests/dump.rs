//! Dumps into files of the server: complete or not at all, and with the rights of the caller.

use crate::harness::{Failure, Pair, connect_as, describe, installation, text};
use crate::load_sql::{load_well, new_database, write};
use crate::migrate::{definitions, fill, has_pg_dump};
use postgres::Client;
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::data;
use xtask::server::ScratchDirectory;

/// A directory that the server may write to.
fn open_directory(name: &str) -> ScratchDirectory {
    let directory = ScratchDirectory::create(name).unwrap();
    assert!(Command::new("chmod").arg("a+rwx").arg(directory.path()).status().unwrap().success());
    directory
}

fn dump(client: &mut Client, path: &str, arguments: &str) -> Result<(i64, i64), postgres::Error> {
    let row = client.query_one(&format!("SELECT bytes, script_bytes FROM pgcopy.dump('{path}'{arguments})"), &[])?;
    Ok((row.get(0), row.get(1)))
}

fn failure(client: &mut Client, path: &str, arguments: &str) -> Failure {
    match dump(client, path, arguments) {
        Ok(written) => panic!("{path} was written: {written:?}"),
        Err(error) => Failure::of(&error),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// From a source to here, into a file, and with psql into a third database.
#[test]
fn full_circle() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("dump_circle");
    let directory = open_directory("dump_circle");
    fill(&mut pair);
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    let script = crate::load_sql::dump(pair.source_port, "dump_circle", &[]);
    let there = write(&directory, "there.sql", script);
    load_well(&mut pair.destination, &there, "");
    let expected = definitions(pair.source_port, "dump_circle");
    for (name, program) in [("here.sql", "cat"), ("here.sql.gz", "zcat"), ("here.sql.zst", "zstdcat")] {
        let path = directory.path().join(name);
        let (bytes, script_bytes) = dump(&mut pair.destination, path.to_str().unwrap(), "")
            .unwrap_or_else(|error| panic!("{name}: {}", describe(&error)));
        assert_eq!(bytes as u64, fs::metadata(&path).unwrap().len());
        assert!(if program == "cat" { bytes == script_bytes } else { bytes < script_bytes / 2 });
        let script = Command::new(program).arg(&path).output().unwrap().stdout;
        assert_eq!(script.len() as i64, script_bytes, "{name}");
        let plain = write(&directory, "plain.sql", script);
        let third = new_database(pair.destination_port, "dump_circle_third");
        let output = Command::new(installation().program("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", "dump_circle_third"])
            .args([&format!("--port={}", pair.destination_port), "-f", &plain])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        drop(third);
        let mut third = crate::harness::connect(pair.destination_port, "dump_circle_third");
        let tables = crate::harness::user_tables(&mut third);
        assert_eq!(data::checksums(&mut third, &tables).unwrap(), data::checksums(&mut pair.source, &tables).unwrap());
        assert_eq!(definitions(pair.destination_port, "dump_circle_third"), expected);
        drop(third);
        let mut fourth = new_database(pair.destination_port, "dump_circle_third");
        load_well(&mut fourth, path.to_str().unwrap(), "");
        assert_eq!(definitions(pair.destination_port, "dump_circle_third"), expected);
    }
    pair.assert_nothing_left();
}

#[test]
fn files_are_complete_or_not_there() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("dump_files");
    let directory = open_directory("dump_files");
    let client = &mut pair.destination;
    client
        .batch_execute(
            "CREATE TABLE item (id int); INSERT INTO item SELECT generate_series(1, 1000); CREATE TABLE other (id int);
             CREATE TABLE \"Odd.Name\" (id int); CREATE SCHEMA s; CREATE TABLE s.item (id int)",
        )
        .unwrap();
    let path = directory.path().join("a.sql");
    let path = path.to_str().unwrap();
    let content = || fs::read_to_string(path).unwrap();
    dump(client, path, "").unwrap();
    assert!(content().contains("dump complete") && content().contains("COPY public.item"));
    let failed = failure(client, path, "");
    assert!(failed.sqlstate == "58P02" && failed.hint.contains("overwrite => true"), "{failed:?}");
    dump(client, path, ", overwrite => true, data => false").unwrap();
    assert!(content().contains("CREATE TABLE public.item") && !content().contains("COPY "));
    dump(client, path, ", overwrite => true, definitions => false").unwrap();
    assert!(!content().contains("CREATE TABLE") && content().contains("COPY public.item"));
    dump(
        client,
        path,
        ", overwrite => true, sections => '{pre-data, post-data}', include => ARRAY['item', '\"Odd.Name\"']",
    )
    .unwrap();
    let tables: Vec<_> = content().lines().filter(|line| line.starts_with("CREATE TABLE")).map(str::to_owned).collect();
    assert_eq!(tables, ["CREATE TABLE public.\"Odd.Name\" (", "CREATE TABLE public.item (", "CREATE TABLE s.item ("]);
    dump(client, path, ", overwrite => true, exclude => '{public.i*, s.*}'").unwrap();
    assert!(content().contains("CREATE TABLE public.other") && !content().contains("item"));
    let before = content();
    for (arguments, words) in [
        (", overwrite => true, include => '{missing}'", "pg_dump could not dump"),
        (", overwrite => true, sections => '{data; rm}'", "not recognized"),
        (", overwrite => true, sections => '{}'", "nothing to dump without sections"),
        (", overwrite => true, data => false, definitions => false", "nothing to dump"),
        (", overwrite => true, source => 'host=127.0.0.1 port=1 dbname=x'", "could not connect"),
    ] {
        let failed = failure(client, path, arguments);
        assert!(failed.message.contains(words), "{arguments}: {failed:?}");
        assert_eq!(content(), before);
    }
    assert_eq!(failure(client, "relative.sql", "").sqlstate, "42602");
    assert_eq!(failure(client, "/nonexistent/a.sql", "").sqlstate, "58P01");
    // A table that is locked by somebody else; the wait is cancelled.
    let mut other = pair.another_destination_session();
    other.batch_execute("BEGIN; LOCK item").unwrap();
    let client = &mut pair.destination;
    client.batch_execute("SET statement_timeout = '1s'").unwrap();
    assert_eq!(failure(client, path, ", overwrite => true").sqlstate, "57014");
    client.batch_execute("RESET statement_timeout").unwrap();
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(content(), before);
    let job: i64 = client
        .query_one(&format!("SELECT pgcopy.start_dump('{}')", directory.path().join("b.sql").display()), &[])
        .unwrap()
        .get(0);
    assert_eq!(text(client, &format!("SELECT pgcopy.wait({job})")), "completed");
    assert_eq!(names(directory.path()), ["a.sql", "b.sql"]);
    pair.assert_nothing_left();
}

#[test]
fn who_may_dump_and_as_whom() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("dump_rights");
    let directory = open_directory("dump_rights");
    pair.destination
        .batch_execute(
            "DROP ROLE IF EXISTS dump_writer; CREATE ROLE dump_writer LOGIN PASSWORD 'secret';
             GRANT USAGE ON SCHEMA pgcopy TO dump_writer; CREATE TABLE private (a int)",
        )
        .unwrap();
    let mut client = connect_as(pair.destination_port, "dump_rights", "dump_writer");
    let path = directory.path().join("a.sql");
    let path = path.to_str().unwrap();
    assert_eq!(failure(&mut client, path, "").sqlstate, "42501");
    pair.destination.batch_execute("GRANT pg_write_server_files TO dump_writer").unwrap();
    let failed = failure(&mut client, path, "");
    assert!(failed.sqlstate == "42501" && failed.hint.contains("source =>"), "{failed:?}");
    // The server trusts everybody here, which is no reason to.
    for source in ["host=127.0.0.1 user=postgres", "host=127.0.0.1 user=dump_writer password=secret"] {
        let source = format!(", source => '{source} port={} dbname=dump_rights'", pair.destination_port);
        let failed = failure(&mut client, path, &source);
        assert!(failed.message.contains("password is required"), "{failed:?}");
    }
    // Rights that were put down stay down.
    pair.destination.batch_execute("SET ROLE dump_writer").unwrap();
    assert_eq!(failure(&mut pair.destination, path, "").sqlstate, "42501");
    pair.destination.batch_execute("RESET ROLE").unwrap();
    assert!(names(directory.path()).is_empty());
}
