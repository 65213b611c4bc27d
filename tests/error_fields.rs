//! The fields of an error in which clients look for what it is about.

use crate::harness::{Pair, text};
use postgres::error::DbError;

/// Schema, table, column, data type and constraint, as far as they are named.
fn fields(error: &DbError) -> String {
    [error.schema(), error.table(), error.column(), error.datatype(), error.constraint()]
        .map(|field| field.unwrap_or("-").to_owned())
        .join(" ")
}

/// For each kind of violation: the table, a row that only the source takes, and what the error must say.
const CASES: [(&str, &str, &str, &str); 8] = [
    ("missing", "NULL, 1", "23502", "shop missing a - -"),
    ("checked", "-1, 1", "23514", "shop checked - - positive"),
    ("keyed", "7, 1), (7, 2", "23505", "shop keyed - - keyed_pkey"),
    ("named_key", "'x', 1), ('x', 2", "23505", "shop named_key - - named_key_a_key"),
    ("excluded", "'[1,5)', 1), ('[2,3)', 2", "23P01", "shop excluded - - excluded_a_excl"),
    ("graded", "200, 1", "23514", "kinds - - grade grade_limit"),
    ("child", "9, 1", "23503", "shop child - - child_a_fkey"),
    ("short", "'too long', 1", "22001", "- - - - -"),
];

/// The tables with their rules, or without.
fn schema(with_rules: bool) -> String {
    let rule = |text: &'static str| if with_rules { text } else { "" };
    format!(
        "CREATE SCHEMA shop; CREATE SCHEMA kinds; CREATE DOMAIN kinds.grade AS int {};
         CREATE TABLE shop.missing (a int {}, b int);
         CREATE TABLE shop.checked (a int {}, b int);
         CREATE TABLE shop.keyed (a int {}, b int);
         CREATE TABLE shop.named_key (a text {}, b int);
         CREATE TABLE shop.excluded (a int4range, b int {});
         CREATE TABLE shop.graded (a kinds.grade, b int);
         CREATE TABLE shop.parent (a int PRIMARY KEY);
         CREATE TABLE shop.child (a int {}, b int);
         CREATE TABLE shop.short (a varchar{}, b int);",
        rule("CONSTRAINT grade_limit CHECK (VALUE < 100)"),
        rule("NOT NULL"),
        rule("CONSTRAINT positive CHECK (a > 0)"),
        rule("PRIMARY KEY"),
        rule("UNIQUE"),
        rule(", EXCLUDE USING gist (a WITH &&)"),
        rule("REFERENCES shop.parent"),
        rule("(3)"),
    )
}

#[test]
fn an_error_of_a_pull_names_its_objects_in_fields() {
    let mut pair = Pair::new("error_fields");
    pair.source.batch_execute(&schema(false)).unwrap();
    pair.destination.batch_execute(&schema(true)).unwrap();
    for (table, row, ..) in CASES {
        pair.source.batch_execute(&format!("INSERT INTO shop.{table} VALUES ({row})")).unwrap();
    }
    // The second time in place: a publication keeps the storage from being exchanged.
    for publication in ["", "CREATE PUBLICATION everything FOR ALL TABLES"] {
        pair.destination.batch_execute(publication).unwrap();
        for workers in [2, 0] {
            for (table, _, sqlstate, expected) in CASES {
                let error =
                    pair.try_pull(&format!("include => '{{shop.{table}}}', parallel => {workers}")).expect_err(table);
                let answer = error.as_db_error().unwrap();
                let described = format!("{table}, {workers} workers, {publication}: {answer:?}");
                assert_eq!(answer.code().code(), sqlstate, "{described}");
                assert_eq!(fields(answer), expected, "{described}");
            }
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn an_error_keeps_a_sqlstate_of_somebodys_own() {
    let mut pair = Pair::with("error_sqlstate", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination
        .batch_execute(
            "CREATE FUNCTION refuse(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
                 $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'XY123', COLUMN = 'mine'; END $$;
             ALTER TABLE item ADD CHECK (refuse(id))",
        )
        .unwrap();
    for workers in [2, 0] {
        let error = pair.try_pull(&format!("parallel => {workers}")).unwrap_err();
        let answer = error.as_db_error().unwrap();
        assert_eq!((answer.code().code(), answer.column()), ("XY123", Some("mine")), "{workers} workers: {answer:?}");
        pair.assert_nothing_left();
    }
    let seen = "SELECT sqlstate || ' ' || error FROM pgcopy.jobs ORDER BY job LIMIT 1";
    assert_eq!(text(&mut pair.destination, seen), "XY123 refused");
}

#[test]
fn a_handler_in_the_database_finds_the_fields_too() {
    let mut pair = Pair::new("error_fields_handler");
    pair.source.batch_execute("CREATE TABLE item (id int, n int); INSERT INTO item VALUES (1, -1)").unwrap();
    pair.destination.batch_execute("CREATE TABLE item (id int, n int CONSTRAINT positive CHECK (n > 0))").unwrap();
    let dsn = pair.dsn();
    for workers in [2, 0] {
        pair.destination
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION found() RETURNS text LANGUAGE plpgsql AS $$
                 DECLARE s text; t text; c text; state text;
                 BEGIN
                     PERFORM * FROM pgcopy.pull('{dsn}', parallel => {workers});
                     RETURN 'nothing';
                 EXCEPTION WHEN check_violation THEN
                     GET STACKED DIAGNOSTICS s = SCHEMA_NAME, t = TABLE_NAME, c = CONSTRAINT_NAME, state = RETURNED_SQLSTATE;
                     RETURN concat_ws(' ', state, s, t, c);
                 END $$"
            ))
            .unwrap();
        let found = text(&mut pair.destination, "SELECT found()");
        assert_eq!(found, "23514 public item positive", "{workers} workers");
    }
    // An error that came before names nothing of a later one.
    let error = pair.destination.batch_execute("SELECT pgcopy.wait(4711)").unwrap_err();
    assert_eq!(fields(error.as_db_error().unwrap()), "- - - - -");
}

#[test]
fn an_error_of_a_load_names_its_objects_in_fields() {
    let (mut pair, scratch) = Pair::with_files("error_fields_load");
    pair.destination.batch_execute(&schema(true)).unwrap();
    for (table, row, sqlstate, expected) in CASES {
        if table == "excluded" {
            // Files hold no ranges.
            continue;
        }
        let file = scratch.path().join(format!("{table}.parquet"));
        let types = if ["named_key", "short"].contains(&table) { "text" } else { "int" };
        pair.destination
            .batch_execute(&format!(
                "COPY (SELECT a::{types}, b FROM (VALUES ({row})) v (a, b)) TO '{}' (FORMAT parquet)",
                file.display()
            ))
            .unwrap();
        for (fill, mode) in [("", "append"), ("", "replace"), ("filled", "append")] {
            let target = format!("shop.{table}");
            if fill == "filled" && table == "checked" {
                pair.destination.batch_execute(&format!("INSERT INTO {target} VALUES (5, 5)")).unwrap();
            }
            for workers in [2, 0] {
                let error = pair
                    .destination
                    .query(
                        &format!(
                            "SELECT * FROM pgcopy.load_parquet('{}', target => '{target}', mode => '{mode}',
                                                               overwrite => true, parallel => {workers})",
                            file.display()
                        ),
                        &[],
                    )
                    .expect_err(table);
                let answer = error.as_db_error().unwrap();
                let described = format!("{table}, {mode}, {workers} workers: {answer:?}");
                assert_eq!(answer.code().code(), sqlstate, "{described}");
                assert_eq!(fields(answer), expected, "{described}");
            }
        }
    }
}

#[test]
fn errors_of_other_statements_pass_through_the_library_as_they_are() {
    let mut pair = Pair::new("error_passes");
    let statements = [
        "DO $$ BEGIN PERFORM 1 / 0; END $$",
        "ALTER TABLE item ADD CONSTRAINT positive CHECK (n > 0)",
        "CREATE TABLE other (n nonsense)",
        "CREATE VIEW v AS SELECT nothing FROM item",
        "COPY item FROM PROGRAM 'echo x'",
    ];
    let errors = |pair: &mut Pair| -> Vec<String> {
        statements
            .iter()
            .map(|sql| {
                let error = pair.destination.batch_execute(sql).unwrap_err();
                let answer = error.as_db_error().unwrap();
                // All but the place in the source code, which is the server's too.
                format!(
                    "{sql}: {} {} {:?} {:?} {:?} {:?} {} {:?} {:?}",
                    answer.code().code(),
                    answer.message(),
                    answer.detail(),
                    answer.hint(),
                    answer.position(),
                    answer.where_(),
                    fields(answer),
                    answer.file(),
                    answer.line()
                )
            })
            .collect()
    };
    pair.destination.batch_execute("CREATE TABLE item (n int); INSERT INTO item VALUES (-1)").unwrap();
    pair = Pair::existing(pair.source_port, pair.destination_port, "error_passes");
    let without = errors(&mut pair);
    assert!(
        without[0].contains("inline_code_block") && without[1].contains("positive") && without[2].contains("Original")
    );
    pair.destination.batch_execute("LOAD 'pgcopy'").unwrap();
    assert_eq!(errors(&mut pair), without);
}
