//! Pulls inside the transaction that creates or changes the tables.

use crate::harness::{Pair, text};

#[test]
fn tables_that_the_same_transaction_created() {
    let mut pair = Pair::new("migration");
    pair.source
        .batch_execute(
            "CREATE TABLE owner (id serial PRIMARY KEY, name text UNIQUE);
             CREATE TABLE pet (id int PRIMARY KEY, owner int REFERENCES owner, photo text);
             INSERT INTO owner (name) SELECT 'o' || i FROM generate_series(1, 100) i;
             INSERT INTO pet SELECT i, i, repeat(md5(i::text), 100) FROM generate_series(1, 100) i",
        )
        .unwrap();
    let sql = pair.pull_sql("parallel => 4");
    let migrate = format!(
        "BEGIN;
         CREATE TABLE owner (id serial PRIMARY KEY, name text UNIQUE);
         CREATE TABLE pet (id int PRIMARY KEY, owner int REFERENCES owner, photo text);
         {sql};"
    );
    pair.destination.batch_execute(&format!("{migrate} ROLLBACK")).unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT (to_regclass('owner') IS NULL)::text"), "true");
    pair.destination.batch_execute(&format!("{migrate} COMMIT")).unwrap();
    pair.assert_same_content();
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, "SELECT nextval('owner_id_seq')::text"), "101");
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

#[test]
fn a_target_that_the_same_transaction_changed() {
    let mut pair = Pair::with(
        "migration_changed",
        "CREATE TABLE item (id int PRIMARY KEY)",
        "ALTER TABLE item ADD note text; INSERT INTO item SELECT i, 'n' || i FROM generate_series(1, 100) i",
    );
    pair.destination.batch_execute("INSERT INTO item VALUES (7)").unwrap();
    let sql = pair.pull_sql("overwrite => true, parallel => 4");
    pair.destination.batch_execute(&format!("BEGIN; ALTER TABLE item ADD note text; {sql}; COMMIT")).unwrap();
    pair.assert_same_content();
    pair.destination
        .batch_execute(&format!("BEGIN; TRUNCATE item; {sql}; INSERT INTO item VALUES (101); COMMIT"))
        .unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "101");
}

#[test]
fn rows_of_tied_tables_that_only_this_transaction_sees_count() {
    let mut pair = Pair::with(
        "migration_tied",
        "CREATE TABLE kind (id int PRIMARY KEY); CREATE TABLE item (id int PRIMARY KEY, kind int REFERENCES kind)",
        "INSERT INTO kind VALUES (1); INSERT INTO item SELECT i, 1 FROM generate_series(1, 100) i",
    );
    let sql = pair.pull_sql("include => '{item}', parallel => 4");
    pair.destination.batch_execute(&format!("BEGIN; INSERT INTO kind VALUES (1); {sql}; COMMIT")).unwrap();
    pair.assert_same_content();
}

#[test]
fn a_prepared_transaction_decides_later() {
    let mut pair =
        Pair::with("migration_prepared", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    let allowed = text(&mut pair.destination, "SHOW max_prepared_transactions");
    assert_ne!(allowed, "0");
    let sql = pair.pull_sql("overwrite => true, parallel => 1");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; PREPARE TRANSACTION 'later'")).unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "0", "it is not dead");
    pair.destination.batch_execute("COMMIT PREPARED 'later'").unwrap();
    pair.assert_same_content();
    pair.assert_nothing_left();
    pair.source.batch_execute("INSERT INTO item VALUES (2)").unwrap();
    pair.destination.batch_execute(&format!("BEGIN; {sql}; PREPARE TRANSACTION 'never'")).unwrap();
    pair.destination.batch_execute("ROLLBACK PREPARED 'never'").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "1");
    pair.assert_nothing_left();
}
