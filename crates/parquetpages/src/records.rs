//! How long the rows of a repeated column are. A run of repetition levels takes a few bytes, however many values it
//! adds to one row; and a row is read whole.

use crate::delta::bits;
use crate::error::{Error, Result, too_large};

/// The row at the end of the pages seen so far, which the next page may continue.
#[derive(Default)]
pub(crate) struct Records {
    values: usize,
    /// Rows that were begun.
    rows: u64,
    /// Of the page that is followed.
    longest: usize,
}

fn short() -> Error {
    Error::Malformed("its repetition levels are not complete".into())
}

/// The bits that a level takes.
pub(crate) fn width(max_level: i16) -> usize {
    (i16::BITS - max_level.leading_zeros()) as usize
}

impl Records {
    pub fn begin_page(&mut self) {
        self.longest = 1;
    }

    /// The values of the longest row of the page, with those in pages before.
    pub fn longest_in_page(&self) -> usize {
        self.longest
    }

    /// Follows the levels of a page, in runs and groups of eight.
    pub fn follow(&mut self, mut data: &[u8], max_level: i16, mut left: usize, limit: usize) -> Result<()> {
        let width = width(max_level);
        while left > 0 {
            let mut header = 0_u64;
            for shift in (0..).step_by(7) {
                let (&byte, rest) = data.split_first().ok_or_else(short)?;
                data = rest;
                if shift > 28 {
                    return Err(short());
                }
                header |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let count = (header >> 1) as usize;
            if header & 1 == 0 {
                let (level, rest) = data.split_at_checked(width.div_ceil(8)).ok_or_else(short)?;
                data = rest;
                let count = count.min(left);
                if level.iter().all(|byte| *byte == 0) {
                    self.values = if count > 0 { 1 } else { self.values };
                    self.rows += count as u64;
                } else {
                    self.add(count, limit)?;
                }
                left -= count;
            } else {
                let taken = count.saturating_mul(8).min(left);
                let (packed, rest) = data.split_at(count.saturating_mul(width).min(data.len()));
                data = rest;
                self.packed(packed, width, taken, limit)?;
                left -= taken;
            }
        }
        Ok(())
    }

    /// Follows levels of so many bits each.
    pub fn packed(&mut self, packed: &[u8], width: usize, count: usize, limit: usize) -> Result<()> {
        if packed.len() < (count * width).div_ceil(8) {
            return Err(short());
        }
        if width == 1 {
            for (index, &byte) in packed.iter().enumerate().take(count.div_ceil(8)) {
                let levels = (count - index * 8).min(8);
                let unused = 8 - levels;
                let ones = byte | !(u8::MAX >> unused);
                if ones == u8::MAX {
                    self.add(levels, limit)?;
                } else {
                    self.add(ones.trailing_ones() as usize, limit)?;
                    self.rows += u64::from(ones.count_zeros());
                    // Between the first 0 and the last one a row has no more than the others of the byte.
                    self.longest = self.longest.max(8);
                    // From the last 0 on.
                    self.values = ones.leading_ones() as usize - unused + 1;
                }
            }
            return Ok(());
        }
        for index in 0..count {
            if bits(packed, width, index) == 0 {
                self.values = 1;
                self.rows += 1;
            } else {
                self.add(1, limit)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, count: usize, limit: usize) -> Result<()> {
        self.values = self.values.saturating_add(count);
        self.longest = self.longest.max(self.values);
        if self.values > limit {
            return too_large(format!("row {} of the row group has more than {limit} values", self.rows.max(1)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(records: &mut Records, data: &[u8], max_level: i16, values: usize) -> Option<usize> {
        records.follow(data, max_level, values, 100).ok().map(|()| records.values)
    }

    #[test]
    fn runs() {
        let mut records = Records::default();
        // One 0, then 50 times 1; 45 times 1 continue the row, 6 more are too many.
        assert_eq!(follow(&mut records, &[2, 0, 100, 1], 1, 51), Some(51));
        assert_eq!(follow(&mut records, &[90, 1], 1, 45), Some(96));
        assert_eq!(follow(&mut records, &[200, 1, 0], 1, 100), Some(1));
        assert_eq!(follow(&mut records, &[0xfe, 0xff, 0xff, 0xff, 0x07, 1], 1, 98), Some(99));
        assert_eq!(follow(&mut records, &[0xfe, 0xff, 0xff, 0xff, 0x07, 1], 1, 2), None);
        assert_eq!(follow(&mut Records::default(), &[100, 1], 1, 51), None, "not so many levels");
    }

    #[test]
    fn groups() {
        let mut records = Records::default();
        // 0 1 1 0 1 1 1 1, of one bit and of two.
        assert_eq!(follow(&mut records, &[3, 0b1111_0110], 1, 8), Some(5));
        assert_eq!(follow(&mut records, &[3, 0b1111_1111], 1, 8), Some(13));
        assert_eq!(follow(&mut records, &[3, 0b1111_1111], 1, 3), Some(16));
        assert_eq!(follow(&mut records, &[3, 0b0000_0110], 1, 3), Some(3));
        assert_eq!(follow(&mut records, &[3, 0b0001_0100, 0b0101_0101], 3, 8), Some(5));
        assert_eq!(follow(&mut records, &[3], 1, 3), None, "no levels");
        let ones = [vec![0x1b], vec![0xff; 13]].concat();
        assert_eq!(follow(&mut Records::default(), &ones, 1, 100), Some(100));
        assert_eq!(follow(&mut Records::default(), &ones, 1, 101), None);
    }
}
