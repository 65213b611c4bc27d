//! The records in which rows travel: the length of the values, the number of columns, which of them are NULL, and the
//! values as the heap stores them.

use crate::Damage;

/// A row: the values of its columns, aligned as from the beginning of `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// A bit for each column that is not NULL; `None` where none is.
    pub bitmap: Option<&'a [u8]>,
    pub data: &'a [u8],
}

const HAS_NULLS: u16 = 0x8000;
const FIXED_BYTES: usize = 6;
/// The most columns that a table can have (`MaxHeapAttributeNumber` in `access/htup_details.h`).
const MOST_COLUMNS: usize = 1600;
/// The most bytes in front of the values of a row.
pub const LONGEST_HEADER: usize = FIXED_BYTES + MOST_COLUMNS / 8;
/// The server cannot make a longer row.
const LONGEST_DATA: usize = 0x3fff_ffff;

/// Appends the header of a record whose `data` bytes follow. The bitmap has a bit for each column that is not NULL.
pub fn write_header(columns: usize, bitmap: Option<&[u8]>, data: usize, to: &mut Vec<u8>) {
    let flags = if bitmap.is_some() { HAS_NULLS } else { 0 };
    to.extend_from_slice(&(data as u32).to_le_bytes());
    to.extend_from_slice(&(columns as u16 | flags).to_le_bytes());
    if let Some(bitmap) = bitmap {
        to.extend_from_slice(&bitmap[..columns.div_ceil(8)]);
    }
}

/// The records of a stream that arrives in chunks, each of which may end anywhere.
pub struct Stream {
    columns: usize,
    /// The beginning of a record whose end has not arrived.
    carried: Vec<u8>,
    /// The least length of that record.
    least: usize,
}

/// A buffer of more bytes is freed when the record that needed it is complete.
const LARGE: usize = 1 << 20;

enum Frame<'a> {
    Whole(Record<'a>, usize),
    /// The beginning of a record that has at least so many bytes.
    Incomplete(usize),
}

impl Stream {
    /// Reads records that must have so many columns.
    pub fn new(columns: usize) -> Self {
        Self { columns, carried: Vec::new(), least: 0 }
    }

    /// Calls `on_row` for each record that the chunk completes.
    ///
    /// # Errors
    /// The error of `on_row`, or a [`Damage`] for what is no record of that many columns. Nothing more can be read then.
    pub fn feed<E: From<Damage>>(
        &mut self,
        chunk: &[u8],
        mut on_row: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let carries = !self.carried.is_empty();
        if carries {
            self.carry(chunk)?;
            if self.carried.len() < self.least {
                return Ok(());
            }
        }
        let mut carried = std::mem::take(&mut self.carried);
        let bytes = if carries { &carried } else { chunk };
        let mut position = 0;
        while position < bytes.len() {
            match frame(&bytes[position..], self.columns)? {
                Frame::Whole(record, length) => {
                    on_row(record)?;
                    position += length;
                }
                Frame::Incomplete(least) => {
                    self.least = least;
                    break;
                }
            }
        }
        if !carries {
            self.carry(&chunk[position..])?;
        } else if carried.capacity() > LARGE && carried.len() - position < LARGE {
            self.carry(&carried[position..])?;
        } else {
            carried.drain(..position);
            self.carried = carried;
        }
        Ok(())
    }

    /// Ends the reading when the stream has ended.
    ///
    /// # Errors
    /// The last record is cut off.
    pub fn finish(&self) -> Result<(), Damage> {
        if self.carried.is_empty() { Ok(()) } else { Err(Damage::of_row("the record is cut off")) }
    }

    fn carry(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        self.carried.try_reserve(bytes.len()).map_err(|_| Damage::of_row("there is no memory for the record"))?;
        self.carried.extend_from_slice(bytes);
        Ok(())
    }
}

#[inline]
fn frame(bytes: &[u8], columns: usize) -> Result<Frame<'_>, Damage> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Frame::Incomplete(FIXED_BYTES));
    };
    let [a, b, c, d, e, f] = *fixed;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let count = u16::from_le_bytes([e, f]);
    if usize::from(count & !HAS_NULLS) != columns {
        return Err(Damage::of_row("the record has another number of columns"));
    }
    if length > LONGEST_DATA {
        return Err(Damage::of_row("the record is too long"));
    }
    let bitmap_bytes = if count & HAS_NULLS == 0 { 0 } else { columns.div_ceil(8) };
    let total = FIXED_BYTES + bitmap_bytes + length;
    let Some(rest) = rest.get(..bitmap_bytes + length) else { return Ok(Frame::Incomplete(total)) };
    let (bitmap, data) = rest.split_at(bitmap_bytes);
    Ok(Frame::Whole(Record { bitmap: (count & HAS_NULLS != 0).then_some(bitmap), data }, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bitmap, and values.
    type Copied = (Option<Vec<u8>>, Vec<u8>);

    /// Returns the records of a stream that arrives in these chunks.
    fn read(chunks: std::slice::Chunks<'_, u8>, columns: usize) -> Result<Vec<Copied>, Damage> {
        let mut stream = Stream::new(columns);
        let mut found = Vec::new();
        for chunk in chunks {
            stream.feed(chunk, |record| {
                found.push((record.bitmap.map(<[u8]>::to_vec), record.data.to_vec()));
                Ok::<_, Damage>(())
            })?;
        }
        stream.finish().map(|()| found)
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        write_header(9, None, 3, &mut bytes);
        bytes.extend_from_slice(b"abc");
        write_header(9, Some(&[0xff, 0x00]), 0, &mut bytes);
        write_header(9, Some(&[0x7f, 0x01]), 1, &mut bytes);
        bytes.push(b'd');
        bytes
    }

    #[test]
    fn records_come_back_as_they_were_written_wherever_chunks_end() {
        let bytes = written();
        for size in 1..=bytes.len() {
            let expected = vec![
                (None, b"abc".to_vec()),
                (Some(vec![0xff, 0x00]), Vec::new()),
                (Some(vec![0x7f, 0x01]), b"d".to_vec()),
            ];
            assert_eq!(read(bytes.chunks(size), 9), Ok(expected), "chunks of {size}");
        }
    }

    #[test]
    fn records_that_are_cut_off_or_of_another_table_are_refused() {
        let mut bytes = written();
        for end in [1, 8, 10, 12, bytes.len() - 1] {
            assert!(read(bytes[..end].chunks(5), 9).is_err());
        }
        assert!(read(bytes.chunks(5), 8).is_err());
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(read(bytes.chunks(5), 9).is_err());
    }
}
