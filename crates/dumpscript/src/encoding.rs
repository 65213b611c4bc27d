//! Encodings of clients in which a byte of a character can be mistaken for a character of ASCII.

/// The encoding of a script, as far as it decides where a character ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// All bytes of a character that is not ASCII have the high bit set.
    #[default]
    Plain,
    /// SJIS and SHIFT_JIS_2004: one byte or two.
    ShiftJis,
    /// BIG5, GBK and UHC: two bytes.
    TwoBytes,
    /// GB18030: two bytes or four.
    Gb18030,
    /// JOHAB: two bytes or three.
    Johab,
}

impl Encoding {
    /// Returns the encoding that `client_encoding` knows under a name; like the server, it looks at letters and digits alone.
    pub fn named(name: &str) -> Self {
        let name: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|character| character.to_ascii_lowercase()).collect();
        match name.as_str() {
            "sjis" | "shiftjis" | "mskanji" | "win932" | "windows932" | "shiftjis2004" => Self::ShiftJis,
            "big5" | "win950" | "windows950" | "gbk" | "win936" | "windows936" | "uhc" | "win949" | "windows949" => {
                Self::TwoBytes
            }
            "gb18030" => Self::Gb18030,
            "johab" => Self::Johab,
            _ => Self::Plain,
        }
    }

    /// Returns the bytes of the character that begins at the position, which the text need not have all.
    #[inline]
    pub(crate) fn length(self, bytes: &[u8], position: usize) -> usize {
        let first = bytes[position];
        if self == Self::Plain || first < 0x80 {
            return 1;
        }
        match self {
            Self::Plain => 1,
            Self::ShiftJis if (0xa1..=0xdf).contains(&first) => 1,
            Self::Gb18030 if matches!(bytes.get(position + 1), Some(b'0'..=b'9')) => 4,
            // The first byte of a character of three.
            Self::Johab if first == 0x8f => 3,
            _ => 2,
        }
    }
}
