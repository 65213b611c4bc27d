//! Where statements begin and end.

use crate::{ScriptError, ScriptErrorKind};

/// A piece of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A statement with its semicolon, without the blanks and comments around it.
    Statement { text: &'a str, line: usize },
    /// A comment of one line between statements, without the dashes.
    Comment { text: &'a str, line: usize },
    /// A line that begins with a backslash between statements, without that.
    Command { text: &'a str, line: usize },
}

/// Takes a script apart.
pub struct Scanner<'a> {
    text: &'a str,
    position: usize,
    line: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, position: 0, line: 1 }
    }

    /// Moves on to a position and counts the lines on the way.
    fn advance_to(&mut self, position: usize) {
        let passed = &self.text.as_bytes()[self.position..position];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.position = position;
    }

    fn error(&self, at: usize, kind: ScriptErrorKind) -> ScriptError {
        let passed = &self.text.as_bytes()[self.position..at];
        ScriptError { line: self.line + passed.iter().filter(|&&byte| byte == b'\n').count(), kind }
    }

    /// The position after the semicolon of the statement that begins here.
    fn end_of_statement(&self) -> Result<usize, ScriptError> {
        let bytes = self.text.as_bytes();
        let mut position = self.position;
        let (mut parentheses, mut blocks) = (0_usize, 0_usize);
        let mut words = FirstWords::default();
        loop {
            let token = match next_token(bytes, position) {
                Ok(Some(token)) => token,
                Ok(None) => return Err(self.error(bytes.len(), ScriptErrorKind::UnfinishedStatement)),
                Err(what) => return Err(self.error(position, ScriptErrorKind::Unterminated(what))),
            };
            match token.kind {
                TokenKind::Symbol(b'(') => parentheses += 1,
                TokenKind::Symbol(b')') => parentheses = parentheses.saturating_sub(1),
                TokenKind::Symbol(b';') if parentheses == 0 && blocks == 0 => return Ok(token.end),
                TokenKind::Word => {
                    let word = &bytes[token.start..token.end];
                    if words.make_routine(word) && parentheses == 0 {
                        let opens = word.eq_ignore_ascii_case(b"begin") && is_before_atomic(bytes, token.end)
                            || blocks > 0 && word.eq_ignore_ascii_case(b"case");
                        if opens {
                            blocks += 1;
                        } else if word.eq_ignore_ascii_case(b"end") {
                            blocks = blocks.saturating_sub(1);
                        }
                    }
                }
                _ => {}
            }
            position = token.end;
        }
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Result<Piece<'a>, ScriptError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        loop {
            let rest = &bytes[self.position..];
            let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
            self.advance_to(self.position + blanks);
            let rest = &bytes[self.position..];
            let line = self.line;
            let end_of_line = self.position + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            match rest {
                [] => return None,
                [b'-', b'-', ..] => {
                    let comment = &text[self.position + 2..end_of_line];
                    self.advance_to(end_of_line);
                    return Some(Ok(Piece::Comment { text: comment.trim(), line }));
                }
                [b'/', b'*', ..] => match end_of_comment(bytes, self.position) {
                    Some(end) => self.advance_to(end),
                    None => {
                        let error = self.error(self.position, ScriptErrorKind::Unterminated("comment"));
                        self.position = bytes.len();
                        return Some(Err(error));
                    }
                },
                [b'\\', ..] => {
                    let command = &text[self.position + 1..end_of_line];
                    self.advance_to(end_of_line);
                    return Some(Ok(Piece::Command { text: command.trim(), line }));
                }
                // An empty statement.
                [b';', ..] => self.advance_to(self.position + 1),
                _ => {
                    let end = match self.end_of_statement() {
                        Ok(end) => end,
                        Err(error) => {
                            self.position = bytes.len();
                            return Some(Err(error));
                        }
                    };
                    let statement = &text[self.position..end];
                    self.advance_to(end);
                    return Some(Ok(Piece::Statement { text: statement, line }));
                }
            }
        }
    }
}

/// The first words of a statement, which tell whether its body can hold semicolons.
#[derive(Default)]
struct FirstWords {
    count: usize,
    /// Whether the words so far begin the making of a function or a procedure.
    so_far: bool,
    is_routine: bool,
}

impl FirstWords {
    /// Takes the next word. Returns whether the statement makes a function or a procedure.
    fn make_routine(&mut self, word: &[u8]) -> bool {
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

/// Whether the word ATOMIC comes next: `begin` alone may be a name.
fn is_before_atomic(bytes: &[u8], position: usize) -> bool {
    matches!(next_token(bytes, position), Ok(Some(token))
        if token.kind == TokenKind::Word && bytes[token.start..token.end].eq_ignore_ascii_case(b"atomic"))
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

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// The next token at or after the position, past blanks and comments.
pub(crate) fn next_token(bytes: &[u8], mut position: usize) -> Result<Option<Token>, &'static str> {
    loop {
        let Some(&byte) = bytes.get(position) else { return Ok(None) };
        let next = bytes.get(position + 1).copied();
        let start = position;
        let token = |kind, end| Ok(Some(Token { kind, start, end }));
        match (byte, next) {
            (byte, _) if is_blank(byte) => position += 1,
            (b'-', Some(b'-')) => {
                position += bytes[position..].iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len() - position);
            }
            (b'/', Some(b'*')) => position = end_of_comment(bytes, position).ok_or("comment")?,
            (b'\'', _) => return token(TokenKind::Literal, end_of_quoted(bytes, position, b'\'').ok_or("string")?),
            (b'"', _) => {
                return token(TokenKind::Quoted, end_of_quoted(bytes, position, b'"').ok_or("quoted identifier")?);
            }
            (b'e' | b'E', Some(b'\'')) => {
                return token(TokenKind::Literal, end_of_escaped(bytes, position + 1).ok_or("string")?);
            }
            (b'u' | b'U', Some(b'&')) if matches!(bytes.get(position + 2), Some(b'\'' | b'"')) => {
                let quote = bytes[position + 2];
                let end = end_of_quoted(bytes, position + 2, quote).ok_or("string")?;
                return token(if quote == b'"' { TokenKind::Quoted } else { TokenKind::Literal }, end);
            }
            (b'b' | b'B' | b'x' | b'X' | b'n' | b'N', Some(b'\'')) => {
                return token(TokenKind::Literal, end_of_quoted(bytes, position + 1, b'\'').ok_or("string")?);
            }
            (b'$', _) => match end_of_dollar_quoted(bytes, position) {
                Some(end) => return token(TokenKind::Literal, end.ok_or("dollar-quoted string")?),
                None => return token(TokenKind::Symbol(b'$'), position + 1),
            },
            (byte, _) if begins_word(byte) => {
                let length = bytes[position..].iter().take_while(|byte| continues_word(**byte)).count();
                return token(TokenKind::Word, position + length);
            }
            // A number is no word, and what follows it immediately is none, either.
            (byte, _) if byte.is_ascii_digit() => {
                let length = bytes[position..].iter().take_while(|byte| continues_word(**byte)).count();
                return token(TokenKind::Symbol(b'0'), position + length);
            }
            _ => return token(TokenKind::Symbol(byte), position + 1),
        }
    }
}

/// The position after a comment, which may hold others.
fn end_of_comment(bytes: &[u8], start: usize) -> Option<usize> {
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
        position += bytes.get(position..)?.iter().position(|&byte| byte == quote)? + 1;
        if bytes.get(position) != Some(&quote) {
            return Some(position);
        }
        position += 1;
    }
}

/// The same for a string with backslashes.
fn end_of_escaped(bytes: &[u8], start: usize) -> Option<usize> {
    let mut position = start + 1;
    loop {
        match bytes.get(position)? {
            b'\\' => position += 2,
            b'\'' if bytes.get(position + 1) == Some(&b'\'') => position += 2,
            b'\'' => return Some(position + 1),
            _ => position += 1,
        }
    }
}

/// The position after a dollar-quoted string, where it has an end; nothing where the dollar begins none.
fn end_of_dollar_quoted(bytes: &[u8], start: usize) -> Option<Option<usize>> {
    let tag = bytes[start + 1..].iter().take_while(|&&byte| continues_word(byte) && byte != b'$').count();
    let after_tag = start + 1 + tag;
    if bytes.get(after_tag) != Some(&b'$') || bytes[start + 1].is_ascii_digit() {
        return None;
    }
    let delimiter = &bytes[start..=after_tag];
    let mut position = after_tag + 1;
    loop {
        let Some(found) = bytes[position..].iter().position(|&byte| byte == b'$') else { return Some(None) };
        position += found;
        if bytes[position..].starts_with(delimiter) {
            return Some(Some(position + delimiter.len()));
        }
        position += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(script: &str) -> Vec<&str> {
        Scanner::new(script)
            .filter_map(|piece| match piece.expect("a script") {
                Piece::Statement { text, .. } => Some(text),
                _ => None,
            })
            .collect()
    }

    fn error(script: &str) -> ScriptError {
        Scanner::new(script).find_map(Result::err).expect("an error")
    }

    #[test]
    fn semicolons_in_quotes_and_comments_end_nothing() {
        for statement in [
            "SELECT ';', ''';', 'it''s;';",
            r"SELECT E'\';', e'\\', E'a;';",
            r"SELECT '\';",
            "SELECT \";\"\";\", U&\";\", U&';', B'1', x'a';",
            "SELECT $$;$$, $a$;$$;$b$;$a$, $ä$;$ä$;",
            "SELECT /* ; /* ; */ ; */ 1 -- ;\n + 1;",
            "SELECT a$b$;",
            "SELECT $1, 1$a$;",
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
        ] {
            assert_eq!(statements(&format!("{statement}\nNEXT;")), [statement, "NEXT;"], "{statement}");
        }
    }

    #[test]
    fn bodies_of_routines_hold_statements() {
        for statement in [
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END;",
            "create or replace procedure p() begin atomic select (case 1 when 1 then 2 end); select 2; end;",
        ] {
            assert_eq!(statements(&format!("{statement} NEXT;")), [statement, "NEXT;"]);
        }
        assert_eq!(statements("BEGIN; SELECT 1; END;"), ["BEGIN;", "SELECT 1;", "END;"]);
        let named = "CREATE FUNCTION public.begin() RETURNS int LANGUAGE sql AS 'SELECT 1';";
        assert_eq!(statements(&format!("{named} NEXT;")), [named, "NEXT;"]);
        assert_eq!(
            statements("CREATE TABLE function (begin atomic);N;"),
            ["CREATE TABLE function (begin atomic);", "N;"]
        );
    }

    #[test]
    fn comments_and_commands_stand_between_statements() {
        let pieces: Vec<_> = Scanner::new("-- a ; b\n\\restrict k\n;; SELECT\n 1;\\x").map(Result::unwrap).collect();
        assert_eq!(
            pieces,
            [
                Piece::Comment { text: "a ; b", line: 1 },
                Piece::Command { text: "restrict k", line: 2 },
                Piece::Statement { text: "SELECT\n 1;", line: 3 },
                Piece::Command { text: "x", line: 4 },
            ]
        );
    }

    #[test]
    fn what_has_no_end_is_an_error_with_its_line() {
        let unterminated = |line, what| ScriptError { line, kind: ScriptErrorKind::Unterminated(what) };
        assert_eq!(error("SELECT 1;\nSELECT 'a"), unterminated(2, "string"));
        assert_eq!(error("SELECT E'a\\'"), unterminated(1, "string"));
        assert_eq!(error("SELECT \"a"), unterminated(1, "quoted identifier"));
        assert_eq!(error("SELECT $a$ $$"), unterminated(1, "dollar-quoted string"));
        assert_eq!(error("\n/* /* */"), unterminated(2, "comment"));
        assert_eq!(error("SELECT (1;"), ScriptError { line: 1, kind: ScriptErrorKind::UnfinishedStatement });
    }
}
