//! The binary form of `numeric`, straight to its stored form. What is unusual is left to the server's own function.

use super::tuple::Value;

const SIGN_NEGATIVE: u16 = 0x4000;
const DIGITS_PER_GROUP: i32 = 4;
/// `NUMERIC_SHORT` and the fields beside it, as in `numeric.c`.
const SHORT: u16 = 0x8000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_SCALE_MAX: u16 = 0x3f;
const SHORT_SCALE_SHIFT: u16 = 7;
const SHORT_WEIGHT_NEGATIVE: u16 = 0x0040;
const SHORT_WEIGHT_MASK: u16 = 0x003f;

/// The limits of `numeric(precision, scale)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) precision: i32,
    pub(super) scale: i32,
}

impl Limits {
    /// From a type modifier; `None` when there is none.
    pub(super) fn from_typmod(typmod: i32) -> Option<Self> {
        let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
        // The scale is a signed number of 11 bits.
        Some(Self { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 1024) - 1024 })
    }
}

/// `None` for every value that is not plainly a canonical, finite one in the short form and within the limits.
#[inline]
pub(super) fn decode<'a>(wire: &'a [u8], limits: Option<Limits>) -> Option<Value<'a>> {
    let (head, digits) = wire.split_first_chunk::<8>()?;
    let count = u16::from_be_bytes([head[0], head[1]]) as usize;
    let weight = i32::from(i16::from_be_bytes([head[2], head[3]]));
    let sign = u16::from_be_bytes([head[4], head[5]]);
    let scale = u16::from_be_bytes([head[6], head[7]]);
    if digits.len() != count * 2 || sign & !SIGN_NEGATIVE != 0 || scale > SHORT_SCALE_MAX {
        return None;
    }
    if let Some(limits) = limits
        && limits.scale != i32::from(scale)
    {
        return None;
    }
    if count == 0 {
        // Zero has weight 0 and no sign.
        return Some(Value::Numeric { header: SHORT | scale << SHORT_SCALE_SHIFT, digits });
    }
    if !(-64..=63).contains(&weight) {
        return None;
    }
    let group = |position: usize| u16::from_be_bytes([digits[position * 2], digits[position * 2 + 1]]);
    let (first, last) = (group(0), group(count - 1));
    if first == 0 || last == 0 || (0..count).any(|position| group(position) > 9999) {
        return None;
    }
    // Digits behind the scale would have to be cut off.
    let fraction_groups = count as i32 - 1 - weight;
    let scale_digits = i32::from(scale);
    let hidden = fraction_groups * DIGITS_PER_GROUP - scale_digits;
    if hidden >= DIGITS_PER_GROUP || (hidden > 0 && last % 10u16.pow(hidden as u32) != 0) {
        return None;
    }
    if let Some(limits) = limits {
        let leading_zeros = DIGITS_PER_GROUP - 1 - first.ilog10() as i32;
        if (weight + 1) * DIGITS_PER_GROUP - leading_zeros > limits.precision - limits.scale {
            return None;
        }
    }
    let mut header = SHORT | scale << SHORT_SCALE_SHIFT | (weight as u16 & SHORT_WEIGHT_MASK);
    if sign == SIGN_NEGATIVE {
        header |= SHORT_NEGATIVE;
    }
    if weight < 0 {
        header |= SHORT_WEIGHT_NEGATIVE;
    }
    Some(Value::Numeric { header, digits })
}
