//! Masks of numbers.

use super::digest::{bytes_of, digest, natural, number};
use super::{Kind, MaskedColumn, Spread, functions};
use crate::decimal::{Decimal, Units};

/// Returns the mask of a number; `None` for other types.
pub(super) fn number_sql(
    value: &str,
    spread: &Spread,
    kind: Kind,
    base_type: &str,
    column: Option<&MaskedColumn>,
    has_functions: bool,
) -> Result<Option<String>, String> {
    let (least, most) = match kind {
        Kind::SmallInteger => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Kind::Integer => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Kind::BigInteger => (i64::MIN, i64::MAX),
        Kind::Numeric => match column.and_then(fixed_digits) {
            Some((precision, decimals)) => {
                let most = 10_i64.pow(precision) - 1;
                let units = Units { decimals, least: -most, most };
                let sql = if column.is_some_and(is_counted) { numeric_by_function } else { units_sql };
                return sql(value, spread, base_type, units).map(Some);
            }
            None => return various_sql(value, spread, kind, base_type, column, has_functions),
        },
        Kind::Float => return various_sql(value, spread, kind, base_type, column, has_functions),
        _ => return Ok(None),
    };
    let sql = if has_functions { integer_by_function } else { units_sql };
    sql(value, spread, base_type, Units { decimals: 0, least, most }).map(Some)
}

/// Returns whether numbers of a type with fixed decimals are masked by functions of the source's pgcopy. Where the source's numbers have
/// other digits, they are rounded first.
pub(super) fn is_counted(column: &MaskedColumn) -> bool {
    column.has_functions && column.has_same_digits && fixed_digits(column).is_some()
}

/// Returns the most digits, and how many of them are decimals, of numbers that can be counted in their last decimal.
fn fixed_digits(column: &MaskedColumn) -> Option<(u32, i32)> {
    let precision = column.precision.filter(|precision| (1..=Units::MOST_DIGITS).contains(precision))?;
    Some((precision, column.decimals?))
}

fn integer_by_function(value: &str, spread: &Spread, base_type: &str, units: Units) -> Result<String, String> {
    let count = format!("{value}::pg_catalog.int8");
    let masked = match spread {
        Spread::Jitter(fraction) => functions::integer_near(&count, fraction, units.most),
        Spread::Range { least, most } => {
            let (first, last) = units.between(least, most)?;
            functions::integer_between(&count, first, last)
        }
    };
    Ok(format!("{masked}::{base_type}"))
}

/// Returns the mask of a number that has the decimals of its column on both sides.
fn numeric_by_function(value: &str, spread: &Spread, _: &str, units: Units) -> Result<String, String> {
    Ok(match spread {
        Spread::Jitter(fraction) => functions::numeric_near(value, units.decimals, fraction, units.most),
        Spread::Range { least, most } => {
            let (first, last) = units.between(least, most)?;
            functions::numeric_between(value, units.decimals, first, last)
        }
    })
}

/// Returns the mask of numbers that all have the same decimals: they are counted in their last one.
fn units_sql(value: &str, spread: &Spread, base_type: &str, units: Units) -> Result<String, String> {
    let is_whole = base_type != "numeric";
    let (scaled, unscaled) = (Units::power_of_ten(units.decimals), Units::power_of_ten(-units.decimals));
    let counted = match is_whole {
        true => format!("{value}::pg_catalog.int8"),
        false => format!("({value} * {scaled})::pg_catalog.int8"),
    };
    let number_of = |count: &str| match is_whole {
        true => format!("({count})::{base_type}"),
        false => format!("(({count})::pg_catalog.numeric * {unscaled})"),
    };
    let hash = |count: &str| natural("number", &format!("pg_catalog.int8send({count})"));
    let (masked, of_nan) = match spread {
        Spread::Range { least, most } => {
            let (first, last) = units.between(least, most)?;
            let (hash, count) = (hash(&counted), i128::from(last) - i128::from(first) + 1);
            let offset = match i64::try_from(count) {
                Ok(count) => format!("{hash} % {count}"),
                // Half of them are as good as all.
                Err(_) => hash,
            };
            (number_of(&format!("({first}) + {offset}")), number_of(&format!("({first})::pg_catalog.int8")))
        }
        // The number goes to another one at most so far away, by its last decimal at least. Those on both sides are counted round: from
        // the number upwards, and on from the least one.
        Spread::Jitter(fraction) => {
            /// Keeps sums of these within 64 bits.
            const FARTHEST: i64 = 1 << 61;
            let far = format!(
                "pg_catalog.floor(least(s.v::pg_catalog.float8 * {fraction}::pg_catalog.float8, {FARTHEST}::pg_catalog.float8))::pg_catalog.int8"
            );
            let masked = number_of(
                "CASE WHEN s.x < 0 THEN -1 ELSE 1 END * (s.v - s.b + (s.b + 1 + s.h % (s.b + s.t)) % (s.b + s.t + 1))",
            );
            let most = units.most;
            (
                format!(
                    "(SELECT {masked} FROM (SELECT s.x, s.v, s.h, least(s.f, greatest(s.v - 1, 0)) AS b, least(s.f, {most} - s.v) AS t
                      FROM (SELECT s.x, s.v, s.h, greatest({far}, 1) AS f
                      FROM (SELECT s.x, least(pg_catalog.abs(greatest(s.x, -{}::pg_catalog.int8)), {most}) AS v, {} AS h
                      FROM (SELECT {counted} AS x OFFSET 0) s OFFSET 0) s OFFSET 0) s OFFSET 0) s)",
                    i64::MAX,
                    hash("s.x")
                ),
                format!("{value}::pg_catalog.numeric"),
            )
        }
    };
    Ok(match is_whole {
        true => format!("CASE WHEN {value} IS NOT NULL THEN {masked} END"),
        false => format!(
            "CASE WHEN {value} = 'NaN'::pg_catalog.numeric THEN {of_nan} WHEN {value} IS NOT NULL THEN {masked} END"
        ),
    })
}

/// Returns the mask of numbers that have as many decimals as they need.
fn various_sql(
    value: &str,
    spread: &Spread,
    kind: Kind,
    base_type: &str,
    column: Option<&MaskedColumn>,
    has_functions: bool,
) -> Result<Option<String>, String> {
    // The decimals of the result, where all have the same. Without, it has those that the value needs.
    let decimals = column.filter(|_| kind == Kind::Numeric).and_then(|column| column.decimals);
    // The greatest number of the type.
    let most = match (column.and_then(|column| column.precision), decimals) {
        (Some(precision), Some(decimals)) => {
            Some(format!("(1e{} - 1e{})", i64::from(precision) - i64::from(decimals), -decimals))
        }
        _ => None,
    };
    // A number from 0 to 1, without 1.
    const RESOLUTION: i64 = 1 << 40;
    let text = format!("{value}::pg_catalog.text");
    // Equal numbers may be written with different numbers of zeros.
    let text = match kind {
        Kind::Numeric => format!(
            "CASE WHEN pg_catalog.strpos({text}, '.') > 0 THEN pg_catalog.rtrim(pg_catalog.rtrim({text}, '0'), '.') ELSE {text} END"
        ),
        // Zero and its negative are equal.
        Kind::Float => format!("({value} + 0::{base_type})::pg_catalog.text"),
        _ => text,
    };
    let needed = format!("coalesce(pg_catalog.scale(({text})::pg_catalog.numeric), 0)");
    let hash = match has_functions {
        true => functions::number("number", &bytes_of(&text)),
        false => number(&digest("number", &bytes_of(&text))),
    };
    let unit = format!("({hash} & {})::pg_catalog.numeric / {RESOLUTION}", RESOLUTION - 1);
    let numeric = |number: &str| format!("({number})::pg_catalog.numeric");
    let (taken, places) = match (kind, decimals) {
        (Kind::Float, _) => (format!("({value})::pg_catalog.float8"), "0".to_owned()),
        (_, Some(decimals)) => (numeric(value), decimals.to_string()),
        (_, None) => (numeric(value), needed),
    };
    let expression = match (spread, kind) {
        (Spread::Range { least, most }, Kind::Float) => {
            let bound = |bound: &str| format!("({bound})::{base_type}");
            format!(
                "least(greatest((({least})::pg_catalog.float8 + m.u::pg_catalog.float8 * ({most} - ({least}))::pg_catalog.float8)::{base_type}, {}), {})",
                bound(least),
                bound(most)
            )
        }
        (Spread::Range { least, most }, _) => match decimals {
            Some(decimals) => {
                if !Decimal::any_between(least, most, decimals) {
                    return Err(Decimal::none_between(least, most, decimals));
                }
                let at = |function: &str, bound: &str| {
                    format!("pg_catalog.{function}(({bound})::pg_catalog.numeric * 1e{decimals})")
                };
                let (first, last) = (at("ceil", least), at("floor", most));
                // A product is exact, where a quotient is rounded.
                format!("({first} + pg_catalog.floor(m.u * ({last} - {first} + 1))) * 1e{}", -decimals)
            }
            None => {
                let of_bounds = Decimal::places(least).max(Decimal::places(most));
                format!(
                    "pg_catalog.round({least} + m.u * ({most} - ({least})), greatest(m.p, {of_bounds}))",
                    least = numeric(least),
                    most = numeric(most)
                )
            }
        },
        // A share that is too small for the type would give the number back. Numbers near an end of the type go inwards.
        (Spread::Jitter(fraction), Kind::Float) => {
            // The smallest numbers have so few digits that none is near them but zero.
            let (share, smallest, least, half) = match base_type {
                "real" => ("3e-7", "1e-37", "1e-30", "1.7e38"),
                _ => ("1e-15", "1e-307", "1e-290", "8.9e307"),
            };
            format!(
                "SELECT CASE WHEN pg_catalog.abs(j.v) < '{smallest}'::pg_catalog.float8 THEN CASE WHEN j.v < 0 THEN -1 ELSE 1 END * pg_catalog.abs(j.r)
                 WHEN pg_catalog.abs(j.v) > {half} THEN j.v * (1 - pg_catalog.abs(j.r))
                 WHEN pg_catalog.abs(j.v) < {least} THEN j.v * (1 + pg_catalog.abs(j.r)) ELSE j.v * (1 + j.r) END
                 FROM (SELECT m.v, CASE WHEN m.u < 0.5 THEN -1 ELSE 1 END::pg_catalog.float8
                       * greatest(({fraction} * pg_catalog.abs(2 * m.u - 1))::pg_catalog.float8, {share}::pg_catalog.float8) AS r OFFSET 0) j"
            )
        }
        // The number moves by its last decimal at least, and to the other side where it would get to zero, or out of its type.
        (Spread::Jitter(fraction), _) => {
            let (holds, other) = match most {
                Some(most) => (
                    format!(" AND pg_catalog.abs(j.v + j.d) <= {most}"),
                    format!(" OR pg_catalog.abs(j.v - j.d) > {most}"),
                ),
                None => Default::default(),
            };
            format!(
                "SELECT CASE WHEN j.v = 0 THEN pg_catalog.abs(j.d)
                 WHEN pg_catalog.sign(j.v + j.d) = pg_catalog.sign(j.v){holds}{other} THEN j.v + j.d ELSE j.v - j.d END
                 FROM (SELECT s.v, CASE WHEN s.d <> 0 THEN s.d ELSE CASE WHEN s.u < 0.5 THEN -1 ELSE 1 END * ('1e' || -s.p)::pg_catalog.numeric END AS d
                       FROM (SELECT m.v, m.u, m.p, pg_catalog.round(m.v * {fraction} * (2 * m.u - 1), m.p) AS d OFFSET 0) s OFFSET 0) j",
                fraction = numeric(fraction)
            )
        }
    };
    Ok(Some(format!(
        "CASE WHEN {value} IS NOT NULL THEN (SELECT ({expression})::{base_type} FROM (SELECT {taken} AS v, {unit} AS u, {places} AS p OFFSET 0) m) END"
    )))
}
