//! Lengths of byte arrays in the DELTA encodings. The decoders of the `parquet` crate take memory for as many as a page
//! says that it has, and for what shared prefixes expand to; and a prefix that is longer than the value before they cut to
//! what is there.

use crate::error::{Error, Result, malformed, too_large};
use crate::memory;

/// The bits that a difference of two numbers may have: so many as they, or one and a sign more where a writer reckoned with 64.
pub(crate) const NARROW: u8 = 32;
pub(crate) const WIDE: u8 = 34;

/// What the decoders keep of a length.
pub(crate) const LENGTH_BYTES: u64 = 4;

/// Checks the number of values of a DELTA_LENGTH_BYTE_ARRAY page, and returns it.
pub(crate) fn check_lengths(data: &[u8], values: usize) -> Result<u64> {
    Numbers::new(data, values, NARROW).map(|lengths| lengths.count as u64)
}

/// Whether what is in one of the DELTA encodings says that it has no value.
pub(crate) fn is_empty(data: &[u8]) -> bool {
    let mut header = Numbers::at_the_start(data, NARROW);
    matches!((header.varint(), header.varint(), header.varint()), (Ok(_), Ok(_), Ok(0)))
}

/// The values of a DELTA_BYTE_ARRAY page, each of which begins with bytes of the one before.
#[derive(Debug)]
pub(crate) struct Prefixed<'a> {
    /// How many bytes each value has of the one before, and how many of its own.
    prefixes: Vec<i32>,
    suffixes: Vec<i32>,
    /// The bytes that are the values' own, and what may follow them.
    data: &'a [u8],
    /// Bytes of the longest value when it is whole, at most.
    pub longest: u64,
    /// Bytes of all values when they are whole.
    pub bytes: u64,
}

impl<'a> Prefixed<'a> {
    /// Checks the number of values, that each begins with what the one before has, and how many bytes they have when each is
    /// whole. `before` is what comes before the first: nothing, or the last value of the page from which this one goes on.
    pub fn new(data: &'a [u8], values: usize, before: &[u8], limit: usize) -> Result<Self> {
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
        let lengths = Numbers::new(data, values, NARROW)?;
        let count = lengths.count;
        let mut prefixes = memory::room(count)?;
        let end = lengths.each(&mut |length| {
            prefixes.push(length);
            add(length)
        })?;
        let rest = &data[end..];
        let lengths = Numbers::new(rest, values, NARROW)?;
        if lengths.count != count {
            return malformed(format!("{count} prefixes and {} suffixes", lengths.count));
        }
        let mut suffixes = memory::room(count)?;
        let mut whole = before.len();
        let end = lengths.each(&mut |length| {
            add(length)?;
            let prefix = prefixes[suffixes.len()];
            if prefix as usize > whole {
                return malformed(format!(
                    "a value begins with {prefix} bytes of the one before, of which there are {whole}"
                ));
            }
            whole = prefix as usize + length as usize;
            suffixes.push(length);
            Ok(())
        })?;
        // The longest prefix and the longest suffix, which need not be of one value.
        let (longest, bytes) = (2 * longest as u64, bytes as u64);
        Ok(Prefixed { prefixes, suffixes, data: &rest[end..], longest, bytes })
    }

    pub fn count(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether the first value begins with bytes of another page's.
    pub fn goes_on(&self) -> bool {
        self.prefixes.first().is_some_and(|prefix| *prefix > 0)
    }

    /// Calls with each value, whole, and returns the last one: `before` if there is none.
    pub fn each(&self, before: Vec<u8>, f: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<Vec<u8>> {
        let (mut value, mut rest) = (before, self.data);
        for (prefix, suffix) in self.prefixes.iter().zip(&self.suffixes) {
            let Some((own, others)) = rest.split_at_checked(*suffix as usize) else {
                return malformed("its values are not complete");
            };
            rest = others;
            value.truncate(*prefix as usize);
            if value.try_reserve(own.len()).is_err() {
                return Err(memory::none_for(value.len() + own.len()));
            }
            value.extend_from_slice(own);
            f(&value)?;
        }
        Ok(value)
    }
}

/// DELTA_BINARY_PACKED numbers of 32 bits.
pub(crate) struct Numbers<'a> {
    data: &'a [u8],
    position: usize,
    /// Of a difference.
    most_bits: u8,
    count: usize,
    first: i64,
    blocks: usize,
    block_values: usize,
}

fn short() -> Error {
    Error::Malformed("the numbers of its values are not complete".into())
}

impl<'a> Numbers<'a> {
    fn at_the_start(data: &'a [u8], most_bits: u8) -> Self {
        Numbers { data, position: 0, most_bits, count: 0, first: 0, blocks: 0, block_values: 0 }
    }

    pub fn new(data: &'a [u8], values: usize, most_bits: u8) -> Result<Self> {
        let mut numbers = Numbers::at_the_start(data, most_bits);
        let block = numbers.varint()?;
        let blocks = numbers.varint()?;
        let count = numbers.varint()?;
        numbers.first = numbers.number()?;
        if count > values as u64 {
            return malformed(format!("{count} numbers in a page of {values} values"));
        }
        if block == 0
            || block > i32::MAX as u64
            || blocks == 0
            || !block.is_multiple_of(blocks)
            || !(block / blocks).is_multiple_of(32)
        {
            return malformed(format!("the numbers of its values are in {blocks} blocks of {block}"));
        }
        numbers.count = count as usize;
        numbers.blocks = blocks as usize;
        numbers.block_values = (block / blocks) as usize;
        Ok(numbers)
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
        malformed("a number has more than 64 bits")
    }

    fn number(&mut self) -> Result<i64> {
        let value = self.varint()?;
        let value = (value >> 1) as i64 ^ -((value & 1) as i64);
        // The first bit is the sign.
        match value >> (self.most_bits - 1) {
            0 | -1 => Ok(value),
            _ => malformed(format!("a number of {value}")),
        }
    }

    /// The blocks of differences that follow: the smallest one, and the bits of each of its parts.
    fn block(&mut self) -> Result<(i64, &'a [u8])> {
        let smallest = self.number()?;
        let widths = self.data.get(self.position..self.position + self.blocks).ok_or_else(short)?;
        self.position += self.blocks;
        Ok((smallest, widths))
    }

    /// Differences of so many bits.
    fn part(&mut self, width: u8) -> Result<&'a [u8]> {
        if width > self.most_bits {
            return malformed(format!("a number has {width} bits"));
        }
        let size = usize::from(width) * (self.block_values / 8);
        let part = self.data.get(self.position..self.position + size).ok_or_else(short)?;
        self.position += size;
        Ok(part)
    }

    /// Whether some of the differences have more bits than the numbers, as far as they are sound.
    pub fn are_wide(&self) -> bool {
        let mut ahead = Numbers { ..*self };
        let mut left = self.count.saturating_sub(1);
        while left > 0 {
            let Ok((smallest, widths)) = ahead.block() else { return false };
            if i32::try_from(smallest).is_err() {
                return true;
            }
            for &width in widths {
                if left == 0 {
                    break;
                }
                if width > NARROW {
                    return true;
                }
                if ahead.part(width).is_err() {
                    return false;
                }
                left = left.saturating_sub(self.block_values);
            }
        }
        false
    }

    /// Calls with each number, and returns where they end.
    pub fn each(mut self, f: &mut impl FnMut(i32) -> Result<()>) -> Result<usize> {
        if self.count == 0 {
            return Ok(self.position);
        }
        let mut value = self.first;
        f(value as i32)?;
        let mut left = self.count - 1;
        while left > 0 {
            let (smallest, widths) = self.block()?;
            for &width in widths {
                if left == 0 {
                    // Blocks without values have a width, but no bytes.
                    break;
                }
                let part = self.part(width)?;
                let taken = left.min(self.block_values);
                for index in 0..taken {
                    // What does not fit into 32 bits is cut, by whoever wrote it, too.
                    value = value.wrapping_add(smallest).wrapping_add(bits(part, usize::from(width), index) as i64);
                    f(value as i32)?;
                }
                left -= taken;
            }
        }
        Ok(self.position)
    }
}

/// The number of so many bits, the first of which is the lowest of its byte.
pub(crate) fn bits(data: &[u8], width: usize, index: usize) -> u64 {
    let start = index * width;
    let mut eight = [0; 8];
    let rest = &data[(start / 8).min(data.len())..];
    let length = rest.len().min(8);
    eight[..length].copy_from_slice(&rest[..length]);
    (u64::from_le_bytes(eight) >> (start % 8)) & ((1 << width) - 1)
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

    /// 0, 1, 2 …
    fn rising(count: u64) -> Vec<u8> {
        let mut data = header(128, 4, count, 0);
        for _ in 0..count.saturating_sub(1).div_ceil(128) {
            data.extend([2, 0, 0, 0, 0]);
        }
        data
    }

    fn check_prefixed(data: &[u8], values: usize, limit: usize) -> Result<Prefixed<'_>> {
        Prefixed::new(data, values, b"", limit)
    }

    #[test]
    fn shared_prefixes_are_counted() {
        let page = |prefixes, suffix| [prefixes, constant(100, suffix)].concat();
        let bytes = (0..100).sum::<usize>() + 100;
        let sound = page(rising(100), 1);
        let prefixed = check_prefixed(&sound, 100, bytes).unwrap();
        assert_eq!((prefixed.count(), prefixed.longest, prefixed.bytes), (100, 198, bytes as u64));
        assert!(matches!(check_prefixed(&sound, 100, bytes - 1), Err(Error::TooLarge(_))));
        assert!(check_prefixed(&page(constant(100, -1), 1), 100, bytes).is_err());
        assert!(check_prefixed(&sound, 99, bytes).is_err());
        assert!(check_prefixed(&[constant(100, 0), constant(99, 1)].concat(), 100, bytes).is_err());
        assert!(check_prefixed(&constant(100, 0), 100, bytes).is_err());
    }

    #[test]
    fn a_prefix_is_that_of_the_value_before() {
        let check =
            |prefixes: Vec<u8>, suffix| check_prefixed(&[prefixes, constant(40, suffix)].concat(), 40, 10_000).is_ok();
        for (prefixes, suffix, is_sound) in
            [(rising(40), 1, true), (rising(40), 0, false), (constant(40, 0), 5, true), (constant(40, 1), 5, false)]
        {
            assert_eq!(check(prefixes, suffix), is_sound);
        }
    }

    #[test]
    fn a_page_that_goes_on_has_the_last_value_of_the_one_before() {
        let page = [constant(3, 2), constant(3, 1), b"xyz".to_vec()].concat();
        assert!(Prefixed::new(&page, 3, b"a", 100).is_err());
        let prefixed = Prefixed::new(&page, 3, b"abc", 100).unwrap();
        assert!(prefixed.goes_on());
        let mut seen = Vec::new();
        let last = prefixed.each(b"abc".to_vec(), &mut |value| {
            seen.push(value.to_vec());
            Ok(())
        });
        assert_eq!(seen, [b"abx", b"aby", b"abz"]);
        assert_eq!(last.unwrap(), b"abz");
        let cut = Prefixed::new(&page[..page.len() - 1], 3, b"abc", 100).unwrap();
        assert!(cut.each(b"abc".to_vec(), &mut |_| Ok(())).is_err());
        assert!(!Prefixed::new(&[constant(3, 0), constant(3, 1)].concat(), 3, b"abc", 100).unwrap().goes_on());
    }

    #[test]
    fn no_values() {
        assert!(is_empty(&header(128, 4, 0, 0)));
        assert!(is_empty(&[0, 0, 0]));
        assert!(!is_empty(&header(128, 4, 1, 0)));
        assert!(!is_empty(&[]));
        assert!(!is_empty(&[0, 0]));
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
        assert!((0..32).all(|index| bits(&packed, 5, index) == index as u64));
        // As deltas to the one before.
        let mut data = header(128, 4, 33, 7);
        data.extend([0, 5, 0, 0, 0]);
        data.extend(&packed);
        let mut seen = Vec::new();
        let end = Numbers::new(&data, 33, NARROW).unwrap().each(&mut |length| {
            seen.push(length);
            Ok(())
        });
        assert_eq!((end.unwrap(), seen.len(), seen[0], seen[32]), (data.len(), 33, 7, 7 + (0..32).sum::<i32>()));
        assert!(!Numbers::new(&data, 33, WIDE).unwrap().are_wide());
    }

    #[test]
    fn differences_of_more_bits_than_the_numbers() {
        // From the smallest number to the largest one and back.
        let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
        let mut data = header(128, 4, 3, low);
        data.extend(varint(((low - high) << 1 ^ -1) as u64));
        data.extend([34, 0, 0, 0]);
        let mut packed = [0; 34 * 32 / 8];
        packed[..8].copy_from_slice(&((2 * (high - low)) as u64).to_le_bytes());
        data.extend(packed);
        assert!(Numbers::new(&data, 3, NARROW).unwrap().each(&mut |_| Ok(())).is_err());
        let numbers = Numbers::new(&data, 3, WIDE).unwrap();
        assert!(numbers.are_wide());
        let mut seen = Vec::new();
        numbers
            .each(&mut |number| {
                seen.push(number);
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [i32::MIN, i32::MAX, i32::MIN]);
    }
}
