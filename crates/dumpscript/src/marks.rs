//! Rows that end like the mark of the end of all rows.

use crate::Encoding;

/// Looks in the rows of a COPY in the text format, which arrive in chunks, for a row that ends in `\.`.
#[derive(Debug, Clone)]
pub struct EndMarks {
    encoding: Encoding,
    state: State,
    /// The bytes of the next chunk that belong to the last character of this one.
    begun: usize,
    /// The lines that have ended.
    lines: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    /// Behind a backslash that is not escaped.
    Escape,
    /// Behind that and a dot.
    Mark,
}

impl EndMarks {
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, state: State::Plain, begun: 0, lines: 0 }
    }

    /// Takes the next chunk. Returns the line, from 1, of the first row that ends so.
    pub fn find(&mut self, chunk: &[u8]) -> Option<u64> {
        let mut position = self.begun.min(chunk.len());
        self.begun -= position;
        loop {
            if self.state == State::Plain && self.encoding == Encoding::Plain {
                let end = memchr::memchr(b'\\', &chunk[position..]).map_or(chunk.len(), |length| position + length);
                self.lines += memchr::memchr_iter(b'\n', &chunk[position..end]).count() as u64;
                position = end;
            }
            let &byte = chunk.get(position)?;
            if self.state == State::Mark && matches!(byte, b'\n' | b'\r') {
                return Some(self.lines + 1);
            }
            self.state = match (self.state, byte) {
                (State::Escape, b'.') => State::Mark,
                (State::Plain | State::Mark, b'\\') => State::Escape,
                _ => State::Plain,
            };
            self.lines += u64::from(byte == b'\n');
            let length = match self.encoding {
                // Characters of four bytes are two pairs of the same form.
                Encoding::Gb18030 if byte >= 0x80 => 2,
                encoding => encoding.length(chunk, position),
            };
            let next = position + length;
            self.begun = next.saturating_sub(chunk.len());
            position = next.min(chunk.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: &[u8], encoding: Encoding) -> Option<u64> {
        let whole = EndMarks::new(encoding).find(rows);
        for chunk in 1..rows.len() {
            let mut marks = EndMarks::new(encoding);
            assert_eq!(rows.chunks(chunk).find_map(|chunk| marks.find(chunk)), whole, "{rows:?} in chunks of {chunk}");
        }
        whole
    }

    #[test]
    fn marks_end_rows_and_are_not_escaped() {
        for (rows, line) in [
            (&b"1\tx\\.\n2\ty\n"[..], Some(1)),
            (b"1\tx\n2\ty\\.\r\n", Some(2)),
            (b"1\tx\n2\ty\\\\\\.\n", Some(2)),
            (b"1\tx\\\n2\\.\n", Some(2)),
            (b"1\tx\\\\.\n2\ty.\n", None),
            // The server complains of these.
            (b"1\tx\\.y\n\\.z\n", None),
            (b"1\t\\N\n\\\\\n.\n", None),
            (b"", None),
        ] {
            assert_eq!(found(rows, Encoding::Plain), line, "{rows:?}");
        }
    }

    #[test]
    fn characters_of_four_bytes() {
        let rows = b"1\t\x81\x30\x81\x30\\.\n";
        assert_eq!(found(rows, Encoding::Gb18030), Some(1));
    }

    #[test]
    fn bytes_of_characters_are_no_marks() {
        // The character ends in the byte of a backslash.
        for (encoding, character) in
            [(Encoding::ShiftJis, &b"\x83\\"[..]), (Encoding::TwoBytes, b"\x81\\"), (Encoding::Gb18030, b"\x81\\")]
        {
            let rows = [b"1\t", character, b".\n2\t", character, b"\\.\n"].concat();
            assert_eq!(found(&rows, encoding), Some(2), "{encoding:?}");
            assert_eq!(found(&rows[..rows.len() - 3], encoding), None, "{encoding:?}");
        }
    }
}
