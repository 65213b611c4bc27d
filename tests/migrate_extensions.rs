//! Rows that users have put into the tables of extensions, as those ask `pg_dump` to take along, move with the database.

use crate::harness::{Pair, describe, text, texts};
use crate::migrate::{has_pg_dump, make_role, session_of_app};
use std::fs;
use std::path::Path;

const SETTINGS: &str = "
    CREATE DOMAIN tag AS text;
    CREATE TABLE setting (id int PRIMARY KEY, value text, code char(3), doc json, list text[], place regclass,
                          twice int GENERATED ALWAYS AS (id * 2) STORED, is_own boolean NOT NULL DEFAULT false);
    INSERT INTO setting (id, value, is_own) VALUES (1, 'of the extension', true), (2, 'too', true);
    SELECT pg_catalog.pg_extension_config_dump('setting', 'WHERE NOT is_own');
    CREATE TABLE a_part (setting int REFERENCES setting, note text);
    SELECT pg_catalog.pg_extension_config_dump('a_part', '');
    CREATE SEQUENCE number;
    SELECT pg_catalog.pg_extension_config_dump('number', '');
";

/// Puts the files of an extension where both servers find it. The name must be the test's own.
fn offer(pair: &mut Pair, name: &str, control: &str, versions: &[(&str, &str)]) {
    for client in [&mut pair.source, &mut pair.destination] {
        let directory = text(client, "SELECT setting || '/extension' FROM pg_config WHERE name = 'SHAREDIR'");
        let write = |file: String, content: String| fs::write(Path::new(&directory).join(file), content).unwrap();
        let first = versions[0].0;
        write(format!("{name}.control"), format!("default_version = '{first}'\nrelocatable = true\n{control}\n"));
        for (version, script) in versions {
            write(format!("{name}--{version}.sql"), (*script).to_owned());
        }
    }
}

fn on_source(pair: &mut Pair, sql: &str) {
    pair.source.batch_execute(sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
}

fn here(pair: &mut Pair, sql: &str) {
    pair.destination.batch_execute(sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
}

/// NOTICEs about extensions since the last call.
fn told(pair: &Pair) -> Vec<String> {
    pair.notices().into_iter().filter(|notice| notice.contains("belong to extensions")).collect()
}

/// They come with an extension that is made here, before the rows that refer to them.
#[test]
fn rows_of_users_come_with_the_extension() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ext_rows");
    // What hangs on the tables is the extension's, too.
    let script = format!(
        "{SETTINGS} ALTER TABLE setting ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON setting USING (value = current_user);
         CREATE INDEX ON setting (value); CREATE RULE keep AS ON DELETE TO a_part DO INSTEAD NOTHING;
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.list = NEW.list || ARRAY['seen']; RETURN NEW; END$$;
         CREATE TRIGGER stamp BEFORE INSERT ON setting FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION stamp();"
    );
    offer(&mut pair, "pgcopy_test_rows", "", &[("1.0", &script)]);
    on_source(
        &mut pair,
        "CREATE SCHEMA \"Odd s\"; CREATE EXTENSION pgcopy_test_rows WITH SCHEMA \"Odd s\";
         CREATE TABLE item (id int PRIMARY KEY, setting int REFERENCES \"Odd s\".setting, tag \"Odd s\".tag);
         CREATE TABLE plain (id int PRIMARY KEY, setting int REFERENCES \"Odd s\".setting);
         INSERT INTO \"Odd s\".setting (id, value, code, doc, list, place) VALUES
             (10, E'a \"b\", (c) \\\\ \\n ''d''', 'x', '{\"a\": [1, \"(\"]}', ARRAY['one', NULL, 'a,\"b'], 'item'),
             (11, '', '', NULL, '{}', NULL), (12, NULL, NULL, 'null', NULL, 'pg_class');
         INSERT INTO \"Odd s\".a_part VALUES (10, 'n'), (10, 'n'), (1, NULL), (NULL, NULL);
         SELECT setval('\"Odd s\".number', 77);
         INSERT INTO item SELECT i, 10 + i % 3, 'x' FROM generate_series(1, 1000) i;
         INSERT INTO plain SELECT i, 10 + i % 3 FROM generate_series(1, 1000) i",
    );
    let planned = format!(
        "SELECT concat_ws(' ', section, kind, schema, name, action) FROM pgcopy.plan_migrate('{}') WHERE kind LIKE '% of extension'",
        pair.dsn()
    );
    assert_eq!(
        texts(&mut pair.destination, &planned),
        [
            "before rows rows of extension Odd s a_part add",
            "before rows value of extension Odd s number add",
            "before rows rows of extension Odd s setting add",
        ]
    );
    let report = pair.migrate("");
    for (table, rows) in [("setting", 3), ("a_part", 4), ("item", 1000)] {
        let line = report.iter().find(|line| line.name.as_deref() == Some(table)).unwrap_or_else(|| panic!("{table}"));
        assert_eq!((line.kind.as_str(), line.rows), ("rows", Some(rows)), "{table}");
    }
    pair.assert_same_definitions();
    pair.assert_same_content();
    assert_eq!(text(&mut pair.destination, "SELECT nextval('\"Odd s\".number')::text"), "78");
    let notices = told(&pair);
    assert!(notices.is_empty(), "{notices:?}");
    pair.assert_nothing_left();
}

/// What is here stays, and what is missing is added, wherever the extension is.
#[test]
fn rows_that_are_here_stay() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ext_kept");
    offer(&mut pair, "pgcopy_test_kept", "", &[("1.0", SETTINGS)]);
    on_source(
        &mut pair,
        "CREATE EXTENSION pgcopy_test_kept WITH SCHEMA public; INSERT INTO setting (id, value) VALUES (10, 'ten'), (11, 'eleven');
         INSERT INTO a_part VALUES (10, 'n'), (10, 'n')",
    );
    here(
        &mut pair,
        "CREATE SCHEMA other; CREATE EXTENSION pgcopy_test_kept WITH SCHEMA other; INSERT INTO other.setting (id, value) VALUES (10, 'ten')",
    );
    let settings = "SELECT string_agg(concat_ws(' ', id, value), ', ' ORDER BY id) FROM other.setting WHERE NOT is_own";
    let parts = "SELECT string_agg(concat_ws(' ', setting, note), ', ' ORDER BY setting) FROM other.a_part";
    let report = pair.migrate("");
    let added: Vec<_> = report.iter().map(|line| (line.name.as_deref(), line.rows)).collect();
    assert!(added.contains(&(Some("setting"), Some(1))) && added.contains(&(Some("a_part"), Some(2))), "{added:?}");
    assert_eq!(text(&mut pair.destination, settings), "10 ten, 11 eleven");
    assert_eq!(text(&mut pair.destination, parts), "10 n, 10 n");
    on_source(
        &mut pair,
        "UPDATE setting SET value = 'changed' WHERE id = 11; INSERT INTO setting (id, value) VALUES (12, 'twelve');
         INSERT INTO a_part VALUES (12, 'm'); SELECT setval('number', 5)",
    );
    here(&mut pair, "INSERT INTO other.setting (id, value) VALUES (13, 'ours'); SELECT setval('other.number', 50)");
    let failure = pair.migrate_error(", overwrite => true");
    assert_eq!(failure.sqlstate, "23505", "{failure:?}");
    assert_eq!(failure.message, "rows of table other.setting have the keys of other rows of the source");
    assert!(failure.detail.starts_with("1 of 3 rows."), "{failure:?}");
    assert!(failure.detail.contains("extension pgcopy_test_kept"), "{failure:?}");
    assert!(failure.hint.contains("existing => 'keep'"), "{failure:?}");
    assert_eq!(text(&mut pair.destination, settings), "10 ten, 11 eleven, 13 ours");
    for _ in 0..2 {
        pair.migrate(", existing => 'keep', overwrite => true");
        let kept =
            "rows of tables that belong to extensions stay where the source has others: other.setting (1 of 3 rows)";
        assert_eq!(told(&pair), [kept]);
        assert_eq!(text(&mut pair.destination, settings), "10 ten, 11 eleven, 12 twelve, 13 ours");
        assert_eq!(text(&mut pair.destination, parts), "10 n, 10 n, 12 m");
    }
    assert_eq!(text(&mut pair.destination, "SELECT nextval('other.number')::text"), "51");
    on_source(&mut pair, "SELECT setval('number', 99)");
    pair.migrate(", existing => 'keep', overwrite => true");
    assert_eq!(text(&mut pair.destination, "SELECT nextval('other.number')::text"), "100");
    pair.assert_nothing_left();
}

/// Of an extension that was here before, the workers see neither the new rows nor a key that needs them.
#[test]
fn keys_to_rows_of_extensions_hold() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ext_keys");
    offer(&mut pair, "pgcopy_test_keys", "", &[("1.0", SETTINGS)]);
    pair.both("CREATE EXTENSION pgcopy_test_keys WITH SCHEMA public");
    on_source(
        &mut pair,
        "INSERT INTO setting (id) SELECT generate_series(10, 20); CREATE TABLE item (id int PRIMARY KEY, setting int REFERENCES setting);
         INSERT INTO item SELECT i, 10 + i % 11 FROM generate_series(1, 20000) i",
    );
    pair.migrate(", parallel => 2");
    pair.assert_same_content();
    pair.assert_same_definitions();
    // The table is there, too.
    on_source(&mut pair, "INSERT INTO setting (id) VALUES (30); UPDATE item SET setting = 30 WHERE id % 2 = 0");
    pair.migrate(", overwrite => true, parallel => 2");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

/// A version of an extension need not have what another one has.
#[test]
fn rows_that_have_no_place_here_are_told_of() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ext_versions");
    let other = "CREATE TABLE setting (id int PRIMARY KEY, value text)";
    offer(&mut pair, "pgcopy_test_versions", "", &[("1.0", SETTINGS), ("2.0", other)]);
    on_source(
        &mut pair,
        "CREATE EXTENSION pgcopy_test_versions WITH SCHEMA public; INSERT INTO setting (id) VALUES (10); INSERT INTO a_part VALUES (10);
         CREATE TABLE item (id int); INSERT INTO item VALUES (1)",
    );
    here(&mut pair, "CREATE EXTENSION pgcopy_test_versions WITH SCHEMA public VERSION '2.0'");
    pair.migrate("");
    assert_eq!(
        told(&pair),
        [
            "rows of tables that belong to extensions are left out: public.a_part (extension pgcopy_test_versions has no such table here), \
             public.setting (it has no column code here)",
            "sequences that belong to extensions are left as they are: public.number (extension pgcopy_test_versions has no such sequence here)",
        ]
    );
    assert_eq!(
        text(&mut pair.destination, "SELECT concat_ws(' ', count(*), (SELECT count(*) FROM setting)) FROM item"),
        "1 0"
    );
    pair.assert_nothing_left();
}

/// An ordinary role adds rows to tables that it may write, and is told of the others.
#[test]
fn ordinary_roles_add_what_they_may() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ext_rights");
    // Of the one the tables belong to a superuser, of the other to who has created the extension.
    offer(&mut pair, "pgcopy_test_trusted", "trusted = true", &[("1.0", SETTINGS)]);
    offer(&mut pair, "pgcopy_test_own", "superuser = false", &[("1.0", SETTINGS)]);
    let (_, dsn) = session_of_app(&mut pair);
    on_source(
        &mut pair,
        "CREATE EXTENSION pgcopy_test_trusted WITH SCHEMA public; CREATE SCHEMA own; CREATE EXTENSION pgcopy_test_own WITH SCHEMA own;
         INSERT INTO setting (id) VALUES (10); INSERT INTO own.setting (id) VALUES (10), (11); SELECT setval('own.number', 5);
         INSERT INTO own.a_part VALUES (10); GRANT USAGE ON SCHEMA own TO app; GRANT SELECT ON setting, number, own.setting, own.number TO app",
    );
    here(&mut pair, "SET ROLE app");
    here(&mut pair, &format!("SELECT * FROM pgcopy.migrate('{dsn}', owners => false, privileges => false)"));
    here(&mut pair, "RESET ROLE");
    assert_eq!(
        told(&pair),
        [
            "rows of tables that belong to extensions are left out: public.setting (the caller may not write it)",
            "sequences that belong to extensions are left as they are: public.number (the caller may not write it)",
        ]
    );
    let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM own.setting), (SELECT count(*) FROM own.a_part), (SELECT count(*) FROM setting),
                                      (SELECT last_value FROM own.number))";
    // What the user of the source may not read does not come, either.
    assert_eq!(text(&mut pair.destination, rows), "4 0 2 5");
    pair.assert_nothing_left();
}

/// Triggers of such a table get no rights of the caller's.
#[test]
fn code_of_a_table_of_an_extension_runs_as_its_owner() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ext_code");
    offer(&mut pair, "pgcopy_test_code", "", &[("1.0", SETTINGS)]);
    make_role(&mut pair, "migrate_ext_mallory");
    pair.both("CREATE EXTENSION pgcopy_test_code WITH SCHEMA public");
    on_source(&mut pair, "INSERT INTO setting (id) VALUES (10)");
    here(
        &mut pair,
        "GRANT CREATE ON SCHEMA public TO migrate_ext_mallory; ALTER TABLE setting OWNER TO migrate_ext_mallory; SET ROLE migrate_ext_mallory;
         CREATE TABLE seen (who text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (current_user); RETURN NEW; END';
         CREATE TRIGGER note BEFORE INSERT ON setting FOR EACH ROW EXECUTE FUNCTION note(); RESET ROLE",
    );
    pair.migrate("");
    assert_eq!(texts(&mut pair.destination, "SELECT who FROM seen"), ["migrate_ext_mallory"]);
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM setting"), "3");
    pair.assert_nothing_left();
}

#[test]
fn patterns_choose_rows_of_extensions() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ext_patterns");
    offer(&mut pair, "pgcopy_test_patterns", "", &[("1.0", SETTINGS)]);
    on_source(
        &mut pair,
        "CREATE SCHEMA ext; CREATE EXTENSION pgcopy_test_patterns WITH SCHEMA ext; CREATE TABLE item (id int PRIMARY KEY, tag ext.tag);
         INSERT INTO item VALUES (1, 'x'); INSERT INTO ext.setting (id) VALUES (10); INSERT INTO ext.a_part VALUES (1, 'n')",
    );
    let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM item), (SELECT count(*) FROM ext.setting), (SELECT count(*) FROM ext.a_part))";
    let left_out = "rows of tables that belong to extensions are left out: ";
    let not_named = "(no pattern names it)";
    for (arguments, counts, notices) in [
        (
            "include => '{item}'",
            "1 2 0",
            vec![
                format!("{left_out}ext.a_part {not_named}, ext.setting {not_named}"),
                format!("sequences that belong to extensions are left as they are: ext.number {not_named}"),
            ],
        ),
        ("include => '{item, ext.*}'", "1 3 1", vec![]),
        ("include => '{item, ext.*}', exclude => '{a_*}'", "1 3 0", vec![]),
        ("exclude => '{ext.setting}'", "1 2 1", vec![]),
        // All rows of a table that is named by itself, as by a pull.
        ("include => '{item, ext.setting, ext.*}', overwrite => true", "1 3 1", vec![]),
    ] {
        pair.migrate(&format!(", {arguments}"));
        assert_eq!(text(&mut pair.destination, rows), counts, "{arguments}");
        assert_eq!(told(&pair), notices, "{arguments}");
        here(&mut pair, "DROP TABLE item; DROP EXTENSION pgcopy_test_patterns; DROP SCHEMA ext");
    }
    pair.assert_nothing_left();
}
