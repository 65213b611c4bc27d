//! Scalars into the forms in which the heap stores them.

use super::super::characters::is_text;
use super::super::to_datum::store_varlena;
use super::atom::{Atom, Instant, Interval, MICROSECONDS_PER_DAY, Side};
use super::bounds;
use super::decimal;
use super::nested::datum_of;
use super::target::{Kind, Target, lossy, out_of_range};
use super::text as texts;
use crate::error::{Error, Result};
use crate::local::encoding;
use crate::order::{OnInvalidText, OnLossy};
use crate::storage::tuple::Value;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::borrow::Cow;

/// The rules by which values of a file are read.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Rules {
    pub(in super::super) on_lossy: OnLossy,
    pub(in super::super) on_invalid_text: OnInvalidText,
    /// The largest date and timestamp, and their negatives, stand for infinity.
    pub(in super::super) extremes_are_infinite: bool,
}

/// Days and microseconds from 1970 to PostgreSQL's epoch.
pub(super) const EPOCH_DAYS: i64 = 10_957;
const EPOCH_MICROSECONDS: i128 = 946_684_800_000_000;

/// Returns the value for a target, without a look at domains above its type.
pub(super) fn store<'a>(atom: Atom<'a>, target: &Target, rules: Rules) -> Result<Value<'a>> {
    let on_lossy = rules.on_lossy;
    let refuse = |text: &str| if on_lossy == OnLossy::Truncate { Ok(()) } else { Err(lossy(text)) };
    Ok(match (&target.kind, atom) {
        (Kind::Bool, Atom::Bool(value)) => Value::Bits(value.into()),
        (Kind::Int { bytes }, Atom::Int(value)) => int(value, *bytes)?,
        (Kind::Int { bytes }, Atom::Float32(value)) => whole(value.into(), *bytes, on_lossy)?,
        (Kind::Int { bytes }, Atom::Float64(value)) => whole(value, *bytes, on_lossy)?,
        (Kind::Int { bytes }, Atom::Decimal { unscaled, scale }) => {
            let (value, exact) = decimal::whole_part(unscaled, scale)?;
            if !exact {
                refuse("the number has a fraction, which an integer has not")?;
            }
            int(value.ok_or_else(|| out_of_range("integer out of range"))?, *bytes)?
        }
        (Kind::Oid, Atom::Int(value)) => match u32::try_from(value) {
            Ok(value) => Value::Bits(value.into()),
            Err(_) => return Err(out_of_range(format!("value {value} is out of range for type oid"))),
        },
        (Kind::Float8, Atom::Float64(value)) => Value::Bits(value.to_bits()),
        (Kind::Float8, Atom::Float32(value)) => Value::Bits(f64::from(value).to_bits()),
        (Kind::Float8, Atom::Int(value)) => {
            let float = value as f64;
            if float as i128 != value {
                refuse("the integer has more digits than double precision")?;
            }
            Value::Bits(float.to_bits())
        }
        (Kind::Float8, Atom::Decimal { unscaled, scale }) => {
            let mut text = String::new();
            decimal::write_decimal(unscaled, scale, &mut text)?;
            // 15 digits survive the way there and back.
            if text.trim_start_matches(['-', '0', '.']).trim_end_matches('0').replace('.', "").len() > 15 {
                refuse("the number has more digits than double precision")?;
            }
            Value::Bits(text.parse::<f64>().unwrap_or(f64::NAN).to_bits())
        }
        (Kind::Float4, Atom::Float32(value)) => Value::Bits(value.to_bits().into()),
        (Kind::Float4, Atom::Float64(value)) => {
            let float = value as f32;
            if value.is_finite() && float.is_infinite() {
                return Err(out_of_range(format!("value {value} is out of range for type real")));
            }
            if f64::from(float) != value && !value.is_nan() {
                refuse("the number has more digits than real")?;
            }
            Value::Bits(float.to_bits().into())
        }
        (Kind::Float4, Atom::Int(value)) => {
            let float = value as f32;
            if float as i128 != value {
                refuse("the integer has more digits than real")?;
            }
            Value::Bits(float.to_bits().into())
        }
        (Kind::Numeric { limits }, Atom::Int(_) | Atom::Decimal { .. } | Atom::Float32(_) | Atom::Float64(_)) => {
            let mut text = Vec::new();
            texts::write(&atom, on_lossy, &mut text)?;
            decimal::store_text(String::from_utf8_lossy(&text).into_owned(), *limits, target, on_lossy)?
        }
        (Kind::Date, Atom::Date(days)) => Value::Bits(date(days)? as u64),
        (Kind::Date, Atom::InfiniteDate(side) | Atom::InfiniteTimestamp { side, .. }) => {
            Value::Bits(infinite_date(side) as u64)
        }
        (Kind::Timestamp { .. }, Atom::InfiniteDate(side) | Atom::InfiniteTimestamp { side, .. }) => {
            Value::Bits(infinite_timestamp(side) as u64)
        }
        (Kind::Date, Atom::Timestamp(instant)) => {
            if instant.microseconds.rem_euclid(MICROSECONDS_PER_DAY) != 0 || instant.nanoseconds != 0 {
                refuse("the time of day would be lost")?;
            }
            let days = i64::try_from(instant.microseconds.div_euclid(MICROSECONDS_PER_DAY)).unwrap_or(i64::MAX);
            Value::Bits(date(days)? as u64)
        }
        (Kind::Timestamp { step, .. }, Atom::Timestamp(instant)) => {
            Value::Bits(timestamp(instant, *step, on_lossy)? as u64)
        }
        (Kind::Timestamp { step, .. }, Atom::Date(days)) => {
            let microseconds = i128::from(days) * MICROSECONDS_PER_DAY;
            let midnight = Instant { microseconds, nanoseconds: 0, utc: false };
            Value::Bits(timestamp(midnight, *step, on_lossy)? as u64)
        }
        (Kind::Time { step }, Atom::Time(nanoseconds)) => {
            let microseconds = time(nanoseconds)?;
            if nanoseconds % 1000 != 0 || microseconds % step != 0 {
                refuse("the time has more digits than the column keeps")?;
            }
            Value::Bits((microseconds - microseconds % step) as u64)
        }
        (Kind::Interval, Atom::Interval(value)) => Value::Datum(interval(value, on_lossy)?),
        (Kind::Uuid, Atom::Uuid(bytes) | Atom::Bytes(bytes)) => Value::Fixed(bytes),
        (Kind::Bytes, Atom::Bytes(bytes) | Atom::Uuid(bytes)) => Value::Varlena(bytes),
        (_, Atom::Text(bytes)) => text(bytes, target, rules)?,
        (Kind::Text { .. } | Kind::PaddedText { .. }, Atom::Bytes(bytes)) => text(bytes, target, rules)?,
        (_, other) => {
            let mut written = Vec::new();
            texts::write(&other, on_lossy, &mut written)?;
            // Half a number is another number.
            datum_of(text(&written, target, Rules { on_lossy: OnLossy::Error, ..rules })?)
                .map_or(Value::Null, Value::Datum)
        }
    })
}

fn int(value: i128, bytes: u8) -> Result<Value<'static>> {
    let (fits, name) = match bytes {
        2 => (i16::try_from(value).is_ok(), "smallint"),
        4 => (i32::try_from(value).is_ok(), "integer"),
        _ => (i64::try_from(value).is_ok(), "bigint"),
    };
    if fits {
        Ok(Value::Bits(value as u64))
    } else {
        Err(out_of_range(format!("value {value} is out of range for type {name}")))
    }
}

fn whole(value: f64, bytes: u8, on_lossy: OnLossy) -> Result<Value<'static>> {
    if !value.is_finite() {
        return Err(out_of_range("integer out of range"));
    }
    if value.fract() != 0.0 && on_lossy == OnLossy::Error {
        return Err(lossy("the number has a fraction, which an integer has not"));
    }
    int(value.trunc() as i128, bytes)
}

/// The valid range of dates and timestamps, as in `datatype/timestamp.h`.
const DATES: std::ops::Range<i64> = -2_451_545..2_145_031_949;
const TIMESTAMPS: std::ops::Range<i128> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Days since PostgreSQL's epoch.
#[inline]
pub(super) fn date(days: i64) -> Result<i64> {
    let here = days.saturating_sub(EPOCH_DAYS);
    if DATES.contains(&here) {
        return Ok(here);
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW, "date out of range"))
}

/// `DATEVAL_NOBEGIN` and `DATEVAL_NOEND`.
pub(super) fn infinite_date(side: Side) -> i64 {
    match side {
        Side::Past => i32::MIN.into(),
        Side::Future => i32::MAX.into(),
    }
}

/// `DT_NOBEGIN` and `DT_NOEND`.
pub(super) fn infinite_timestamp(side: Side) -> i64 {
    match side {
        Side::Past => i64::MIN,
        Side::Future => i64::MAX,
    }
}

/// Microseconds since midnight, which are less than the nanoseconds by up to one; 24:00:00 is a time, too.
pub(super) fn time(nanoseconds: i64) -> Result<i64> {
    if (0..=MICROSECONDS_PER_DAY as i64 * 1000).contains(&nanoseconds) {
        return Ok(nanoseconds / 1000);
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW, "time out of range"))
}

/// Microseconds since PostgreSQL's epoch.
pub(super) fn timestamp(instant: Instant, step: i64, on_lossy: OnLossy) -> Result<i64> {
    let here = instant.microseconds - EPOCH_MICROSECONDS;
    let beyond = here.rem_euclid(i128::from(step));
    if (beyond != 0 || instant.nanoseconds != 0) && on_lossy == OnLossy::Error {
        return Err(lossy("the time has more digits than the column keeps"));
    }
    if !TIMESTAMPS.contains(&here) {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW, "timestamp out of range"));
    }
    Ok((here - beyond) as i64)
}

/// Converts microseconds since 1970, of which nothing is lost.
#[inline]
pub(super) fn microseconds(value: i64) -> Result<i64> {
    match value.checked_sub(EPOCH_MICROSECONDS as i64) {
        Some(here) if TIMESTAMPS.contains(&here.into()) => Ok(here),
        _ => Err(Error::new(PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW, "timestamp out of range")),
    }
}

/// Returns the bytes of the server's `Interval`: microseconds, days, months.
pub(super) fn interval(value: Interval, on_lossy: OnLossy) -> Result<pg_sys::Datum> {
    let overflow = || Error::new(PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW, "interval out of range");
    if value.nanoseconds % 1000 != 0 && on_lossy == OnLossy::Error {
        return Err(lossy("the interval has more digits than microseconds"));
    }
    let microseconds = i64::try_from(value.nanoseconds / 1000).map_err(|_| overflow())?;
    let days = i32::try_from(value.days).map_err(|_| overflow())?;
    let months = i32::try_from(value.months).map_err(|_| overflow())?;
    // SAFETY: memory of the structure's size and alignment, which nobody else uses.
    unsafe {
        let interval = pg_sys::palloc(size_of::<pg_sys::Interval>()).cast::<pg_sys::Interval>();
        interval.write(pg_sys::Interval { time: microseconds, day: days, month: months });
        Ok(pg_sys::Datum::from(interval))
    }
}

fn invalid_text() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
}

/// Returns a text of a file, which is UTF-8 there, in the database's form.
pub(super) fn valid_text(bytes: &[u8], on_invalid: OnInvalidText) -> Result<Cow<'_, [u8]>> {
    if is_text(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    if on_invalid == OnInvalidText::Replace {
        return replaced(bytes).map(Cow::Owned);
    }
    Err(match std::str::from_utf8(bytes) {
        Ok(_) => Error::new(
            PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
            "a text cannot hold the character with code 0",
        ),
        Err(_) => invalid_text(),
    })
}

#[cold]
fn replaced(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for chunk in bytes.utf8_chunks() {
        for (position, part) in chunk.valid().split('\0').enumerate() {
            bounds::room(&mut text, part.len() + REPLACEMENT.len())?;
            text.extend_from_slice(if position > 0 { REPLACEMENT } else { b"" });
            text.extend_from_slice(part.as_bytes());
        }
        if !chunk.invalid().is_empty() {
            bounds::room(&mut text, REPLACEMENT.len())?;
            text.extend_from_slice(REPLACEMENT);
        }
    }
    Ok(text)
}

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Returns the value of a text that cannot be stored as it is.
#[cold]
pub(super) fn replaced_text(bytes: &[u8], on_invalid: OnInvalidText) -> Result<Value<'static>> {
    let text = valid_text(bytes, on_invalid)?;
    Ok(datum_of(Value::Varlena(&text)).map_or(Value::Null, Value::Datum))
}

pub(super) fn text<'a>(bytes: &'a [u8], target: &Target, rules: Rules) -> Result<Value<'a>> {
    let on_lossy = rules.on_lossy;
    match valid_text(bytes, rules.on_invalid_text)? {
        Cow::Borrowed(_) => {}
        Cow::Owned(replaced) => {
            let value = text(&replaced, target, rules)?;
            return Ok(datum_of(value).map_or(Value::Null, Value::Datum));
        }
    }
    if !encoding::database_is_utf8() {
        return Ok(Value::Datum(target.input_exactly(&encoding::from_utf8(bytes), on_lossy)?));
    }
    match &target.kind {
        Kind::Text { limit: None } => Ok(Value::Varlena(bytes)),
        Kind::Text { limit: Some(limit) } | Kind::PaddedText { length: Some(limit) }
            if on_lossy == OnLossy::Truncate && bytes.len() > *limit =>
        {
            let text = std::str::from_utf8(bytes).map_err(|_| invalid_text())?;
            let end = text.char_indices().nth(*limit).map_or(bytes.len(), |(end, _)| end);
            Ok(Value::Datum(target.input(&bytes[..end])?))
        }
        Kind::Text { limit: Some(limit) } if bytes.len() <= *limit => Ok(Value::Varlena(bytes)),
        Kind::PaddedText { length: Some(length) }
            if bytes.len() <= *length && length - bytes.len() <= SPACES.len() && bytes.is_ascii() =>
        {
            Ok(Value::Pieces { head: bytes, tail: &SPACES[..length - bytes.len()] })
        }
        Kind::Json if target.jsonb.borrow_mut().is_valid(bytes) => Ok(Value::Varlena(bytes)),
        Kind::Jsonb => {
            let mut encoder = target.jsonb.borrow_mut();
            match encoder.encode(bytes) {
                Some(payload) => Ok(store_varlena(payload)),
                None => Ok(Value::Datum(target.input(bytes)?)),
            }
        }
        _ => Ok(Value::Datum(target.input_exactly(bytes, on_lossy)?)),
    }
}

/// The padding of `char(n)`.
const SPACES: [u8; 256] = [b' '; 256];
