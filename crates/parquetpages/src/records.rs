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

/// Levels of a page.
enum Run<'a> {
    Same { level: u64, count: usize },
    Packed { packed: &'a [u8], count: usize },
}

/// What may come before the first level, and it.
pub(crate) const LONGEST_RUN_HEADER: usize = 8;

/// The runs and groups of eight of so many levels.
fn runs(mut data: &[u8], max_level: i16, values: usize) -> impl Iterator<Item = Result<Run<'_>>> {
    let width = width(max_level);
    let mut left = values;
    let mut next = move || {
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
            let (bytes, rest) = data.split_at_checked(width.div_ceil(8)).ok_or_else(short)?;
            data = rest;
            let level = bytes.iter().rev().fold(0, |level, byte| level << 8 | u64::from(*byte));
            Ok(Run::Same { level, count })
        } else {
            let (packed, rest) = data.split_at(count.saturating_mul(width).min(data.len()));
            data = rest;
            Ok(Run::Packed { packed, count: count.saturating_mul(8) })
        }
    };
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let mut run = next();
        match &mut run {
            Ok(Run::Same { count, .. } | Run::Packed { count, .. }) => {
                *count = (*count).min(left);
                left -= *count;
            }
            Err(_) => left = 0,
        }
        Some(run)
    })
}

/// Whether the first of the repetition levels begins a row, as far as they are sound.
pub(crate) fn begins_row(data: &[u8], max_level: i16) -> bool {
    let first = runs(data, max_level, usize::MAX)
        .find(|run| !matches!(run, Ok(Run::Same { count: 0, .. } | Run::Packed { count: 0, .. })));
    match first {
        Some(Ok(Run::Same { level, .. })) => level == 0,
        Some(Ok(Run::Packed { packed, .. })) => bits(packed, width(max_level), 0) == 0,
        Some(Err(_)) | None => true,
    }
}

/// How many of the definition levels are the highest one: those of values.
pub(crate) fn count_highest(data: &[u8], max_level: i16, values: usize) -> Result<usize> {
    let mut highest = 0;
    for run in runs(data, max_level, values) {
        highest += match run? {
            Run::Same { level, count } if level == max_level as u64 => count,
            Run::Same { .. } => 0,
            Run::Packed { packed, count } => count_highest_packed(packed, max_level, count),
        };
    }
    Ok(highest)
}

/// The same of levels that are all packed.
pub(crate) fn count_highest_packed(packed: &[u8], max_level: i16, count: usize) -> usize {
    let width = width(max_level);
    (0..count).filter(|index| bits(packed, width, *index) == max_level as u64).count()
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
    pub fn follow(&mut self, data: &[u8], max_level: i16, values: usize, limit: usize) -> Result<()> {
        for run in runs(data, max_level, values) {
            match run? {
                Run::Same { level: 0, count } => {
                    self.values = if count > 0 { 1 } else { self.values };
                    self.rows += count as u64;
                }
                Run::Same { count, .. } => self.add(count, limit)?,
                Run::Packed { packed, count } => self.packed(packed, width(max_level), count, limit)?,
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
    fn first_levels() {
        for (data, max_level, begins) in [
            (&[2, 0][..], 1, true),
            (&[2, 1], 1, false),
            // A run of nothing before.
            (&[0, 1, 2, 0], 1, true),
            (&[0, 0, 2, 1], 1, false),
            (&[3, 0b1111_1110], 1, true),
            (&[3, 0b0000_0001], 1, false),
            (&[3, 0b0000_0100, 0], 3, true),
            (&[0xfe, 0xff, 0xff, 0xff, 0x07, 1], 1, false),
            (&[], 1, true),
        ] {
            assert_eq!(begins_row(data, max_level), begins, "{data:?}");
        }
    }

    #[test]
    fn levels_of_values() {
        assert_eq!(count_highest(&[10, 1, 4, 0, 3, 0b0000_1101], 1, 12).unwrap(), 8);
        assert_eq!(count_highest(&[10, 2, 3, 0b0001_1000, 0], 2, 9).unwrap(), 6);
        assert!(count_highest(&[10, 1], 1, 6).is_err());
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
