//! Migrations of objects with odd names, and into sessions and databases where names mean something else, or are taken.

use crate::harness::{Failure, Pair, describe, eventually, text};
use crate::migrate::{has_pg_dump, make_role, odd_schema, session_of_app};

/// A dump has blanks where names have line breaks, and its own words between names.
#[test]
fn sequences_of_every_name_continue() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_sequences");
    pair.source
        .batch_execute(
            "CREATE SCHEMA \"two\nlines\"; CREATE SEQUENCE \"two\nlines\".\"number\none\"; SELECT setval('\"two\nlines\".\"number\none\"', 77);
             CREATE SEQUENCE \"a b\"; SELECT setval('\"a b\"', 3); CREATE SEQUENCE \"a\nb\"; SELECT setval('\"a\nb\"', 78);
             CREATE SEQUENCE \"x; Tablespace: y\"; SELECT setval('\"x; Tablespace: y\"', 79);
             CREATE SEQUENCE \"x; Owner: y\"; SELECT setval('\"x; Owner: y\"', 80);
             CREATE TABLE \"two\nlines\".\"t\nu\" (\"c\nd\" serial PRIMARY KEY); INSERT INTO \"two\nlines\".\"t\nu\" DEFAULT VALUES",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    pair.migrate("");
    pair.assert_same_definitions();
    pair.assert_same_content();
    let values = "SELECT string_agg(concat_ws(' ', schemaname, sequencename, last_value), ', ' ORDER BY schemaname, sequencename)
                  FROM pg_sequences WHERE schemaname NOT LIKE 'pgcopy%'";
    let expected = text(&mut pair.source, values);
    assert!(expected.contains("77") && expected.contains("80"), "{expected}");
    assert_eq!(text(&mut pair.destination, values), expected);
    pair.assert_nothing_left();
}

/// A sequence that is here already, and that no column uses, continues like all others that are chosen.
#[test]
fn sequences_that_are_here_continue_where_the_source_stands() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_old_sequences");
    pair.both(
        "CREATE SEQUENCE alone; CREATE SEQUENCE \"two\nlines\"; CREATE SEQUENCE falling INCREMENT -1; CREATE SEQUENCE shared;
         CREATE SEQUENCE taken; CREATE TABLE item (id serial PRIMARY KEY, n int DEFAULT nextval('taken'))",
    );
    pair.source
        .batch_execute(
            "SELECT setval('alone', 42), setval('\"two\nlines\"', 43), setval('falling', -44), setval('shared', 45), setval('taken', 46);
             INSERT INTO item SELECT FROM generate_series(1, 5)",
        )
        .unwrap();
    // Rows that stay hold numbers of one of them.
    pair.destination
        .batch_execute(
            "SELECT setval('alone', 500), setval('\"two\nlines\"', 7), setval('falling', -1), setval('shared', 500), setval('taken', 500);
             CREATE TABLE other (id int DEFAULT nextval('shared')); CREATE TABLE owner (id int); CREATE SEQUENCE owned OWNED BY owner.id;
             SELECT setval('owned', 500)",
        )
        .unwrap();
    pair.source.batch_execute("CREATE SEQUENCE owned; SELECT setval('owned', 1)").unwrap();
    let values = "SELECT string_agg(concat_ws(' ', sequencename, last_value), ', ' ORDER BY sequencename COLLATE \"C\") FROM pg_sequences
                  WHERE schemaname = 'public'";
    let before = text(&mut pair.destination, values);
    let sql = pair.migrate_sql(", existing => 'keep'");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; ROLLBACK")).unwrap();
    assert_eq!(text(&mut pair.destination, values), before);
    pair.migrate(", existing => 'keep', include => '{alone}'");
    assert_eq!(text(&mut pair.destination, values), before.replace("alone 500", "alone 42"));
    pair.migrate(", existing => 'keep'");
    let expected = "alone 42, falling -44, item_id_seq 5, owned 500, shared 500, taken 51, two\nlines 43";
    assert_eq!(text(&mut pair.destination, values), expected);
    // Where the source is farther, its number is right for both.
    pair.source.batch_execute("SELECT setval('shared', 900), nextval('alone')").unwrap();
    pair.migrate(", existing => 'keep', overwrite => true");
    let expected = expected.replace("shared 500", "shared 900").replace("alone 42", "alone 43");
    assert_eq!(text(&mut pair.destination, values), expected);
    pair.assert_nothing_left();
}

#[test]
fn sequences_of_others_are_left_with_a_notice() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_others_sequences");
    let (_, dsn) = session_of_app(&mut pair);
    pair.both("CREATE SEQUENCE theirs; CREATE SEQUENCE ours");
    pair.source
        .batch_execute("SELECT setval('theirs', 42), setval('ours', 42); GRANT SELECT ON theirs, ours TO app")
        .unwrap();
    pair.destination.batch_execute("ALTER SEQUENCE ours OWNER TO app; SET ROLE app").unwrap();
    let sql = format!("SELECT * FROM pgcopy.migrate('{dsn}', existing => 'keep')");
    pair.destination.batch_execute(&sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
    let notice = "sequences are left as they are, because they belong to somebody else: public.theirs";
    let notices = pair.notices();
    assert!(notices.iter().any(|told| told == notice), "{notices:#?}");
    pair.destination.batch_execute("RESET ROLE").unwrap();
    let values = "SELECT concat_ws(' ', t.last_value, o.last_value) FROM theirs t, ours o";
    assert_eq!(text(&mut pair.destination, values), "1 42");
    pair.assert_nothing_left();
}

/// Temporary tables are types, and come before those of the server where a path does not say otherwise.
#[test]
fn temporary_tables_of_the_caller_stand_in_for_no_type() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_temporary");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, place point, day date DEFAULT '2024-01-01', note text DEFAULT 'x', doc jsonb);
             INSERT INTO item SELECT i, point(i, i), '2024-01-02', 'n' || i, '{}' FROM generate_series(1, 10) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TEMP TABLE point (x int); CREATE TEMP TABLE date (x int); CREATE TEMP TABLE text (x int);
             CREATE TEMP TABLE jsonb (x int); CREATE TEMP TABLE item (other int); SET quote_all_identifiers = on",
        )
        .unwrap();
    pair.migrate("");
    let temporary = "DROP TABLE pg_temp.point, pg_temp.date, pg_temp.text, pg_temp.jsonb, pg_temp.item; RESET quote_all_identifiers";
    pair.destination.batch_execute(temporary).unwrap();
    pair.assert_same_definitions();
    let rows = "SELECT pg_catalog.concat(pg_catalog.count(*), pg_catalog.max(place[0])) FROM public.item";
    assert_eq!(text(&mut pair.destination, rows), text(&mut pair.source, rows));
    pair.assert_nothing_left();
}

/// Operators and the like are recognized, also those that share a name with others.
#[test]
fn what_exists_is_kept_whatever_its_kind() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_kept");
    make_role(&mut pair, "migrate_reader");
    let more = "CREATE OPERATOR #= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq); CREATE OPERATOR FAMILY length_ops USING hash;
                CREATE TEXT SEARCH TEMPLATE own_template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
                CREATE TEXT SEARCH PARSER own_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
                CREATE TRANSFORM FOR int LANGUAGE plpgsql (FROM SQL WITH FUNCTION pg_catalog.prsd_lextype(internal))";
    let schema = odd_schema(crate::harness::installation().version());
    for sql in [schema.as_str(), more] {
        pair.source.batch_execute(sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
    }
    pair.migrate("");
    // One of those that share a name is missing.
    pair.destination.batch_execute("DROP OPERATOR #= (int, int); DROP OPERATOR FAMILY length_ops USING hash").unwrap();
    pair.migrate(", existing => 'keep', overwrite => true");
    pair.assert_same_definitions();
    pair.assert_same_content();
    pair.assert_nothing_left();
}

/// A table that somebody drops before it is locked is not there, and no reason to fail.
#[test]
fn tables_dropped_meanwhile_are_not_there() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_dropped");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1); CREATE TABLE passing (id int)",
        )
        .unwrap();
    for call in ["migrate", "pull", "verify"] {
        let mut other = pair.another_source_session();
        let mut session = pair.another_destination_session();
        let overwrite = if call == "pull" { ", overwrite => true" } else { "" };
        let sql = format!("SELECT count(*)::text FROM pgcopy.{call}('{}'{overwrite})", pair.dsn());
        if call != "migrate" {
            pair.both("CREATE TABLE passing (id int)");
        }
        other.batch_execute("BEGIN; DROP TABLE passing").unwrap();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| session.query(&sql, &[]).map(|rows| rows.len()));
            let waits = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'passing'::regclass";
            eventually("a session waits for the table", || text(&mut pair.source, waits) != "0");
            other.batch_execute("COMMIT").unwrap();
            running.join().unwrap().unwrap_or_else(|error| panic!("{call}: {}", describe(&error)));
        });
        pair.destination.batch_execute("DROP TABLE IF EXISTS passing").unwrap();
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
}

/// Rows of tables that the extension does not have here do not come, and are not passed over in silence.
#[test]
fn rows_in_tables_of_extensions_are_told_of() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_extension_rows");
    pair.source
        .batch_execute(
            "CREATE EXTENSION citext; CREATE TABLE \"A setting\" (id int); CREATE TABLE plain (id int); CREATE TABLE item (id int);
             ALTER EXTENSION citext ADD TABLE \"A setting\"; ALTER EXTENSION citext ADD TABLE plain;
             UPDATE pg_extension SET extconfig = ARRAY['\"A setting\"'::regclass, 'plain'::regclass]::oid[],
                 extcondition = ARRAY['WHERE id > 1', 'WHERE id > 1'] WHERE extname = 'citext';
             INSERT INTO \"A setting\" VALUES (1), (2); INSERT INTO plain VALUES (1); INSERT INTO item VALUES (1)",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    pair.migrate("");
    let expected = "rows of tables that belong to extensions are left out: public.\"A setting\" (extension citext has no such table here)";
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice == expected), "{notices:#?}");
    pair.assert_nothing_left();
}

#[test]
fn names_that_are_not_found_are_explained() {
    // Since 17 the source itself fills such views with that search path.
    if !has_pg_dump() || crate::harness::installation().version().major() >= 17 {
        return;
    }
    let mut pair = Pair::new("migrate_unqualified");
    pair.source
        .batch_execute(
            "CREATE TABLE word (word text); INSERT INTO word VALUES ('one');
             CREATE MATERIALIZED VIEW words AS SELECT * FROM ts_stat('SELECT to_tsvector(word) FROM word')",
        )
        .unwrap();
    let failure = pair.migrate_error("");
    assert_eq!(failure.sqlstate, "42P01", "{failure:?}");
    assert!(failure.detail.contains("materialized view data public.words"), "{failure:?}");
    assert!(failure.hint.contains("ALTER FUNCTION … SET search_path"), "{failure:?}");
    pair.assert_nothing_left();
}

/// A pattern may name what is no table, alone or beside tables.
#[test]
fn patterns_name_views_and_sequences() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_patterns");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 10); CREATE VIEW seen AS SELECT * FROM item;
             CREATE MATERIALIZED VIEW stored AS SELECT count(*) AS n FROM item; CREATE SEQUENCE alone; SELECT setval('alone', 42);
             CREATE SCHEMA code; CREATE FUNCTION code.one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW code.item AS SELECT 1 AS id;
             CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none; CREATE FOREIGN TABLE far (id int) SERVER none",
        )
        .unwrap();
    for (arguments, query, answer) in [
        ("include => '{seen}'", "SELECT count(*)::text FROM seen", "0"),
        ("include => '{alone}'", "SELECT last_value::text FROM alone", "42"),
        ("include => '{far}'", "SELECT count(*)::text FROM pg_foreign_table", "1"),
        ("include => '{stored, public.item}'", "SELECT n::text FROM stored", "10"),
        (
            "include => '{item, alone}'",
            "SELECT concat_ws(' ', last_value, count(*)) FROM alone, item GROUP BY last_value",
            "42 10",
        ),
        ("include => '{code.*}'", "SELECT code.one()::text", "1"),
        (
            "exclude => '{seen, stored, alone, far}'",
            "SELECT concat_ws(' ', to_regclass('seen') IS NULL, count(*)) FROM item",
            "t 10",
        ),
    ] {
        pair.migrate(&format!(", {arguments}"));
        assert_eq!(text(&mut pair.destination, query), answer, "{arguments}");
        pair.destination
            .batch_execute(
                "DROP SCHEMA IF EXISTS code CASCADE; DROP TABLE IF EXISTS item CASCADE; DROP SEQUENCE IF EXISTS alone;
                 DROP FOREIGN DATA WRAPPER IF EXISTS none CASCADE",
            )
            .unwrap();
    }
    for arguments in ["include => '{item, sene}'", "include => '{alon}'", "exclude => '{sene}'", "include => '{cod.*}'"]
    {
        let failure = pair.migrate_error(&format!(", {arguments}"));
        assert_eq!(failure.sqlstate, "42P01", "{arguments}: {failure:?}");
        let sql = format!("SELECT count(*) FROM pgcopy.plan_migrate('{}', {arguments})", pair.dsn());
        let planned = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
        assert_eq!(planned.message, failure.message, "{arguments}");
    }
    pair.assert_nothing_left();
}
