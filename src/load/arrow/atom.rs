//! A single value of an Arrow array, in the words of Parquet, and its text.

use crate::error::Result;
use crate::parquet::schema::{Scalar, malformed};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_buffer::i256;
use arrow_schema::TimeUnit;
use std::fmt::Write;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Atom<'a> {
    Bool(bool),
    Int(i128),
    Float32(f32),
    Float64(f64),
    Decimal {
        unscaled: i256,
        scale: i8,
    },
    /// Days since 1970.
    Date(i64),
    /// Nanoseconds since midnight.
    Time(i64),
    Timestamp(Instant),
    Interval(Interval),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Uuid(&'a [u8]),
}

/// A point in time: microseconds since 1970 and the nanoseconds beyond them, from 0 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    pub(super) microseconds: i128,
    pub(super) nanoseconds: u16,
    pub(super) utc: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) months: i64,
    pub(super) days: i64,
    pub(super) nanoseconds: i128,
}

pub(super) const MICROSECONDS_PER_DAY: i128 = 86_400_000_000;
const MILLISECONDS_PER_DAY: i64 = 86_400_000;
/// Of 1970-01-01.
const JULIAN_DAY_OF_EPOCH: i128 = 2_440_588;

fn nanoseconds_of(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

pub(super) fn instant(value: i64, unit: TimeUnit, utc: bool) -> Instant {
    instant_of_nanoseconds(i128::from(value) * nanoseconds_of(unit), utc)
}

fn instant_of_nanoseconds(nanoseconds: i128, utc: bool) -> Instant {
    Instant { microseconds: nanoseconds.div_euclid(1000), nanoseconds: nanoseconds.rem_euclid(1000) as u16, utc }
}

pub(super) fn int96(bytes: &[u8]) -> Option<Instant> {
    let (nanoseconds, day) = bytes.split_first_chunk::<8>()?;
    let day = i32::from_le_bytes(day.try_into().ok()?);
    let day = i128::from(day) - JULIAN_DAY_OF_EPOCH;
    let nanoseconds = i128::from(i64::from_le_bytes(*nanoseconds));
    Some(instant_of_nanoseconds(day * MICROSECONDS_PER_DAY * 1000 + nanoseconds, false))
}

/// The value of a row that is not NULL.
pub(super) fn atom_at(array: &dyn Array, scalar: Scalar, row: usize) -> Result<Atom<'_>> {
    let int32 = || array.as_primitive_opt::<Int32Type>().map(|array| array.value(row));
    let int64 = || array.as_primitive_opt::<Int64Type>().map(|array| array.value(row));
    let fixed = || array.as_fixed_size_binary_opt().map(|array| array.value(row));
    let bytes = || array.as_byte_view_opt::<BinaryViewType>().map(|array| array.value(row));
    let integer = || int64().or_else(|| int32().map(i64::from));
    let atom = match scalar {
        Scalar::Null => None,
        Scalar::Bool => array.as_boolean_opt().map(|array| Atom::Bool(array.value(row))),
        Scalar::Int { .. } => int_at(array, row).map(Atom::Int),
        Scalar::Float16 => {
            array.as_primitive_opt::<Float16Type>().map(|array| Atom::Float32(array.value(row).to_f32()))
        }
        Scalar::Float32 => array.as_primitive_opt::<Float32Type>().map(|array| Atom::Float32(array.value(row))),
        Scalar::Float64 => array.as_primitive_opt::<Float64Type>().map(|array| Atom::Float64(array.value(row))),
        Scalar::Decimal { scale, .. } => array
            .as_primitive_opt::<Decimal128Type>()
            .map(|array| i256::from_i128(array.value(row)))
            .or_else(|| array.as_primitive_opt::<Decimal256Type>().map(|array| array.value(row)))
            .map(|unscaled| Atom::Decimal { unscaled, scale }),
        Scalar::Date => array.as_primitive_opt::<Date32Type>().map(|array| Atom::Date(array.value(row).into())),
        // What is not a whole day is a point in time.
        Scalar::DateMillis => int64().map(|value| match value % MILLISECONDS_PER_DAY {
            0 => Atom::Date(value / MILLISECONDS_PER_DAY),
            _ => Atom::Timestamp(instant(value, TimeUnit::Millisecond, false)),
        }),
        Scalar::Time(unit) => integer()
            .map(|value| Atom::Time(i64::try_from(i128::from(value) * nanoseconds_of(unit)).unwrap_or(i64::MAX))),
        Scalar::Timestamp { unit, utc } => integer().map(|value| Atom::Timestamp(instant(value, unit, utc))),
        Scalar::Int96 => fixed().and_then(int96).map(Atom::Timestamp),
        Scalar::Duration(unit) => int64().map(|value| {
            Atom::Interval(Interval { months: 0, days: 0, nanoseconds: i128::from(value) * nanoseconds_of(unit) })
        }),
        Scalar::Interval => fixed().and_then(interval).map(Atom::Interval),
        Scalar::Text | Scalar::Enum | Scalar::Json => bytes().map(Atom::Text),
        Scalar::Bytes | Scalar::Bson => bytes().map(Atom::Bytes),
        Scalar::FixedBytes(_) => fixed().map(Atom::Bytes),
        Scalar::Uuid => fixed().map(Atom::Uuid),
    };
    atom.ok_or_else(|| malformed(format!("values of {scalar:?} came as {}", array.data_type())))
}

fn int_at(array: &dyn Array, row: usize) -> Option<i128> {
    fn get<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Option<i128>
    where
        T::Native: Into<i128>,
    {
        array.as_primitive_opt::<T>().map(|array| array.value(row).into())
    }
    get::<Int32Type>(array, row)
        .or_else(|| get::<Int64Type>(array, row))
        .or_else(|| get::<Int16Type>(array, row))
        .or_else(|| get::<Int8Type>(array, row))
        .or_else(|| get::<UInt32Type>(array, row))
        .or_else(|| get::<UInt64Type>(array, row))
        .or_else(|| get::<UInt16Type>(array, row))
        .or_else(|| get::<UInt8Type>(array, row))
}

fn interval(bytes: &[u8]) -> Option<Interval> {
    let part = |from: usize| Some(u32::from_le_bytes(bytes.get(from..from + 4)?.try_into().ok()?));
    Some(Interval {
        months: part(0)?.into(),
        days: part(4)?.into(),
        nanoseconds: i128::from(part(8)?) * nanoseconds_of(TimeUnit::Millisecond),
    })
}

impl Atom<'_> {
    /// The text that the value's own type would take. Bytes become `\x…`.
    pub(super) fn write_text(&self, text: &mut Vec<u8>) {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = match self {
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Float32(value) if !value.is_finite() => write!(out, "{}", not_finite((*value).into())),
            Self::Float64(value) if !value.is_finite() => write!(out, "{}", not_finite(*value)),
            Self::Float32(value) => write!(out, "{value:?}").map(|()| plain_float(&mut out)),
            Self::Float64(value) => write!(out, "{value:?}").map(|()| plain_float(&mut out)),
            Self::Decimal { unscaled, scale } => {
                decimal_text(*unscaled, *scale, &mut out);
                Ok(())
            }
            Self::Date(days) => write_date(&mut out, (*days).into(), ""),
            Self::Time(nanoseconds) => write_time(&mut out, (*nanoseconds).into()),
            Self::Timestamp(instant) => write_instant(&mut out, *instant),
            Self::Interval(interval) => write_interval(&mut out, *interval),
            Self::Text(bytes) => {
                text.extend_from_slice(bytes);
                Ok(())
            }
            Self::Bytes(bytes) => {
                out.push_str("\\x");
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
            Self::Uuid(bytes) => bytes.iter().enumerate().try_for_each(|(position, byte)| {
                let dash = if matches!(position, 4 | 6 | 8 | 10) { "-" } else { "" };
                write!(out, "{dash}{byte:02x}")
            }),
        };
        text.extend_from_slice(out.as_bytes());
    }
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// `1.0` is `1`, as PostgreSQL writes it.
fn plain_float(text: &mut String) {
    if let Some(whole) = text.strip_suffix(".0") {
        text.truncate(whole.len());
    }
}

pub(super) fn decimal_text(unscaled: i256, scale: i8, out: &mut String) {
    let digits = unscaled.to_string();
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.as_str()),
    };
    out.push_str(sign);
    let scale_digits = usize::try_from(scale).unwrap_or(0);
    if scale_digits == 0 {
        out.push_str(digits);
        out.extend(std::iter::repeat_n('0', usize::from(scale.unsigned_abs())));
        return;
    }
    let padded = format!("{digits:0>width$}", width = scale_digits + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale_digits);
    out.push_str(whole);
    out.push('.');
    out.push_str(fraction);
}

/// Year, month and day of a day since 1970, in the Gregorian calendar of all times.
fn civil(days: i128) -> (i128, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    (year, month, day)
}

/// With `between` after the date and before an era.
fn write_date(out: &mut String, days: i128, between: &str) -> std::fmt::Result {
    let (year, month, day) = civil(days);
    // There is no year 0: the one before 1 is 1 BC.
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    write!(out, "{year:04}-{month:02}-{day:02}{between}{era}")
}

fn write_time(out: &mut String, nanoseconds: i128) -> std::fmt::Result {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let fraction = nanoseconds.rem_euclid(1_000_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    write_fraction(out, fraction)
}

fn write_fraction(out: &mut String, nanoseconds: i128) -> std::fmt::Result {
    if nanoseconds == 0 {
        return Ok(());
    }
    let digits = format!("{nanoseconds:09}");
    write!(out, ".{}", digits.trim_end_matches('0'))
}

fn write_instant(out: &mut String, instant: Instant) -> std::fmt::Result {
    let days = instant.microseconds.div_euclid(MICROSECONDS_PER_DAY);
    let of_day = instant.microseconds.rem_euclid(MICROSECONDS_PER_DAY) * 1000 + i128::from(instant.nanoseconds);
    let mut time = String::from(" ");
    write_time(&mut time, of_day)?;
    time.push_str(if instant.utc { "+00" } else { "" });
    write_date(out, days, &time)
}

fn write_interval(out: &mut String, interval: Interval) -> std::fmt::Result {
    let Interval { months, days, nanoseconds } = interval;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    write!(out, "{months} mons {days} days {sign}")?;
    write_time(out, nanoseconds.abs())
}
