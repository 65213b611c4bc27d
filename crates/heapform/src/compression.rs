//! Compressed values, as `toast_compression.c` makes them.

const RAW_SIZE: u32 = 0x3fff_ffff;
/// The server allocates the length word with what comes out, and no more than `MaxAllocSize` (`utils/memutils.h`).
const MOST_BYTES: usize = 0x3fff_ffff - 4;
const PGLZ: u32 = 0;
const LZ4: u32 = 1;
/// No method makes more bytes out of one.
const MOST_EXPANSION: usize = 256;
const DAMAGED: &str = "a compressed value is damaged";

/// Decompresses a value into `plain`. `info` tells the size of what comes out, and the method.
///
/// # Errors
/// The value is not one that the server decompresses to that size, or there is no memory for it.
pub(crate) fn decompress(info: u32, compressed: &[u8], plain: &mut Vec<u8>) -> Result<(), &'static str> {
    let size = (info & RAW_SIZE) as usize;
    if size > MOST_BYTES {
        return Err("a compressed value is longer than the server can hold");
    }
    if size > compressed.len().saturating_mul(MOST_EXPANSION) {
        return Err(DAMAGED);
    }
    plain.clear();
    plain.try_reserve(size).map_err(|_| "out of memory")?;
    let outcome = match info >> 30 {
        PGLZ => pglz(compressed, size, plain),
        LZ4 => lz4(compressed, size, plain),
        _ => return Err("a value is compressed by an unknown method"),
    };
    outcome.filter(|()| plain.len() == size).ok_or(DAMAGED)
}

/// Appends bytes that were written `distance` bytes before, which may be those that it writes.
fn repeat(plain: &mut Vec<u8>, distance: usize, length: usize) -> Option<()> {
    let start = plain.len().checked_sub(distance).filter(|_| distance > 0)?;
    let end = plain.len() + length;
    // What is repeated grows with each turn: a gigabyte that repeats one byte is no gigabyte of turns.
    while plain.len() < end {
        let there = (plain.len() - start).min(end - plain.len());
        plain.extend_from_within(start..start + there);
    }
    Some(())
}

/// The server's own method (`pg_lzcompress.c`): a byte whose bits tell which of the next items are bytes themselves, and
/// which repeat earlier ones.
fn pglz(compressed: &[u8], size: usize, plain: &mut Vec<u8>) -> Option<()> {
    const LONGEST_IN_TAG: usize = 18;
    let mut input = compressed.iter().copied();
    while input.len() > 0 && plain.len() < size {
        let control = input.next()?;
        for bit in 0..8 {
            if input.len() == 0 || plain.len() == size {
                break;
            }
            if control >> bit & 1 == 0 {
                plain.push(input.next()?);
                continue;
            }
            let (first, second) = (usize::from(input.next()?), usize::from(input.next()?));
            let mut length = (first & 0x0f) + 3;
            if length == LONGEST_IN_TAG {
                length += usize::from(input.next()?);
            }
            let distance = (first & 0xf0) << 4 | second;
            // The server cuts the last one off, too.
            repeat(plain, distance, length.min(size - plain.len()))?;
        }
    }
    (input.len() == 0).then_some(())
}

/// The block format of LZ4, with the rules for the end of a block.
fn lz4(compressed: &[u8], size: usize, plain: &mut Vec<u8>) -> Option<()> {
    /// The end of a block is not repeated from before: so many bytes, and a repetition begins so many before the end.
    const LAST_LITERALS: usize = 5;
    const LAST_MATCH: usize = 12;
    let mut input = compressed;
    loop {
        let (&token, rest) = input.split_first()?;
        input = rest;
        let literals = length(usize::from(token >> 4), &mut input)?;
        let (bytes, rest) = input.split_at_checked(literals)?;
        if bytes.len() > size - plain.len() {
            return None;
        }
        plain.extend_from_slice(bytes);
        input = rest;
        if input.is_empty() {
            return (token & 0x0f == 0).then_some(());
        }
        let (distance, rest) = input.split_first_chunk::<2>()?;
        input = rest;
        let repeated = length(usize::from(token & 0x0f), &mut input)?.checked_add(4)?;
        let left = size - plain.len();
        if left < LAST_MATCH || repeated > left - LAST_LITERALS {
            return None;
        }
        repeat(plain, u16::from_le_bytes(*distance).into(), repeated)?;
    }
}

/// Reads the bytes that continue a length of 15.
fn length(first: usize, input: &mut &[u8]) -> Option<usize> {
    let mut length = first;
    if first == 15 {
        loop {
            let (&more, rest) = input.split_first()?;
            *input = rest;
            length = length.checked_add(more.into())?;
            if more != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(method: u32, size: usize, compressed: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut plain = Vec::new();
        decompress(method << 30 | size as u32, compressed, &mut plain).map(|()| plain)
    }

    #[test]
    fn the_servers_own_method() {
        // Three bytes, then twelve that repeat them.
        let compressed = [0b1000, b'a', b'b', b'c', 9, 3];
        assert_eq!(plain(PGLZ, 15, &compressed).unwrap(), b"abcabcabcabcabc");
        assert_eq!(plain(PGLZ, 14, &compressed).unwrap(), b"abcabcabcabcab");
        assert_eq!(plain(PGLZ, 16, &compressed), Err(DAMAGED));
        assert_eq!(plain(PGLZ, 3, &compressed), Err(DAMAGED));
        assert_eq!(plain(PGLZ, 15, &[0b1000, b'a', b'b', b'c', 9, 4]), Err(DAMAGED));
        assert_eq!(plain(PGLZ, 15, &[0b1000, b'a', b'b', b'c', 9, 0]), Err(DAMAGED));
    }

    #[test]
    fn blocks_of_lz4() {
        // One byte that is repeated 14 times, and five at the end.
        let compressed = [0x1a, b'a', 1, 0, 0x50, b'b', b'c', b'd', b'e', b'f'];
        assert_eq!(plain(LZ4, 20, &compressed).unwrap(), b"aaaaaaaaaaaaaaabcdef");
        assert_eq!(plain(LZ4, 19, &compressed), Err(DAMAGED));
        assert_eq!(plain(LZ4, 21, &compressed), Err(DAMAGED));
        assert_eq!(plain(LZ4, 20, &compressed[..9]), Err(DAMAGED));
        // It does not end with bytes of its own.
        assert_eq!(plain(LZ4, 15, &[0x1a, b'a', 1, 0]), Err(DAMAGED));
    }

    #[test]
    fn sizes_that_nothing_compresses_to_take_no_memory() {
        assert_eq!(plain(PGLZ, MOST_BYTES, &[0; 100]), Err(DAMAGED));
        assert_eq!(plain(LZ4, MOST_BYTES + 1, &[0; 100]), Err("a compressed value is longer than the server can hold"));
        assert_eq!(plain(2, 1, &[0; 100]), Err("a value is compressed by an unknown method"));
    }
}
