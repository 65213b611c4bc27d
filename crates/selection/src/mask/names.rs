//! The names that people get.

pub(super) fn names_array(names: &[&str]) -> String {
    format!("'{{{}}}'::pg_catalog.text[]", names.join(","))
}
