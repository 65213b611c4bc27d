//! Decimals into `numeric`.

use super::super::numeric::{self, Limits};
use super::super::tuple::Value;
use super::scalar::OnLossy;
use super::target::{Target, lossy};
use crate::error::Result;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_buffer::i256;

/// A whole column of short decimals, converted at once.
pub(super) struct Decimals {
    headers: Vec<u16>,
    /// Where each row's digit groups end in `digits`.
    ends: Vec<u32>,
    /// Groups of four digits, big-endian.
    digits: Vec<u8>,
}

/// Digits that fit into the fast way's numbers, with those that fill up a group.
const FAST_DIGITS: u32 = 34;
const LARGEST_FAST: u128 = 10u128.pow(FAST_DIGITS);

impl Decimals {
    /// `None` when some value needs the long way, be it only for its error.
    pub(super) fn convert(array: &dyn Array, scale: i8, limits: Option<Limits>) -> Option<Self> {
        let array = array.as_primitive_opt::<Decimal128Type>()?;
        let scale = u32::try_from(scale).ok().filter(|scale| *scale <= FAST_DIGITS)?;
        let kept = match limits {
            Some(limits) => u32::try_from(limits.scale).ok()?,
            None => scale,
        };
        let mut column = Self {
            headers: Vec::with_capacity(array.len()),
            ends: Vec::with_capacity(array.len()),
            digits: Vec::with_capacity(array.len() * 8),
        };
        // Digits that are cut off must be zeros.
        let cut = 10u128.pow(scale.saturating_sub(kept));
        let largest = match limits {
            Some(limits) => 10u128.checked_pow(u32::try_from(limits.precision).ok()?)?,
            None => u128::MAX,
        };
        for (row, &value) in array.values().iter().enumerate() {
            if array.is_valid(row) {
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

/// Any decimal, through the type's input function.
pub(super) fn store(
    unscaled: i256,
    scale: i8,
    limits: Option<Limits>,
    target: &Target,
    on_lossy: OnLossy,
) -> Result<Value<'static>> {
    let mut text = String::new();
    super::atom::decimal_text(unscaled, scale, &mut text);
    store_text(text, limits, target, on_lossy)
}

/// The same of a number's text, with or without an exponent.
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

/// The number without the digits that the scale does not keep.
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

/// The number without its fraction, and whether it had none.
pub(super) fn whole_part(unscaled: i256, scale: i8) -> (i256, bool) {
    let power = |exponent: u8| i256::from_i128(10).checked_pow(exponent.into());
    if scale <= 0 {
        let scaled = power(scale.unsigned_abs()).and_then(|power| unscaled.checked_mul(power));
        return (scaled.unwrap_or(i256::MAX), true);
    }
    match power(scale as u8) {
        Some(power) => (unscaled / power, unscaled % power == i256::ZERO),
        None => (i256::ZERO, unscaled == i256::ZERO),
    }
}
