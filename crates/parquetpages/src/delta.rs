//! Lengths of byte arrays in the DELTA encodings. The decoders of the `parquet` crate take memory for as many as a page
//! says that it has, and for what shared prefixes expand to.

use crate::error::{Error, Result, malformed, too_large};

/// What the decoders keep of a length.
pub(crate) const LENGTH_BYTES: u64 = 4;

/// Checks the number of values of a DELTA_LENGTH_BYTE_ARRAY page, and returns it.
pub(crate) fn check_lengths(data: &[u8], values: usize) -> Result<u64> {
    Lengths::new(data, values).map(|lengths| lengths.count as u64)
}

/// Byte arrays that begin as the one before does.
#[derive(Debug, PartialEq)]
pub(crate) struct Prefixed {
    pub count: u64,
    /// Bytes of the longest one when it is whole.
    pub longest: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Checks the number of values of a DELTA_BYTE_ARRAY page, and how many bytes they have when each is whole.
pub(crate) fn check_prefixed(data: &[u8], values: usize, limit: usize) -> Result<Prefixed> {
    let (mut bytes, mut longest) = (0_usize, 0);
    let mut add = |length: i32| match usize::try_from(length) {
        Ok(length) => {
            bytes = bytes.saturating_add(length);
            longest = longest.max(length);
            if bytes > limit {
                return too_large(format!("its values have more than {limit} bytes"));
            }
            Ok(())
        }
        Err(_) => malformed(format!("a value has {length} bytes")),
    };
    let prefixes = Lengths::new(data, values)?;
    let count = prefixes.count;
    let end = prefixes.each(&mut add)?;
    let suffixes = Lengths::new(&data[end..], values)?;
    if suffixes.count != count {
        return malformed(format!("{count} prefixes and {} suffixes", suffixes.count));
    }
    suffixes.each(&mut add)?;
    // The longest prefix and the longest suffix, which need not be of one value.
    Ok(Prefixed { count: count as u64, longest: 2 * longest as u64, bytes: bytes as u64 })
}

/// DELTA_BINARY_PACKED numbers of 32 bits.
struct Lengths<'a> {
    data: &'a [u8],
    position: usize,
    count: usize,
    first: i32,
    blocks: usize,
    block_values: usize,
}

fn short() -> Error {
    Error::Malformed("the lengths of its values are not complete".into())
}

impl<'a> Lengths<'a> {
    fn new(data: &'a [u8], values: usize) -> Result<Self> {
        let mut lengths = Lengths { data, position: 0, count: 0, first: 0, blocks: 0, block_values: 0 };
        let block = lengths.varint()?;
        let blocks = lengths.varint()?;
        let count = lengths.varint()?;
        lengths.first = lengths.number()?;
        if count > values as u64 {
            return malformed(format!("{count} byte arrays in a page of {values} values"));
        }
        if block == 0
            || block > i32::MAX as u64
            || blocks == 0
            || !block.is_multiple_of(blocks)
            || !(block / blocks).is_multiple_of(32)
        {
            return malformed(format!("the lengths of its values are in {blocks} blocks of {block}"));
        }
        lengths.count = count as usize;
        lengths.blocks = blocks as usize;
        lengths.block_values = (block / blocks) as usize;
        Ok(lengths)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.data.get(self.position).ok_or_else(short)?;
            self.position += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        malformed("a length has more than 64 bits")
    }

    fn number(&mut self) -> Result<i32> {
        let value = self.varint()?;
        let value = (value >> 1) as i64 ^ -((value & 1) as i64);
        i32::try_from(value).map_err(|_| Error::Malformed(format!("a length of {value}")))
    }

    /// Calls with each number, and returns where they end.
    fn each(mut self, f: &mut impl FnMut(i32) -> Result<()>) -> Result<usize> {
        if self.count == 0 {
            return Ok(self.position);
        }
        let mut value = self.first;
        f(value)?;
        let mut left = self.count - 1;
        while left > 0 {
            let smallest = self.number()?;
            let widths = self.data.get(self.position..self.position + self.blocks).ok_or_else(short)?;
            self.position += self.blocks;
            for &width in widths {
                if left == 0 {
                    // Blocks without values have a width, but no bytes.
                    break;
                }
                if width > 32 {
                    return malformed(format!("a length has {width} bits"));
                }
                let size = usize::from(width) * (self.block_values / 8);
                let block = self.data.get(self.position..self.position + size).ok_or_else(short)?;
                self.position += size;
                let taken = left.min(self.block_values);
                for index in 0..taken {
                    value = value.wrapping_add(smallest).wrapping_add(bits(block, usize::from(width), index) as i32);
                    f(value)?;
                }
                left -= taken;
            }
        }
        Ok(self.position)
    }
}

/// The number of so many bits, the first of which is the lowest of its byte.
pub(crate) fn bits(data: &[u8], width: usize, index: usize) -> u32 {
    let start = index * width;
    let mut eight = [0; 8];
    let rest = &data[(start / 8).min(data.len())..];
    let length = rest.len().min(8);
    eight[..length].copy_from_slice(&rest[..length]);
    ((u64::from_le_bytes(eight) >> (start % 8)) & ((1 << width) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn header(block: u64, blocks: u64, count: u64, first: i64) -> Vec<u8> {
        [varint(block), varint(blocks), varint(count), varint(((first << 1) ^ (first >> 63)) as u64)].concat()
    }

    /// Lengths that are all the same.
    fn constant(count: u64, length: i64) -> Vec<u8> {
        let mut data = header(128, 4, count, length);
        for _ in 0..count.saturating_sub(1).div_ceil(128) {
            data.extend([0; 5]);
        }
        data
    }

    #[test]
    fn counts_are_those_of_the_page() {
        assert!(check_lengths(&constant(10, 3), 10).is_ok());
        assert!(check_lengths(&constant(10, 3), 9).is_err());
        assert!(check_lengths(&header(128, 4, 1 << 40, 0), 10).is_err());
        assert!(check_lengths(&header(128, 4, u64::MAX, 0), 10).is_err());
        assert!(check_lengths(&header(0, 4, 2, 0), 10).is_err());
        assert!(check_lengths(&header(128, 0, 2, 0), 10).is_err());
        assert!(check_lengths(&[0x80; 30], 10).is_err());
        assert!(check_lengths(&[], 10).is_err());
    }

    #[test]
    fn shared_prefixes_are_counted() {
        let page = |prefix, suffix| [constant(1000, prefix), constant(1000, suffix)].concat();
        assert!(check_prefixed(&page(100, 1), 1000, 101_000).is_ok());
        assert!(matches!(check_prefixed(&page(100, 1), 1000, 100_999), Err(Error::TooLarge(_))));
        assert!(check_prefixed(&page(-1, 1), 1000, 101_000).is_err());
        assert!(check_prefixed(&page(100, 1), 999, 101_000).is_err());
        assert!(check_prefixed(&[constant(1000, 1), constant(999, 1)].concat(), 1000, 101_000).is_err());
        assert!(check_prefixed(&constant(1000, 1), 1000, 101_000).is_err());
    }

    #[test]
    fn numbers_of_odd_widths() {
        // 0, 1, 2 … of 5 bits each.
        let mut packed = vec![0_u8; 20];
        for index in 0..32 {
            for bit in 0..5 {
                packed[(index * 5 + bit) / 8] |= ((index >> bit & 1) as u8) << ((index * 5 + bit) % 8);
            }
        }
        assert!((0..32).all(|index| bits(&packed, 5, index) == index as u32));
        // As deltas to the one before.
        let mut data = header(128, 4, 33, 7);
        data.extend([0, 5, 0, 0, 0]);
        data.extend(&packed);
        let mut seen = Vec::new();
        let end = Lengths::new(&data, 33).unwrap().each(&mut |length| {
            seen.push(length);
            Ok(())
        });
        assert_eq!((end.unwrap(), seen.len(), seen[0], seen[32]), (data.len(), 33, 7, 7 + (0..32).sum::<i32>()));
    }
}
