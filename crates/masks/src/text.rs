//! Masks of texts.

use crate::hash::{digest, hexadecimal};
use crate::names::{FIRST_NAMES, LAST_NAMES};

/// A mask whose result is a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextMask {
    Text,
    Phone,
    Email,
    Hash,
    Uuid,
    /// An address of IPv4.
    Ip,
    /// An address of IPv6.
    Ip6,
    Name,
    FirstName,
    LastName,
    Address,
}

impl TextMask {
    pub fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"text" => Self::Text,
            b"phone" => Self::Phone,
            b"email" => Self::Email,
            b"hash" => Self::Hash,
            b"uuid" => Self::Uuid,
            b"ip" => Self::Ip,
            b"ip6" => Self::Ip6,
            b"name" => Self::Name,
            b"first name" => Self::FirstName,
            b"last name" => Self::LastName,
            b"address" => Self::Address,
            _ => return None,
        })
    }

    /// The name that goes into the hash.
    fn tag(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Hash => "hash",
            Self::Uuid => "uuid",
            Self::Ip | Self::Ip6 => "ip",
            Self::Name | Self::FirstName | Self::LastName => "name",
            Self::Address => "address",
        }
    }

    /// Returns whether the result has the shape of the value.
    pub fn keeps_shape(self) -> bool {
        matches!(self, Self::Text | Self::Phone)
    }

    /// Appends the mask of a text in UTF-8. `ascii` is the text with a small letter in the place of each character beyond ASCII, for
    /// masks that keep the shape. `length` are the hexadecimal digits that are taken, or the most characters of a name or an address.
    pub fn write(self, key: &[u8], utf8: &[u8], ascii: &[u8], length: usize, result: &mut Vec<u8>) {
        const DOMAIN: &[u8] = b"@example.com";
        let start = result.len();
        let digest = digest(key, self.tag(), utf8);
        let digits = || hexadecimal(&digest);
        let last_name = LAST_NAMES[usize::from(digest[1] % 64)].as_bytes();
        match self {
            Self::Text | Self::Phone => write_shape(&digest, ascii, result),
            Self::Email => {
                let digits = digits();
                result.push(b'u');
                result.extend_from_slice(&digits[..length.min(digits.len())]);
                result.extend_from_slice(DOMAIN);
            }
            Self::Hash => {
                let digits = digits();
                result.extend_from_slice(&digits[..length.min(digits.len())]);
            }
            Self::Uuid => {
                let mut bytes = [0; 32];
                bytes[..16].copy_from_slice(&uuid_of(&digest));
                for (at, pair) in hexadecimal(&bytes).as_chunks::<2>().0[..16].iter().enumerate() {
                    if [4, 6, 8, 10].contains(&at) {
                        result.push(b'-');
                    }
                    result.extend_from_slice(pair);
                }
            }
            Self::Ip => {
                result.extend_from_slice(b"10");
                for byte in &digest[..3] {
                    result.push(b'.');
                    write_number(u32::from(*byte), result);
                }
            }
            Self::Ip6 => {
                let digits = digits();
                result.extend_from_slice(b"fd00:");
                result.extend_from_slice(&digits[..4]);
                result.push(b':');
                result.extend_from_slice(&digits[4..8]);
                result.extend_from_slice(b"::");
                result.extend_from_slice(&digits[8..12]);
            }
            Self::Name | Self::FirstName | Self::LastName => {
                if self != Self::LastName {
                    result.extend_from_slice(FIRST_NAMES[usize::from(digest[0] % 64)].as_bytes());
                }
                if self == Self::Name {
                    result.push(b' ');
                }
                if self != Self::FirstName {
                    result.extend_from_slice(last_name);
                }
                result.truncate(start.saturating_add(length));
            }
            Self::Address => {
                write_number(u32::from(digest[0]) + 1, result);
                result.push(b' ');
                result.extend_from_slice(last_name);
                result.extend_from_slice(b" Street");
                result.truncate(start.saturating_add(length));
            }
        }
    }
}

/// Appends a number of three digits at most.
fn write_number(number: u32, result: &mut Vec<u8>) {
    for (least, power) in [(100, 100), (10, 10), (0, 1)] {
        if number >= least {
            result.push(b'0' + (number / power % 10) as u8);
        }
    }
}

/// Bytes of a hash.
const LENGTH: usize = 32;

/// Appends a text of the same shape: digits become digits and letters become letters, by the lower half of a byte of the hash.
fn write_shape(digest: &[u8; LENGTH], ascii: &[u8], result: &mut Vec<u8>) {
    // There is a letter for each half but zero, and a digit for each that is less than ten.
    let halves = digest.map(|byte| if byte & 0xf == 0 { 7 } else { byte & 0xf });
    let numbers = halves.map(|half| if half < 10 { half } else { half & 7 });
    let masked = |byte: u8, half: u8, number: u8| {
        if byte.is_ascii_digit() {
            b'0' | number
        } else if byte.is_ascii_alphabetic() {
            byte & 0x60 | half
        } else {
            byte
        }
    };
    for piece in ascii.chunks(LENGTH) {
        // All bytes are worked on, so that they are at the same time.
        let mut bytes = [0; LENGTH];
        bytes[..piece.len()].copy_from_slice(piece);
        let bytes: [u8; LENGTH] = std::array::from_fn(|at| masked(bytes[at], halves[at], numbers[at]));
        result.extend_from_slice(&bytes[..piece.len()]);
    }
}

/// Appends a text of UTF-8 with a letter in the place of each character beyond ASCII.
pub fn replace_beyond_ascii(utf8: &[u8], letter: u8, result: &mut Vec<u8>) {
    // Bytes that continue a character are left out.
    result.extend(
        utf8.iter().filter(|byte| **byte & 0xc0 != 0x80).map(|byte| if byte.is_ascii() { *byte } else { letter }),
    );
}

fn uuid_of(digest: &[u8; 32]) -> [u8; 16] {
    let mut bytes: [u8; 16] = std::array::from_fn(|at| digest[at]);
    bytes[6] = 0x40 | bytes[6] & 0xf;
    bytes[8] = 0x80 | bytes[8] & 0xf;
    bytes
}

/// Returns the mask of a UUID: another one, of version 4.
pub fn uuid(key: &[u8], value: &[u8; 16]) -> [u8; 16] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(value);
    let digits = hexadecimal(&bytes);
    let mut text = [b'-'; 36];
    for (to, from) in [(0..8, 0..8), (9..13, 8..12), (14..18, 12..16), (19..23, 16..20), (24..36, 20..32)] {
        text[to].copy_from_slice(&digits[from]);
    }
    uuid_of(&digest(key, TextMask::Uuid.tag(), &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &str, text: &str, length: usize) -> String {
        let mut ascii = Vec::new();
        replace_beyond_ascii(text.as_bytes(), b'a', &mut ascii);
        let mut result = b"before".to_vec();
        TextMask::parse(mask.as_bytes()).unwrap().write(&[1; 32], text.as_bytes(), &ascii, length, &mut result);
        String::from_utf8(result).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    #[test]
    fn shapes_stay() {
        let text: String = (0..=0x7f_u8).map(char::from).collect::<String>() + "Straße, e\u{301}, \u{1f600}";
        let result = masked("text", &text, 0);
        assert_eq!(result.chars().count(), text.chars().count());
        for (before, after) in text.chars().zip(result.chars()) {
            let fits = match before {
                '0'..='9' => after.is_ascii_digit(),
                'A'..='Z' => after.is_ascii_uppercase(),
                'a'..='z' | '\u{80}'.. => after.is_ascii_lowercase(),
                _ => before == after,
            };
            assert!(fits, "{before:?} {after:?}");
        }
        assert_eq!(masked("text", "", 0), "");
        assert_ne!(masked("text", "Abc", 0), masked("phone", "Abc", 0));
    }

    #[test]
    fn lengths_are_kept() {
        assert_eq!(masked("email", "a", 16).len(), 1 + 16 + 12);
        assert_eq!(masked("hash", "a", 1000).len(), 64);
        for length in 0..30 {
            for mask in ["name", "first name", "last name", "address"] {
                let (cut, whole) = (masked(mask, "a", length), masked(mask, "a", usize::MAX));
                assert_eq!(cut, whole[..length.min(whole.len())], "{mask} {length}");
            }
        }
        let [both, first, last] = ["name", "first name", "last name"].map(|mask| masked(mask, "a", 99));
        assert_eq!(both, format!("{first} {last}"));
    }

    #[test]
    fn numbers_of_three_digits() {
        for number in 0..300 {
            let mut result = Vec::new();
            write_number(number, &mut result);
            assert_eq!(result, number.to_string().into_bytes());
        }
    }

    #[test]
    fn a_uuid_is_masked_like_its_text() {
        let value: [u8; 16] = std::array::from_fn(|at| (at * 17) as u8);
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let masked = masked("uuid", text, 36);
        let bytes = uuid(&[1; 32], &value);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(masked.replace('-', ""), digits);
        assert_eq!(masked.len(), 36);
    }
}
