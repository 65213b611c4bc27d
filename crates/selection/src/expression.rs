//! The lexical structure of an expression, as far as it decides where the expression ends.
//!
//! What is accepted here is read by every supported server as a run of whole tokens in which all parentheses and brackets are
//! closed: put between parentheses, it cannot end them early, and holds no second statement. What a server could read otherwise,
//! by its version or its settings, is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// An expression over one row, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    text: String,
    /// Names in it that may be those of functions or types.
    names: Vec<Name>,
    /// Bytes that stand for a time of the session that evaluates them.
    times: Vec<(Range<usize>, String)>,
    is_constant: bool,
}

/// A name in an expression that may be that of a function or a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
    pub used: NameUse,
    /// The number of its first character, from 1.
    pub position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameUse {
    /// A parenthesis follows.
    Call,
    /// It follows a dot: a column of a row, or a function of one argument that is written like a column.
    Attribute,
}

/// The reason why a text is not taken for an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    pub reason: String,
    /// The number of the character, from 1.
    pub position: usize,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.reason, self.position)
    }
}

impl std::error::Error for ExpressionError {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A name or a keyword without quotes.
    Word,
    QuotedName,
    String,
    Number,
    Symbol(char),
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    bytes: Range<usize>,
}

impl Expression {
    /// The most bytes of an expression.
    pub const MOST_BYTES: usize = 16 * 1024;
    /// The deepest nesting: the server's own parser has a stack.
    const DEEPEST: usize = 100;

    /// # Errors
    /// [`ExpressionError`] for a text that is not surely one expression without a query in it.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let error = |at: usize, reason: String| ExpressionError { reason, position: text[..at].chars().count() + 1 };
        if text.len() > Self::MOST_BYTES {
            return Err(error(0, format!("an expression has at most {} bytes: too long", Self::MOST_BYTES)));
        }
        let tokens = tokens(text).map_err(|(at, reason)| error(at, reason.to_owned()))?;
        if tokens.is_empty() {
            return Err(error(0, "an expression must not be empty".to_owned()));
        }
        let mut open = Vec::new();
        for token in &tokens {
            match token.kind {
                Kind::Symbol(c @ ('(' | '[')) => {
                    open.push((c, token.bytes.start));
                    if open.len() > Self::DEEPEST {
                        return Err(error(token.bytes.start, "an expression must not be nested so deeply".to_owned()));
                    }
                }
                Kind::Symbol(c @ (')' | ']')) => {
                    let opening = if c == ')' { '(' } else { '[' };
                    if open.pop().is_none_or(|(last, _)| last != opening) {
                        return Err(error(token.bytes.start, format!("unexpected \"{c}\"")));
                    }
                }
                Kind::Symbol(',') if open.is_empty() => {
                    return Err(error(token.bytes.start, "more than one expression: unexpected \",\"".to_owned()));
                }
                Kind::Word => {
                    let word = text[token.bytes.clone()].to_ascii_lowercase();
                    if ["select", "table", "values"].contains(&word.as_str()) {
                        let reason = format!(
                            "an expression is about one row and cannot hold a query: unexpected \"{word}\"; a column of that name needs double quotes"
                        );
                        return Err(error(token.bytes.start, reason));
                    }
                }
                _ => {}
            }
            if name_of(text, token).is_some_and(|name| name.len() > LONGEST_NAME) {
                return Err(error(token.bytes.start, format!("a name has at most {LONGEST_NAME} bytes: too long")));
            }
        }
        if let Some((c, at)) = open.last() {
            return Err(error(*at, format!("\"{c}\" is not closed")));
        }
        for pair in tokens.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            if first.kind == Kind::String && second.kind == Kind::String {
                // The server reads the second as the first one's continuation, by the first one's rules.
                return Err(error(second.bytes.start, "unexpected string constant behind another".to_owned()));
            }
            let is_word = |token: &Token, word: &str| {
                token.kind == Kind::Word && text[token.bytes.clone()].eq_ignore_ascii_case(word)
            };
            if is_word(first, "operator") && second.kind == Kind::Symbol('(') {
                return Err(error(
                    first.bytes.start,
                    "operators of other schemas cannot be used: unexpected OPERATOR".to_owned(),
                ));
            }
        }
        let is_constant = match tokens.as_slice() {
            [one] => {
                one.kind == Kind::String
                    || one.kind == Kind::Word && text[one.bytes.clone()].eq_ignore_ascii_case("null")
            }
            _ => false,
        };
        let names = names(text, &tokens);
        let times = times(text, &tokens);
        Ok(Self { text: text.to_owned(), names, times, is_constant })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Returns whether it is a single string constant, or NULL, which takes the type that is wanted.
    pub fn is_constant(&self) -> bool {
        self.is_constant
    }

    /// Returns whether it is NULL, and nothing else.
    pub fn is_null(&self) -> bool {
        self.is_constant && self.text.trim().eq_ignore_ascii_case("null")
    }

    /// Returns the first name in it that is one of these, and the number of its first character, from 1. Names that are called are
    /// none of columns.
    pub fn find_name(&self, names: &BTreeSet<String>) -> Option<(String, usize)> {
        let tokens = tokens(&self.text).ok()?;
        let is_called = |at: usize| tokens.get(at + 1).is_some_and(|token| token.kind == Kind::Symbol('('));
        (0..tokens.len()).filter(|&at| !is_called(at)).find_map(|at| {
            let name = name_of(&self.text, &tokens[at]).filter(|name| names.contains(name))?;
            Some((name, self.text[..tokens[at].bytes.start].chars().count() + 1))
        })
    }

    /// Returns the expression in parentheses.
    pub fn in_parentheses(&self) -> String {
        format!("({})", self.text)
    }

    /// Returns the expression in parentheses with an instant, written as a `timestamptz`, in the place of all that asks for the
    /// time of a session.
    pub fn at_instant(&self, instant: &str) -> String {
        let literal = plan::quote_literal(instant);
        let mut text = String::from("(");
        let mut position = 0;
        for (bytes, cast) in &self.times {
            text.push_str(&self.text[position..bytes.start]);
            text.push_str(&format!("({literal}::pg_catalog.timestamptz{cast})"));
            position = bytes.end;
        }
        text.push_str(&self.text[position..]);
        text.push(')');
        text
    }
}

/// Returns the names in an expression that may be those of columns, in small letters, without those that are called and those of
/// `pg_catalog`; `None` for a text that is not understood.
pub fn names_in(expression: &str) -> Option<BTreeSet<String>> {
    let tokens = tokens(expression).ok()?;
    let is_symbol = |at: Option<usize>, symbol: char| {
        at.and_then(|at| tokens.get(at)).is_some_and(|token| token.kind == Kind::Symbol(symbol))
    };
    let name = |at: usize| tokens.get(at).and_then(|token| name_of(expression, token));
    let names = (0..tokens.len()).filter_map(|at| {
        let is_called = is_symbol(Some(at + 1), '(');
        let is_of_catalog = is_symbol(at.checked_sub(1), '.')
            && at.checked_sub(2).and_then(name).is_some_and(|schema| schema == "pg_catalog");
        name(at).filter(|_| !is_called && !is_of_catalog).map(|name| name.to_lowercase())
    });
    Some(names.collect())
}

/// Returns the names in an expression that follow others, with these: functions, types and columns, by their schemas or tables;
/// nothing for a text that is not understood.
pub fn qualified_names_in(expression: &str) -> Vec<(String, String)> {
    let tokens = tokens(expression).unwrap_or_default();
    names(expression, &tokens).into_iter().filter_map(|name| Some((name.schema?, name.name))).collect()
}

/// The server cuts longer names off, and finds what has the rest for a name.
const LONGEST_NAME: usize = 63;

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit() || c == '$'
}

fn tokens(text: &str) -> Result<Vec<Token>, (usize, &'static str)> {
    let mut tokens = Vec::new();
    let mut position = 0;
    while let Some(c) = text[position..].chars().next() {
        let rest = &text[position..];
        let start = position;
        let (kind, length) = match c {
            ' ' | '\t' | '\n' | '\r' => {
                position += 1;
                continue;
            }
            '\'' => (Kind::String, quoted(rest, '\'', false).ok_or((start, "unterminated string constant"))?),
            '"' => (Kind::QuotedName, quoted(rest, '"', false).ok_or((start, "unterminated quoted name"))?),
            c if is_name_start(c) => {
                let length = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(length);
                if after.starts_with('\'') && word.eq_ignore_ascii_case("e") {
                    let escaped = quoted(after, '\'', true).ok_or((start, "unterminated string constant"))?;
                    (Kind::String, length + escaped)
                } else if after.starts_with('\'')
                    && ["b", "x", "n"].iter().any(|word_| word.eq_ignore_ascii_case(word_))
                {
                    let constant = quoted(after, '\'', false).ok_or((start, "unterminated string constant"))?;
                    (Kind::String, length + constant)
                } else if word.eq_ignore_ascii_case("u") && (after.starts_with("&'") || after.starts_with("&\"")) {
                    return Err((start, "constants and names with U& cannot be used: unexpected U&"));
                } else {
                    (Kind::Word, length)
                }
            }
            '0'..='9' => {
                (Kind::Number, number(rest).ok_or((start, "a name or a constant must not follow a number at once"))?)
            }
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let length =
                    number(&rest[1..]).ok_or((start, "a name or a constant must not follow a number at once"))?;
                (Kind::Number, 1 + length)
            }
            '-' if rest.starts_with("--") => {
                return Err((start, "an expression cannot hold comments: unexpected \"--\""));
            }
            '/' if rest.starts_with("/*") => {
                return Err((start, "an expression cannot hold comments: unexpected \"/*\""));
            }
            ';' => return Err((start, "unexpected \";\"")),
            '$' => return Err((start, "parameters and dollar quotes cannot be used: unexpected \"$\"")),
            '(' | ')' | '[' | ']' | ',' | '.' | ':' => (Kind::Symbol(c), 1),
            '+' | '-' | '*' | '/' | '<' | '>' | '=' | '~' | '!' | '@' | '#' | '%' | '^' | '&' | '|' | '?' => {
                (Kind::Symbol(c), 1)
            }
            _ => return Err((start, "unexpected character")),
        };
        position += length;
        tokens.push(Token { kind, bytes: start..position });
    }
    Ok(tokens)
}

/// Returns the bytes of a quoted text at the beginning, in which the quote doubled stands for itself.
fn quoted(text: &str, quote: char, has_escapes: bool) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if has_escapes && c == '\\' {
            characters.next()?;
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// Returns the bytes of a number at the beginning; `None` where the server may see another end of it.
fn number(text: &str) -> Option<usize> {
    let digits = |from: usize| text[from..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| from + end);
    let mut end = digits(0);
    if text[end..].starts_with('.') && !text[end..].starts_with("..") {
        end = digits(end + 1);
    }
    let rest = &text[end..];
    if rest.starts_with(['e', 'E']) {
        let sign = usize::from(rest[1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent == end + 1 + sign {
            return None;
        }
        end = exponent;
    }
    let follows = text[end..].chars().next();
    follows.is_none_or(|c| !is_name_part(c) && c != '\'' && c != '"').then_some(end)
}

/// The name that a token is, as the server folds it.
fn name_of(text: &str, token: &Token) -> Option<String> {
    let written = &text[token.bytes.clone()];
    match token.kind {
        Kind::Word => Some(written.chars().map(|c| c.to_ascii_lowercase()).collect()),
        Kind::QuotedName => Some(written[1..written.len() - 1].replace("\"\"", "\"")),
        _ => None,
    }
}

fn names(text: &str, tokens: &[Token]) -> Vec<Name> {
    let mut names = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        let Some(name) = name_of(text, token) else { continue };
        let before = |back: usize| number.checked_sub(back).map(|at| &tokens[at]);
        let follows_dot = before(1).is_some_and(|token| token.kind == Kind::Symbol('.'));
        let schema = if follows_dot { before(2).and_then(|token| name_of(text, token)) } else { None };
        let is_called = tokens.get(number + 1).is_some_and(|token| token.kind == Kind::Symbol('('));
        let used = match (is_called, follows_dot) {
            (true, _) => NameUse::Call,
            (false, true) => NameUse::Attribute,
            (false, false) => continue,
        };
        names.push(Name { schema, name, used, position: text[..token.bytes.start].chars().count() + 1 });
    }
    names
}

fn times(text: &str, tokens: &[Token]) -> Vec<(Range<usize>, String)> {
    let mut times = Vec::new();
    let is_symbol = |at: usize, symbol: char| tokens.get(at).is_some_and(|token| token.kind == Kind::Symbol(symbol));
    for (number, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Word {
            continue;
        }
        let word = text[token.bytes.clone()].to_ascii_lowercase();
        let follows_dot = number > 0 && is_symbol(number - 1, '.');
        let cast = match word.as_str() {
            "now" | "transaction_timestamp" | "statement_timestamp"
                if is_symbol(number + 1, '(') && is_symbol(number + 2, ')') =>
            {
                let mut start = token.bytes.start;
                if follows_dot {
                    let schema = number.checked_sub(2).map(|at| &tokens[at]);
                    let Some(schema) = schema.filter(|schema| name_of(text, schema).as_deref() == Some("pg_catalog"))
                    else {
                        continue;
                    };
                    start = schema.bytes.start;
                }
                times.push((start..tokens[number + 2].bytes.end, String::new()));
                continue;
            }
            _ if follows_dot => continue,
            "current_timestamp" => ("", ""),
            "current_date" => ("::pg_catalog.date", ""),
            "localtimestamp" => ("::pg_catalog.timestamp", "::pg_catalog.timestamp"),
            "current_time" => ("::pg_catalog.timetz", "::pg_catalog.timetz"),
            "localtime" => ("::pg_catalog.time", "::pg_catalog.time"),
            _ => continue,
        };
        let precision = tokens.get(number + 2).filter(|token| {
            word != "current_date"
                && is_symbol(number + 1, '(')
                && token.kind == Kind::Number
                && is_symbol(number + 3, ')')
        });
        match precision {
            Some(digits) => {
                let digits = &text[digits.bytes.clone()];
                let kind = if cast.1.is_empty() { "::pg_catalog.timestamptz" } else { cast.1 };
                times.push((token.bytes.start..tokens[number + 3].bytes.end, format!("{kind}({digits})")));
            }
            None => times.push((token.bytes.clone(), cast.0.to_owned())),
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Expression::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn expressions_that_are_taken() {
        for text in [
            "true",
            "placed_at > now() - interval '30 days'",
            "left(name, 1) || '.'",
            "note = E'it\\'s; -- \\\\' AND \"odd); --\" IS NOT NULL",
            "a[1:2] = ARRAY[1, 2] AND b->>'x' ? 'y' AND c::numeric(10,2) >= .5e-3",
            "status IN ('a', 'b') AND größe <> 1.",
            "it = 'a''b''' AND date '2020-01-01' < day",
            "CASE WHEN a THEN 'select; /*' ELSE '--' END IS DISTINCT FROM b",
            "\"table\" = 1 AND t.\"select\" = 2",
        ] {
            let parsed = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parsed.in_parentheses(), format!("({text})"));
        }
    }

    #[test]
    fn what_could_end_the_expression_early_is_refused() {
        for (text, reason) in [
            ("", "an expression must not be empty at character 1"),
            ("  ", "an expression must not be empty at character 1"),
            ("true) OR (true", "unexpected \")\" at character 5"),
            ("a = (1", "\"(\" is not closed at character 5"),
            ("a[(1])", "unexpected \"]\" at character 5"),
            ("true; DROP TABLE t", "unexpected \";\" at character 5"),
            ("true -- ", "an expression cannot hold comments: unexpected \"--\" at character 6"),
            ("true /* x", "an expression cannot hold comments: unexpected \"/*\" at character 6"),
            ("1--1", "an expression cannot hold comments: unexpected \"--\" at character 2"),
            ("a */*1", "an expression cannot hold comments: unexpected \"/*\" at character 4"),
            ("'a", "unterminated string constant at character 1"),
            ("E'a\\'", "unterminated string constant at character 1"),
            ("e'\\", "unterminated string constant at character 1"),
            ("\"a", "unterminated quoted name at character 1"),
            ("$$a$$", "parameters and dollar quotes cannot be used: unexpected \"$\" at character 1"),
            ("a = $1", "parameters and dollar quotes cannot be used: unexpected \"$\" at character 5"),
            ("U&'\\0027'", "constants and names with U& cannot be used: unexpected U& at character 1"),
            ("u&\"a\"", "constants and names with U& cannot be used: unexpected U& at character 1"),
            // Older servers read 1 and E'a\'…'.
            ("1E'a\\' = '", "a name or a constant must not follow a number at once at character 1"),
            ("1$$", "a name or a constant must not follow a number at once at character 1"),
            ("0x1F", "a name or a constant must not follow a number at once at character 1"),
            // The second is read by the rules of the first.
            ("E'a' \n 'b\\'", "unexpected string constant behind another at character 8"),
            ("a, b", "more than one expression: unexpected \",\" at character 2"),
            ("\\copy", "unexpected character at character 1"),
            ("a = \u{1}", "unexpected character at character 5"),
            (
                "größe OPERATOR(public.=) 1",
                "operators of other schemas cannot be used: unexpected OPERATOR at character 7",
            ),
        ] {
            assert_eq!(refused(text), reason, "{text}");
        }
        for query in ["(SELECT 1)", "a IN (table b)", "EXISTS (with x as (VALUES (1)) sElEcT)"] {
            assert!(refused(query).contains("cannot hold a query"), "{query}");
        }
        assert!(refused(&"(".repeat(200)).contains("nested so deeply"));
        assert!(refused(&"1".repeat(20_000)).contains("too long"));
        assert!(refused(&format!("app.{}(1)", "f".repeat(64))).contains("a name has at most 63 bytes"));
    }

    #[test]
    fn whatever_is_taken_is_balanced_for_every_way_to_read_it() {
        // No text of these pieces that is taken has a parenthesis of its own left, or a semicolon outside of quotes.
        const PIECES: [&str; 16] =
            ["'", "\"", "(", ")", ";", "--", "/*", "*/", "\\", "E", "$", "a", "1", " ", "\n", "&"];
        let mut seed = 7_u64;
        let mut next = move |limit: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % limit
        };
        let mut taken = 0;
        for _ in 0..200_000 {
            let text: String = (0..1 + next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
            let Ok(expression) = Expression::parse(&text) else { continue };
            taken += 1;
            assert_eq!(outside_of_quotes(expression.text()), Some(0), "{text:?}");
        }
        assert!(taken > 1000, "{taken}");
    }

    /// Returns the depth of parentheses at the end; `None` where a statement ends or a quote stays open. Written after the
    /// server's scanner, and not after the parser here.
    fn outside_of_quotes(text: &str) -> Option<i32> {
        let bytes = text.as_bytes();
        let (mut at, mut depth) = (0, 0);
        while at < bytes.len() {
            match bytes[at] {
                b'\'' | b'"' => {
                    let quote = bytes[at];
                    let word = text[..at].rsplit(|c: char| !is_name_part(c)).next()?;
                    let escapes = quote == b'\'' && word.trim_start_matches(|c: char| c.is_ascii_digit()) == "E";
                    at += 1;
                    loop {
                        match bytes.get(at)? {
                            b'\\' if escapes => at += 2,
                            byte if *byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
                            byte if *byte == quote => break,
                            _ => at += 1,
                        }
                    }
                }
                b'(' => depth += 1,
                b')' if depth == 0 => return None,
                b')' => depth -= 1,
                b';' => return None,
                b'-' if bytes.get(at + 1) == Some(&b'-') => return None,
                b'/' if bytes.get(at + 1) == Some(&b'*') => return None,
                _ => {}
            }
            at += 1;
        }
        Some(depth)
    }

    #[test]
    fn names_that_may_be_functions() {
        let parsed = Expression::parse("Lower(a) = app.\"F\" (t.b) AND größe::app.kind IS NULL").unwrap();
        let names: Vec<_> = parsed
            .names()
            .iter()
            .map(|name| (name.schema.as_deref(), name.name.as_str(), name.used, name.position))
            .collect();
        assert_eq!(
            names,
            [
                (None, "lower", NameUse::Call, 1),
                (Some("app"), "F", NameUse::Call, 16),
                (Some("t"), "b", NameUse::Attribute, 23),
                (Some("app"), "kind", NameUse::Attribute, 41),
            ]
        );
    }

    #[test]
    fn names_are_found_where_they_stand() {
        let parsed = Expression::parse("größe(1) > 0 AND 'secret' <> \"Odd\" AND t.Secret = 1").unwrap();
        let find = |names: &[&str]| parsed.find_name(&names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(find(&["secret"]), Some(("secret".to_owned(), 42)));
        assert_eq!(find(&["secret", "Odd"]), Some(("Odd".to_owned(), 30)));
        assert_eq!(find(&["größe", "odd", "Secret"]), None);
    }

    #[test]
    fn names_that_may_be_columns() {
        let names =
            names_in("\"It's\".A >= lower(größe) AND b(c) = 'd' || e::pg_catalog.f AND pg_catalog.g(h) = ANY (i)")
                .unwrap();
        // "b" is called, "f" and "g" are of pg_catalog; keywords are names here, too.
        let expected = ["a", "and", "c", "e", "größe", "h", "i", "it's", "pg_catalog"];
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(names_in("a = 'b"), None);
        let pair = |schema: &str, name: &str| (schema.to_owned(), name.to_owned());
        let qualified = qualified_names_in("app.\"F\" (t.b) AND c::app.kind IS NULL AND d(e)");
        assert_eq!(qualified, [pair("app", "F"), pair("t", "b"), pair("app", "kind")]);
    }

    #[test]
    fn times_are_those_of_one_instant() {
        let at = |text: &str| Expression::parse(text).unwrap().at_instant("2020-01-02 03:04:05+00");
        let now = "('2020-01-02 03:04:05+00'::pg_catalog.timestamptz)";
        assert_eq!(at("a > now() - b"), format!("(a > {now} - b)"));
        assert_eq!(at("a > pg_catalog.NOW ( )"), format!("(a > {now})"));
        assert_eq!(at("a > other.now()"), "(a > other.now())");
        assert_eq!(at("a > current_timestamp"), format!("(a > {now})"));
        let typed = |cast: &str| format!("(a > ('2020-01-02 03:04:05+00'::pg_catalog.timestamptz{cast}))");
        assert_eq!(at("a > CURRENT_DATE"), typed("::pg_catalog.date"));
        assert_eq!(at("a > localtimestamp"), typed("::pg_catalog.timestamp"));
        assert_eq!(at("a > current_timestamp(3)"), typed("::pg_catalog.timestamptz(3)"));
        assert_eq!(at("a > localtime (0)"), typed("::pg_catalog.time(0)"));
        assert_eq!(at("a > 'now()' AND \"now\" IS NULL AND now = 1"), "(a > 'now()' AND \"now\" IS NULL AND now = 1)");
    }

    #[test]
    fn constants_take_the_type_that_is_wanted() {
        for (text, constant) in
            [("'2020-01-01'", true), (" null ", true), ("E'a'", true), ("1", false), ("'a' || 'b'", false)]
        {
            assert_eq!(Expression::parse(text).unwrap().is_constant(), constant, "{text}");
        }
    }
}
