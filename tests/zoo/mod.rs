//! What real schemas hold, one family a file: each test is a page of what is supported. All of it is pulled, with workers
//! and without, and compared by what each server itself says of its content.

mod arguments;
mod arrays;
mod base_types;
mod big_values;
mod columns;
mod composites;
mod constraints;
mod domains;
mod enums;
mod extension_tables;
mod extensions;
mod generated;
mod indexes;
mod inheritance;
mod many_tables;
mod names;
mod numbers;
mod object_identifiers;
mod partitions;
mod persistence;
mod properties;
mod publications;
mod random_tables;
mod ranges;
mod security;
mod statistics;
mod texts;
mod times;
mod toast;
mod triggers;
mod typmods;
mod views;

use crate::harness::{Pair, texts};

/// Both sides get the schema, the source its rows; then the rows arrive and nothing else changes.
fn arrives(name: &str, schema: &str, rows: &str) -> Pair {
    let mut pair = Pair::with(name, schema, rows);
    pulls_alike(&mut pair);
    pair
}

/// Pulls with workers and without: the content is the source's both times, and no definition changes.
fn pulls_alike(pair: &mut Pair) {
    let definitions = pair.destination_state().definitions;
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        assert_eq!(pair.destination_state().definitions, definitions, "with {workers} workers");
    }
    pair.assert_nothing_left();
}

/// `table method wire`, as the plan shows them.
fn plan(pair: &mut Pair) -> Vec<String> {
    let dsn = pair.dsn();
    texts(
        &mut pair.destination,
        &format!("SELECT concat_ws(' ', \"table\", method, wire) FROM pgcopy.plan('{dsn}') ORDER BY schema, \"table\""),
    )
}
