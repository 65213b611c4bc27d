//! Numbers of the type `numeric`, as the server stores them: groups of four decimal digits after a header.

/// The kinds of headers, and their fields, as in `numeric.c`.
const KIND: u16 = 0xc000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xc000;
const NOT_A_NUMBER: u16 = 0xc000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_SCALE_MAX: u16 = 0x3f;
const SHORT_SCALE_SHIFT: u16 = 7;
const SHORT_WEIGHT_SIGN: u16 = 0x0040;
const SHORT_WEIGHT_MASK: u16 = 0x003f;
const SCALE_MASK: u16 = 0x3fff;

const DIGITS: i32 = 4;
const BASE: i128 = 10_000;

/// More groups of digits than numbers of 64 bits have.
const MOST_GROUPS: usize = 8;

/// A number, counted in its last decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Count(i64),
    NotANumber,
}

/// Reads a number with at most so many decimals; negative ones are zeros before the point. `None` for other numbers, and for those
/// whose count has more than 64 bits.
#[inline]
pub fn count_in(stored: &[u8], decimals: i32) -> Option<Counted> {
    let (head, rest) = stored.split_first_chunk::<2>()?;
    let header = u16::from_ne_bytes(*head);
    let (is_negative, weight, groups) = match header & KIND {
        SPECIAL => return (header == NOT_A_NUMBER).then_some(Counted::NotANumber),
        SHORT => {
            let weight = i32::from(header & SHORT_WEIGHT_MASK);
            let below = if header & SHORT_WEIGHT_SIGN == 0 { 0 } else { i32::from(SHORT_WEIGHT_SIGN) };
            (header & SHORT_NEGATIVE != 0, weight - below, rest)
        }
        kind => {
            let (weight, groups) = rest.split_first_chunk::<2>()?;
            (kind == NEGATIVE, i32::from(i16::from_ne_bytes(*weight)), groups)
        }
    };
    let (groups, odd) = groups.as_chunks::<2>();
    if groups.len() > MOST_GROUPS || !odd.is_empty() {
        return None;
    }
    let size = groups.iter().try_fold(0_i128, |size, group| {
        let group = i128::from(u16::from_ne_bytes(*group));
        (group < BASE).then_some(size * BASE + group)
    })?;
    if size == 0 {
        return Some(Counted::Count(0));
    }
    // The size counts the last group's last digit.
    let exponent = ((weight + 1 - groups.len() as i32) * DIGITS).saturating_add(decimals);
    let count = match exponent {
        0 => size,
        1..=18 => size.checked_mul(10_i128.pow(exponent.unsigned_abs()))?,
        -36..0 => {
            let unit = 10_i128.pow(exponent.unsigned_abs());
            if size % unit != 0 {
                return None;
            }
            size / unit
        }
        _ => return None,
    };
    i64::try_from(if is_negative { -count } else { count }).ok().map(Counted::Count)
}

/// Appends the stored form of a number that is counted in its last decimal, as the server's own arithmetic would leave it. `None` where
/// `decimals` are none that the type has.
#[inline]
pub fn write_count(count: i64, decimals: i32, stored: &mut Vec<u8>) -> Option<()> {
    const MOST_DECIMALS: u32 = 1000;
    /// Those of a count of 64 bits, moved by three digits.
    const GROUPS: usize = 6;
    if decimals.unsigned_abs() > MOST_DECIMALS {
        return None;
    }
    let scale = decimals.max(0) as u16;
    // Groups begin at the point.
    let moved = (-decimals).rem_euclid(DIGITS);
    let below = (-decimals - moved) / DIGITS;
    let mut rest = u128::from(count.unsigned_abs()) * 10_u128.pow(moved.unsigned_abs());
    let mut groups = [0_u16; GROUPS];
    let mut first = GROUPS;
    while rest > 0 {
        first = first.checked_sub(1)?;
        groups[first] = match u64::try_from(rest) {
            Ok(small) => {
                rest = u128::from(small / BASE as u64);
                (small % BASE as u64) as u16
            }
            Err(_) => {
                let group = (rest % BASE as u128) as u16;
                rest /= BASE as u128;
                group
            }
        };
    }
    let groups = &groups[first..];
    let weight = match groups.len() as i32 {
        0 => 0,
        length => length - 1 + below,
    };
    let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
    let is_negative = count < 0;
    if scale <= SHORT_SCALE_MAX && (-64..=63).contains(&weight) {
        let mut header = SHORT | scale << SHORT_SCALE_SHIFT | weight as u16 & SHORT_WEIGHT_MASK;
        if is_negative {
            header |= SHORT_NEGATIVE;
        }
        if weight < 0 {
            header |= SHORT_WEIGHT_SIGN;
        }
        stored.extend_from_slice(&header.to_ne_bytes());
    } else {
        let header = if is_negative { NEGATIVE } else { 0 } | scale & SCALE_MASK;
        stored.extend_from_slice(&header.to_ne_bytes());
        stored.extend_from_slice(&(weight as i16).to_ne_bytes());
    }
    for group in &groups[..groups.len() - trailing] {
        stored.extend_from_slice(&group.to_ne_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(count: i64, decimals: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_count(count, decimals, &mut bytes).unwrap();
        bytes
    }

    fn words(bytes: &[u8]) -> Vec<u16> {
        bytes.as_chunks::<2>().0.iter().map(|word| u16::from_ne_bytes(*word)).collect()
    }

    #[test]
    fn numbers_come_back() {
        let counts = [0, 1, 9, 10, 99, 100, 9_999, 10_000, 10_001, 123_456_789, 999_999_999_999_999_999, i64::MAX];
        for decimals in [-1000, -300, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 18, 63, 64, 300, 1000] {
            for count in counts.into_iter().flat_map(|count| [count, -count]) {
                assert_eq!(
                    count_in(&stored(count, decimals), decimals),
                    Some(Counted::Count(count)),
                    "{count} {decimals}"
                );
            }
        }
    }

    #[test]
    fn the_form_is_that_of_the_server() {
        // 1234567.89, -0.05, 1200, 0.00 and 100 with two zeros before its point.
        assert_eq!(words(&stored(123_456_789, 2)), [0x8101, 123, 4567, 8900]);
        assert_eq!(words(&stored(-5, 2)), [0x8000 | 0x2000 | 2 << 7 | 0x7f, 500]);
        assert_eq!(words(&stored(1200, 0)), [0x8000, 1200]);
        assert_eq!(words(&stored(10_000, 0)), [0x8001, 1]);
        assert_eq!(words(&stored(0, 2)), [0x8100]);
        assert_eq!(words(&stored(1, -2)), [0x8000, 100]);
        assert_eq!(words(&stored(1, 64)), [64, (-16_i16).cast_unsigned(), 1]);
    }

    #[test]
    fn other_numbers_are_none() {
        let of = |words: &[u16]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        assert_eq!(count_in(&of(&[0xc000]), 2), Some(Counted::NotANumber));
        assert_eq!(count_in(&of(&[0xd000]), 2), None);
        assert_eq!(count_in(&of(&[0xf000]), 2), None);
        // More decimals; a group that is none; too many groups; half a group; a great exponent; too great.
        assert_eq!(count_in(&of(&[0x8180 | 0x7f, 5555]), 2), None);
        assert_eq!(count_in(&of(&[0x8000, 10_000]), 2), None);
        assert_eq!(count_in(&of(&[0x8000; 10]), 2), None);
        assert_eq!(count_in(&[0, 0x80, 1], 2), None);
        assert_eq!(count_in(&of(&[0x0000, 0x7fff, 1]), 2), None);
        assert_eq!(count_in(&of(&[0x0000, 0x8000, 1]), 2), None);
        assert_eq!(count_in(&of(&[0x8000 | 5, 1]), 2), None);
        assert_eq!(count_in(&[], 2), None);
        assert_eq!(count_in(&of(&[0x0000]), 2), None);
        assert_eq!(count_in(&of(&[0x8000 | 5, 1]), i32::MAX), None);
        for decimals in [1001, -1001, i32::MAX, i32::MIN] {
            assert_eq!(write_count(1, decimals, &mut Vec::new()), None);
        }
    }
}
