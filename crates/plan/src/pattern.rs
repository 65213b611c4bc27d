use crate::catalog::Relation;
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
    TooLong,
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
            Self::TooLong => write!(f, "a table pattern must not be longer than {} bytes", Pattern::MOST_BYTES),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// The most bytes of a pattern, more than two quoted names can have. A pattern takes many times the memory of its
    /// text, and time without interrupts.
    pub const MOST_BYTES: usize = 8192;

    /// # Errors
    /// [`PatternError`] for a text that is no pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > Self::MOST_BYTES {
            return Err(PatternError::TooLong);
        }
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut names = pieces_of(trimmed)?;
        let name = names.pop().expect("never empty");
        let schema = names.pop();
        if !names.is_empty() {
            return Err(PatternError::TooManyNames(trimmed.into()));
        }
        Ok(Self { text: trimmed.into(), schema, name })
    }

    /// Orders patterns by how exactly they name tables: those without a wildcard, then those with more letters; of the former
    /// those with a schema, which no other name of a table needs.
    pub fn exactness(&self) -> (bool, bool, usize) {
        let letters = |pieces: &[Piece]| -> usize {
            pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.len() } else { 0 }).sum()
        };
        let schema = self.schema.as_deref().unwrap_or_default();
        match self.is_literal() {
            true => (true, self.schema.is_some(), 0),
            false => (false, false, letters(schema) + letters(&self.name)),
        }
    }

    pub fn matches(&self, schema: &str, name: &str) -> bool {
        self.schema.as_ref().is_none_or(|pieces| matches(pieces, schema)) && matches(&self.name, name)
    }

    /// A pattern that somebody may have meant who wrote one that matches nothing: one slip of the fingers away, in the schema
    /// or, where the pattern names a table, in its name.
    pub fn nearest<'a>(
        &self,
        relations: impl Iterator<Item = &'a Relation> + Clone,
        interrupt: &dyn Fn(),
    ) -> Option<String> {
        let schema = match self.schema.as_deref() {
            Some([Piece::Text(schema)]) => Some(schema.as_str()),
            Some(_) => return None,
            None => None,
        };
        if let Some(schema) = schema
            && !relations.clone().any(|relation| relation.schema == schema)
        {
            let near = crate::nearest(schema, relations.map(|relation| relation.schema.as_str()), interrupt)?;
            let name = self.text.rsplit_once('.').map_or(self.text.as_str(), |(_, name)| name);
            return Some(format!("{}.{name}", crate::quote_identifier(near)));
        }
        let [Piece::Text(name)] = self.name.as_slice() else { return None };
        let names = relations.filter(|relation| schema.is_none_or(|schema| relation.schema == schema));
        let near = crate::nearest(name, names.map(|relation| relation.name.as_str()), interrupt)?;
        Some(match schema {
            Some(schema) => crate::qualified(schema, near),
            None => crate::quote_identifier(near),
        })
    }

    /// Returns the pattern as `pg_dump` takes it, where more characters than `*` are special unless they are quoted.
    pub fn for_pg_dump(&self) -> String {
        let written = |pieces: &[Piece]| -> String {
            pieces
                .iter()
                .map(|piece| match piece {
                    Piece::AnyRun => "*".to_owned(),
                    Piece::Text(text) if text.is_empty() => String::new(),
                    Piece::Text(text) => format!("\"{}\"", text.replace('"', "\"\"")),
                })
                .collect()
        };
        let schema = self.schema.as_deref().map_or_else(|| "*".to_owned(), written);
        format!("{schema}.{}", written(&self.name))
    }

    /// Whether it asks for the session's own temporary tables.
    pub fn is_temporary(&self) -> bool {
        self.schema.as_deref() == Some(&[Piece::Text("pg_temp".into())])
    }

    /// Returns whether the pattern names tables one by one rather than by a wildcard.
    pub fn is_literal(&self) -> bool {
        self.schema.iter().flatten().chain(&self.name).all(|piece| *piece != Piece::AnyRun)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits a dotted name, in which `*` may stand outside of quotes, into names. A name is a list of texts, with `None` for each
/// star.
///
/// # Errors
/// As for [`Pattern::parse`].
pub fn split_name(text: &str) -> Result<Vec<Vec<Option<String>>>, PatternError> {
    let of_piece = |piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::AnyRun => None,
    };
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(PatternError::Empty);
    }
    Ok(pieces_of(trimmed)?.into_iter().map(|name| name.into_iter().map(of_piece).collect()).collect())
}

/// The pieces of each name of a dotted name.
fn pieces_of(trimmed: &str) -> Result<Vec<Vec<Piece>>, PatternError> {
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
    Ok(names)
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.into())),
    }
}

/// Takes time linear in the lengths of both: what stands between two runs is looked for where it comes first, which leaves
/// the most for the rest.
fn matches(pieces: &[Piece], text: &str) -> bool {
    let mut rest = text;
    let mut behind_run = false;
    for (number, piece) in pieces.iter().enumerate() {
        let Piece::Text(literal) = piece else {
            behind_run = true;
            continue;
        };
        let after = if !behind_run {
            rest.strip_prefix(literal.as_str())
        } else if number + 1 == pieces.len() {
            return rest.ends_with(literal.as_str());
        } else {
            rest.find(literal.as_str()).map(|start| &rest[start + literal.len()..])
        };
        let Some(after) = after else { return false };
        rest = after;
        behind_run = false;
    }
    behind_run || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, schema: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(schema, name)
    }

    #[test]
    fn patterns_for_pg_dump() {
        let written = |text: &str| Pattern::parse(text).unwrap().for_pg_dump();
        assert_eq!(written("Users"), "*.\"users\"");
        assert_eq!(written("public.user_*"), "\"public\".\"user_\"*");
        assert_eq!(written("\"Odd.Name?\".\"a\"\"*\""), "\"Odd.Name?\".\"a\"\"*\"");
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
    fn many_runs_take_no_longer_than_few() {
        let name = "a".repeat(100_000);
        let pattern = "a*".repeat(400);
        assert!(matches(&pattern, "public", &name));
        assert!(!matches(&format!("{pattern}b"), "public", &name));
        assert!(!matches(&format!("{pattern}b*"), "public", &name));
        assert!(matches(&format!("*b*{pattern}c"), "public", &format!("b{name}c")));
    }

    #[test]
    fn runs_match_as_if_every_way_was_tried() {
        fn slowly(pattern: &[char], text: &[char]) -> bool {
            match pattern {
                [] => text.is_empty(),
                ['*', rest @ ..] => (0..=text.len()).any(|start| slowly(rest, &text[start..])),
                [one, rest @ ..] => text.first() == Some(one) && slowly(rest, &text[1..]),
            }
        }
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut word = |letters: &[char], longest: u64| -> Vec<char> {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed >> 33
            };
            (0..1 + next() % longest).map(|_| letters[next() as usize % letters.len()]).collect()
        };
        for _ in 0..20_000 {
            let (pattern, text) = (word(&['a', 'b', 'ä', '*'], 7), word(&['a', 'b', 'ä'], 8));
            let as_text = |word: &[char]| word.iter().collect::<String>();
            let expected = slowly(&pattern, &text);
            assert_eq!(matches(&as_text(&pattern), "x", &as_text(&text)), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn some_patterns_are_more_exact_than_others() {
        let exactness = |text: &str| Pattern::parse(text).unwrap().exactness();
        let order = ["*", "*.*", "a*", "*ab", "s.ab*", "users", "public.users"];
        for pair in order.windows(2) {
            assert!(exactness(pair[0]) <= exactness(pair[1]), "{pair:?}");
        }
        assert_eq!(exactness("a_*"), exactness("*_b"));
        assert_eq!(exactness("public.users"), exactness("s.\"a*\""));
    }

    #[test]
    fn names_are_split_as_patterns_are() {
        let split = |text: &str| split_name(text).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(split("A.\"B.c*\""), [vec![text("a")], vec![text("B.c*")]]);
        assert_eq!(split("a.x_*"), [vec![text("a")], vec![text("x_"), None]]);
        assert_eq!(split_name("a."), Err(PatternError::EmptyName("a.".into())));
    }

    #[test]
    fn literal_patterns_name_tables() {
        assert!(Pattern::parse("public.\"a*\"").unwrap().is_literal());
        assert!(!Pattern::parse("public.a*").unwrap().is_literal());
        assert!(!Pattern::parse("*.a").unwrap().is_literal());
    }
}
