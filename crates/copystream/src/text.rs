use crate::{LONGEST_ROW, StreamError, carry::Carry};
use memchr::{memchr, memchr_iter, memchr2};

/// Reads text COPY with its default delimiter, NULL marker and escapes.
pub struct TextStream {
    columns: usize,
    carry: Carry,
    /// How much of the carried bytes is known to hold no end of a row, so that a huge row is searched once.
    searched: usize,
    longest_row: usize,
    /// The lines of all whole rows, and with those of the row that has begun.
    lines: u64,
    lines_begun: u64,
    is_of_file: bool,
}

/// One whole row, without its newline. Its fields are read in order with [`TextRow::next_field`].
pub struct TextRow<'a> {
    rest: Option<&'a [u8]>,
    is_of_file: bool,
    lines_before: u64,
}

/// A field of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextField<'a> {
    Null,
    /// The value's own bytes.
    Plain(&'a [u8]),
    /// Bytes of which [`TextRow::unescape`] makes the value.
    Escaped(&'a [u8]),
}

impl<'a> TextRow<'a> {
    /// Returns how many lines the rows before have taken.
    pub fn lines_before(&self) -> u64 {
        self.lines_before
    }

    /// Returns the bytes of the fields that were not read yet.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest.unwrap_or_default()
    }

    /// Returns the next field as it travels.
    ///
    /// # Errors
    /// [`StreamError::FieldCount`] when the row has no further field.
    pub fn next_field(&mut self) -> Result<TextField<'a>, StreamError> {
        let rest = self.rest.ok_or(StreamError::FieldCount { expected: 1, found: 0 })?;
        let end = if self.is_of_file { end_of_field(rest) } else { memchr(b'\t', rest) };
        let field = &rest[..end.unwrap_or(rest.len())];
        self.rest = end.map(|end| &rest[end + 1..]);
        Ok(match memchr(b'\\', field) {
            None => TextField::Plain(field),
            Some(_) if field == b"\\N" => TextField::Null,
            Some(_) => TextField::Escaped(field),
        })
    }

    /// Writes the value of an escaped field to `value`.
    ///
    /// # Errors
    /// [`StreamError::DanglingEscape`], [`StreamError::EndMarker`] or [`StreamError::OutOfMemory`].
    pub fn unescape(&self, field: &[u8], value: &mut Vec<u8>) -> Result<(), StreamError> {
        value.clear();
        // With room for the NUL that a caller may need behind it.
        value.try_reserve(field.len() + 1).map_err(|_| StreamError::OutOfMemory { bytes: field.len() })?;
        unescape(field, value, self.is_of_file)
    }
}

/// The position of the tab that ends the first field, in a row in which a backslash may stand before a tab of the value.
fn end_of_field(rest: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = from + memchr(b'\t', &rest[from..])?;
        if !is_escaped(rest, end) {
            return Some(end);
        }
        from = end + 1;
    }
}

/// Whether the byte at the position follows a backslash that is not itself escaped.
fn is_escaped(bytes: &[u8], position: usize) -> bool {
    bytes[..position].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

impl TextStream {
    /// Reads what a server sends.
    pub fn new(columns: usize) -> Self {
        Self {
            columns,
            carry: Carry::default(),
            searched: 0,
            longest_row: LONGEST_ROW,
            lines: 0,
            lines_begun: 0,
            is_of_file: false,
        }
    }

    /// Reads what people may have written: a backslash may stand before any byte of a value, a newline or a tab included,
    /// and what `COPY FROM` refuses is refused.
    pub fn of_file(columns: usize) -> Self {
        Self { is_of_file: true, ..Self::new(columns) }
    }

    /// Returns how many lines the whole rows so far have taken.
    pub fn lines(&self) -> u64 {
        self.lines
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
        loop {
            let found = if self.is_of_file {
                memchr2(b'\n', b'\r', &bytes[searched..])
            } else {
                memchr(b'\n', &bytes[searched..])
            };
            let Some(end) = found.map(|length| searched + length) else { break };
            if self.is_of_file && is_escaped(&bytes[position..], end - position) {
                self.lines_begun += u64::from(bytes[end] == b'\n');
                searched = end + 1;
                continue;
            }
            if bytes[end] == b'\r' {
                return Err(StreamError::CarriageReturn.into());
            }
            let length = end - position;
            if length > self.longest_row {
                return Err(StreamError::RowTooLong { column: None, longest: LONGEST_ROW }.into());
            }
            let row = &bytes[position..end];
            let found = match self.columns {
                0 if row.is_empty() => 0,
                _ => memchr_iter(b'\t', row).count() + 1,
            };
            if found != self.columns {
                let escaped = memchr_iter(b'\t', row).filter(|&tab| self.is_of_file && is_escaped(row, tab)).count();
                if found - escaped != self.columns {
                    let found = (found - escaped) as i64;
                    return Err(StreamError::FieldCount { expected: self.columns, found }.into());
                }
            }
            on_row(TextRow { rest: Some(row), is_of_file: self.is_of_file, lines_before: self.lines })?;
            self.lines_begun += 1;
            self.lines = self.lines_begun;
            position = end + 1;
            searched = position;
        }
        self.searched = bytes.len() - position;
        if self.searched > self.longest_row {
            return Err(StreamError::RowTooLong { column: None, longest: LONGEST_ROW }.into());
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
fn unescape(field: &[u8], value: &mut Vec<u8>, is_of_file: bool) -> Result<(), StreamError> {
    let mut rest = field;
    while let Some(backslash) = memchr(b'\\', rest) {
        value.extend_from_slice(&rest[..backslash]);
        let (&escaped, behind) = rest[backslash + 1..].split_first().ok_or(StreamError::DanglingEscape)?;
        rest = behind;
        match escaped {
            b'b' => value.push(0x08),
            b'f' => value.push(0x0c),
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'v' => value.push(0x0b),
            b'0'..=b'7' => {
                let more = rest.iter().take(2).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let digits = rest[..more].iter().map(|byte| u32::from(byte - b'0'));
                value.push(digits.fold(u32::from(escaped - b'0'), |code, digit| code * 8 + digit) as u8);
                rest = &rest[more..];
            }
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
                let length = rest.iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
                let digits = rest[..length].iter().filter_map(|&byte| char::from(byte).to_digit(16));
                value.push(digits.fold(0, |code, digit| code * 16 + digit) as u8);
                rest = &rest[length..];
            }
            b'.' if is_of_file => return Err(StreamError::EndMarker),
            other => value.push(other),
        }
    }
    value.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8], columns: usize, chunk: usize) -> Result<Vec<Vec<Option<String>>>, StreamError> {
        read_by(TextStream::new(columns), stream, columns, chunk)
    }

    fn read_by(
        mut reader: TextStream,
        stream: &[u8],
        columns: usize,
        chunk: usize,
    ) -> Result<Vec<Vec<Option<String>>>, StreamError> {
        let mut rows = Vec::new();
        for piece in stream.chunks(chunk) {
            reader.feed::<StreamError>(piece, |mut row| {
                let mut fields = Vec::new();
                let mut value = Vec::new();
                for _ in 0..columns {
                    let bytes = match row.next_field()? {
                        TextField::Null => None,
                        TextField::Plain(bytes) => Some(bytes),
                        TextField::Escaped(field) => {
                            row.unescape(field, &mut value)?;
                            Some(value.as_slice())
                        }
                    };
                    fields.push(bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()));
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
    fn files_may_escape_any_byte() {
        let stream = b"a\\\nb\t\\\tc\\\\\td\\\r\n\\x41\\x4g\t\\N\t\\\\\\\\\n";
        let expected = vec![
            vec![Some("a\nb".to_owned()), Some("\tc\\".to_owned()), Some("d\r".to_owned())],
            vec![Some("A\u{4}g".to_owned()), None, Some("\\\\".to_owned())],
        ];
        for chunk in 1..stream.len() + 1 {
            assert_eq!(read_by(TextStream::of_file(3), stream, 3, chunk).unwrap(), expected, "chunks of {chunk}");
        }
        let refused = |stream: &[u8]| read_by(TextStream::of_file(1), stream, 1, 3).unwrap_err();
        assert_eq!(refused(b"a\rb\n"), StreamError::CarriageReturn);
        assert_eq!(refused(b"a\\\\\r\n"), StreamError::CarriageReturn);
        assert_eq!(refused(b"a\\.\n"), StreamError::EndMarker);
        assert_eq!(refused(b"a\\\n"), StreamError::Truncated);
        assert_eq!(refused(b"a\tb\\\tc\n"), StreamError::FieldCount { expected: 1, found: 2 });
        let mut reader = TextStream::of_file(1);
        reader.feed::<StreamError>(b"a\\\nb\nc\nd", |_| Ok(())).unwrap();
        assert_eq!(reader.lines(), 3);
    }

    #[test]
    fn rows_without_an_end_are_refused() {
        for (ended, chunk) in [(true, 7), (false, 7), (true, 5000), (false, 5000)] {
            let mut reader = TextStream::new(1);
            reader.longest_row = 1000;
            let mut feed = |bytes: &[u8]| bytes.chunks(chunk).try_for_each(|piece| reader.feed(piece, |_| Ok(())));
            feed(&[vec![b'x'; 1000], vec![b'\n']].concat()).unwrap();
            let long = [vec![b'x'; 1001], vec![b'\n'; usize::from(ended)]].concat();
            assert_eq!(
                feed(&long),
                Err(StreamError::RowTooLong { column: None, longest: LONGEST_ROW }),
                "{ended} {chunk}"
            );
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
