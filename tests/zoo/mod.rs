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

use crate::harness::{Pair, shared_destination, text, texts};

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
    pair.assert_verified();
    pair.assert_nothing_left();
}

/// Whether these servers have the extensions that a test needs. Those of Debian have, others may come without.
fn offered(extensions: &[&str]) -> bool {
    let mut client = shared_destination();
    let available = texts(&mut client, "SELECT name::text FROM pg_available_extensions");
    let missing: Vec<_> = extensions.iter().filter(|name| !available.iter().any(|other| other == *name)).collect();
    if !missing.is_empty() {
        println!("not checked: these servers come without {missing:?}");
    }
    missing.is_empty()
}

/// Whether these servers sort by the rules of ICU.
fn has_icu(pair: &mut Pair) -> bool {
    text(&mut pair.destination, "SELECT (count(*) > 0)::text FROM pg_collation WHERE collprovider = 'i'") == "true"
}

/// The server finds nothing wrong with the pages of the given tables, nor with their TOAST tables and B-trees.
fn assert_sound(pair: &mut Pair, tables: &str) {
    if !offered(&["amcheck"]) {
        return;
    }
    pair.destination.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck").unwrap();
    let damage = texts(
        &mut pair.destination,
        &format!(
            "SELECT t || ': ' || v.msg FROM unnest('{tables}'::regclass[]) t, verify_heapam(t, check_toast => true) v
             UNION ALL
             SELECT bt_index_check(c.oid, true)::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
             WHERE i.indrelid = ANY ('{tables}'::regclass[]) AND a.amname = 'btree' AND i.indisvalid AND c.relpersistence = 'p'"
        ),
    );
    assert!(damage.iter().all(String::is_empty), "{damage:?}");
}

/// `table method wire`, as the plan shows them.
fn plan(pair: &mut Pair) -> Vec<String> {
    let dsn = pair.dsn();
    texts(
        &mut pair.destination,
        &format!("SELECT concat_ws(' ', \"table\", method, wire) FROM pgcopy.plan('{dsn}') ORDER BY schema, \"table\""),
    )
}
