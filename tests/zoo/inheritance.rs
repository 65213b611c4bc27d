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
