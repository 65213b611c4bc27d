//! A single value of an Arrow array, in the words of Parquet.

use super::decimal::Unscaled;
use super::scalar::Rules;
use crate::error::Result;
use crate::parquet::schema::{Scalar, malformed};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_schema::TimeUnit;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Atom<'a> {
    Bool(bool),
    Int(i128),
    Float32(f32),
    Float64(f64),
    Decimal {
        unscaled: Unscaled<'a>,
        scale: i32,
    },
    /// Days since 1970.
    Date(i64),
    /// A value before or after all days.
    InfiniteDate(Side),
    /// Nanoseconds since midnight.
    Time(i64),
    Timestamp(Instant),
    /// A value before or after all points in time.
    InfiniteTimestamp {
        side: Side,
        utc: bool,
    },
    Interval(Interval),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Uuid(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Past,
    Future,
}

/// The side of all other values that an extreme value stands for, as DuckDB stores infinity in integers.
pub(super) fn infinite(value: i64, largest: i64) -> Option<Side> {
    if value == largest {
        Some(Side::Future)
    } else if value == -largest {
        Some(Side::Past)
    } else {
        None
    }
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
    let mut nanoseconds = day * MICROSECONDS_PER_DAY * 1000 + nanoseconds;
    // Spark counts in microseconds of 64 bits, of which days that are as far away as those of the year 290000 overflow.
    const TURN: i128 = 1000 << 64;
    if nanoseconds < -TURN / 2 {
        nanoseconds += TURN;
    }
    Some(instant_of_nanoseconds(nanoseconds, false))
}

/// Returns the value of a row that is not NULL.
pub(super) fn atom_at(array: &dyn Array, scalar: Scalar, row: usize, rules: Rules) -> Result<Atom<'_>> {
    let int32 = || array.as_primitive_opt::<Int32Type>().map(|array| array.value(row));
    let int64 = || array.as_primitive_opt::<Int64Type>().map(|array| array.value(row));
    let fixed = || array.as_fixed_size_binary_opt().map(|array| array.value(row));
    let bytes = || array.as_byte_view_opt::<BinaryViewType>().map(|array| array.value(row));
    let integer = || int64().or_else(|| int32().map(i64::from));
    let atom = match scalar {
        Scalar::Null => return Err(malformed("a column of the null type holds a value")),
        Scalar::Bool => array.as_boolean_opt().map(|array| Atom::Bool(array.value(row))),
        Scalar::Int { .. } => int_at(array, row).map(Atom::Int),
        Scalar::Float16 => {
            array.as_primitive_opt::<Float16Type>().map(|array| Atom::Float32(array.value(row).to_f32()))
        }
        Scalar::Float32 => array.as_primitive_opt::<Float32Type>().map(|array| Atom::Float32(array.value(row))),
        Scalar::Float64 => array.as_primitive_opt::<Float64Type>().map(|array| Atom::Float64(array.value(row))),
        Scalar::Decimal { scale, .. } => integer()
            .map(|value| Unscaled::Small(value.into()))
            .or_else(|| fixed().or_else(bytes).map(Unscaled::of_bytes))
            .map(|unscaled| Atom::Decimal { unscaled, scale }),
        Scalar::Date => array.as_primitive_opt::<Date32Type>().map(|array| {
            let days = i64::from(array.value(row));
            match infinite(days, i32::MAX.into()).filter(|_| rules.extremes_are_infinite) {
                Some(side) => Atom::InfiniteDate(side),
                None => Atom::Date(days),
            }
        }),
        // A value that is not a whole day is a point in time.
        Scalar::DateMillis => int64().map(|value| match value % MILLISECONDS_PER_DAY {
            0 => Atom::Date(value / MILLISECONDS_PER_DAY),
            _ => Atom::Timestamp(instant(value, TimeUnit::Millisecond, false)),
        }),
        Scalar::Time(unit) => integer()
            .map(|value| Atom::Time(i64::try_from(i128::from(value) * nanoseconds_of(unit)).unwrap_or(i64::MAX))),
        Scalar::Timestamp { unit, utc } => {
            integer().map(|value| match infinite(value, i64::MAX).filter(|_| rules.extremes_are_infinite) {
                Some(side) => Atom::InfiniteTimestamp { side, utc },
                None => Atom::Timestamp(instant(value, unit, utc)),
            })
        }
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
