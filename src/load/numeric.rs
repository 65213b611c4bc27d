//! The binary form of `numeric`, straight to its stored form. Unusual values are left to the server's own function.

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
    /// Reads a type modifier; `None` when there is none.
    pub(super) fn from_typmod(typmod: i32) -> Option<Self> {
        let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
        // The scale is a signed number of 11 bits.
        Some(Self { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 1024) - 1024 })
    }
}

/// Returns the stored header, and the digit groups as they travel. `None` for every value that is not plainly a
/// canonical, finite one in the short form and within the limits.
#[inline(always)]
pub(super) fn decode(wire: &[u8], limits: Option<Limits>) -> Option<(u16, &[u8])> {
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
        return Some((SHORT | scale << SHORT_SCALE_SHIFT, digits));
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
    // Constants, because a division by anything else takes longer than all the rest.
    let cut_off = match hidden {
        ..=0 => 0,
        1 => last % 10,
        2 => last % 100,
        3 => last % 1000,
        _ => return None,
    };
    if cut_off != 0 {
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
    Some((header, digits))
}

/// Appends the digit groups of `magnitude * 10^-fraction_digits`, big-endian, and returns the header for a value that
/// shows `shown_digits` behind its point. `None` for what the short form cannot hold.
#[inline]
pub(super) fn encode(
    magnitude: u128,
    fraction_digits: u32,
    shown_digits: u32,
    negative: bool,
    digits: &mut Vec<u8>,
) -> Option<u16> {
    const MOST_GROUPS: usize = 10;
    if shown_digits > u32::from(SHORT_SCALE_MAX) {
        return None;
    }
    let mut header = SHORT | (shown_digits as u16) << SHORT_SCALE_SHIFT;
    if magnitude == 0 {
        return Some(header);
    }
    // Groups begin at the point.
    let padding = fraction_digits.next_multiple_of(4) - fraction_digits;
    let mut groups = [0u16; MOST_GROUPS];
    let mut count = 0;
    let padded = magnitude.checked_mul(10u128.pow(padding))?;
    let mut rest = padded;
    while rest > u128::from(u64::MAX) {
        *groups.get_mut(count)? = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let mut rest = rest as u64;
    while rest > 0 {
        *groups.get_mut(count)? = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let weight = count as i32 - 1 - (fraction_digits + padding) as i32 / DIGITS_PER_GROUP;
    let trailing = groups[..count].iter().take_while(|group| **group == 0).count();
    for group in groups[trailing..count].iter().rev() {
        digits.extend_from_slice(&group.to_be_bytes());
    }
    header |= weight as u16 & SHORT_WEIGHT_MASK;
    if negative {
        header |= SHORT_NEGATIVE;
    }
    if weight < 0 {
        header |= SHORT_WEIGHT_NEGATIVE;
    }
    Some(header)
}
