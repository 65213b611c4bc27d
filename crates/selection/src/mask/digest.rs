//! The hash that masks are made of.

use super::KEY_SETTING;

/// Returns the hash over the key, the mask's name and bytes, as `bytea`; NULL for NULL. The subquery is of no row: it is computed once.
pub(super) fn digest(tag: &str, bytes: &str) -> String {
    let tag: String = tag.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "pg_catalog.sha256((SELECT pg_catalog.decode(pg_catalog.current_setting('{KEY_SETTING}') || '{tag}', 'hex')) || {bytes})"
    )
}

/// Returns the bytes of a text, whatever encoding the server has.
pub(super) fn bytes_of(text: &str) -> String {
    format!("pg_catalog.convert_to({text}, 'UTF8')")
}

pub(super) fn hexadecimal(tag: &str, text: &str) -> String {
    format!("pg_catalog.encode({}, 'hex')", digest(tag, &bytes_of(text)))
}

/// Returns a `bigint` of a hash.
pub(super) fn number(digest: &str) -> String {
    format!("pg_catalog.hashtextextended(pg_catalog.encode({digest}, 'hex') COLLATE pg_catalog.\"C\", 0)")
}

/// Returns a `bigint` from zero on.
pub(super) fn natural(tag: &str, bytes: &str) -> String {
    format!("({} & {})", number(&digest(tag, bytes)), i64::MAX)
}

/// Returns an expression over `m.d`, the hash, which is computed once.
pub(super) fn with_digest(tag: &str, text: &str, expression: &str) -> String {
    format!("(SELECT {expression} FROM (SELECT {} AS d OFFSET 0) m)", digest(tag, &bytes_of(text)))
}
