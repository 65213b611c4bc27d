//! Masks of values, for a pgcopy elsewhere whose queries call functions of this one. The results depend on the arguments alone.

use crate::error::{Error, Result};
use crate::local::varlena::{NewNumeric, NewText};
use crate::local::{encoding, memory};
use ::masks::{Calls, Constants, Counted, TextMask};
use pgrx::prelude::*;
use std::borrow::Cow;
use std::cell::RefCell;

/// A place in a query at which a function is called: a number that tells it from others of that query, and the key.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub number: usize,
    pub key: &'a [u8],
}

/// Numbers of the functions.
#[derive(Clone, Copy)]
enum Function {
    Text,
    Near,
    Between,
    DateNear,
    DateBetween,
    TimestampNear,
    TimestampBetween,
}

/// What calls leave for later ones.
struct Kept {
    calls: Calls,
    result: Vec<u8>,
    ascii: Vec<u8>,
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { calls: Calls::new(), result: Vec::new(), ascii: Vec::new() }) };
}

/// A buffer of more bytes is freed after the call that needed it.
const LARGE: usize = 64 * 1024;

/// Returns the versions of masks that are known here.
pub fn versions() -> Vec<i32> {
    ::masks::VERSIONS.to_vec()
}

impl Place<'_> {
    fn constants(&self, function: Function, parameters: [i64; 3]) -> Constants<'_> {
        Constants { place: self.number, function: function as u8, key: self.key, parameters }
    }

    /// Returns the mask of a text, which is in the database's encoding.
    pub fn text(self, mask: &[u8], value: &[u8], length: i32) -> Result<NewText> {
        /// The longest mask that does not depend on the length of the text.
        const LONGEST_OTHER: usize = 128;
        let mask = TextMask::parse(mask).ok_or_else(|| unknown_mask(mask))?;
        let length = length.max(0) as usize;
        let is_ascii = value.is_ascii();
        let utf8: Cow<[u8]> = if is_ascii { value.into() } else { encoding::convert_to_utf8(value) };
        let constants = self.constants(Function::Text, [mask as i64, length as i64, 0]);
        Ok(KEPT.with_borrow_mut(|Kept { calls, result, ascii }| {
            let masked = calls.site(&constants).text(value, result, |result| {
                let mut shape = value;
                if !is_ascii && mask.keeps_shape() {
                    ascii.clear();
                    memory::reserve(ascii, value.len());
                    encoding::replace_beyond_ascii(value, b'a', ascii);
                    shape = ascii.as_slice();
                }
                memory::reserve(result, shape.len().max(LONGEST_OTHER));
                mask.write(self.key, &utf8, shape, length, result);
            });
            let masked = NewText::of(masked);
            for buffer in [result, ascii] {
                buffer.clear();
                if buffer.capacity() > LARGE {
                    *buffer = Vec::new();
                }
            }
            masked
        }))
    }

    /// Returns the mask of a whole number that stays near it. None is greater than `most`.
    pub fn integer_near(self, count: i64, fraction: f64, most: i64) -> Result<i64> {
        let constants = self.constants(Function::Near, [fraction.to_bits().cast_signed(), most, 0]);
        self.integer(&constants, count, || ::masks::near(self.key, count, fraction, most))
    }

    /// Returns the mask of a whole number between two.
    pub fn integer_between(self, count: i64, first: i64, last: i64) -> Result<i64> {
        let constants = self.constants(Function::Between, [first, last, 0]);
        self.integer(&constants, count, || Some(::masks::between(self.key, count, first, last)))
    }

    /// Returns the mask of a number that has at most so many decimals.
    pub fn numeric_near(self, stored: &[u8], decimals: i32, fraction: f64, most: i64) -> Result<NewNumeric> {
        match counted(stored, decimals)? {
            Counted::Count(count) => numeric_of(self.integer_near(count, fraction, most)?, decimals),
            Counted::NotANumber => Ok(NewNumeric::of(stored)),
        }
    }

    /// Returns the mask of a number that has at most so many decimals; `first` and `last` are counted in the last of these.
    pub fn numeric_between(self, stored: &[u8], decimals: i32, first: i64, last: i64) -> Result<NewNumeric> {
        match counted(stored, decimals)? {
            Counted::Count(count) => numeric_of(self.integer_between(count, first, last)?, decimals),
            Counted::NotANumber => numeric_of(first, decimals),
        }
    }

    /// Returns the mask of a day that stays near it.
    pub fn date_near(self, date: i32, days: i32) -> Result<i32> {
        let constants = self.constants(Function::DateNear, [days.into(), 0, 0]);
        self.day(&constants, date, || ::masks::date_near(self.key, date, days))
    }

    /// Returns the mask of a day between two.
    pub fn date_between(self, date: i32, first: i32, last: i32) -> Result<i32> {
        let constants = self.constants(Function::DateBetween, [first.into(), last.into(), 0]);
        self.day(&constants, date, || ::masks::date_between(self.key, date, first, last))
    }

    /// Returns the mask of a timestamp that stays near it.
    pub fn timestamp_near(self, timestamp: i64, days: i32) -> Result<i64> {
        let constants = self.constants(Function::TimestampNear, [days.into(), 0, 0]);
        self.integer(&constants, timestamp, || ::masks::timestamp_near(self.key, timestamp, days))
    }

    /// Returns the beginning of a day between two.
    pub fn timestamp_between(self, timestamp: i64, first: i32, last: i32) -> Result<i64> {
        let constants = self.constants(Function::TimestampBetween, [first.into(), last.into(), 0]);
        self.integer(&constants, timestamp, || ::masks::timestamp_between(self.key, timestamp, first, last))
    }

    fn day(self, constants: &Constants, date: i32, compute: impl FnOnce() -> Option<i32>) -> Result<i32> {
        let day = self.integer(constants, date.into(), || compute().map(i64::from))?;
        i32::try_from(day).map_err(|_| no_mask())
    }

    fn integer(self, constants: &Constants, value: i64, compute: impl FnOnce() -> Option<i64>) -> Result<i64> {
        let compute = || compute().ok_or_else(no_mask);
        KEPT.with_borrow_mut(|kept| kept.calls.site(constants).integer(value, compute))
    }
}

/// Returns a text without the spaces at its end. A space is one in all encodings of databases.
pub fn without_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().rev().take_while(|byte| **byte == b' ').count();
    &text[..text.len() - spaces]
}

/// Returns the mask of a UUID.
pub fn uuid(key: &[u8], value: &[u8; 16]) -> [u8; 16] {
    ::masks::uuid(key, value)
}

/// Returns the number that a mask makes of a value.
pub fn hash(key: &[u8], mask: &[u8], value: &[u8]) -> Result<i64> {
    match mask {
        b"hash" => Ok(::masks::hash(key, "hash", value)),
        b"number" => Ok(::masks::hash(key, "number", value)),
        _ => Err(unknown_mask(mask)),
    }
}

fn counted(stored: &[u8], decimals: i32) -> Result<Counted> {
    ::masks::count_in(stored, decimals).ok_or_else(|| {
        Error::new(
            PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            format!("a number has more digits than 18, or more decimals than {decimals}"),
        )
    })
}

fn numeric_of(count: i64, decimals: i32) -> Result<NewNumeric> {
    KEPT.with_borrow_mut(|Kept { result, .. }| {
        result.clear();
        ::masks::write_count(count, decimals, result).ok_or_else(no_mask)?;
        Ok(NewNumeric::of(result))
    })
}

#[cold]
fn unknown_mask(name: &[u8]) -> Error {
    let name: String = String::from_utf8_lossy(name).chars().take(60).collect();
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("mask \"{name}\" not recognized"))
}

#[cold]
fn no_mask() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "no value is within the bounds of a mask")
}
