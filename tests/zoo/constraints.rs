//! Keys and checks of every kind hold afterwards; those that are violated refuse the pull, in words.

use super::{arrives, offered, plan};
use crate::harness::{Pair, installation, text};

#[test]
fn a_table_without_any_key() {
    arrives(
        "zoo_no_key",
        "CREATE TABLE item (a int, b text)",
        "INSERT INTO item SELECT 1, 'same' FROM generate_series(1, 1000)",
    );
}

#[test]
fn keys_of_every_kind() {
    if !offered(&["btree_gist"]) {
        return;
    }
    let mut pair = arrives(
        "zoo_keys",
        "CREATE EXTENSION btree_gist;
         CREATE TABLE item (id int, room int, during tsrange, a int, b int, code text, part int, PRIMARY KEY (id) INCLUDE (code),
             CONSTRAINT apart EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0) DEFERRABLE INITIALLY DEFERRED,
             CONSTRAINT odd EXCLUDE USING btree (abs(part) WITH =),
             CONSTRAINT once UNIQUE NULLS NOT DISTINCT (a, b), CONSTRAINT later UNIQUE (code) DEFERRABLE INITIALLY IMMEDIATE,
             CONSTRAINT fine CHECK (a IS NULL OR a > 0) NO INHERIT, CHECK (item.* IS DISTINCT FROM NULL))",
        "INSERT INTO item SELECT i, i % 10, tsrange('2000-01-01'::timestamp + i * interval '1 h', '2000-01-01'::timestamp + (i + 1) * interval '1 h'),
                                 i, nullif(i % 2, 0), 'c' || i, -i FROM generate_series(1, 500) i;
         INSERT INTO item VALUES (501, 0, '(,)', NULL, NULL, NULL, NULL), (502, -1, '(,)', NULL, 1, NULL, NULL)",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
    for (statement, state) in [
        ("INSERT INTO item (id) VALUES (1)", "23505"),
        ("INSERT INTO item (id) VALUES (1001)", "23505"),
        ("INSERT INTO item (id, a, room, during) VALUES (1001, 1001, 7, '(,)')", "23P01"),
        ("INSERT INTO item (id, a, part) VALUES (1001, 1001, 7)", "23P01"),
        ("INSERT INTO item (id, a, code) VALUES (1001, 1001, 'c7')", "23505"),
        ("INSERT INTO item (id, a) VALUES (1001, -1)", "23514"),
    ] {
        let error = pair.destination.batch_execute(statement).unwrap_err();
        assert_eq!(error.code().unwrap().code(), state, "{statement}");
    }
    pair.destination
        .batch_execute("BEGIN; SET CONSTRAINTS later DEFERRED; UPDATE item SET code = 'c7' WHERE id = 8; UPDATE item SET code = 'c8' WHERE id = 7; COMMIT")
        .unwrap();
}

/// What a pull says where the source's rows do not satisfy a constraint of the destination's.
fn violated(name: &str, constraint: &str, rows: &str) -> crate::harness::Failure {
    let mut pair = Pair::new(name);
    pair.source
        .batch_execute(&format!("CREATE TABLE item (a int, b text, r int4range); INSERT INTO item VALUES {rows}"))
        .unwrap();
    pair.destination
        .batch_execute(&format!("CREATE TABLE item (a int, b text, r int4range, CONSTRAINT refused {constraint}); INSERT INTO item VALUES (0)"))
        .unwrap();
    let before = pair.destination_state();
    let failure = pair.pull_error("overwrite => true, parallel => 2");
    assert_eq!(pair.pull_error("overwrite => true, parallel => 0"), failure);
    assert_eq!(pair.destination_state(), before);
    failure
}

#[test]
fn a_unique_violation_names_table_and_key() {
    for (name, constraint) in [("zoo_dup_int", "UNIQUE (a)"), ("zoo_dup_text", "UNIQUE (b) DEFERRABLE")] {
        let failure = violated(name, constraint, "(1, 'one'), (2, 'two'), (1, 'one')");
        assert_eq!(failure.sqlstate, "23505");
        assert_eq!(failure.message, "could not create unique index \"refused\"");
        let key = if name.ends_with("int") { "Key (a)=(1) is duplicated." } else { "Key (b)=(one) is duplicated." };
        assert_eq!(failure.detail, format!("{key}\nTable public.item."));
    }
}

#[test]
fn other_violations() {
    let failure = violated("zoo_overlap", "EXCLUDE USING gist (r WITH &&)", "(1, 'one', '[1,5)'), (2, 'two', '[4,9)')");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("23P01", "could not create exclusion constraint \"refused\"")
    );
    assert!(failure.detail.ends_with("\nTable public.item."), "{}", failure.detail);
    let failure = violated("zoo_check", "CHECK (a < 3)", "(1, 'one'), (3, 'three')");
    assert_eq!(failure.message, "new row for relation \"item\" violates check constraint \"refused\"");
    assert_eq!(failure.detail, "Failing row contains (3, three, null).\nTable public.item, row 2.");
}

#[test]
fn not_valid_constraints_stay_so() {
    let mut pair = Pair::new("zoo_not_valid");
    pair.source
        .batch_execute(
            "CREATE TABLE item (a int, b int); INSERT INTO item VALUES (-1, NULL);
             CREATE TABLE part (a int) PARTITION BY LIST (a); CREATE TABLE part_all PARTITION OF part DEFAULT; INSERT INTO part VALUES (-1)",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (a int, b int, CONSTRAINT valid CHECK (a < 9)); ALTER TABLE item ADD CONSTRAINT above CHECK (a > 0) NOT VALID;
             CREATE TABLE part (a int, CONSTRAINT valid CHECK (a < 9)) PARTITION BY RANGE (a); CREATE TABLE part_all PARTITION OF part DEFAULT;
             ALTER TABLE part ADD CONSTRAINT above CHECK (a > 0) NOT VALID",
        )
        .unwrap();
    if installation().version().major() >= 18 {
        pair.destination.batch_execute("ALTER TABLE item ADD CONSTRAINT there NOT NULL b NOT VALID").unwrap();
    }
    // The number of checks is where the server counts on it.
    let constraints = "SELECT string_agg(concat_ws(' ', k.oid, conrelid::regclass, conname, contype, convalidated, relchecks, attnotnull), ', ' ORDER BY k.oid)
         FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid JOIN pg_attribute a ON attrelid = conrelid AND attnum = conkey[1]
         WHERE relnamespace = 'public'::regnamespace";
    let before = text(&mut pair.destination, constraints);
    for arguments in ["parallel => 2", "parallel => 0", "method => 'in place'"] {
        pair.pull(&format!("include => '{{item, part}}', overwrite => true, {arguments}"));
        assert_eq!(text(&mut pair.destination, constraints), before, "{arguments}");
        // NOT NULL that is not valid refuses NULL in new rows all the same.
        for (table, rest) in [("item", ", 0"), ("part", "")] {
            assert_eq!(
                text(&mut pair.destination, &format!("SELECT string_agg(a::text, ',') FROM {table}")),
                "-1",
                "{arguments}"
            );
            for (row, constraint) in [(-2, "above"), (9, "valid")] {
                let error =
                    pair.destination.batch_execute(&format!("INSERT INTO {table} VALUES ({row}{rest})")).unwrap_err();
                assert_eq!(error.as_db_error().and_then(|error| error.constraint()), Some(constraint), "{arguments}");
            }
        }
    }
    pair.source.batch_execute("INSERT INTO item VALUES (9, 9)").unwrap();
    let refused = pair.pull_error("include => '{item}', overwrite => true, method => 'in place'");
    assert!(refused.message.contains("\"valid\""), "{refused:?}");
    assert_eq!(text(&mut pair.destination, constraints), before);
    pair.assert_nothing_left();
}
