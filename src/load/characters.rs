//! Texts as a database in UTF-8 takes them.

use crate::local::memory;
use heapform::is_ascii_text;

/// Returns whether a UTF-8 database accepts the bytes as a text.
#[inline]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    is_ascii_text(bytes) || (std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0))
}

/// Returns whether a UTF-8 database accepts the bytes as a text of at most so many characters.
#[inline]
pub(super) fn is_text_within(bytes: &[u8], limit: Option<u32>) -> bool {
    let fits = |limit: u32| {
        // The number of bytes bounds the number of characters.
        bytes.len() <= limit as usize || characters(bytes) <= limit as usize
    };
    limit.is_none_or(fits) && is_text(bytes)
}

/// Has `padded` hold a text and as many spaces as it is short of so many characters. Returns whether it is one that a UTF-8 database
/// accepts, and not longer.
#[inline]
pub(super) fn pad(bytes: &[u8], length: usize, padded: &mut Vec<u8>) -> bool {
    let Some(missing) = length.checked_sub(characters(bytes)).filter(|_| is_text(bytes)) else { return false };
    memory::reuse(padded, bytes.len() + missing);
    padded.extend_from_slice(bytes);
    padded.resize(bytes.len() + missing, b' ');
    true
}

/// Returns the number of characters of a text in UTF-8.
#[inline]
fn characters(utf8: &[u8]) -> usize {
    /// What the bytes that continue a character begin with.
    const CONTINUATION: u8 = 0x80;
    utf8.iter().filter(|byte| **byte & 0xc0 != CONTINUATION).count()
}
