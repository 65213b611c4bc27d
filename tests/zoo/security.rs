//! Row-level security: the source's must not hide rows, the destination's does not stop the owner.

use super::pulls_alike;
use crate::harness::{Failure, Pair, text};

#[test]
fn policies_of_the_destination_stay_and_hide_nothing_from_the_pull() {
    let mut pair = Pair::with(
        "zoo_policies_here",
        "CREATE TABLE item (id int, owner text); CREATE TABLE parted (id int) PARTITION BY RANGE (id)",
        "INSERT INTO item SELECT i, 'somebody' FROM generate_series(1, 10) i; CREATE TABLE parted_1 PARTITION OF parted DEFAULT; INSERT INTO parted VALUES (1)",
    );
    pair.destination
        .batch_execute(
            "INSERT INTO item VALUES (77, 'old'); CREATE TABLE parted_all PARTITION OF parted DEFAULT;
             ALTER TABLE item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY none ON item USING (false) WITH CHECK (false);
             ALTER TABLE parted ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY none ON parted USING (false) WITH CHECK (false)",
        )
        .unwrap();
    pair.pull("overwrite => true");
    for table in ["item", "parted"] {
        let rows = format!("SELECT count(*)::text FROM {table}");
        assert_eq!(text(&mut pair.source, &rows), text(&mut pair.destination, &rows));
    }
    pair.destination.batch_execute("DROP TABLE parted").unwrap();
    pair.source.batch_execute("DROP TABLE parted").unwrap();
    pulls_alike(&mut pair);
    let policies = "SELECT concat_ws(' ', count(*), bool_and(c.relforcerowsecurity)) FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid";
    assert_eq!(text(&mut pair.destination, policies), "1 t");
}

#[test]
fn a_policy_of_the_source_that_would_hide_rows_is_an_error() {
    let mut pair = Pair::with(
        "zoo_policies_there",
        "CREATE TABLE item (id int, owner text)",
        "INSERT INTO item SELECT i, 'somebody' FROM generate_series(1, 10) i; ALTER TABLE item ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON item USING (owner = current_user)",
    );
    pair.source
        .batch_execute(
            "DROP ROLE IF EXISTS zoo_reader; CREATE ROLE zoo_reader LOGIN; GRANT SELECT ON item TO zoo_reader",
        )
        .unwrap();
    let source = pair.dsn().replace("user=postgres", "user=zoo_reader");
    let error = pair.destination.query(&format!("SELECT * FROM pgcopy.pull('{source}')"), &[]).unwrap_err();
    let failure = Failure::of(&error);
    assert_eq!(failure.sqlstate, "42501");
    assert!(
        failure.problems().contains("public.item: row-level security of the source may hide rows from user zoo_reader"),
        "{failure:?}"
    );
    pair.source.batch_execute("ALTER ROLE zoo_reader BYPASSRLS").unwrap();
    pair.destination.query(&format!("SELECT * FROM pgcopy.pull('{source}')"), &[]).unwrap();
    pair.assert_same_content();
    pair.source.batch_execute("DROP OWNED BY zoo_reader; DROP ROLE zoo_reader").unwrap();
}
