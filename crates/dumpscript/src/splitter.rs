//! Where statements, comments, commands of psql and rows begin and end.

use crate::lexer::{FirstWords, Token, TokenKind, Unterminated, end_of_comment, end_of_line, is_blank, next_token};
use crate::{Encoding, Rules, ScriptError, ScriptErrorKind};

/// A piece of a script. Its bytes are in the encoding of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A statement with its semicolon, without the blanks and comments around it. Rows follow one that `copies` from the script.
    Statement { text: &'a [u8], line: usize, copies: bool },
    /// A comment of one line between statements, without the dashes.
    Comment { text: &'a [u8], line: usize },
    /// A line that begins with a backslash between statements, without that.
    Command { text: &'a [u8], line: usize },
    /// Bytes of the rows for COPY FROM STDIN, which are at position `at` of the script. Rows may be divided anywhere.
    Rows { bytes: &'a [u8], line: usize, at: u64 },
    /// The line that ends rows.
    EndOfRows { line: usize },
}

/// Takes a script apart that arrives in chunks. It holds one statement, or a chunk of rows, at a time.
#[derive(Debug, Clone)]
pub struct Splitter {
    rules: Rules,
    bytes: Vec<u8>,
    /// What lies before this position was handed out.
    begin: usize,
    /// The position in the script of the first of `bytes`.
    offset: u64,
    /// The line of `begin`, from 1.
    line: usize,
    at_end: bool,
    /// While fewer bytes are left, there is no use in another look: what is unfinished is looked at anew when it has doubled.
    wanted: usize,
    state: State,
    /// Dumps that have begun, by their comments, and not ended.
    open_dumps: usize,
    /// Whether there was a statement.
    is_script: bool,
}

#[derive(Debug, Clone)]
enum State {
    Beginning,
    Between,
    Statement(Progress),
    /// Behind a statement that copies.
    BeforeRows,
    Rows {
        at_line: bool,
    },
}

/// How much of a statement is known.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// The bytes that were looked at.
    length: usize,
    tokens: usize,
    parentheses: usize,
    blocks: usize,
    words: FirstWords,
    copy: Copy,
}

/// How far a statement is known to be COPY FROM STDIN.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Copy {
    #[default]
    No,
    BeforeFrom,
    BeforeSource,
    FromScript,
}

/// A piece by its positions.
enum Found {
    /// More bytes must come first.
    Nothing,
    /// Something was passed over.
    Passed,
    Statement {
        start: usize,
        end: usize,
        line: usize,
        copies: bool,
    },
    Comment {
        start: usize,
        end: usize,
        line: usize,
    },
    Command {
        start: usize,
        end: usize,
        line: usize,
    },
    Rows {
        start: usize,
        end: usize,
        line: usize,
    },
    EndOfRows {
        line: usize,
    },
}

/// The bytes after a token that may belong to it.
const LOOKAHEAD: usize = 4;

const BEGIN_OF_DUMP: [&[u8]; 2] = [b"PostgreSQL database dump", b"PostgreSQL database cluster dump"];
const END_OF_DUMP: [&[u8]; 2] = [b"PostgreSQL database dump complete", b"PostgreSQL database cluster dump complete"];

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// The bytes of the longest statement, which is what a server takes (`MaxAllocSize`).
    pub const LONGEST_STATEMENT: usize = 0x3fff_ffff - 1;

    pub fn new() -> Self {
        Self {
            rules: Rules::default(),
            bytes: Vec::new(),
            begin: 0,
            offset: 0,
            line: 1,
            at_end: false,
            wanted: 0,
            state: State::Beginning,
            open_dumps: 0,
            is_script: false,
        }
    }

    /// Takes the next bytes of the script. All pieces that are complete must have been taken before.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ScriptError> {
        self.bytes.drain(..self.begin);
        self.offset += self.begin as u64;
        self.begin = 0;
        if self.bytes.try_reserve(chunk.len()).is_err() {
            return Err(self.error(0, ScriptErrorKind::OutOfMemory));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Gives the memory back that a long piece took, which was handed out.
    pub fn shed(&mut self) {
        let mut rest = Vec::new();
        if rest.try_reserve(self.rest().len()).is_ok() {
            rest.extend_from_slice(self.rest());
            self.bytes = rest;
            self.offset += self.begin as u64;
            self.begin = 0;
        }
    }

    /// Declares the script complete.
    pub fn end(&mut self) {
        self.at_end = true;
    }

    /// Says what `standard_conforming_strings` and `client_encoding` are for what comes next.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Follows a statement that was handed out, if it sets what decides about the rest of the script.
    pub fn follow(&mut self, statement: &str) {
        let Some((name, value)) = crate::setting_of(statement) else { return };
        if name.eq_ignore_ascii_case("standard_conforming_strings") {
            let is_off = ["off", "false", "no", "0", "f", "n", "of"].iter().any(|off| value.eq_ignore_ascii_case(off));
            self.rules.escapes = is_off;
        } else if name.eq_ignore_ascii_case("client_encoding") {
            self.rules.encoding = Encoding::named(&value);
        }
    }

    /// The position in the script of what comes next, and its line.
    pub fn place(&self) -> (u64, usize) {
        (self.offset + self.begin as u64, self.line)
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }

    fn error(&self, length: usize, kind: ScriptErrorKind) -> ScriptError {
        let passed = &self.bytes[self.begin..(self.begin + length).min(self.bytes.len())];
        ScriptError { line: self.line + count_lines(passed), kind }
    }

    /// Passes over so many bytes.
    fn pass(&mut self, length: usize) {
        self.line += count_lines(&self.bytes[self.begin..self.begin + length]);
        self.begin += length;
    }

    /// Returns the next piece; nothing where more bytes are needed, or at the end.
    ///
    /// # Errors
    /// For what has no end, for text that cannot be a script, and at the end of a script that is not complete.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, ScriptError> {
        let found = self.find()?;
        Ok(Some(match found {
            Found::Passed | Found::Nothing => return Ok(None),
            Found::Statement { start, end, line, copies } => {
                Piece::Statement { text: &self.bytes[start..end], line, copies }
            }
            Found::Comment { start, end, line } => Piece::Comment { text: self.bytes[start..end].trim_ascii(), line },
            Found::Command { start, end, line } => Piece::Command { text: self.bytes[start..end].trim_ascii(), line },
            Found::Rows { start, end, line } => {
                Piece::Rows { bytes: &self.bytes[start..end], line, at: self.offset + start as u64 }
            }
            Found::EndOfRows { line } => Piece::EndOfRows { line },
        }))
    }

    /// Finds the next piece.
    fn find(&mut self) -> Result<Found, ScriptError> {
        if !self.at_end && self.rest().len() < self.wanted {
            return Ok(Found::Nothing);
        }
        let found = loop {
            let found = match &self.state {
                State::Beginning => self.beginning()?,
                State::Between => self.between()?,
                State::Statement(_) => self.statement()?,
                State::BeforeRows => self.before_rows()?,
                &State::Rows { at_line } => self.rows(at_line)?,
            };
            if !matches!(found, Found::Passed) {
                break found;
            }
        };
        self.wanted = 0;
        match found {
            Found::Nothing if !self.at_end => {
                let known = match &self.state {
                    State::Statement(progress) => progress.length,
                    _ => 0,
                };
                let left = self.rest().len();
                if left > Self::LONGEST_STATEMENT {
                    return Err(self.error(0, ScriptErrorKind::TooLong));
                }
                self.wanted = left + (left - known.min(left)).max(1);
            }
            Found::Comment { start, end, .. } => {
                let text = self.bytes[start..end].trim_ascii();
                if BEGIN_OF_DUMP.contains(&text) {
                    self.open_dumps += 1;
                } else if END_OF_DUMP.contains(&text) {
                    self.open_dumps = self.open_dumps.saturating_sub(1);
                }
            }
            Found::Statement { .. } => self.is_script = true,
            _ => {}
        }
        Ok(found)
    }

    fn beginning(&mut self) -> Result<Found, ScriptError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let rest = self.rest();
        if rest.len() < BYTE_ORDER_MARK.len() && !self.at_end {
            return Ok(Found::Nothing);
        }
        if matches!(rest, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
            return Err(self.error(0, ScriptErrorKind::Utf16));
        }
        if rest.starts_with(BYTE_ORDER_MARK) {
            self.pass(BYTE_ORDER_MARK.len());
        }
        self.state = State::Between;
        Ok(Found::Passed)
    }

    fn between(&mut self) -> Result<Found, ScriptError> {
        let blanks = self.rest().iter().take_while(|byte| is_blank(**byte)).count();
        self.pass(blanks);
        let (rest, at_end, line) = (self.rest(), self.at_end, self.line);
        let end_of_line = end_of_line(rest, 0);
        let has_line = end_of_line < rest.len() || at_end;
        match rest {
            [] if at_end => {
                let kind = if self.open_dumps > 0 {
                    ScriptErrorKind::UnfinishedDump
                } else if !self.is_script {
                    ScriptErrorKind::NoStatement
                } else {
                    return Ok(Found::Nothing);
                };
                Err(self.error(0, kind))
            }
            [] | [b'-' | b'/'] if !at_end => Ok(Found::Nothing),
            [b'-', b'-', ..] | [b'\\', ..] if !has_line => Ok(Found::Nothing),
            [b'-', b'-', ..] => {
                let (start, end) = (self.begin + 2, self.begin + end_of_line);
                self.pass(end_of_line);
                Ok(Found::Comment { start, end, line })
            }
            [b'/', b'*', ..] => match end_of_comment(rest, 0) {
                Some(end) => {
                    self.pass(end);
                    Ok(Found::Passed)
                }
                None if at_end => Err(self.error(0, ScriptErrorKind::Unterminated("comment"))),
                None => Ok(Found::Nothing),
            },
            [b'\\', ..] => {
                let (start, end) = (self.begin + 1, self.begin + end_of_line);
                self.pass(end_of_line);
                Ok(Found::Command { start, end, line })
            }
            // An empty statement.
            [b';', ..] => {
                self.pass(1);
                Ok(Found::Passed)
            }
            _ => {
                self.state = State::Statement(Progress::default());
                Ok(Found::Passed)
            }
        }
    }

    fn statement(&mut self) -> Result<Found, ScriptError> {
        let (start, line) = (self.begin, self.line);
        let State::Statement(progress) = &mut self.state else { return Ok(Found::Passed) };
        let whole = &self.bytes[start..];
        let (rules, at_end) = (self.rules, self.at_end);
        let outcome = progress.advance(whole, rules, at_end);
        let (length, copies) = (progress.length, progress.copy == Copy::FromScript);
        match outcome {
            Outcome::Complete if length > Self::LONGEST_STATEMENT => Err(self.error(0, ScriptErrorKind::TooLong)),
            Outcome::Complete => {
                self.pass(length);
                self.state = if copies { State::BeforeRows } else { State::Between };
                Ok(Found::Statement { start, end: start + length, line, copies })
            }
            Outcome::More => Ok(Found::Nothing),
            Outcome::Ends => Err(self.error(usize::MAX - start, ScriptErrorKind::UnfinishedStatement)),
            Outcome::Unterminated(Unterminated { what, start }) => {
                Err(self.error(start, ScriptErrorKind::Unterminated(what)))
            }
            Outcome::Backslash(position) => Err(self.error(position, ScriptErrorKind::Command)),
        }
    }

    /// The rows begin with the next line.
    fn before_rows(&mut self) -> Result<Found, ScriptError> {
        let rest = self.rest();
        let end = end_of_line(rest, 0);
        if !rest[..end].iter().all(|byte| is_blank(*byte)) {
            return Err(self.error(0, ScriptErrorKind::TextBehindCopy));
        }
        if end == rest.len() {
            if self.at_end {
                return Err(self.error(end, ScriptErrorKind::UnfinishedRows));
            }
            return Ok(Found::Nothing);
        }
        self.pass(end + 1);
        self.state = State::Rows { at_line: true };
        Ok(Found::Passed)
    }

    /// Rows up to the line that ends them.
    fn rows(&mut self, at_line: bool) -> Result<Found, ScriptError> {
        const MARK: &[u8] = b"\\.";
        let (rest, start, line) = (self.rest(), self.begin, self.line);
        if at_line {
            let behind = match rest {
                [b'\\', b'.', b'\n', ..] => Some(3),
                [b'\\', b'.', b'\r', b'\n', ..] => Some(4),
                [b'\\', b'.'] | [b'\\', b'.', b'\r'] if self.at_end => Some(rest.len()),
                _ => None,
            };
            if let Some(length) = behind {
                self.pass(length);
                self.state = State::Between;
                return Ok(Found::EndOfRows { line });
            }
            if !self.at_end && (MARK.starts_with(rest) || rest == b"\\.\r" || rest == MARK) {
                return Ok(Found::Nothing);
            }
        }
        if rest.is_empty() {
            return if self.at_end { Err(self.error(0, ScriptErrorKind::UnfinishedRows)) } else { Ok(Found::Nothing) };
        }
        let length = match memchr::memmem::find(rest, b"\n\\.") {
            Some(newline) => newline + 1,
            None if rest.ends_with(b"\n\\") && !self.at_end => rest.len() - 1,
            None => rest.len(),
        };
        let at_line = rest[length - 1] == b'\n';
        self.pass(length);
        self.state = State::Rows { at_line };
        Ok(Found::Rows { start, end: start + length, line })
    }
}

fn count_lines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

enum Outcome {
    Complete,
    More,
    Ends,
    Unterminated(Unterminated),
    /// At this position of the statement.
    Backslash(usize),
}

impl Progress {
    /// Goes on to the end of the statement, or as far as whole tokens are there.
    fn advance(&mut self, bytes: &[u8], rules: Rules, at_end: bool) -> Outcome {
        loop {
            let token = match next_token(bytes, self.length, rules) {
                Ok(Some(token)) if at_end || is_whole(token, bytes) => token,
                Ok(None) if at_end => return Outcome::Ends,
                Err(unterminated) if at_end => return Outcome::Unterminated(unterminated),
                _ => return Outcome::More,
            };
            let word = &bytes[token.start..token.end];
            let is = |expected: &[u8]| token.kind == TokenKind::Word && word.eq_ignore_ascii_case(expected);
            let mut opens = false;
            if is(b"begin") && self.parentheses == 0 {
                opens = match next_token(bytes, token.end, rules) {
                    Ok(Some(next)) if at_end || is_whole(next, bytes) => {
                        next.kind == TokenKind::Word && bytes[next.start..next.end].eq_ignore_ascii_case(b"atomic")
                    }
                    _ if at_end => false,
                    _ => return Outcome::More,
                };
            }
            match token.kind {
                TokenKind::Symbol(b'(') => self.parentheses += 1,
                TokenKind::Symbol(b')') => self.parentheses = self.parentheses.saturating_sub(1),
                TokenKind::Symbol(b';') if self.parentheses == 0 && self.blocks == 0 => {
                    self.length = token.end;
                    return Outcome::Complete;
                }
                TokenKind::Symbol(b'\\') => return Outcome::Backslash(token.start),
                TokenKind::Word if self.words.make_routine(word) && self.parentheses == 0 => {
                    if opens || self.blocks > 0 && is(b"case") {
                        self.blocks += 1;
                    } else if is(b"end") {
                        self.blocks = self.blocks.saturating_sub(1);
                    }
                }
                _ => {}
            }
            self.copy = match self.copy {
                Copy::No if self.tokens == 0 && is(b"copy") => Copy::BeforeFrom,
                Copy::BeforeFrom if is(b"from") && self.parentheses == 0 => Copy::BeforeSource,
                Copy::BeforeSource if is(b"stdin") || is(b"stdout") => Copy::FromScript,
                Copy::BeforeSource => Copy::No,
                other => other,
            };
            self.tokens += 1;
            self.length = token.end;
        }
    }
}

/// Whether what comes later cannot change the token.
fn is_whole(token: Token, bytes: &[u8]) -> bool {
    matches!(token.kind, TokenKind::Symbol(b';' | b'(' | b')')) || token.end + LOOKAHEAD <= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a script as texts, in chunks of so many bytes.
    fn pieces_in_chunks(script: &[u8], chunk: usize, rules: Rules) -> Result<Vec<String>, ScriptError> {
        let mut splitter = Splitter::new();
        splitter.set_rules(rules);
        let mut chunks = script.chunks(chunk);
        let mut pieces: Vec<String> = Vec::new();
        loop {
            let mut followed = None;
            let text = match splitter.next_piece()? {
                Some(Piece::Statement { text, line, copies }) => {
                    followed = std::str::from_utf8(text).ok().map(str::to_owned);
                    format!("{line} {}{}", if copies { "copies " } else { "" }, text.escape_ascii())
                }
                Some(Piece::Comment { text, line }) => format!("{line} -- {}", text.escape_ascii()),
                Some(Piece::Command { text, line }) => format!("{line} \\ {}", text.escape_ascii()),
                Some(Piece::Rows { bytes, line, at }) => {
                    assert_eq!(&script[at as usize..at as usize + bytes.len()], bytes);
                    let text = bytes.escape_ascii().to_string();
                    match pieces.last_mut().filter(|last| last.starts_with("rows ")) {
                        Some(last) => last.push_str(&text),
                        None => pieces.push(format!("rows {line} {text}")),
                    }
                    continue;
                }
                Some(Piece::EndOfRows { line }) => format!("{line} end"),
                None => match chunks.next() {
                    Some(chunk) => {
                        splitter.feed(chunk)?;
                        continue;
                    }
                    None if splitter.at_end => return Ok(pieces),
                    None => {
                        splitter.end();
                        continue;
                    }
                },
            };
            if let Some(statement) = followed {
                splitter.follow(&statement);
            }
            if chunk.is_multiple_of(2) {
                splitter.shed();
            }
            pieces.push(text);
        }
    }

    /// The same for every size of chunks.
    fn pieces_by(script: &[u8], rules: Rules) -> Result<Vec<String>, ScriptError> {
        let whole = pieces_in_chunks(script, script.len().max(1), rules);
        for chunk in 1..script.len().min(40) {
            assert_eq!(pieces_in_chunks(script, chunk, rules), whole, "in chunks of {chunk}");
        }
        whole
    }

    fn pieces(script: &str) -> Vec<String> {
        pieces_by(script.as_bytes(), Rules::default()).expect("a script")
    }

    fn error(script: &str) -> ScriptError {
        pieces_by(script.as_bytes(), Rules::default()).expect_err("an error")
    }

    fn escaped(text: &str) -> String {
        text.as_bytes().escape_ascii().to_string()
    }

    #[test]
    fn semicolons_in_quotes_and_comments_end_nothing() {
        for statement in [
            "SELECT ';', ''';', 'it''s;';",
            r"SELECT E'\';', e'\\', E'a;';",
            r"SELECT '\';",
            "SELECT \";\"\";\", U&\";\", U&';', B'1', x'a', N';';",
            "SELECT $$;$$, $a$;$$;$b$;$a$, $ä$;$ä$;",
            "SELECT /* ; /* ; */ ; */ 1 -- ;\n + 1;",
            "SELECT a$b$;",
            "SELECT $1, 1$a$;$a$;",
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
            "SELECT 'a'\n';', '', E'', $body$;$body$;",
        ] {
            let lines = 1 + statement.matches('\n').count();
            let expected = [format!("1 {}", escaped(statement)), format!("{} NEXT;", lines + 1)];
            assert_eq!(pieces(&format!("{statement}\nNEXT;")), expected, "{statement}");
        }
    }

    #[test]
    fn bodies_of_routines_hold_statements() {
        for statement in [
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END;",
            "create or replace procedure p() begin atomic select (case 1 when 1 then 2 end); select 2; end;",
            "CREATE FUNCTION public.begin() RETURNS int LANGUAGE sql AS 'SELECT 1';",
            "CREATE TABLE function (begin atomic);",
        ] {
            assert_eq!(pieces(&format!("{statement} NEXT;")), [format!("1 {}", escaped(statement)), "1 NEXT;".into()]);
        }
        assert_eq!(pieces("BEGIN; SELECT 1; END;"), ["1 BEGIN;", "1 SELECT 1;", "1 END;"]);
    }

    #[test]
    fn comments_and_commands_stand_between_statements() {
        assert_eq!(
            pieces("-- a ; b\n\\restrict k\n;; SELECT\n 1;\\x"),
            ["1 -- a ; b", "2 \\ restrict k", "3 SELECT\\n 1;", "4 \\ x"]
        );
        assert_eq!(pieces("\u{feff}SELECT 1;\r\n--\r\nSELECT 2;"), ["1 SELECT 1;", "2 -- ", "3 SELECT 2;"]);
    }

    #[test]
    fn rows_end_with_a_line_of_their_own() {
        assert_eq!(
            pieces("COPY t (a, \"from\") FROM stdin;\n1\t\\.\n\\.x\n\\\\.\n\\.\nSELECT 1;"),
            [
                "1 copies COPY t (a, \\\"from\\\") FROM stdin;",
                "rows 2 1\\t\\\\.\\n\\\\.x\\n\\\\\\\\.\\n",
                "5 end",
                "6 SELECT 1;"
            ]
        );
        assert_eq!(pieces("copy t from STDIN;\n\\.\n"), ["1 copies copy t from STDIN;", "2 end"]);
        assert_eq!(
            pieces("COPY t FROM stdin; \r\na\r\n\\.\r\nx;"),
            ["1 copies COPY t FROM stdin;", "rows 2 a\\r\\n", "3 end", "4 x;"]
        );
        assert_eq!(
            pieces("COPY t FROM stdin WITH (FORMAT csv);\n\\."),
            ["1 copies COPY t FROM stdin WITH (FORMAT csv);", "2 end"]
        );
        for statement in ["COPY (SELECT 1 FROM stdin) TO 'x';", "COPY t FROM 'stdin';", "COPY t FROM PROGRAM 'stdin';"]
        {
            assert_eq!(pieces(statement), [format!("1 {}", escaped(statement))]);
        }
        assert_eq!(error("COPY t FROM stdin;\n1\n").kind, ScriptErrorKind::UnfinishedRows);
        assert_eq!(error("COPY t FROM stdin;").kind, ScriptErrorKind::UnfinishedRows);
        assert_eq!(error("COPY t FROM stdin;\n1\n\\.x\n\\").kind, ScriptErrorKind::UnfinishedRows);
        assert_eq!(
            error("\nCOPY t FROM stdin; -- rows\n\\.\n"),
            ScriptError { line: 2, kind: ScriptErrorKind::TextBehindCopy }
        );
    }

    #[test]
    fn scripts_say_how_strings_are_written() {
        let script = "SET standard_conforming_strings = off;\nSELECT '\\';';\nSET standard_conforming_strings = 'on';SELECT '\\';";
        assert_eq!(
            pieces(script),
            [
                "1 SET standard_conforming_strings = off;",
                "2 SELECT \\'\\\\\\';\\';",
                "3 SET standard_conforming_strings = \\'on\\';",
                "3 SELECT \\'\\\\\\';"
            ]
        );
    }

    #[test]
    fn bytes_of_characters_are_no_quotes() {
        // In each of these encodings the character ends in a backslash, or in a semicolon.
        for (encoding, character) in [
            ("SJIS", &b"\x83\\"[..]),
            ("BIG5", b"\xa5\\"),
            ("GBK", b"\x81\\"),
            ("GB18030", b"\x81\\"),
            ("UHC", b"\x81\\"),
            ("JOHAB", b"\x88;"),
        ] {
            let mut script = format!("SET client_encoding = '{encoding}';SELECT E'").into_bytes();
            script.extend_from_slice(character);
            script.extend_from_slice(b"', a");
            script.extend_from_slice(character);
            script.extend_from_slice(b", $");
            script.extend_from_slice(character);
            script.extend_from_slice(b"$'$");
            script.extend_from_slice(character);
            script.extend_from_slice(b"$;N;");
            let found = pieces_by(&script, Rules::default()).expect(encoding);
            assert_eq!(found.len(), 3, "{encoding}: {found:?}");
        }
        let script = b"SET client_encoding = 'GB18030'; SELECT E'\x81\x30\x81\x30';N;";
        assert_eq!(pieces_by(script, Rules::default()).unwrap().len(), 3);
    }

    #[test]
    fn what_has_no_end_is_an_error_with_its_line() {
        let unterminated = |line, what| ScriptError { line, kind: ScriptErrorKind::Unterminated(what) };
        assert_eq!(error("SELECT 1;\nSELECT 'a"), unterminated(2, "string"));
        assert_eq!(error("SELECT\n E'a\\'"), unterminated(2, "string"));
        assert_eq!(error("SELECT \"a"), unterminated(1, "quoted identifier"));
        assert_eq!(error("SELECT $a$ $$"), unterminated(1, "dollar-quoted string"));
        assert_eq!(error("\n/* /* */"), unterminated(2, "comment"));
        assert_eq!(error("SELECT (1;\n"), ScriptError { line: 2, kind: ScriptErrorKind::UnfinishedStatement });
        assert_eq!(error("SELECT 1\n \\g"), ScriptError { line: 2, kind: ScriptErrorKind::Command });
        assert_eq!(error("-- nothing\n").kind, ScriptErrorKind::NoStatement);
        assert_eq!(error("").kind, ScriptErrorKind::NoStatement);
        assert_eq!(
            pieces_by(b"\xff\xfeS\0", Rules::default()).unwrap_err(),
            ScriptError { line: 1, kind: ScriptErrorKind::Utf16 }
        );
    }

    #[test]
    fn dumps_that_say_that_they_begin_say_that_they_are_complete() {
        let dump =
            "--\n-- PostgreSQL database dump\n--\n\nSET a = 1;\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
        pieces(dump);
        for end in 0..dump.len() - "\n--\n\n".len() {
            error(&dump[..end]);
        }
        error("-- PostgreSQL database dump\nSELECT '\n-- PostgreSQL database dump complete\n';");
    }
}
