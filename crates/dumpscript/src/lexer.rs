//! Tokens: where strings, names and comments begin and end.

use crate::Encoding;

/// The settings on which the meaning of a script's bytes depends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether a backslash escapes what follows in every string, as with `standard_conforming_strings = off`.
    pub escapes: bool,
    pub encoding: Encoding,
}

/// The first words of a statement, which tell whether its body can hold semicolons.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstWords {
    count: usize,
    /// Whether the words so far begin the making of a function or a procedure.
    so_far: bool,
    is_routine: bool,
}

impl FirstWords {
    /// Takes the next word. Returns whether the statement makes a function or a procedure.
    pub(crate) fn make_routine(&mut self, word: &[u8]) -> bool {
        let is = |expected: &[u8]| word.eq_ignore_ascii_case(expected);
        let routine = is(b"function") || is(b"procedure");
        match self.count {
            0 => self.so_far = is(b"create"),
            1 | 3 if routine => self.is_routine = self.so_far,
            1 => self.so_far &= is(b"or"),
            2 => self.so_far &= is(b"replace"),
            _ => {}
        }
        self.count += 1;
        self.is_routine
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An identifier without quotes, or a keyword.
    Word,
    Quoted,
    /// A string, in quotes of any kind, with its prefix.
    Literal,
    Symbol(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// What has no end in the bytes that are there, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unterminated {
    pub(crate) what: &'static str,
    pub(crate) start: usize,
}

/// The next token at or after the position, past blanks and comments.
pub(crate) fn next_token(bytes: &[u8], mut position: usize, rules: Rules) -> Result<Option<Token>, Unterminated> {
    loop {
        let Some(&byte) = bytes.get(position) else { return Ok(None) };
        let next = bytes.get(position + 1).copied();
        let start = position;
        let token = |kind, end| Ok(Some(Token { kind, start, end }));
        let ended = |end: Option<usize>, what| end.ok_or(Unterminated { what, start });
        match (byte, next) {
            (byte, _) if is_blank(byte) => position += 1,
            (b'-', Some(b'-')) => {
                position = end_of_line(bytes, position);
            }
            (b'/', Some(b'*')) => position = ended(end_of_comment(bytes, position), "comment")?,
            (b'\'', _) => {
                let end = end_of_string(bytes, position, rules.escapes, rules);
                return token(TokenKind::Literal, ended(end, "string")?);
            }
            (b'"', _) => {
                return token(TokenKind::Quoted, ended(end_of_quoted(bytes, position, b'"'), "quoted identifier")?);
            }
            (b'e' | b'E', Some(b'\'')) => {
                return token(TokenKind::Literal, ended(end_of_string(bytes, position + 1, true, rules), "string")?);
            }
            (b'u' | b'U', Some(b'&')) if matches!(bytes.get(position + 2), Some(b'\'' | b'"')) => {
                let quote = bytes[position + 2];
                let end = ended(end_of_quoted(bytes, position + 2, quote), "string")?;
                return token(if quote == b'"' { TokenKind::Quoted } else { TokenKind::Literal }, end);
            }
            (b'b' | b'B' | b'x' | b'X', Some(b'\'')) => {
                return token(TokenKind::Literal, ended(end_of_quoted(bytes, position + 1, b'\''), "string")?);
            }
            (b'n' | b'N', Some(b'\'')) => {
                let end = end_of_string(bytes, position + 1, rules.escapes, rules);
                return token(TokenKind::Literal, ended(end, "string")?);
            }
            (b'$', _) => match end_of_dollar_quoted(bytes, position, rules) {
                Some(end) => return token(TokenKind::Literal, ended(end, "dollar-quoted string")?),
                None => return token(TokenKind::Symbol(b'$'), position + 1),
            },
            (byte, _) if begins_word(byte) => {
                return token(TokenKind::Word, end_of_word(bytes, position, rules));
            }
            // A number is no word. A dollar behind it may begin a string.
            (byte, _) if byte.is_ascii_digit() => {
                let length = bytes[position..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                return token(TokenKind::Symbol(b'0'), position + length);
            }
            _ => return token(TokenKind::Symbol(byte), position + 1),
        }
    }
}

/// The position of the newline, or of the end.
pub(crate) fn end_of_line(bytes: &[u8], start: usize) -> usize {
    memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length)
}

fn end_of_word(bytes: &[u8], mut position: usize, rules: Rules) -> usize {
    while position < bytes.len() && continues_word(bytes[position]) {
        position += rules.encoding.length(bytes, position);
    }
    position.min(bytes.len())
}

/// The position after a comment, which may hold others.
pub(crate) fn end_of_comment(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut position) = (0_usize, start);
    loop {
        match (bytes.get(position)?, bytes.get(position + 1)) {
            (b'/', Some(b'*')) => (depth, position) = (depth + 1, position + 2),
            (b'*', Some(b'/')) => {
                (depth, position) = (depth - 1, position + 2);
                if depth == 0 {
                    return Some(position);
                }
            }
            _ => position += 1,
        }
    }
}

/// The position after a string or an identifier, in which the quote is written twice.
fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut position = start + 1;
    loop {
        position += memchr::memchr(quote, bytes.get(position..)?)? + 1;
        if bytes.get(position) != Some(&quote) {
            return Some(position);
        }
        position += 1;
    }
}

/// The same for a string in which backslashes may escape what follows.
fn end_of_string(bytes: &[u8], start: usize, escapes: bool, rules: Rules) -> Option<usize> {
    if !escapes {
        return end_of_quoted(bytes, start, b'\'');
    }
    let mut position = start + 1;
    loop {
        if rules.encoding == Encoding::Plain {
            position += memchr::memchr2(b'\\', b'\'', bytes.get(position..)?)?;
        }
        match bytes.get(position)? {
            b'\\' => position += 1 + rules.encoding.length(bytes, (position + 1).min(bytes.len() - 1)),
            b'\'' if bytes.get(position + 1) == Some(&b'\'') => position += 2,
            b'\'' => return Some(position + 1),
            _ => position += rules.encoding.length(bytes, position),
        }
    }
}

/// The position after a dollar-quoted string, where it has an end; nothing where the dollar begins none.
fn end_of_dollar_quoted(bytes: &[u8], start: usize, rules: Rules) -> Option<Option<usize>> {
    let mut after_tag = start + 1;
    while let Some(&byte) = bytes.get(after_tag)
        && continues_word(byte)
        && byte != b'$'
    {
        after_tag += rules.encoding.length(bytes, after_tag);
    }
    match bytes.get(after_tag) {
        _ if bytes.get(start + 1).is_some_and(u8::is_ascii_digit) => return None,
        Some(b'$') => {}
        Some(_) => return None,
        None => return Some(None),
    }
    let delimiter = &bytes[start..=after_tag];
    let length = memchr::memmem::find(&bytes[after_tag + 1..], delimiter);
    Some(length.map(|length| after_tag + 1 + length + delimiter.len()))
}
