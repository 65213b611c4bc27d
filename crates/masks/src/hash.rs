//! The hash that masks are made of.

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

const BLOCK: usize = 64;
const BLOCKS: usize = 2;
/// What follows the bytes in the last block: a bit, and the number of bits.
const END: usize = 1 + size_of::<u64>();

/// The state that SHA-256 begins with.
const FIRST_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Returns the SHA-256 of a key, the name of a mask and a value, one after the other.
#[inline]
pub(crate) fn digest(key: &[u8], tag: &str, value: &[u8]) -> [u8; 32] {
    let length = key.len() + tag.len() + value.len();
    if length + END > BLOCKS * BLOCK {
        return Sha256::new().chain_update(key).chain_update(tag).chain_update(value).finalize().into();
    }
    // Most values are short, and to collect bytes until a block is full would take as long as the hash.
    let mut blocks = [[0; BLOCK]; BLOCKS];
    let bytes = blocks.as_flattened_mut();
    let mut at = 0;
    for part in [key, tag.as_bytes(), value] {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes[length] = 0x80;
    let count = (length + END).div_ceil(BLOCK);
    let end = count * BLOCK;
    bytes[end - size_of::<u64>()..end].copy_from_slice(&(length as u64 * 8).to_be_bytes());
    let mut state = FIRST_STATE;
    compress256(&mut state, &blocks[..count]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Returns the hexadecimal digits of a hash.
#[inline]
pub(crate) fn hexadecimal(digest: &[u8; 32]) -> [u8; 64] {
    let mut digits = [0; 64];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = PAIRS[usize::from(*byte)];
    }
    digits
}

/// The digits of each byte.
const PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
        byte += 1;
    }
    pairs
};

/// Returns a number of a hash: `hashtextextended` of its hexadecimal digits and the seed 0.
#[inline]
pub(crate) fn number(digest: &[u8; 32]) -> i64 {
    let digits = hexadecimal(digest);
    let (words, _) = digits.as_chunks::<4>();
    let word = |at: usize| u32::from_le_bytes(words[at]);
    let first = 0x9e37_79b9_u32.wrapping_add(digits.len() as u32).wrapping_add(3_923_095);
    let (mut a, mut b, mut c) = (first, first, first);
    for at in (0..15).step_by(3) {
        a = a.wrapping_add(word(at));
        b = b.wrapping_add(word(at + 1));
        c = c.wrapping_add(word(at + 2));
        for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
            a = a.wrapping_sub(c) ^ c.rotate_left(first);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(second);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(third);
            b = b.wrapping_add(a);
        }
    }
    a = a.wrapping_add(word(15));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (u64::from(b) << 32 | u64::from(c)).cast_signed()
}

/// Returns a number that a value has under a mask.
pub fn hash(key: &[u8], tag: &str, value: &[u8]) -> i64 {
    number(&digest(key, tag, value))
}

/// Returns such a number from zero on.
#[inline]
pub(crate) fn natural(key: &[u8], tag: &str, value: &[u8]) -> i64 {
    number(&digest(key, tag, value)) & i64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_have_the_hash_of_the_library() {
        let bytes: Vec<u8> = (0..=255).collect();
        for key in [0, 1, 32, 64] {
            for length in 0..200 {
                let whole = [&bytes[..key], b"text", &bytes[..length]].concat();
                let expected: [u8; 32] = Sha256::digest(&whole).into();
                assert_eq!(digest(&bytes[..key], "text", &bytes[..length]), expected, "{key} {length}");
            }
        }
    }

    #[test]
    fn digits_are_in_order() {
        let digest: [u8; 32] = std::array::from_fn(|at| (at as u8).wrapping_mul(0x1d));
        let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hexadecimal(&digest).as_slice(), expected.as_bytes());
    }
}
