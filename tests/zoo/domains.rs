//! Domains over domains, with checks of the destination's.

use super::{arrives, plan};
use crate::harness::{Pair, text};

#[test]
fn domains_over_domains() {
    let mut pair = arrives(
        "zoo_domains",
        "CREATE DOMAIN positive AS int CHECK (value > 0);
         CREATE DOMAIN small AS positive CHECK (value < 1000) NOT NULL;
         CREATE DOMAIN price AS numeric(10,2) DEFAULT 1; CREATE DOMAIN code AS char(3) CHECK (value ~ '^[A-Z]+ *$');
         CREATE DOMAIN codes AS code[]; CREATE DOMAIN document AS jsonb CHECK (value ? 'id');
         CREATE TABLE item (p positive, s small, m price, c code, cs codes, ps positive[], d document)",
        "INSERT INTO item VALUES (1, 999, 12345678.90, 'AB', '{ABC,D}', '{1,NULL,3}', '{\"id\": 1}'),
             (NULL, 1, NULL, NULL, NULL, NULL, NULL), (2147483647, 7, 'NaN', 'XYZ', '{}', '{}', '{\"id\": null, \"x\": []}')",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
}

#[test]
fn the_checks_are_the_destinations() {
    let mut pair = Pair::new("zoo_domain_checks");
    pair.source.batch_execute("CREATE DOMAIN positive AS int; CREATE TABLE item (id int, p positive)").unwrap();
    pair.destination
        .batch_execute("CREATE DOMAIN positive AS int CONSTRAINT above_zero CHECK (value > 0) NOT NULL; CREATE TABLE item (id int, p positive)")
        .unwrap();
    pair.source.batch_execute("INSERT INTO item VALUES (1, 5), (2, 0)").unwrap();
    for workers in [1, 0] {
        let failure = pair.pull_error(&format!("parallel => {workers}"));
        assert_eq!(failure.sqlstate, "23514");
        assert_eq!(failure.message, "value for domain public.positive violates check constraint \"above_zero\"");
        assert_eq!(failure.detail, "Table public.item, row 2, column p.");
    }
    pair.source.batch_execute("UPDATE item SET p = NULL WHERE id = 2").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("23502", "domain public.positive does not allow null values")
    );
    pair.source.batch_execute("DELETE FROM item WHERE id = 2").unwrap();
    pair.pull("");
    pair.assert_same_content();
}

#[test]
fn a_domain_over_another_type_is_another_type() {
    let mut pair = Pair::new("zoo_other_domain");
    pair.source.batch_execute("CREATE DOMAIN code AS int; CREATE TABLE item (c code, cs code[])").unwrap();
    pair.destination.batch_execute("CREATE DOMAIN code AS text; CREATE TABLE item (c code, cs code[])").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "42804");
    for column in ["c is public.code", "cs is public.code[]"] {
        let words = format!("column {column} with public.code over integer on the source");
        assert!(failure.detail.contains(&words), "{}", failure.detail);
    }
}

const REFUSING: &str = "
    CREATE DOMAIN given AS int CHECK (VALUE IS NOT NULL); CREATE DOMAIN over_given AS given; CREATE DOMAIN kept AS int NOT NULL;
    CREATE DOMAIN over_kept AS kept; CREATE DOMAIN filled AS int DEFAULT 7 CHECK (VALUE IS NOT NULL); CREATE DOMAIN list AS given[];
    CREATE TYPE two AS (a given, b int); CREATE DOMAIN free AS int CHECK (VALUE > 0); CREATE DOMAIN listed AS int[] CHECK (VALUE IS NOT NULL);
    CREATE DOMAIN composed AS two CHECK (VALUE IS NOT NULL);";

/// Types of a column that only the destination has, and what INSERT says of a row without it.
const LEFT_OUT: [(&str, &str, &str); 12] = [
    ("given", "23514", "value for domain given violates check constraint \"given_check\""),
    ("over_given", "23514", "value for domain over_given violates check constraint \"given_check\""),
    ("listed", "23514", "value for domain listed violates check constraint \"listed_check\""),
    ("composed", "23514", "value for domain composed violates check constraint \"composed_check\""),
    ("given DEFAULT NULL", "23514", "value for domain given violates check constraint \"given_check\""),
    ("over_kept DEFAULT NULL", "23502", "domain over_kept does not allow null values"),
    ("filled", "", ""),
    ("list", "", ""),
    ("two", "", ""),
    ("free", "", ""),
    ("given[]", "", ""),
    ("given DEFAULT 3", "", ""),
];

#[test]
fn a_domain_may_refuse_what_a_row_leaves_out() {
    let mut pair = Pair::new("zoo_domain_left_out");
    pair.source.batch_execute("CREATE TABLE item (id int); INSERT INTO item SELECT generate_series(1, 5)").unwrap();
    pair.destination.batch_execute(REFUSING).unwrap();
    for (kind, sqlstate, message) in LEFT_OUT {
        for in_place in [false, true] {
            pair.destination
                .batch_execute(&format!("DROP PUBLICATION IF EXISTS p; DROP TABLE IF EXISTS item; CREATE TABLE item (id int); ALTER TABLE item ADD x {kind}"))
                .unwrap();
            if in_place {
                pair.destination.batch_execute("CREATE PUBLICATION p FOR TABLE item").unwrap();
            }
            for workers in [2, 0] {
                let arguments = format!("overwrite => true, parallel => {workers}");
                if sqlstate.is_empty() {
                    pair.pull(&arguments);
                    let values = "SELECT string_agg(DISTINCT coalesce(x::text, 'null'), ',') FROM item";
                    let pulled = text(&mut pair.destination, values);
                    pair.destination.batch_execute("TRUNCATE item; INSERT INTO item (id) VALUES (1)").unwrap();
                    assert_eq!(pulled, text(&mut pair.destination, values), "{kind}");
                } else {
                    let failure = pair.pull_error(&arguments);
                    assert_eq!(failure.sqlstate, sqlstate, "{kind}, in place: {in_place}, {}", failure.message);
                    assert_eq!(failure.message.replace("public.", ""), message, "{kind}, in place: {in_place}");
                    assert!(failure.detail.contains("Table public.item"), "{}", failure.detail);
                    let inserted = pair.destination.batch_execute("INSERT INTO item (id) VALUES (1)").unwrap_err();
                    assert_eq!(crate::harness::Failure::of(&inserted).message, message, "{kind}");
                }
            }
        }
    }
    // No row, no NULL.
    pair.destination
        .batch_execute("DROP PUBLICATION p; DROP TABLE item; CREATE TABLE item (id int); ALTER TABLE item ADD x given")
        .unwrap();
    pair.source.batch_execute("TRUNCATE item").unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
    }
    pair.destination.batch_execute("CREATE PUBLICATION p FOR TABLE item").unwrap();
    pair.pull("overwrite => true");
    pair.assert_nothing_left();
}

#[test]
fn files_leave_columns_out_as_well() {
    let (mut pair, directory) = Pair::with_files("zoo_domain_left_out_files");
    let path = directory.path().join("items.parquet").display().to_string();
    pair.destination.batch_execute(&format!("COPY (SELECT 1 AS id) TO '{path}' WITH (FORMAT parquet)")).unwrap();
    pair.destination.batch_execute(REFUSING).unwrap();
    for (kind, sqlstate, message) in LEFT_OUT {
        pair.destination
            .batch_execute(&format!("DROP TABLE IF EXISTS item; CREATE TABLE item (id int, x {kind})"))
            .unwrap();
        let loads = ["parallel => 2", "parallel => 0", "mode => 'append'"]
            .map(|arguments| format!("SELECT * FROM pgcopy.load_parquet('{path}', target => 'item', {arguments})"));
        let copy = format!("COPY item (id) FROM '{path}' WITH (FORMAT parquet)");
        for (position, load) in loads.iter().chain([&copy]).enumerate() {
            let result = pair.destination.batch_execute(load);
            if sqlstate.is_empty() {
                result.unwrap();
                assert_eq!(
                    text(&mut pair.destination, "SELECT count(*)::text FROM item"),
                    (position + 1).to_string(),
                    "{kind}: {load}"
                );
            } else {
                let failure = crate::harness::Failure::of(&result.unwrap_err());
                assert_eq!(failure.sqlstate, sqlstate, "{kind}: {load}");
                assert_eq!(failure.message.replace("public.", ""), message, "{kind}: {load}");
            }
        }
    }
    // A table that holds rows already takes the way of INSERT.
    pair.destination
        .batch_execute("DROP TABLE item; CREATE TABLE item (id int, x given); INSERT INTO item VALUES (7, 7)")
        .unwrap();
    let result =
        pair.destination.batch_execute(&format!("SELECT * FROM pgcopy.load_parquet('{path}', target => 'item')"));
    assert_eq!(result.unwrap_err().code().unwrap().code(), "23514");
    pair.assert_nothing_left();
}
