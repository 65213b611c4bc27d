//! A load reads texts with the settings of the caller's session, whatever process reads them.

use crate::harness::{Pair, describe, texts};
use crate::parquet_columns::Files;

/// The ways that rows go: by workers, by the leader, COPY's, COPY itself, and in the background.
const WAYS: [&str; 5] = ["workers", "leader", "insert", "copy", "background"];

/// Loads `@file` into a table of these columns.
fn load_by(files: &mut Files, way: &str, table: &str, columns: &str, file: &str) {
    files.run(&format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({columns})"));
    match way {
        "workers" => files.load(&format!("'@{file}', target => '{table}', parallel => 2")),
        "leader" => files.load(&format!("'@{file}', target => '{table}', parallel => 0")),
        "insert" => {
            files.run(&format!(
                "CREATE TRIGGER unchanged BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION unchanged()"
            ));
            files.load(&format!("'@{file}', target => '{table}'"));
        }
        "copy" => files.run(&format!("COPY {table} FROM '@{file}' (FORMAT parquet)")),
        _ => {
            files.run(&format!("SELECT pgcopy.start_load_parquet('@{file}', target => '{table}', parallel => 2)"));
            files.run("SELECT pgcopy.wait(max(job)) FROM pgcopy.jobs");
        }
    }
}

fn files(name: &str) -> Files {
    let mut files = Files::new(name);
    files.run("CREATE FUNCTION unchanged() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
    files
}

const COLUMNS: [(&str, &str, &str); 8] = [
    ("d", "date", "03/04/2024"),
    ("ts", "timestamptz", "2024-07-01 12:00"),
    ("abbreviated", "timestamptz", "2024-07-01 12:00 EST"),
    ("i", "interval", "-1 2:03:04"),
    ("a", "text[]", "{a,NULL}"),
    ("x", "xml", "<a/>text"),
    ("l", "date[]", "{03/04/2024,05/06/2024}"),
    ("r", "tstzrange", "[2024-07-01 12:00,)"),
];

/// What the session's own casts make of the texts.
fn wanted(files: &mut Files) -> Vec<String> {
    let values = COLUMNS.map(|(_, type_name, value)| format!("'{value}'::{type_name}::text"));
    texts(&mut files.pair.destination, &format!("SELECT concat_ws(' | ', {})", values.join(", ")))
}

#[test]
fn texts_are_read_with_the_settings_of_the_session() {
    let mut files = files("parquet_settings");
    let values = COLUMNS.map(|(name, _, value)| format!("'{value}'::text AS {name}"));
    files.write("texts.parquet", &format!("SELECT {}", values.join(", ")));
    let columns = COLUMNS.map(|(name, type_name, _)| format!("{name} {type_name}"));
    let mut seen = Vec::new();
    for session in [
        "SET datestyle = 'ISO, MDY'; SET timezone = 'UTC'; SET xmloption = content",
        "SET datestyle = 'SQL, DMY'; SET intervalstyle = sql_standard; SET timezone = 'America/New_York'",
        "SET datestyle = 'ISO, DMY'; SET array_nulls = off; SET timezone_abbreviations = 'Australia'; SET timezone = 'Asia/Tokyo'",
    ] {
        files.run(session);
        let wanted = wanted(&mut files);
        for way in WAYS {
            load_by(&mut files, way, "read", &columns.join(", "), "texts.parquet");
            let read = COLUMNS.map(|(name, ..)| format!("{name}::text"));
            files.assert_rows(&format!("SELECT concat_ws(' | ', {}) FROM read", read.join(", ")), &[&wanted[0]]);
        }
        seen.extend(wanted);
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2]);
    // Settings of a function around the call are the session's then.
    files.run("SET datestyle = 'ISO, MDY'; DROP TABLE read");
    let create = files.sql(
        "CREATE TABLE read (d date);
         CREATE FUNCTION load() RETURNS void LANGUAGE sql SET datestyle = 'ISO, DMY' AS
             $$SELECT FROM pgcopy.load_parquet('@texts.parquet', target => 'read', skip => '{*}')$$",
    );
    files.run(&create);
    files.run("SELECT load()");
    files.assert_rows("SELECT d::text FROM read", &["2024-04-03"]);
}

#[test]
fn a_refusal_by_settings_is_the_same_for_every_way() {
    let mut files = files("parquet_settings_refusals");
    files.write("texts.parquet", "SELECT '31/12/2024'::text AS d, '<a/>text'::text AS x");
    for (session, columns) in
        [("SET datestyle = 'ISO, MDY'", "d date, x text"), ("SET xmloption = document", "d text, x xml")]
    {
        files.run(session);
        for parallel in [0, 2] {
            files.run(&format!("DROP TABLE IF EXISTS refused; CREATE TABLE refused ({columns})"));
            let load =
                format!("SELECT pgcopy.load_parquet('@texts.parquet', target => 'refused', parallel => {parallel})");
            let failure = files.refused(&load);
            let copied = files.refused("COPY refused FROM '@texts.parquet' (FORMAT parquet)");
            assert_eq!((failure.sqlstate, failure.message), (copied.sqlstate, copied.message));
            assert!(failure.detail.contains("texts.parquet, row group 0, row 1, column"), "{}", failure.detail);
        }
    }
}

#[test]
fn money_is_read_in_the_locale_of_the_session() {
    let mut files = files("parquet_money");
    files.write("money.parquet", "SELECT '1,234.56'::text AS m");
    files.run("SET lc_monetary = 'C'");
    let wanted = texts(&mut files.pair.destination, "SELECT '1,234.56'::money::numeric::text");
    for way in WAYS {
        load_by(&mut files, way, "money_read", "m money", "money.parquet");
        files.assert_rows("SELECT m::numeric::text FROM money_read", &[&wanted[0]]);
    }
}

#[test]
fn settings_of_users_are_seen_by_defaults_and_checks() {
    let mut files = files("parquet_custom_settings");
    files.write("values.parquet", "SELECT 1 AS n");
    files.run("SET app.tenant = 'größe'; SET app.least = '1'; SET timezone = 'Pacific/Kiritimati'");
    for way in WAYS {
        let columns = "n integer CHECK (n >= current_setting('app.least')::integer),
                       tenant text DEFAULT current_setting('app.tenant'), zone text DEFAULT current_setting('TimeZone')";
        load_by(&mut files, way, "seen", columns, "values.parquet");
        files.assert_rows("SELECT concat_ws(' ', n, tenant, zone) FROM seen", &["1 größe Pacific/Kiritimati"]);
    }
    files.run("SET app.least = '2'; TRUNCATE seen");
    let failure = files.refused("SELECT pgcopy.load_parquet('@values.parquet', target => 'seen')");
    assert_eq!(failure.sqlstate, "23514");
}

#[test]
fn names_of_objects_are_looked_up_along_the_search_path_of_the_session() {
    let mut files = files("parquet_object_names");
    files.run(
        "CREATE SCHEMA mine; CREATE TABLE mine.pg_class (); CREATE TABLE mine.things (); CREATE TYPE mine.pair AS (a regclass, b int);
         CREATE DOMAIN public.known AS regclass; SET search_path = mine, pg_catalog, public",
    );
    files.write(
        "names.parquet",
        "SELECT 'things'::text AS c, '{things,pg_class}'::text AS l, '(pg_class,1)'::text AS p, 'things'::text AS k, 'pair'::text AS t",
    );
    let columns = "c regclass, l regclass[], p mine.pair, k public.known, t regtype";
    for way in WAYS {
        load_by(&mut files, way, "public.named", columns, "names.parquet");
        files.assert_rows(
            "SELECT concat_ws(' ', c::oid = 'mine.things'::regclass, l = '{mine.things,mine.pg_class}',
                              (p).a = 'mine.pg_class'::regclass, k = 'mine.things'::regclass, t = 'mine.pair'::regtype)
             FROM public.named",
            &["t t t t t"],
        );
    }
}

/// The session's settings stay as they were.
#[test]
fn a_load_leaves_the_settings_alone() {
    let mut pair = Pair::new("parquet_settings_after");
    let client = &mut pair.destination;
    let settings =
        "SELECT string_agg(name || '=' || setting, ';' ORDER BY name) FROM pg_settings WHERE name <> 'search_path'";
    client.batch_execute("SET datestyle = 'German'; SET timezone = 'Asia/Kolkata'; LOAD 'pgcopy'").unwrap();
    let before = texts(client, settings);
    let path = crate::parquet_values::path("durations");
    for parallel in [0, 2] {
        let sql = format!(
            "DROP TABLE IF EXISTS t; SELECT pgcopy.load_parquet('{path}', target => 't', parallel => {parallel})"
        );
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
        assert_eq!(texts(client, settings), before);
    }
}
