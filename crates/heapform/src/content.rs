//! What the values of a type look like inside.

use crate::{array, compression, json_container};

/// The content of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Scalar(Scalar),
    Array {
        /// The type of the elements, which an array names.
        element: u32,
        length: i16,
        alignment: u8,
        scalar: Scalar,
    },
}

/// The content of a value that is no array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// Every sequence of bytes is a value.
    Any,
    Bool,
    Date,
    Timestamp,
    Time,
    TimeWithZone,
    /// UTF-8 with so many characters at most.
    Text {
        limit: Option<u32>,
    },
    Json,
    Jsonb,
    Numeric,
    Inet,
    Cidr,
    /// So many bits, or at most so many.
    Bits {
        length: Option<u32>,
        limit: Option<u32>,
    },
}

/// The valid range of dates and timestamps, as in `datatype/timestamp.h`.
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_145_031_949;
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;
/// Offsets from UTC are smaller, in seconds.
const ZONE_END: i32 = 16 * 3600;

const OUT_OF_RANGE: &str = "a date or time is out of range";

impl Scalar {
    /// Checks a value of a type of fixed length, whose length is right.
    #[inline]
    pub(crate) fn check_fixed(self, value: &[u8]) -> Result<(), &'static str> {
        let is_sound = match self {
            Self::Any => return Ok(()),
            Self::Bool => {
                return if value.first().is_some_and(|byte| *byte <= 1) { Ok(()) } else { Err("a boolean is neither") };
            }
            Self::Date => leading::<4>(value)
                .map(i32::from_le_bytes)
                .is_some_and(|days| (DATE_MIN..DATE_END).contains(&days) || matches!(days, i32::MIN | i32::MAX)),
            Self::Timestamp => leading::<8>(value).map(i64::from_le_bytes).is_some_and(|time| {
                (TIMESTAMP_MIN..TIMESTAMP_END).contains(&time) || matches!(time, i64::MIN | i64::MAX)
            }),
            Self::Time => is_time(value),
            Self::TimeWithZone => {
                let zone = value.get(8..).and_then(leading::<4>).map(i32::from_le_bytes);
                is_time(value) && zone.is_some_and(|zone| zone.unsigned_abs() < ZONE_END as u32)
            }
            _ => false,
        };
        if is_sound { Ok(()) } else { Err(OUT_OF_RANGE) }
    }
}

fn is_time(value: &[u8]) -> bool {
    leading::<8>(value).map(i64::from_le_bytes).is_some_and(|time| (0..=MICROSECONDS_PER_DAY).contains(&time))
}

pub(crate) fn leading<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk::<N>().copied()
}

/// The means to look into values.
#[derive(Default)]
pub(crate) struct Inside {
    /// What a compressed value was.
    plain: Vec<u8>,
    /// Containers of a document that are still to be checked.
    containers: Vec<json_container::Range>,
}

/// A buffer of more bytes is freed after the value that needed it.
const KEPT_BYTES: usize = 1 << 20;

impl Inside {
    /// Checks what follows the length of a value.
    #[inline]
    pub(crate) fn check(&mut self, content: Content, bytes: &[u8]) -> Result<(), &'static str> {
        match content {
            Content::Scalar(scalar) => self.check_scalar(scalar, bytes),
            Content::Array { element, length, alignment, scalar } => {
                array::check(bytes, element, length, alignment, |value| match length {
                    -1 => self.check_scalar(scalar, value),
                    _ => scalar.check_fixed(value),
                })
            }
        }
    }

    #[inline]
    fn check_scalar(&mut self, scalar: Scalar, bytes: &[u8]) -> Result<(), &'static str> {
        match scalar {
            Scalar::Any => Ok(()),
            Scalar::Text { limit } => check_text(bytes, limit),
            Scalar::Numeric => check_numeric(bytes),
            // The server reads documents of json as texts, with its parser.
            Scalar::Json => check_text(bytes, None),
            Scalar::Jsonb => json_container::check(bytes, &mut self.containers),
            Scalar::Inet => check_address(bytes).map(drop),
            Scalar::Cidr => check_network(bytes),
            Scalar::Bits { length, limit } => check_bits(bytes, length, limit),
            fixed => fixed.check_fixed(bytes),
        }
    }

    /// Checks a compressed value: it is decompressed for that. `info` is the word behind its length.
    #[cold]
    pub(crate) fn check_compressed(
        &mut self,
        content: Content,
        info: u32,
        compressed: &[u8],
    ) -> Result<(), &'static str> {
        let mut plain = std::mem::take(&mut self.plain);
        let outcome = compression::decompress(info, compressed, &mut plain).and_then(|()| self.check(content, &plain));
        if plain.capacity() <= KEPT_BYTES {
            self.plain = plain;
        }
        outcome
    }
}

#[inline]
fn check_text(bytes: &[u8], limit: Option<u32>) -> Result<(), &'static str> {
    let is_ascii = is_ascii_text(bytes);
    if !is_ascii && (std::str::from_utf8(bytes).is_err() || bytes.contains(&0)) {
        return Err("a text is not UTF-8");
    }
    if let Some(limit) = limit
        && bytes.len() > limit as usize
        && (is_ascii || bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count() > limit as usize)
    {
        return Err("a text is longer than its type allows");
    }
    Ok(())
}

/// Returns whether the bytes are a text that a jsonb document may hold.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    check_text(bytes, None).is_ok()
}

/// Returns whether all bytes are ASCII characters other than NUL. It looks at eight bytes at once: most texts are
/// ASCII, and most bytes that travel are texts.
#[inline]
pub fn is_ascii_text(bytes: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut bad = 0;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        // The high bit of a byte is set in the difference where the byte is zero.
        bad |= (word | word.wrapping_sub(LOW)) & HIGH;
    }
    // Exact for bytes below 0x80, and any other one counts as not ASCII anyway.
    bad == 0 && rest.iter().all(|byte| (1..0x80).contains(byte))
}

/// Checks a number as `numeric.c` stores it: a word that tells the form, in the long form the weight, and groups of four
/// decimal digits.
#[inline]
pub(crate) fn check_numeric(bytes: &[u8]) -> Result<(), &'static str> {
    const FORM: u16 = 0xc000;
    const SHORT: u16 = 0x8000;
    const SPECIAL: u16 = 0xc000;
    const NAN: u16 = 0xc000;
    const INFINITE: u16 = 0xd000;
    const NEGATIVE_INFINITE: u16 = 0xf000;
    /// More groups than the greatest weight and the greatest scale have together.
    const MOST_GROUPS: usize = 1 << 16;
    let header = u16::from_le_bytes(leading::<2>(bytes).ok_or("a number is cut off")?);
    let digits = match header & FORM {
        SPECIAL => {
            let is_known = matches!(header, NAN | INFINITE | NEGATIVE_INFINITE) && bytes.len() == 2;
            return if is_known { Ok(()) } else { Err("a number is of no known kind") };
        }
        SHORT => &bytes[2..],
        _ => bytes.get(4..).ok_or("a number is cut off")?,
    };
    if digits.is_empty() {
        const SHORT_WEIGHT_AND_SIGN: u16 = 0x207f;
        let is_plain = if header & FORM == SHORT {
            header & SHORT_WEIGHT_AND_SIGN == 0
        } else {
            header & FORM == 0 && bytes[2..] == [0; 2]
        };
        return if is_plain { Ok(()) } else { Err("a number is a zero with a sign or a weight") };
    }
    let (groups, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || groups.len() > MOST_GROUPS {
        return Err("a number has another length");
    }
    let mut greatest = 0;
    for group in groups {
        greatest = greatest.max(u16::from_le_bytes(*group));
    }
    if greatest > 9999 {
        return Err("a number has digits that are none");
    }
    // The server strips such groups before it stores a number. Its sort by abbreviated keys would take a number with a zero
    // in front for a greater one than its comparison does.
    if groups.first() == Some(&[0; 2]) || groups.last() == Some(&[0; 2]) {
        return Err("a number begins or ends with zeros");
    }
    Ok(())
}

/// Returns whether a number that was checked is NaN or infinite.
pub(crate) fn is_special_numeric(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|byte| byte & 0xc0 == 0xc0)
}

/// Checks an address and returns how many of its bits are the network's, and its bytes.
fn check_address(bytes: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    const WRONG: &str = "a network address is none";
    let [family, bits, address @ ..] = bytes else { return Err(WRONG) };
    let expected = match family {
        2 => 4,
        3 => 16,
        _ => return Err(WRONG),
    };
    if address.len() == expected && usize::from(*bits) <= expected * 8 {
        Ok(((*bits).into(), address))
    } else {
        Err(WRONG)
    }
}

fn check_network(bytes: &[u8]) -> Result<(), &'static str> {
    let (bits, address) = check_address(bytes)?;
    let is_set = |bit: usize| address[bit / 8] & 0x80 >> (bit % 8) != 0;
    if (bits..address.len() * 8).any(is_set) { Err("a network has bits to the right of its mask") } else { Ok(()) }
}

fn check_bits(bytes: &[u8], length: Option<u32>, limit: Option<u32>) -> Result<(), &'static str> {
    const WRONG: &str = "a bit string has another length";
    let count = leading::<4>(bytes).map(i32::from_le_bytes).and_then(|count| u32::try_from(count).ok()).ok_or(WRONG)?;
    let string = &bytes[4..];
    if string.len() != count.div_ceil(8) as usize
        || length.is_some_and(|length| count != length)
        || limit.is_some_and(|limit| count > limit)
    {
        return Err(WRONG);
    }
    let unused = string.len() as u32 * 8 - count;
    match string.last() {
        Some(last) if u32::from(*last) & ((1 << unused) - 1) != 0 => Err("a bit string has bits behind its end"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scalar: Scalar, bytes: &[u8]) -> bool {
        Inside::default().check(Content::Scalar(scalar), bytes).is_ok()
    }

    #[test]
    fn texts_are_utf8_and_not_too_long() {
        let text = |limit| Scalar::Text { limit };
        assert!(check(text(None), "größe".as_bytes()) && check(text(Some(5)), "größe".as_bytes()));
        assert!(!check(text(Some(4)), "größe".as_bytes()) && !check(text(Some(4)), b"abcde"));
        assert!(!check(text(None), b"a\0b") && !check(text(None), b"\xc3") && !check(text(None), b"0123456\xff"));
        assert!(!check(text(None), b"01234567\0"));
    }

    #[test]
    fn numbers_have_groups_of_four_digits() {
        let short = |groups: &[u16]| {
            let words = [0x8000u16].into_iter().chain(groups.iter().copied());
            words.flat_map(u16::to_le_bytes).collect::<Vec<u8>>()
        };
        assert!(check(Scalar::Numeric, &short(&[])) && check(Scalar::Numeric, &short(&[9999, 1])));
        assert!(!check(Scalar::Numeric, &short(&[10_000])) && !check(Scalar::Numeric, &short(&[1])[..3]));
        assert!(check(Scalar::Numeric, &0xc000u16.to_le_bytes()) && check(Scalar::Numeric, &0xf000u16.to_le_bytes()));
        assert!(!check(Scalar::Numeric, &0xe000u16.to_le_bytes()) && !check(Scalar::Numeric, &[0, 0xc0, 0, 0]));
        // Zeros in front and behind are not stored; those between are.
        assert!(check(Scalar::Numeric, &short(&[1, 0, 0, 1])) && !check(Scalar::Numeric, &short(&[0])));
        assert!(!check(Scalar::Numeric, &short(&[0, 5])) && !check(Scalar::Numeric, &short(&[5, 0])));
        assert!(!check(Scalar::Numeric, &0xa000u16.to_le_bytes()) && !check(Scalar::Numeric, &0x8001u16.to_le_bytes()));
        assert!(!check(Scalar::Numeric, &[0, 0x40, 0, 0]) && !check(Scalar::Numeric, &[0, 0, 1, 0]));
        // The long form.
        assert!(
            check(Scalar::Numeric, &[0, 0, 0, 0]) && !check(Scalar::Numeric, &[0, 0]) && !check(Scalar::Numeric, b"")
        );
    }

    #[test]
    fn times_are_within_their_ranges() {
        assert!(check(Scalar::Date, &i32::MAX.to_le_bytes()) && check(Scalar::Date, &DATE_MIN.to_le_bytes()));
        assert!(!check(Scalar::Date, &DATE_END.to_le_bytes()));
        assert!(!check(Scalar::Timestamp, &(i64::MAX - 1).to_le_bytes()) && check(Scalar::Timestamp, &[0; 8]));
        assert!(check(Scalar::Time, &MICROSECONDS_PER_DAY.to_le_bytes()) && !check(Scalar::Time, &[0xff; 8]));
        let zone = |seconds: i32| [&[0; 8][..], &seconds.to_le_bytes()].concat();
        assert!(check(Scalar::TimeWithZone, &zone(-57_599)) && !check(Scalar::TimeWithZone, &zone(ZONE_END)));
        assert!(!check(Scalar::Bool, &[2]) && check(Scalar::Bool, &[1]));
    }

    #[test]
    fn addresses_and_bits() {
        assert!(check(Scalar::Inet, &[2, 24, 10, 0, 0, 1]) && !check(Scalar::Cidr, &[2, 24, 10, 0, 0, 1]));
        assert!(check(Scalar::Cidr, &[2, 24, 10, 0, 1, 0]) && !check(Scalar::Inet, &[2, 33, 10, 0, 0, 1]));
        assert!(!check(Scalar::Inet, &[3, 24, 10, 0, 0, 1]) && !check(Scalar::Inet, &[2]));
        let bits = |count: i32, rest: &[u8]| [&count.to_le_bytes()[..], rest].concat();
        let three = Scalar::Bits { length: Some(3), limit: None };
        assert!(
            check(three, &bits(3, &[0xe0])) && !check(three, &bits(3, &[0xf0])) && !check(three, &bits(4, &[0xf0]))
        );
        let any = Scalar::Bits { length: None, limit: None };
        assert!(check(any, &bits(0, &[])) && check(any, &bits(8, &[0xff])));
        assert!(!check(any, &bits(-1, &[])) && !check(any, &bits(i32::MAX, &[0xff])) && !check(any, &[0, 0]));
    }
}
