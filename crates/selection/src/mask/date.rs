//! Masks of dates and timestamps.

use super::digest::natural;
use super::{DateSpread, Kind, functions};

/// Returns the mask of a date or a timestamp; `None` for other types.
pub(super) fn date_sql(value: &str, spread: &DateSpread, kind: Kind, has_many_rows: bool) -> Option<String> {
    // The last day for which no other is too late by the most days.
    let (type_name, send, last) = match kind {
        Kind::Date => ("date", "date_send", "5874700-01-01"),
        Kind::Timestamp => ("timestamp", "timestamp_send", "294100-01-01"),
        Kind::TimestampWithZone => ("timestamptz", "timestamptz_send", "294100-01-01"),
        _ => return None,
    };
    let hash = |value: &str| natural("date", &format!("pg_catalog.{send}({value})"));
    let day = |day: &str| format!("'{day}'::pg_catalog.date");
    // All days on both sides but the one in the middle, counted round: from it upwards, and on from the first.
    let offset =
        |value: &str, days: u32| format!("((1 + {} % {} + {days}) % {} - {days})", hash(value), 2 * days, 2 * days + 1);
    let in_range = |value: &str, first: &str, last: &str| {
        let (first, last) = (day(first), day(last));
        format!("({first} + ({} % ({last} - {first} + 1))::pg_catalog.int4)", hash(value))
    };
    let masked = match spread {
        DateSpread::Jitter(days) => {
            let offset = offset(value, *days);
            let moved = |offset: &str| match kind {
                Kind::Date => format!("{value} + ({offset})::pg_catalog.int4"),
                _ => format!("{value} + ({offset}) * INTERVAL '1 day'"),
            };
            // Those near an end of the type go inwards, by more than the most days.
            let inwards = format!("pg_catalog.abs({offset})");
            let end = |day: &str| format!("'{day}'::pg_catalog.{type_name}");
            format!(
                "CASE WHEN {value} > {} THEN {} WHEN {value} < {} THEN {} ELSE {} END",
                end(last),
                moved(&format!("-{inwards}")),
                end("4600-01-01 BC"),
                moved(&inwards),
                moved(&offset)
            )
        }
        DateSpread::Range { first, last } => format!("{}::pg_catalog.{type_name}", in_range(value, first, last)),
    };
    // There are few days, and many rows with each of them. The subquery is of no row: it is computed once.
    let beforehand = if has_many_rows && kind == Kind::Date {
        let (first, last) = (day("1970-01-01"), day("2049-12-31"));
        let of_day = format!("({first} + d.n)");
        let known = match spread {
            DateSpread::Jitter(days) => format!("{of_day} + {}::pg_catalog.int4", offset(&of_day, *days)),
            DateSpread::Range { first, last } => in_range(&of_day, first, last),
        };
        format!(
            "WHEN {value} >= {first} AND {value} <= {last} THEN
             (ARRAY(SELECT {known} FROM pg_catalog.generate_series(0, {last} - {first}) d(n) ORDER BY d.n))[{value} - {first} + 1]"
        )
    } else {
        String::new()
    };
    Some(format!("CASE {beforehand} WHEN {value} IS NOT NULL THEN {masked} END"))
}

/// Returns the mask of a date or a timestamp by functions of the source's pgcopy; `None` for other types.
pub(super) fn date_by_function(value: &str, spread: &DateSpread, kind: Kind) -> Option<String> {
    let of_timestamp = |value: &str| match spread {
        DateSpread::Jitter(days) => functions::timestamp_near(value, *days),
        DateSpread::Range { first, last } => functions::timestamp_between(value, first, last),
    };
    // The functions, and the SQL in their place, count days of 24 hours.
    let in_utc = |value: &str| format!("pg_catalog.timezone('UTC'::pg_catalog.text, {value})");
    match (kind, spread) {
        (Kind::Date, DateSpread::Jitter(days)) => Some(functions::date_near(value, *days)),
        (Kind::Date, DateSpread::Range { first, last }) => Some(functions::date_between(value, first, last)),
        (Kind::Timestamp, _) => Some(of_timestamp(value)),
        (Kind::TimestampWithZone, _) => Some(in_utc(&of_timestamp(&in_utc(value)))),
        _ => None,
    }
}
