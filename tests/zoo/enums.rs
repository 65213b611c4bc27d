//! Enums travel by label: their order may differ, their labels must exist.

use super::{arrives, plan};
use crate::harness::{Pair, text};

#[test]
fn enums_and_arrays_of_them() {
    let mut pair = arrives(
        "zoo_enums",
        "CREATE TYPE mood AS ENUM ('', 'sad', 'größe', 'a label, with \"everything\" {in} it');
         ALTER TYPE mood ADD VALUE 'between' BEFORE 'sad';
         CREATE TABLE item (id int PRIMARY KEY, m mood, ms mood[]); CREATE INDEX ON item (m)",
        "INSERT INTO item SELECT i, (enum_range(NULL::mood))[1 + i % 6], enum_range(NULL::mood) FROM generate_series(1, 1000) i",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
}

#[test]
fn another_order_of_the_labels() {
    let mut pair = Pair::new("zoo_enum_order");
    let table = "CREATE TABLE item (id int, m mood); CREATE INDEX ON item (m)";
    pair.source.batch_execute(&format!("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); {table}")).unwrap();
    pair.destination
        .batch_execute(&format!("CREATE TYPE mood AS ENUM ('happy', 'extra', 'ok', 'sad'); {table}"))
        .unwrap();
    pair.source
        .batch_execute("INSERT INTO item SELECT i, (enum_range(NULL::mood))[1 + i % 3] FROM generate_series(1, 3000) i")
        .unwrap();
    pair.pull("");
    pair.assert_same_content();
    // Its own order is that of the index, too.
    pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
    assert_eq!(
        text(&mut pair.destination, "SELECT string_agg(DISTINCT m::text, ' ') FROM item WHERE m < 'ok'"),
        "happy"
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE m > 'happy'"), "2000");
}

#[test]
fn a_label_that_is_missing_here_is_found_by_the_plan() {
    let mut pair = Pair::new("zoo_enum_missing");
    let table = "CREATE TYPE both_moods AS (a mood, b mood[]); CREATE TABLE item (id int, m mood); CREATE TABLE deep (b both_moods[])";
    pair.source
        .batch_execute(&format!("CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok', 'it''s fine'); {table}"))
        .unwrap();
    pair.destination.batch_execute(&format!("CREATE TYPE mood AS ENUM ('ok', 'sad'); {table}")).unwrap();
    for table in ["item", "deep"] {
        let failure = pair.pull_error(&format!("include => '{{{table}}}'"));
        assert_eq!(failure.sqlstate, "42804");
        let column = if table == "item" { "public.item.m" } else { "public.deep.b" };
        assert_eq!(
            failure.problems(),
            format!("{column}: type public.mood has no 'so so', 'it''s fine' on the destination")
        );
    }
}
