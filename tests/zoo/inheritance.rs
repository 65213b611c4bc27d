//! Inheritance: each table of a tree is pulled for itself, with its own rows.

use super::arrives;
use crate::harness::text;

#[test]
fn trees_of_tables() {
    let mut pair = arrives(
        "zoo_inheritance",
        "CREATE TABLE base (id int CHECK (id > 0), note text NOT NULL); CREATE TABLE other (more int);
         CREATE TABLE derived (extra int, PRIMARY KEY (id)) INHERITS (base, other);
         CREATE TABLE deeper (note text, deep text DEFAULT 'd') INHERITS (derived)",
        "INSERT INTO base SELECT i, 'base' FROM generate_series(1, 10) i; INSERT INTO other VALUES (1);
         INSERT INTO derived SELECT i, 'derived', i, i FROM generate_series(1, 20) i;
         INSERT INTO deeper SELECT i, 'deeper', i, i FROM generate_series(1, 30) i",
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM base"), "60");
    // One of them alone leaves the others alone.
    pair.destination.batch_execute("DELETE FROM ONLY base; DELETE FROM ONLY derived").unwrap();
    pair.pull("include => '{base}', overwrite => true");
    let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM ONLY base), (SELECT count(*) FROM ONLY derived), (SELECT count(*) FROM deeper))";
    assert_eq!(text(&mut pair.destination, rows), "10 0 30");
}

/// Tables that are loaded where they are, in a pull and by files.
#[test]
fn emptying_a_table_in_place_leaves_those_that_inherit_from_it_alone() {
    let mut pair = arrives(
        "zoo_inheritance_place",
        "CREATE TABLE base (id int); CREATE TABLE derived (extra int) INHERITS (base); CREATE TABLE again () INHERITS (derived)",
        "INSERT INTO base SELECT generate_series(1, 10); INSERT INTO derived SELECT i, i FROM generate_series(1, 20) i;
         INSERT INTO again SELECT i, i FROM generate_series(1, 30) i",
    );
    let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM ONLY base), (SELECT count(*) FROM ONLY derived), (SELECT count(*) FROM again))";
    // Whatever the order of the tables is.
    for include in ["{base, derived, again}", "{base}", "{derived}"] {
        pair.pull(&format!("include => '{include}', overwrite => true, method => 'in place'"));
        assert_eq!(text(&mut pair.destination, rows), "10 20 30", "{include}");
        pair.assert_same_content();
    }
    pair.destination.batch_execute("CREATE PUBLICATION zoo_inheritance FOR TABLE ONLY derived").unwrap();
    pair.pull("include => '{derived}', overwrite => true");
    assert_eq!(text(&mut pair.destination, rows), "10 20 30");
    // Files go the way of COPY where a trigger looks on.
    let directory = xtask::server::ScratchDirectory::create("zoo_inheritance").unwrap();
    let path = directory.path().join("rows.parquet").display().to_string();
    pair.destination
        .batch_execute(&format!(
            "LOAD 'pgcopy'; COPY (SELECT generate_series(1, 7) AS id) TO '{path}' (FORMAT parquet);
             CREATE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER look_on BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION look_on();
             SELECT pgcopy.load_parquet('{path}', target => 'base', mode => 'replace', overwrite => true)"
        ))
        .unwrap();
    assert_eq!(text(&mut pair.destination, rows), "7 20 30");
}
