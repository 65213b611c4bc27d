//! Functions for masks, which a pgcopy elsewhere calls in the queries that it reads rows with. They are of the values that they are
//! given, and of nothing else, so that everybody may call them. Those of one version give the same results for ever.

use crate::error::or_raise;
use crate::local::varlena::{BytesArgument, CharacterArgument, NewNumeric, NewText, NumericArgument, TextArgument};
use crate::sending::masks::{self, Place};
use pgrx::prelude::*;

/// A place in a query is where its calls have their arguments.
fn place<'a>(call: pg_sys::FunctionCallInfo, key: &BytesArgument<'a>) -> Place<'a> {
    Place { number: call.addr(), key: key.bytes() }
}

/// Returns the mask of a text: `text`, `phone`, `email`, `hash`, `uuid`, `ip`, `ip6`, `name`, `first name`, `last name` or `address`.
#[pg_extern(immutable, parallel_safe)]
fn mask_text(
    key: BytesArgument<'_>,
    mask: TextArgument<'_>,
    value: TextArgument<'_>,
    length: i32,
    call: pg_sys::FunctionCallInfo,
) -> NewText {
    or_raise(place(call, &key).text(mask.bytes(), value.bytes(), length))
}

/// Returns the mask of a value as a text without the spaces at its end, which do not count.
#[pg_extern(immutable, parallel_safe)]
fn mask_character(
    key: BytesArgument<'_>,
    mask: TextArgument<'_>,
    value: CharacterArgument<'_>,
    length: i32,
    call: pg_sys::FunctionCallInfo,
) -> NewText {
    or_raise(place(call, &key).text(mask.bytes(), masks::without_spaces(value.bytes()), length))
}

/// Returns the mask of a UUID.
#[pg_extern(immutable, parallel_safe)]
fn mask_uuid(key: BytesArgument<'_>, value: pgrx::Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(masks::uuid(key.bytes(), value.as_bytes()))
}

/// Returns the number that the mask `hash` or `number` makes of the bytes of a value.
#[pg_extern(immutable, parallel_safe)]
fn mask_hash(key: BytesArgument<'_>, mask: TextArgument<'_>, value: BytesArgument<'_>) -> i64 {
    or_raise(masks::hash(key.bytes(), mask.bytes(), value.bytes()))
}

#[pg_extern(immutable, parallel_safe)]
fn mask_integer_near(
    key: BytesArgument<'_>,
    value: i64,
    fraction: f64,
    most: i64,
    call: pg_sys::FunctionCallInfo,
) -> i64 {
    or_raise(place(call, &key).integer_near(value, fraction, most))
}

#[pg_extern(immutable, parallel_safe)]
fn mask_integer_between(
    key: BytesArgument<'_>,
    value: i64,
    first: i64,
    last: i64,
    call: pg_sys::FunctionCallInfo,
) -> i64 {
    or_raise(place(call, &key).integer_between(value, first, last))
}

/// Returns the mask of a number with at most so many decimals. `most` is counted in the last of these.
#[pg_extern(immutable, parallel_safe)]
fn mask_numeric_near(
    key: BytesArgument<'_>,
    value: NumericArgument<'_>,
    decimals: i32,
    fraction: f64,
    most: i64,
    call: pg_sys::FunctionCallInfo,
) -> NewNumeric {
    or_raise(place(call, &key).numeric_near(value.bytes(), decimals, fraction, most))
}

#[pg_extern(immutable, parallel_safe)]
fn mask_numeric_between(
    key: BytesArgument<'_>,
    value: NumericArgument<'_>,
    decimals: i32,
    first: i64,
    last: i64,
    call: pg_sys::FunctionCallInfo,
) -> NewNumeric {
    or_raise(place(call, &key).numeric_between(value.bytes(), decimals, first, last))
}

#[pg_extern(immutable, parallel_safe)]
fn mask_date_near(key: BytesArgument<'_>, value: Date, days: i32, call: pg_sys::FunctionCallInfo) -> Date {
    Date::saturating_from_raw(or_raise(place(call, &key).date_near(value.into_inner(), days)))
}

#[pg_extern(immutable, parallel_safe)]
fn mask_date_between(
    key: BytesArgument<'_>,
    value: Date,
    first: Date,
    last: Date,
    call: pg_sys::FunctionCallInfo,
) -> Date {
    let masked = place(call, &key).date_between(value.into_inner(), first.into_inner(), last.into_inner());
    Date::saturating_from_raw(or_raise(masked))
}

#[pg_extern(immutable, parallel_safe)]
fn mask_timestamp_near(
    key: BytesArgument<'_>,
    value: Timestamp,
    days: i32,
    call: pg_sys::FunctionCallInfo,
) -> Timestamp {
    Timestamp::saturating_from_raw(or_raise(place(call, &key).timestamp_near(value.into_inner(), days)))
}

#[pg_extern(immutable, parallel_safe)]
fn mask_timestamp_between(
    key: BytesArgument<'_>,
    value: Timestamp,
    first: Date,
    last: Date,
    call: pg_sys::FunctionCallInfo,
) -> Timestamp {
    let masked = place(call, &key).timestamp_between(value.into_inner(), first.into_inner(), last.into_inner());
    Timestamp::saturating_from_raw(or_raise(masked))
}

/// Returns the versions of masks that these functions know.
#[pg_extern(stable, parallel_safe)]
fn mask_versions() -> Vec<i32> {
    masks::versions()
}
