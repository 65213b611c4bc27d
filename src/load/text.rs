//! Texts of plain values, as COPY writes them by default. Every other text is left to the server's own function.

use super::numeric::{self, Limits};

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
const MICROSECONDS_PER_DAY: i64 = 86_400 * MICROSECONDS_PER_SECOND;

/// More digits could be too many for a number of 64 bits.
const MOST_DIGITS: usize = 18;

/// Reads a number of digits alone.
#[inline]
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > MOST_DIGITS {
        return None;
    }
    let mut number = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(byte - b'0');
    }
    Some(number)
}

/// Reads an integer.
#[inline]
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', number @ ..] => digits(number).map(|number| -number),
        number => digits(number),
    }
}

/// Reads a number with a point or an exponent that is not too large or too small for its type.
#[inline]
pub(super) fn float<T: std::str::FromStr + Into<f64> + Copy>(text: &[u8]) -> Option<T> {
    // Not the words for infinity.
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e')) {
        return None;
    }
    let value: T = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_zero = text == b"0";
    // A number of the smaller type below this is not a normal one.
    (is_zero || value.into().is_finite() && value.into().abs() >= f64::from(f32::MIN_POSITIVE)).then_some(value)
}

/// Reads a day, `2020-12-31`, and returns the days since 2000-01-01.
#[inline]
pub(super) fn date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..])?);
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap_year),
        _ => return None,
    };
    if year == 0 || !(1..=days).contains(&day) {
        return None;
    }
    // Years that begin in March end with the day that some lack.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    const FIRST_DAY: i64 = 730_425;
    i32::try_from(days - FIRST_DAY).ok()
}

/// Reads a time stamp, `2020-12-31 23:59:59.999999`, with `+00` behind it where a zone is wanted. Returns the
/// microseconds since 2000-01-01.
#[inline]
pub(super) fn timestamp(text: &[u8], with_zone: bool) -> Option<i64> {
    const LEAST: usize = 19;
    if text.len() < LEAST || text[10] != b' ' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let days = i64::from(date(&text[..10])?);
    let (hours, minutes, seconds) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let mut rest = &text[LEAST..];
    let mut microseconds = 0;
    if let [b'.', behind @ ..] = rest {
        let length = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        const MOST: usize = 6;
        if length > MOST {
            return None;
        }
        microseconds = digits(&behind[..length])? * 10_i64.pow((MOST - length) as u32);
        rest = &behind[length..];
    }
    let offset = match rest {
        [] if !with_zone => 0,
        [sign @ (b'+' | b'-'), hours @ ..] if with_zone => {
            let (hours, minutes) = match hours {
                [_, _] => (digits(hours)?, 0),
                [_, _, b':', _, _] => (digits(&hours[..2])?, digits(&hours[3..])?),
                _ => return None,
            };
            if hours > 15 || minutes > 59 {
                return None;
            }
            let minutes = hours * 60 + minutes;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = (hours * 60 + minutes - offset) * 60 + seconds;
    Some(days * MICROSECONDS_PER_DAY + seconds * MICROSECONDS_PER_SECOND + microseconds)
}

/// Reads a UUID in its usual form.
#[inline]
pub(super) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    let mut value = [0; 16];
    let mut position = 0;
    for byte in &mut value {
        if matches!(position, 8 | 13 | 18 | 23) {
            if text[position] != b'-' {
                return None;
            }
            position += 1;
        }
        let digit = |at: usize| char::from(text[at]).to_digit(16);
        *byte = (digit(position)? * 16 + digit(position + 1)?) as u8;
        position += 2;
    }
    Some(value)
}

/// Reads a number of digits with or without a point within the limits. Appends its digit groups and returns the header.
#[inline]
pub(super) fn numeric(text: &[u8], limits: Option<Limits>, groups: &mut Vec<u8>) -> Option<u16> {
    let (negative, number) = match text {
        [b'-', number @ ..] => (true, number),
        number => (false, number),
    };
    let (whole, fraction) = match memchr::memchr(b'.', number) {
        Some(point) => (&number[..point], &number[point + 1..]),
        None => (number, &[][..]),
    };
    // `.5` and `5.` are not what a server writes.
    if whole.is_empty() || fraction.is_empty() != (whole.len() == number.len()) {
        return None;
    }
    if whole.len() + fraction.len() > 2 * MOST_DIGITS {
        return None;
    }
    let part = |text: &[u8]| if text.is_empty() { Some(0) } else { digits(text) };
    let (whole_value, fraction_value) = (part(whole)?, part(fraction)?);
    if let Some(limits) = limits {
        let whole_digits = if whole_value == 0 { 0 } else { whole_value.ilog10() as i32 + 1 };
        if limits.scale != fraction.len() as i32 || whole_digits > limits.precision - limits.scale {
            return None;
        }
    }
    let shown = fraction.len() as u32;
    let magnitude =
        u128::from(whole_value.unsigned_abs()) * 10_u128.pow(shown) + u128::from(fraction_value.unsigned_abs());
    numeric::encode(magnitude, shown, shown, negative, groups)
}
