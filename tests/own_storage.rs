//! `pgcopy.own_storage = off`: the server stores the rows and builds the indexes, with the same result.

use crate::harness::{Failure, Pair, text, texts};

const TABLES: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, since date, UNIQUE (name, id));
    CREATE TABLE item (id bigint PRIMARY KEY, customer int NOT NULL REFERENCES customer, note text, amount numeric(12, 2) CHECK (amount >= 0),
                       doubled numeric GENERATED ALWAYS AS (amount * 2) STORED, picture bytea);
    ALTER TABLE item ALTER picture SET STORAGE EXTERNAL;
    CREATE INDEX ON item (customer, id DESC); CREATE INDEX ON item (lower(note)); CREATE EXTENSION amcheck";

const ROWS: &str = "
    INSERT INTO customer SELECT i, 'name ' || i, '2020-01-01'::date + i FROM generate_series(1, 500) i;
    INSERT INTO item (id, customer, note, amount, picture) SELECT i, 1 + i % 500, 'note ' || i % 77, i / 7.0, CASE WHEN i % 100 = 0 THEN decode(repeat('00ff', 5000), 'hex') END
    FROM generate_series(1, 20000) i";

fn damages(pair: &mut Pair) -> Vec<String> {
    texts(
        &mut pair.destination,
        "SELECT format('%s: %s', c.oid::regclass, v.msg)
         FROM pg_class c, verify_heapam(c.oid, check_toast => true) v
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'",
    )
}

#[test]
fn the_server_stores_the_same_rows() {
    let mut pair = Pair::with("server_stores", TABLES, ROWS);
    pair.destination.batch_execute("LOAD 'pgcopy'; SET pgcopy.own_storage = off").unwrap();
    for arguments in ["overwrite => true, parallel => 3", "overwrite => true, parallel => 0"] {
        pair.pull(arguments);
        pair.assert_same_content();
        assert_eq!(damages(&mut pair), [""; 0], "{arguments}");
        let indexes = "SELECT count(*)::text FROM (
            SELECT bt_index_parent_check(indexrelid, true, true) FROM pg_index JOIN pg_class c ON c.oid = indrelid
            WHERE c.relnamespace = 'public'::regnamespace) checked";
        assert_eq!(text(&mut pair.destination, indexes), "5", "{arguments}");
        pair.assert_nothing_left();
    }
}

#[test]
fn the_server_stores_what_a_load_makes_a_table_of() {
    let (mut pair, directory) = Pair::with_files("server_stores_files");
    let path = directory.path().join("numbers.parquet");
    let path = path.display();
    pair.destination
        .batch_execute(&format!(
            "LOAD 'pgcopy'; SET pgcopy.own_storage = off;
             COPY (SELECT i AS id, repeat('x', i % 3000) AS t FROM generate_series(1, 5000) i) TO '{path}' (FORMAT parquet)"
        ))
        .unwrap();
    for workers in [2, 0] {
        let load =
            format!("SELECT rows::text FROM pgcopy.load_parquet('{path}', target => 'made', parallel => {workers})");
        assert_eq!(text(&mut pair.destination, &load), "5000");
        let rows =
            "SELECT count(*)::text FROM made JOIN generate_series(1, 5000) i ON i = id AND t = repeat('x', i % 3000)";
        assert_eq!(text(&mut pair.destination, rows), "5000");
        pair.destination.batch_execute("DROP TABLE made").unwrap();
    }
}

#[test]
fn rows_that_do_not_fit_are_the_same_errors() {
    for (name, rows, sqlstate, words) in [
        (
            "server_stores_null",
            "INSERT INTO customer VALUES (1, 'a'); ALTER TABLE customer ALTER name DROP NOT NULL; INSERT INTO customer VALUES (2, NULL)",
            "23502",
            "(2, null, null)",
        ),
        (
            "server_stores_check",
            "INSERT INTO customer VALUES (1, 'a'); ALTER TABLE item DROP CONSTRAINT item_amount_check; INSERT INTO item (id, customer, amount) VALUES (7, 1, -3)",
            "23514",
            "(7, 1, null, -3.00, -6.00, null)",
        ),
        (
            "server_stores_key",
            "ALTER TABLE customer DROP CONSTRAINT customer_pkey CASCADE; INSERT INTO customer VALUES (1, 'a'), (1, 'b')",
            "23505",
            "(id)=(1)",
        ),
    ] {
        let mut pair = Pair::with(name, TABLES, "");
        pair.source.batch_execute(rows).unwrap();
        pair.destination.batch_execute("LOAD 'pgcopy'; SET pgcopy.own_storage = off").unwrap();
        let failure = pair.pull_error("parallel => 2");
        assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
        assert!(failure.detail.contains(words), "{failure:?}");
        pair.assert_nothing_left();
    }
}

#[test]
fn it_is_for_superusers_to_set() {
    let mut pair = Pair::with("server_stores_rights", TABLES, ROWS);
    pair.destination
        .batch_execute("LOAD 'pgcopy'; CREATE ROLE server_stores_user; SET ROLE server_stores_user")
        .unwrap();
    let failure = Failure::of(&pair.destination.batch_execute("SET pgcopy.own_storage = off").unwrap_err());
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    pair.destination.batch_execute("RESET ROLE; DROP ROLE server_stores_user").unwrap();
}
