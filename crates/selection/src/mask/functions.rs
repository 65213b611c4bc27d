//! Calls of the functions that pgcopy on the source has for masks. Their results are those of the SQL beside them.

use super::KEY_SETTING;

/// Returns a call. The subquery is of no row: it is computed once.
fn call(name: &str, arguments: &[&str]) -> String {
    format!(
        "pgcopy.{name}((SELECT pg_catalog.decode(pg_catalog.current_setting('{KEY_SETTING}'), 'hex')), {})",
        arguments.join(", ")
    )
}

fn big_integer(number: i64) -> String {
    format!("'{number}'::pg_catalog.int8")
}

fn day(day: &str) -> String {
    format!("'{day}'::pg_catalog.date")
}

/// Returns the mask of a text as a text. Of a hash `length` digits are taken, and of a name so many characters at most.
pub(super) fn text(mask: &str, text: &str, length: Option<usize>) -> String {
    of_text("mask_text", mask, text, length)
}

/// The same of a `character`: the spaces at its end do not count, and a cast to text, which cuts them off, would take as long as the
/// mask.
pub(super) fn character(mask: &str, value: &str, length: Option<usize>) -> String {
    of_text("mask_character", mask, &format!("{value}::pg_catalog.bpchar"), length)
}

fn of_text(function: &str, mask: &str, value: &str, length: Option<usize>) -> String {
    let length = length.map_or(i32::MAX, |length| i32::try_from(length).unwrap_or(i32::MAX));
    call(function, &[&format!("'{mask}'"), value, &length.to_string()])
}

pub(super) fn uuid(value: &str) -> String {
    call("mask_uuid", &[value])
}

/// Returns a `bigint` of a hash.
pub(super) fn number(mask: &str, bytes: &str) -> String {
    call("mask_hash", &[&format!("'{mask}'"), bytes])
}

/// Returns a number near another one; both are SQL, and counted in their last decimal.
pub(super) fn integer_near(count: &str, fraction: &str, most: i64) -> String {
    let fraction = format!("{fraction}::pg_catalog.float8");
    call("mask_integer_near", &[count, &fraction, &big_integer(most)])
}

pub(super) fn integer_between(count: &str, first: i64, last: i64) -> String {
    call("mask_integer_between", &[count, &big_integer(first), &big_integer(last)])
}

pub(super) fn numeric_near(value: &str, decimals: i32, fraction: &str, most: i64) -> String {
    let fraction = format!("{fraction}::pg_catalog.float8");
    call("mask_numeric_near", &[value, &decimals.to_string(), &fraction, &big_integer(most)])
}

pub(super) fn numeric_between(value: &str, decimals: i32, first: i64, last: i64) -> String {
    call("mask_numeric_between", &[value, &decimals.to_string(), &big_integer(first), &big_integer(last)])
}

pub(super) fn date_near(value: &str, days: u32) -> String {
    call("mask_date_near", &[value, &days.to_string()])
}

pub(super) fn date_between(value: &str, first: &str, last: &str) -> String {
    call("mask_date_between", &[value, &day(first), &day(last)])
}

pub(super) fn timestamp_near(value: &str, days: u32) -> String {
    call("mask_timestamp_near", &[value, &days.to_string()])
}

pub(super) fn timestamp_between(value: &str, first: &str, last: &str) -> String {
    call("mask_timestamp_between", &[value, &day(first), &day(last)])
}
