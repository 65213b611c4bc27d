//! Decimals into `numeric`.

use super::super::numeric::{self, Limits};
use super::target::{Target, lossy};
use crate::error::{Error, Result};
use crate::order::OnLossy;
use crate::storage::tuple::Value;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, Int32Type, Int64Type};
use arrow_buffer::NullBuffer;
use pgrx::prelude::*;
use std::fmt::Write;

/// A decimal without its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unscaled<'a> {
    Small(i128),
    /// More than 16 bytes in two's complement, big-endian; the first one is no mere repetition of the sign.
    Big(&'a [u8]),
}

impl<'a> Unscaled<'a> {
    pub(super) fn of_bytes(bytes: &'a [u8]) -> Self {
        match small(bytes) {
            Some(value) => Self::Small(value),
            None => Self::Big(significant(bytes)),
        }
    }
}

/// Reads a number of up to 16 bytes, or of more bytes that only repeat the sign.
#[inline]
fn small(bytes: &[u8]) -> Option<i128> {
    const BYTES: usize = size_of::<i128>();
    let bytes = if bytes.len() > BYTES { significant(bytes) } else { bytes };
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    let mut extended = [sign; BYTES];
    extended.get_mut(BYTES.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(extended))
}

/// Removes leading bytes that repeat the sign.
fn significant(bytes: &[u8]) -> &[u8] {
    let repeated = bytes
        .windows(2)
        .take_while(|pair| (pair[0] == 0 && pair[1] < 0x80) || (pair[0] == 0xff && pair[1] >= 0x80))
        .count();
    &bytes[repeated..]
}

/// A whole column of short decimals, converted at once.
pub(super) struct Decimals {
    headers: Vec<u16>,
    /// Where each row's digit groups end in `digits`.
    ends: Vec<u32>,
    /// Groups of four digits, big-endian.
    digits: Vec<u8>,
}

/// The number of digits that fit into the numbers of the fast path, with those that fill up a group.
const FAST_DIGITS: u32 = 34;
const LARGEST_FAST: u128 = 10u128.pow(FAST_DIGITS);

impl Decimals {
    /// Returns `None` when some value needs the slow path, be it only for its error.
    pub(super) fn convert(array: &dyn Array, scale: i32, limits: Option<Limits>) -> Option<Self> {
        let nulls = array.nulls();
        if let Some(array) = array.as_primitive_opt::<Int64Type>() {
            return Self::of(array.values().iter().map(|value| Some(i128::from(*value))), nulls, scale, limits);
        }
        if let Some(array) = array.as_primitive_opt::<Int32Type>() {
            return Self::of(array.values().iter().map(|value| Some(i128::from(*value))), nulls, scale, limits);
        }
        if let Some(array) = array.as_fixed_size_binary_opt() {
            return Self::of((0..array.len()).map(|row| small(array.value(row))), nulls, scale, limits);
        }
        let array = array.as_byte_view_opt::<BinaryViewType>()?;
        Self::of((0..array.len()).map(|row| small(array.value(row))), nulls, scale, limits)
    }

    fn of(
        values: impl ExactSizeIterator<Item = Option<i128>>,
        nulls: Option<&NullBuffer>,
        scale: i32,
        limits: Option<Limits>,
    ) -> Option<Self> {
        let scale = u32::try_from(scale).ok().filter(|scale| *scale <= FAST_DIGITS)?;
        let kept = match limits {
            Some(limits) => u32::try_from(limits.scale).ok()?,
            None => scale,
        };
        let mut column = Self {
            headers: Vec::with_capacity(values.len()),
            ends: Vec::with_capacity(values.len()),
            digits: Vec::with_capacity(values.len() * 8),
        };
        // Digits that are cut off must be zeros.
        let cut = 10u128.pow(scale.saturating_sub(kept));
        let largest = match limits {
            Some(limits) => 10u128.checked_pow(u32::try_from(limits.precision).ok()?)?,
            None => u128::MAX,
        };
        for (row, value) in values.enumerate() {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                let value = value?;
                let mut magnitude = value.unsigned_abs();
                if magnitude >= LARGEST_FAST || (cut > 1 && magnitude % cut != 0) {
                    return None;
                }
                magnitude /= cut;
                let filled =
                    if kept > scale { magnitude.checked_mul(10u128.checked_pow(kept - scale)?)? } else { magnitude };
                if filled >= largest {
                    return None;
                }
                column.headers.push(numeric::encode(magnitude, scale.min(kept), kept, value < 0, &mut column.digits)?);
            } else {
                column.headers.push(0);
            }
            column.ends.push(u32::try_from(column.digits.len()).ok()?);
        }
        Some(column)
    }

    #[inline]
    pub(super) fn value(&self, row: usize) -> Value<'_> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        Value::Numeric { header: self.headers[row], digits: &self.digits[start..self.ends[row] as usize] }
    }
}

/// Converts any number as a text, through the type's input function.
pub(super) fn store_text(
    mut text: String,
    limits: Option<Limits>,
    target: &Target,
    on_lossy: OnLossy,
) -> Result<Value<'static>> {
    if let Some(limits) = limits
        && fraction_digits(&text) > limits.scale
    {
        if on_lossy == OnLossy::Error {
            return Err(lossy("the number has more digits behind the point than the column"));
        }
        // The input function would round to the nearest.
        text = cut(&text, limits.scale);
    }
    Ok(Value::Datum(target.input(text.as_bytes())?))
}

/// Returns the number without the digits that the scale does not keep.
fn cut(text: &str, scale: i32) -> String {
    let (mantissa, exponent) = parts(text);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let kept = whole.len() as i32 + exponent + scale;
    let digits: String = whole.chars().chain(fraction.chars()).take(usize::try_from(kept).unwrap_or(0)).collect();
    if digits.is_empty() { "0".to_owned() } else { format!("{sign}{digits}e{}", -scale) }
}

fn parts(text: &str) -> (&str, i32) {
    match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(0)),
        None => (text, 0),
    }
}

/// Digits that a scale must keep, without trailing zeros; negative for whole numbers that end in zeros.
fn fraction_digits(text: &str) -> i32 {
    let (mantissa, exponent) = parts(text);
    if !mantissa.bytes().any(|byte| byte.is_ascii_digit() && byte != b'0') {
        return i32::MIN;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = if fraction.is_empty() {
        -((whole.len() - whole.trim_end_matches('0').len()) as i32)
    } else {
        fraction.len() as i32
    };
    digits - exponent
}

/// The most digits that a `numeric` has before and behind its point (`numeric.c`).
const MOST_WHOLE_DIGITS: usize = 131_072;
const MOST_FRACTION_DIGITS: usize = 16_383;

fn overflow() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

/// Appends the number as `numeric` writes it.
///
/// # Errors
/// `numeric` cannot hold the number.
pub(super) fn write_decimal(unscaled: Unscaled<'_>, scale: i32, out: &mut String) -> Result<()> {
    let (negative, digits) = decimal_digits(unscaled)?;
    let zeros = usize::try_from(-i64::from(scale)).unwrap_or(0);
    let fraction = usize::try_from(scale).unwrap_or(0);
    if fraction > MOST_FRACTION_DIGITS || zeros > MOST_WHOLE_DIGITS {
        return Err(overflow());
    }
    let is_zero = digits == "0";
    if negative {
        out.push('-');
    }
    if fraction == 0 {
        if !is_zero && digits.len() + zeros > MOST_WHOLE_DIGITS {
            return Err(overflow());
        }
        out.push_str(&digits);
        if !is_zero {
            out.extend(std::iter::repeat_n('0', zeros));
        }
        return Ok(());
    }
    let whole = digits.len().saturating_sub(fraction);
    if whole > MOST_WHOLE_DIGITS {
        return Err(overflow());
    }
    out.push_str(if whole == 0 { "0" } else { &digits[..whole] });
    out.push('.');
    out.extend(std::iter::repeat_n('0', fraction.saturating_sub(digits.len())));
    out.push_str(&digits[whole..]);
    Ok(())
}

/// Returns the most bytes of a decimal's text.
pub(super) fn longest_text(unscaled: Unscaled<'_>, scale: i32) -> usize {
    const MOST: usize = MOST_WHOLE_DIGITS + MOST_FRACTION_DIGITS + 8;
    let digits = match unscaled {
        Unscaled::Small(_) => 40,
        // A byte has less than three digits.
        Unscaled::Big(bytes) => bytes.len().saturating_mul(3),
    };
    digits.saturating_add(scale.unsigned_abs() as usize).saturating_add(8).min(MOST)
}

/// Returns the sign, and the digits of the magnitude.
fn decimal_digits(unscaled: Unscaled<'_>) -> Result<(bool, String)> {
    match unscaled {
        Unscaled::Small(value) => Ok((value < 0, value.unsigned_abs().to_string())),
        Unscaled::Big(bytes) => {
            // Three digits take ten bits at most.
            const MOST_BYTES: usize = (MOST_WHOLE_DIGITS + MOST_FRACTION_DIGITS) * 10 / 3 / 8;
            if bytes.len() > MOST_BYTES {
                return Err(overflow());
            }
            let negative = bytes.first().is_some_and(|first| *first >= 0x80);
            Ok((negative, magnitude_digits(bytes, negative)))
        }
    }
}

fn magnitude_digits(bytes: &[u8], negative: bool) -> String {
    const GROUP: u64 = 1_000_000_000;
    const GROUP_DIGITS: usize = 9;
    // The least significant first.
    let mut limbs: Vec<u32> = bytes
        .rchunks(4)
        .map(|chunk| {
            let mut extended = [if negative { 0xff } else { 0 }; 4];
            extended[4 - chunk.len()..].copy_from_slice(chunk);
            u32::from_be_bytes(extended)
        })
        .collect();
    if negative {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(carry.into());
        }
        if carry {
            limbs.push(1);
        }
    }
    let mut groups = Vec::new();
    while let Some(top) = limbs.last() {
        if *top == 0 {
            limbs.pop();
            continue;
        }
        let mut remainder = 0u64;
        for limb in limbs.iter_mut().rev() {
            let dividend = remainder << 32 | u64::from(*limb);
            *limb = (dividend / GROUP) as u32;
            remainder = dividend % GROUP;
        }
        groups.push(remainder);
    }
    let mut digits = String::with_capacity(groups.len() * GROUP_DIGITS);
    for group in groups.iter().rev() {
        // Writing to a string does not fail.
        let _ = if digits.is_empty() { write!(digits, "{group}") } else { write!(digits, "{group:09}") };
    }
    if digits.is_empty() {
        digits.push('0');
    }
    digits
}

/// Returns the number without its fraction, and whether it had none; `None` for a number beyond every integer type.
pub(super) fn whole_part(unscaled: Unscaled<'_>, scale: i32) -> Result<(Option<i128>, bool)> {
    let mut text = String::new();
    write_decimal(unscaled, scale, &mut text)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    Ok((whole.parse().ok(), fraction.bytes().all(|digit| digit == b'0')))
}
