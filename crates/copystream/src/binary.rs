use crate::{LONGEST_FIELD, LONGEST_ROW, StreamError, carry::Carry};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The low 16 header flags are for the reader to ignore, the others are critical. Bit 16 would announce row OIDs.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
/// The most bytes of the header's extension, which readers that do not know it skip. No server has written one yet.
const LONGEST_EXTENSION: i32 = 0xffff;

/// Reads binary COPY.
pub struct BinaryStream {
    columns: usize,
    carry: Carry,
    /// The least length of the unfinished row.
    least: usize,
    /// The most bytes of a row.
    longest: usize,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Header,
    Rows,
    End,
}

/// One whole row. Its fields are read in order with [`BinaryRow::next_field`].
#[derive(Clone, Copy)]
pub struct BinaryRow<'a> {
    bytes: &'a [u8],
}

impl<'a> BinaryRow<'a> {
    /// Returns the next field's bytes, or `None` for NULL.
    ///
    /// Lengths were checked when the row was framed, so past the last field this returns NULL.
    #[inline]
    pub fn next_field(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length < 0 {
            self.bytes = rest;
            return None;
        }
        let (field, rest) = rest.split_at_checked(length as usize)?;
        self.bytes = rest;
        Some(field)
    }

    /// Returns all field bytes and lengths of the row, in the stream's own form.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl BinaryStream {
    pub fn new(columns: usize) -> Self {
        Self::of_short_rows(columns, LONGEST_ROW)
    }

    /// A stream whose rows have no more than `longest` bytes.
    pub fn of_short_rows(columns: usize, longest: usize) -> Self {
        let longest = longest.min(LONGEST_ROW);
        Self { columns, carry: Carry::default(), least: 0, longest, state: State::Header }
    }

    /// Feeds a chunk and calls `on_row` for each row that it completes. Chunk boundaries may be anywhere.
    ///
    /// # Errors
    /// The error of `on_row`, or a [`StreamError`] for a stream that is not binary COPY of that many columns.
    pub fn feed<E: From<StreamError>>(
        &mut self,
        chunk: &[u8],
        mut on_row: impl FnMut(BinaryRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.carry.len() + chunk.len() < self.least {
            return Ok(self.carry.push(chunk)?);
        }
        let bytes = self.carry.join(chunk)?;
        self.least = 0;
        let mut position = 0;
        loop {
            let rest = &bytes[position..];
            match self.state {
                State::Header => match header_length(rest)? {
                    Some(length) => {
                        position += length;
                        self.state = State::Rows;
                    }
                    None => break,
                },
                State::Rows => match frame_row(rest, self.columns, self.longest)? {
                    Frame::Row(length) => {
                        on_row(BinaryRow { bytes: &rest[2..length] })?;
                        position += length;
                    }
                    Frame::End => {
                        position += 2;
                        self.state = State::End;
                    }
                    Frame::Incomplete(least) => {
                        self.least = least;
                        break;
                    }
                },
                State::End if rest.is_empty() => break,
                State::End => return Err(StreamError::DataAfterEnd.into()),
            }
        }
        Ok(self.carry.keep(chunk, position)?)
    }

    /// Ends the reading when the stream has ended.
    ///
    /// # Errors
    /// [`StreamError::Truncated`] when the end marker did not come.
    pub fn finish(&self) -> Result<(), StreamError> {
        if self.state == State::End && self.carry.is_empty() { Ok(()) } else { Err(StreamError::Truncated) }
    }
}

fn header_length(bytes: &[u8]) -> Result<Option<usize>, StreamError> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(StreamError::BadSignature);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<19>() else {
        return Ok(None);
    };
    let flags = u32::from_be_bytes([fixed[11], fixed[12], fixed[13], fixed[14]]);
    if flags & CRITICAL_FLAGS != 0 {
        return Err(StreamError::UnknownHeaderFlags(flags));
    }
    let extension = i32::from_be_bytes([fixed[15], fixed[16], fixed[17], fixed[18]]);
    if !(0..=LONGEST_EXTENSION).contains(&extension) {
        return Err(StreamError::HeaderLength(extension));
    }
    let extension = extension as usize;
    Ok((rest.len() >= extension).then_some(19 + extension))
}

enum Frame {
    /// A whole row of that many bytes, field count included.
    Row(usize),
    End,
    /// The beginning of a row that has at least that many bytes.
    Incomplete(usize),
}

#[inline]
fn frame_row(bytes: &[u8], columns: usize, longest: usize) -> Result<Frame, StreamError> {
    let Some(count) = bytes.first_chunk::<2>() else {
        return Ok(Frame::Incomplete(2));
    };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Frame::End);
    }
    if usize::try_from(count) != Ok(columns) {
        return Err(StreamError::FieldCount { expected: columns, found: count.into() });
    }
    let mut position = 2;
    for column in 0..columns {
        let Some(length) = bytes.get(position..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(Frame::Incomplete(position + 4));
        };
        let length = i32::from_be_bytes(*length);
        position += 4;
        if length > 0 {
            position += length as usize;
            // A field that is too long by itself makes the row too long.
            if position > longest {
                return Err(too_long(column, length as usize, longest));
            }
        } else if length < -1 {
            return Err(StreamError::FieldLength { column, length });
        }
    }
    Ok(if position <= bytes.len() { Frame::Row(position) } else { Frame::Incomplete(position) })
}

#[cold]
fn too_long(column: usize, length: usize, longest: usize) -> StreamError {
    if length > LONGEST_FIELD {
        StreamError::FieldTooLong { column, length }
    } else {
        StreamError::RowTooLong { column: Some(column), longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut stream = SIGNATURE.to_vec();
        stream.extend([0, 0, 0, 0, 0, 0, 0, 3, 9, 9, 9]);
        for row in 0u8..5 {
            stream.extend([0, 2, 0, 0, 0, 3, row, row, row, 0xff, 0xff, 0xff, 0xff]);
        }
        stream.extend([0xff, 0xff]);
        stream
    }

    fn read(stream: &[u8], chunk: usize) -> Result<Vec<Vec<Option<Vec<u8>>>>, StreamError> {
        let mut reader = BinaryStream::new(2);
        let mut rows = Vec::new();
        for piece in stream.chunks(chunk) {
            reader.feed::<StreamError>(piece, |mut row| {
                rows.push((0..2).map(|_| row.next_field().map(<[u8]>::to_vec)).collect());
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(rows)
    }

    #[test]
    fn chunk_boundaries_do_not_matter() {
        let whole = read(&sample(), usize::MAX).unwrap();
        assert_eq!(whole.len(), 5);
        assert_eq!(whole[4], [Some(vec![4, 4, 4]), None]);
        for chunk in 1..40 {
            assert_eq!(read(&sample(), chunk).unwrap(), whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn every_early_end_is_an_error() {
        let stream = sample();
        for end in 0..stream.len() {
            assert_eq!(read(&stream[..end], 7), Err(StreamError::Truncated), "cut at {end}");
        }
    }

    #[test]
    fn hostile_streams_are_refused() {
        let header = &sample()[..22];
        let with = |tail: &[u8]| [header, tail].concat();
        assert_eq!(read(b"PGCOPX\n\xff\r\n\0", 3), Err(StreamError::BadSignature));
        assert_eq!(read(&with(&[0, 3]), 64), Err(StreamError::FieldCount { expected: 2, found: 3 }));
        assert_eq!(
            read(&with(&[0, 2, 0xff, 0xff, 0xff, 0xfe]), 64),
            Err(StreamError::FieldLength { column: 0, length: -2 })
        );
        assert_eq!(read(&with(&[0xff, 0xff, 1]), 64), Err(StreamError::DataAfterEnd));
    }

    /// The error of a row of two columns whose second field announces that length, before any of it has come.
    fn announce(length: i32) -> Result<Vec<Vec<Option<Vec<u8>>>>, StreamError> {
        let header = &sample()[..22];
        read(&[header, &[0, 2, 0, 0, 0, 1, 7], &length.to_be_bytes()].concat(), 64)
    }

    #[test]
    fn short_rows_are_no_longer_than_they_may_be() {
        let announced = |length: i32| {
            let mut reader = BinaryStream::of_short_rows(1, 100);
            let stream = [&sample()[..22], &[0, 1], &length.to_be_bytes()].concat();
            reader.feed::<StreamError>(&stream, |_| Ok(()))
        };
        assert_eq!(announced(94), Ok(()));
        assert_eq!(announced(95), Err(StreamError::RowTooLong { column: Some(0), longest: 100 }));
    }

    #[test]
    fn lengths_that_no_server_sends_are_refused_as_soon_as_they_are_announced() {
        for difference in -5i64..=5 {
            let length = (1 << 30) + difference;
            let expected = if length as usize > LONGEST_FIELD {
                StreamError::FieldTooLong { column: 1, length: length as usize }
            } else {
                // With the first field and the lengths of both.
                StreamError::RowTooLong { column: Some(1), longest: LONGEST_ROW }
            };
            assert_eq!(announce(length as i32), Err(expected), "2^30 {difference:+}");
        }
        let longest = (LONGEST_ROW - 2 - 4 - 1 - 4) as i32;
        assert_eq!(announce(longest), Err(StreamError::Truncated));
        assert_eq!(announce(longest + 1), Err(StreamError::RowTooLong { column: Some(1), longest: LONGEST_ROW }));
        assert_eq!(announce(i32::MAX), Err(StreamError::FieldTooLong { column: 1, length: i32::MAX as usize }));
        for negative in [-2, -3, -(1 << 30), i32::MIN] {
            assert_eq!(announce(negative), Err(StreamError::FieldLength { column: 1, length: negative }));
        }
    }

    #[test]
    fn the_header_is_followed_by_little_or_nothing() {
        let with_extension = |length: i32| {
            let mut stream = sample()[..15].to_vec();
            stream.extend(length.to_be_bytes());
            read(&stream, 64)
        };
        assert_eq!(with_extension(LONGEST_EXTENSION), Err(StreamError::Truncated));
        for length in [LONGEST_EXTENSION + 1, i32::MAX, -1, i32::MIN] {
            assert_eq!(with_extension(length), Err(StreamError::HeaderLength(length)));
        }
    }

    #[test]
    fn a_long_row_in_many_pieces() {
        let mut stream = sample()[..22].to_vec();
        let long = vec![5; 3 << 20];
        for _ in 0..2 {
            stream.extend([0, 2]);
            stream.extend((long.len() as u32).to_be_bytes());
            stream.extend(&long);
            stream.extend([0, 0, 0, 1, 9]);
        }
        stream.extend([0xff, 0xff]);
        let row = vec![Some(long), Some(vec![9])];
        for chunk in [1000, 77_777, 1 << 20, usize::MAX] {
            assert!(read(&stream, chunk).unwrap() == [row.clone(), row.clone()], "chunks of {chunk}");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            let mut bytes = sample();
            for _ in 0..4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let position = (seed >> 33) as usize % bytes.len();
                bytes[position] = (seed >> 24) as u8;
            }
            let _ = read(&bytes, 1 + (seed >> 40) as usize % 50);
        }
    }
}
