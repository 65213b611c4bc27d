//! Names that need quotes, of other alphabets, of 63 bytes, and those that SQL keeps for itself.

use super::{arrives, pulls_alike};
use crate::harness::{Pair, texts};

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[test]
fn odd_names_of_everything() {
    let longest = "ä".repeat(31) + "x";
    let names = [
        "select",
        "Table",
        "a b",
        "a.b",
        "a\"b",
        "'",
        "\\",
        "{}",
        "%s",
        "$1",
        "größe",
        "表",
        "1st",
        " ",
        "*",
        "-- no",
        "/* no",
        "\u{1f600}",
        "new\nline",
        "pg_temp",
        "E'x'",
        "ctid_",
        longest.as_str(),
        "user",
        "null",
    ];
    let mut pair = Pair::new("zoo_names");
    for schema in ["public", "Odd \"schema\"", "order"] {
        if schema != "public" {
            pair.both(&format!("CREATE SCHEMA {}", quoted(schema)));
        }
        let columns: Vec<String> = names.iter().map(|name| format!("{} int", quoted(name))).collect();
        for name in names {
            let table = format!("{}.{}", quoted(schema), quoted(name));
            pair.both(&format!(
                "CREATE TABLE {table} ({}, CONSTRAINT {} PRIMARY KEY ({}));
                 CREATE INDEX {} ON {table} (({} + 1)) INCLUDE ({})",
                columns.join(", "),
                quoted(&format!("key of {}", name.chars().take(10).collect::<String>())),
                quoted(name),
                quoted(&format!("index of {}", name.chars().take(10).collect::<String>())),
                quoted("a\"b"),
                quoted("select"),
            ));
            let values: Vec<String> = (0..names.len()).map(|number| format!("i + {number}")).collect();
            pair.source
                .batch_execute(&format!(
                    "INSERT INTO {table} SELECT {} FROM generate_series(1, 3) i",
                    values.join(", ")
                ))
                .unwrap();
        }
    }
    pulls_alike(&mut pair);
    // Each can be named in a pattern.
    let dsn = pair.dsn();
    for name in names.into_iter().filter(|name| !name.contains('\n')) {
        let pattern = format!("{}.{}", quoted("Odd \"schema\""), quoted(name)).replace('\'', "''");
        let planned = texts(
            &mut pair.destination,
            &format!("SELECT schema || ' ' || \"table\" FROM pgcopy.plan('{dsn}', include => ARRAY['{pattern}'])"),
        );
        assert_eq!(planned, [format!("Odd \"schema\" {name}")], "{pattern}");
    }
}

#[test]
fn types_sequences_and_constraints_with_odd_names() {
    arrives(
        "zoo_type_names",
        "CREATE SCHEMA \"Types\"; CREATE TYPE \"Types\".\"a mood\" AS ENUM ('a'); CREATE DOMAIN \"Types\".\"select\" AS int;
         CREATE TYPE \"Types\".\"größe\" AS (\"a b\" \"Types\".\"select\", \"from\" \"Types\".\"a mood\"[]);
         CREATE SEQUENCE \"Types\".\"a sequence\";
         CREATE TABLE item (id int DEFAULT nextval('\"Types\".\"a sequence\"'), m \"Types\".\"a mood\", g \"Types\".\"größe\"[],
                            CONSTRAINT \"a check\" CHECK (id > 0), CONSTRAINT \"a key\" UNIQUE (id))",
        "INSERT INTO item (m, g) SELECT 'a', ARRAY[ROW(i, '{a,NULL}')::\"Types\".\"größe\"] FROM generate_series(1, 10) i",
    );
}
