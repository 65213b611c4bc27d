//! `reg*` values name objects: the same objects arrive, whatever their numbers are on either side.

use super::plan;
use crate::harness::{Pair, text, texts};

const OBJECTS: &str = "
    CREATE SCHEMA \"Odd schema\"; CREATE TABLE \"Odd schema\".\"Odd table\" (id int);
    CREATE TYPE mood AS ENUM ('ok'); CREATE FUNCTION double(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
    CREATE OPERATOR !!! (RIGHTARG = int, FUNCTION = double);
    CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple); CREATE TEXT SEARCH DICTIONARY own (TEMPLATE = simple);
    CREATE COLLATION own_order FROM \"C\";
    CREATE TABLE item (id int, c regclass, t regtype, p regproc, pp regprocedure, o regoper, oo regoperator,
                       cfg regconfig, d regdictionary, n regnamespace, r regrole, l regcollation);
    CREATE TABLE lists (c regclass[], p regprocedure[]);
    CREATE DOMAIN table_name AS regclass; CREATE TYPE note AS (about regclass, words text);
    CREATE TABLE nested (id int, t table_name, n note, ns note[]);";

fn pair(name: &str) -> Pair {
    let mut pair = Pair::new(name);
    // So that equal numbers would be other objects.
    pair.source.batch_execute("CREATE TABLE first_here (); CREATE TYPE also_first AS ENUM (); CREATE FUNCTION first_function() RETURNS int LANGUAGE sql AS 'SELECT 1'").unwrap();
    pair.both(OBJECTS);
    pair.source
        .batch_execute(
            "INSERT INTO item VALUES
                 (1, '\"Odd schema\".\"Odd table\"', 'mood', 'double', 'double(int)', '!!!', '!!!(NONE,int)', 'plain', 'own',
                  '\"Odd schema\"', 'postgres', 'own_order'),
                 (2, 'pg_class', 'timestamp with time zone[]', 'now', 'pg_catalog.lower(text)', 'pg_catalog.||/', '+(int,int)',
                  'english', 'simple', 'pg_catalog', 'pg_read_all_data', '\"C\"'),
                 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                 (4, '-', '-', '-', '-', '0', '0', '-', '-', '-', '-', '-');
             INSERT INTO lists VALUES ('{item,NULL,pg_class}', '{double(int),lower(text)}'), ('{}', NULL);
             INSERT INTO nested VALUES (1, 'item', '(lists,\"a, b\")', ARRAY[('item', 'x')::note, NULL]), (2, NULL, NULL, '{}')",
        )
        .unwrap();
    pair
}

#[test]
fn the_same_objects_arrive() {
    let mut pair = pair("zoo_reg");
    assert_eq!(plan(&mut pair), ["Odd table swap binary", "item swap text", "lists swap text", "nested swap text"]);
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        for table in ["item", "lists", "nested"] {
            let content = format!("SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM {table} t");
            assert_eq!(text(&mut pair.source, &content), text(&mut pair.destination, &content), "{table}");
        }
    }
    // By the catalogs' own words, and indeed with other numbers.
    for check in [
        "SELECT count(*)::text FROM item JOIN pg_class k ON k.oid = c WHERE relname = 'Odd table'",
        "SELECT count(*)::text FROM item JOIN pg_type y ON y.oid = t WHERE typname = 'mood'",
        "SELECT count(*)::text FROM item JOIN pg_proc f ON f.oid = pp WHERE proname = 'double'",
        "SELECT count(*)::text FROM item JOIN pg_ts_config f ON f.oid = cfg WHERE cfgname = 'plain'",
    ] {
        assert_eq!(text(&mut pair.destination, check), "1", "{check}");
    }
    let number = "SELECT c::oid::text FROM item WHERE id = 1";
    assert_ne!(text(&mut pair.source, number), text(&mut pair.destination, number));
}

#[test]
fn an_object_that_is_missing_here_is_an_error_that_names_it() {
    let mut pair = pair("zoo_reg_missing");
    pair.source.batch_execute("INSERT INTO item (id, c) VALUES (5, 'first_here')").unwrap();
    let failure = pair.pull_error("include => '{item}'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("42P01", "relation \"public.first_here\" does not exist")
    );
    assert_eq!(failure.detail, "Table public.item, row 5, column c.");
}

#[test]
fn a_function_whose_name_is_not_unique_needs_regprocedure() {
    let mut pair = pair("zoo_reg_ambiguous");
    pair.both("CREATE FUNCTION double(text) RETURNS text LANGUAGE sql AS 'SELECT $1 || $1'");
    let failure = pair.pull_error("include => '{item}'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("42725", "more than one function named \"public.double\"")
    );
    assert_eq!(failure.detail, "Table public.item, row 1, column p.");
}

#[test]
fn plain_oids_travel_as_numbers() {
    let mut pair =
        Pair::with("zoo_oids", "CREATE TABLE item (o oid)", "INSERT INTO item VALUES ('item'::regclass), (4294967295)");
    pair.pull("");
    let numbers = "SELECT o::text FROM item ORDER BY o";
    assert_eq!(texts(&mut pair.source, numbers), texts(&mut pair.destination, numbers));
}
