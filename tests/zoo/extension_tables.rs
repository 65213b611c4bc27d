//! Several schemas in one pull; tables that belong to an extension are left alone unless named.

use super::{offered, plan};
use crate::harness::{Pair, text};

#[test]
fn tables_of_an_extension() {
    if !offered(&["citext"]) {
        return;
    }
    let mut pair = Pair::with("zoo_extension_tables", "CREATE TABLE own (id int)", "INSERT INTO own VALUES (1)");
    // Any extension will do.
    pair.both("CREATE EXTENSION citext; CREATE TABLE settings (id int, value citext); ALTER EXTENSION citext ADD TABLE settings");
    pair.source.batch_execute("INSERT INTO settings VALUES (1, 'Theirs')").unwrap();
    pair.destination.batch_execute("INSERT INTO settings VALUES (2, 'Ours')").unwrap();
    assert_eq!(plan(&mut pair), ["own swap binary"]);
    pair.pull("include => '{public.*}'");
    assert_eq!(text(&mut pair.destination, "SELECT value::text FROM settings"), "Ours");
    pair.pull("include => '{settings}', overwrite => true");
    assert_eq!(text(&mut pair.destination, "SELECT value::text FROM settings"), "Theirs");
}

#[test]
fn schemas_with_tables_of_the_same_names() {
    let mut pair = Pair::with(
        "zoo_schemas",
        "CREATE SCHEMA a; CREATE SCHEMA \"B b\"; CREATE SCHEMA empty;
         CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE a.item (id int PRIMARY KEY REFERENCES item); CREATE TABLE \"B b\".item (id int REFERENCES a.item)",
        "INSERT INTO item VALUES (1), (2); INSERT INTO a.item VALUES (1); INSERT INTO \"B b\".item VALUES (1), (NULL)",
    );
    pair.pull("parallel => 2");
    pair.assert_same_content();
    pair.pull("include => ARRAY['\"B b\".*', 'a.item'], overwrite => true, parallel => 0");
    pair.assert_same_content();
}
