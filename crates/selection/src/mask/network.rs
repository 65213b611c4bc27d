//! UUIDs and addresses.

use super::digest::{hexadecimal, with_digest};
use super::functions;

/// Returns a UUID of version 4.
pub(super) fn uuid_sql(text: &str) -> String {
    format!(
        "pg_catalog.overlay(pg_catalog.overlay(pg_catalog.left({}, 32), '4', 13), '8', 17)::pg_catalog.uuid",
        hexadecimal("uuid", text)
    )
}

/// Returns an address of the same family, with the same netmask.
pub(super) fn ip_sql(value: &str, has_functions: bool) -> String {
    if has_functions {
        let of_family = |mask: &str| {
            let address = functions::text(mask, &format!("{value}::pg_catalog.text"), None);
            format!("pg_catalog.set_masklen({address}::pg_catalog.inet, pg_catalog.masklen({value}))")
        };
        let (four, six) = (of_family("ip"), of_family("ip6"));
        return format!("CASE pg_catalog.family({value}) WHEN 4 THEN {four} ELSE {six} END");
    }
    let byte = |at: usize| format!("pg_catalog.get_byte(m.d, {at})");
    let four = format!("('10.' || {} || '.' || {} || '.' || {})::pg_catalog.inet", byte(0), byte(1), byte(2));
    let group = |at: usize| format!("pg_catalog.substr(pg_catalog.encode(m.d, 'hex'), {at}, 4)");
    let six = format!("('fd00:' || {} || ':' || {} || '::' || {})::pg_catalog.inet", group(1), group(5), group(9));
    let body = format!(
        "CASE WHEN pg_catalog.family({value}) = 4 THEN pg_catalog.set_masklen({four}, pg_catalog.masklen({value}))
         ELSE pg_catalog.set_masklen({six}, pg_catalog.masklen({value})) END"
    );
    let masked = with_digest("ip", &format!("{value}::pg_catalog.text"), &body);
    format!("CASE WHEN {value} IS NOT NULL THEN {masked} END")
}
