use crate::{LONGEST_ROW, StreamError, carry::Carry};

/// Reads text COPY with its default delimiter, NULL marker and escapes.
pub struct TextStream {
    columns: usize,
    carry: Carry,
    /// How much of the carried bytes is known to hold no newline, so that a huge row is searched once.
    searched: usize,
    longest_row: usize,
}

/// One whole row, without its newline. Its fields are read in order with [`TextRow::next_field`].
pub struct TextRow<'a> {
    rest: Option<&'a [u8]>,
}

impl TextRow<'_> {
    /// Reads the next field: `Ok(true)` with its unescaped bytes in `value`, or `Ok(false)` for NULL.
    ///
    /// # Errors
    /// [`StreamError::DanglingEscape`], [`StreamError::FieldCount`] when the row has no further field, or
    /// [`StreamError::OutOfMemory`].
    pub fn next_field(&mut self, value: &mut Vec<u8>) -> Result<bool, StreamError> {
        value.clear();
        let rest = self.rest.ok_or(StreamError::FieldCount { expected: 1, found: 0 })?;
        let end = rest.iter().position(|&byte| byte == b'\t');
        let field = &rest[..end.unwrap_or(rest.len())];
        self.rest = end.map(|end| &rest[end + 1..]);
        if field == b"\\N" {
            return Ok(false);
        }
        // With room for the NUL that a caller may need behind it.
        value.try_reserve(field.len() + 1).map_err(|_| StreamError::OutOfMemory { bytes: field.len() })?;
        unescape(field, value)?;
        Ok(true)
    }
}

impl TextStream {
    pub fn new(columns: usize) -> Self {
        Self { columns, carry: Carry::default(), searched: 0, longest_row: LONGEST_ROW }
    }

    /// Feeds a chunk and calls `on_row` for each row that it completes. Chunk boundaries may be anywhere.
    ///
    /// # Errors
    /// The error of `on_row`, or a [`StreamError`] for a row of another width or one that no server sends.
    pub fn feed<E: From<StreamError>>(
        &mut self,
        chunk: &[u8],
        mut on_row: impl FnMut(TextRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = self.carry.join(chunk)?;
        let mut position = 0;
        let mut searched = std::mem::take(&mut self.searched);
        while let Some(length) = bytes[searched..].iter().position(|&byte| byte == b'\n') {
            let length = searched + length - position;
            if length > self.longest_row {
                return Err(StreamError::RowTooLong { column: None }.into());
            }
            let row = &bytes[position..position + length];
            let found = match self.columns {
                0 if row.is_empty() => 0,
                _ => row.iter().filter(|&&byte| byte == b'\t').count() + 1,
            };
            if found != self.columns {
                return Err(StreamError::FieldCount { expected: self.columns, found: found as i64 }.into());
            }
            on_row(TextRow { rest: Some(row) })?;
            position += length + 1;
            searched = position;
        }
        self.searched = bytes.len() - position;
        if self.searched > self.longest_row {
            return Err(StreamError::RowTooLong { column: None }.into());
        }
        Ok(self.carry.keep(chunk, position)?)
    }

    /// Ends the reading when the stream has ended.
    ///
    /// # Errors
    /// [`StreamError::Truncated`] when a row was left unfinished.
    pub fn finish(&self) -> Result<(), StreamError> {
        if self.carry.is_empty() { Ok(()) } else { Err(StreamError::Truncated) }
    }
}

/// Undoes the escapes that `COPY TO` writes, and octal and hexadecimal ones, which the manual allows.
fn unescape(field: &[u8], value: &mut Vec<u8>) -> Result<(), StreamError> {
    let mut bytes = field.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        match bytes.next().ok_or(StreamError::DanglingEscape)? {
            b'b' => value.push(0x08),
            b'f' => value.push(0x0c),
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'v' => value.push(0x0b),
            digit @ b'0'..=b'7' => {
                let mut code = u32::from(digit - b'0');
                for _ in 0..2 {
                    match bytes.peek() {
                        Some(next @ b'0'..=b'7') => code = code * 8 + u32::from(next - b'0'),
                        _ => break,
                    }
                    bytes.next();
                }
                value.push(code as u8);
            }
            other => value.push(other),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8], columns: usize, chunk: usize) -> Result<Vec<Vec<Option<String>>>, StreamError> {
        let mut reader = TextStream::new(columns);
        let mut rows = Vec::new();
        for piece in stream.chunks(chunk) {
            reader.feed::<StreamError>(piece, |mut row| {
                let mut fields = Vec::new();
                let mut value = Vec::new();
                for _ in 0..columns {
                    let present = row.next_field(&mut value)?;
                    fields.push(present.then(|| String::from_utf8(value.clone()).unwrap()));
                }
                rows.push(fields);
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(rows)
    }

    #[test]
    fn fields_nulls_and_escapes() {
        let stream = b"a\t\\N\tb\\tc\\\\d\\n\n\t\\101\\x\t\\\\N\n";
        let expected = vec![
            vec![Some("a".to_owned()), None, Some("b\tc\\d\n".to_owned())],
            vec![Some(String::new()), Some("Ax".to_owned()), Some("\\N".to_owned())],
        ];
        for chunk in 1..stream.len() + 1 {
            assert_eq!(read(stream, 3, chunk).unwrap(), expected, "chunks of {chunk}");
        }
    }

    #[test]
    fn rows_without_an_end_are_refused() {
        for (ended, chunk) in [(true, 7), (false, 7), (true, 5000), (false, 5000)] {
            let mut reader = TextStream::new(1);
            reader.longest_row = 1000;
            let mut feed = |bytes: &[u8]| bytes.chunks(chunk).try_for_each(|piece| reader.feed(piece, |_| Ok(())));
            feed(&[vec![b'x'; 1000], vec![b'\n']].concat()).unwrap();
            let long = [vec![b'x'; 1001], vec![b'\n'; usize::from(ended)]].concat();
            assert_eq!(feed(&long), Err(StreamError::RowTooLong { column: None }), "{ended} {chunk}");
        }
    }

    #[test]
    fn odd_rows_are_refused() {
        assert_eq!(read(b"a\tb\n", 3, 9), Err(StreamError::FieldCount { expected: 3, found: 2 }));
        assert_eq!(read(b"a\tb", 2, 9), Err(StreamError::Truncated));
        assert_eq!(read(b"a\\\n", 1, 9), Err(StreamError::DanglingEscape));
        assert_eq!(read(b"\n\n", 0, 9).unwrap().len(), 2);
    }
}
