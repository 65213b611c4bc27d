use std::fmt;

/// A pattern of table names: `users`, `public.users`, `user_*`, `"Odd.Name"`.
///
/// `*` matches any run of characters, except inside double quotes. What is not quoted is folded to lower case, as SQL
/// does. A pattern without a schema matches in every schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    schema: Option<Vec<Piece>>,
    name: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    AnyRun,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternError {
    Empty,
    UnterminatedQuote(String),
    TooManyNames(String),
    EmptyName(String),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a table pattern must not be empty"),
            Self::UnterminatedQuote(text) => {
                write!(f, "unterminated quoted name in table pattern: {text}")
            }
            Self::TooManyNames(text) => write!(f, "too many dotted names in table pattern: {text}"),
            Self::EmptyName(text) => write!(f, "empty name in table pattern: {text}"),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// # Errors
    /// [`PatternError`] for a text that is no pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut names = vec![Vec::new()];
        let mut chars = trimmed.chars().peekable();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            let pieces = names.last_mut().expect("never empty");
            match c {
                '"' if quoted && chars.next_if_eq(&'"').is_some() => push(pieces, "\""),
                '"' => {
                    quoted = !quoted;
                    push(pieces, "");
                }
                c if quoted => push(pieces, c.encode_utf8(&mut [0; 4])),
                '.' => names.push(Vec::new()),
                '*' if pieces.last() == Some(&Piece::AnyRun) => {}
                '*' => pieces.push(Piece::AnyRun),
                c => push(pieces, &c.to_lowercase().to_string()),
            }
        }
        if quoted {
            return Err(PatternError::UnterminatedQuote(trimmed.into()));
        }
        if names.iter().any(|pieces| pieces.iter().all(|piece| *piece == Piece::Text(String::new()))) {
            return Err(PatternError::EmptyName(trimmed.into()));
        }
        let name = names.pop().expect("never empty");
        let schema = names.pop();
        if !names.is_empty() {
            return Err(PatternError::TooManyNames(trimmed.into()));
        }
        Ok(Self { text: trimmed.into(), schema, name })
    }

    pub fn matches(&self, schema: &str, name: &str) -> bool {
        self.schema.as_ref().is_none_or(|pieces| matches(pieces, schema)) && matches(&self.name, name)
    }

    /// Whether it asks for the session's own temporary tables.
    pub fn is_temporary(&self) -> bool {
        self.schema.as_deref() == Some(&[Piece::Text("pg_temp".into())])
    }

    /// Whether the pattern names tables one by one rather than by a wildcard.
    pub fn is_literal(&self) -> bool {
        self.schema.iter().flatten().chain(&self.name).all(|piece| *piece != Piece::AnyRun)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.into())),
    }
}

fn matches(pieces: &[Piece], text: &str) -> bool {
    match pieces.split_first() {
        None => text.is_empty(),
        Some((Piece::Text(literal), rest)) => {
            text.strip_prefix(literal.as_str()).is_some_and(|text| matches(rest, text))
        }
        Some((Piece::AnyRun, [])) => true,
        Some((Piece::AnyRun, rest)) => {
            text.char_indices().map(|(start, _)| start).chain([text.len()]).any(|start| matches(rest, &text[start..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, schema: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(schema, name)
    }

    #[test]
    fn what_patterns_match() {
        assert!(matches("users", "anywhere", "users"));
        assert!(!matches("users", "public", "users_2"));
        assert!(matches("Public.USERS", "public", "users"));
        assert!(!matches("public.users", "other", "users"));
        assert!(matches("user_*", "public", "user_"));
        assert!(matches("*_l*gs", "public", "app_logs"));
        assert!(matches("*.users", "x", "users"));
        assert!(matches("\"Odd.Name\"", "public", "Odd.Name"));
        assert!(!matches("\"a*\"", "public", "ab"));
        assert!(matches("\"a*\"", "public", "a*"));
        assert!(matches("\"S\".\"a\"\"b\"*", "S", "a\"bc"));
        assert!(matches("größe*", "public", "größen"));
    }

    #[test]
    fn what_is_no_pattern() {
        assert_eq!(Pattern::parse("  "), Err(PatternError::Empty));
        assert!(matches!(Pattern::parse("a.b.c"), Err(PatternError::TooManyNames(_))));
        assert!(matches!(Pattern::parse("\"a"), Err(PatternError::UnterminatedQuote(_))));
        assert!(matches!(Pattern::parse("a."), Err(PatternError::EmptyName(_))));
        assert!(matches!(Pattern::parse("\"\""), Err(PatternError::EmptyName(_))));
    }

    #[test]
    fn literal_patterns_name_tables() {
        assert!(Pattern::parse("public.\"a*\"").unwrap().is_literal());
        assert!(!Pattern::parse("public.a*").unwrap().is_literal());
        assert!(!Pattern::parse("*.a").unwrap().is_literal());
    }
}
