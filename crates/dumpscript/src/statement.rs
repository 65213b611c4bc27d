//! What single statements of a dump say, as far as it decides whether they can be run here.

use crate::lexer::{Token, TokenKind, next_token};

struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        let mut position = 0;
        while let Ok(Some(token)) = next_token(text.as_bytes(), position) {
            position = token.end;
            tokens.push(token);
        }
        Self { text, tokens }
    }

    fn text_of(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    fn is_word(&self, position: usize, word: &str) -> bool {
        self.tokens
            .get(position)
            .is_some_and(|&token| token.kind == TokenKind::Word && self.text_of(token).eq_ignore_ascii_case(word))
    }

    /// The name that an identifier stands for.
    fn name(&self, position: usize) -> Option<String> {
        let token = *self.tokens.get(position)?;
        match token.kind {
            TokenKind::Word => Some(self.text_of(token).to_ascii_lowercase()),
            TokenKind::Quoted => {
                let quoted = self.text_of(token);
                Some(quoted.get(1..quoted.len() - 1)?.replace("\"\"", "\""))
            }
            _ => None,
        }
    }
}

/// The roles that a change of an owner or of privileges names, without PUBLIC. Other statements name none here.
pub fn roles_of(statement: &str) -> Vec<String> {
    // Long statements, such as bodies of functions, need not be read to their ends.
    const CHANGES: [&str; 3] = ["ALTER", "GRANT", "REVOKE"];
    let first = statement.split_ascii_whitespace().next().unwrap_or_default();
    if !CHANGES.iter().any(|change| first.eq_ignore_ascii_case(change)) {
        return Vec::new();
    }
    let tokens = Tokens::of(statement);
    let mut roles = Vec::new();
    let mut note = |position: usize| {
        if !tokens.is_word(position, "public") {
            roles.extend(tokens.name(position));
        }
    };
    let privileges = if tokens.is_word(0, "alter") {
        let is_default = tokens.is_word(1, "default") && tokens.is_word(2, "privileges") && tokens.is_word(3, "for");
        if is_default {
            note(5);
        } else if let Some(to) = tokens.tokens.len().checked_sub(3)
            && tokens.is_word(to, "to")
            && to.checked_sub(1).is_some_and(|owner| tokens.is_word(owner, "owner"))
        {
            note(to + 1);
        }
        is_default
    } else {
        true
    };
    if privileges {
        // The last one: a name before it can be written the same only in quotes.
        let to = (0..tokens.tokens.len()).rev().find(|&at| tokens.is_word(at, "to") || tokens.is_word(at, "from"));
        if let Some(to) = to {
            note(to + 1);
        }
    }
    roles
}

/// Name and value of a setting that the statement is for; the value of one without quotes is folded.
pub fn setting_of(statement: &str) -> Option<(String, String)> {
    let first = statement.split_ascii_whitespace().next().unwrap_or_default();
    if first.eq_ignore_ascii_case("SELECT") {
        let call = statement["SELECT".len()..].trim_start();
        return call.starts_with("pg_catalog.set_config(").then(|| ("search_path".to_owned(), String::new()));
    }
    if !first.eq_ignore_ascii_case("SET") {
        return None;
    }
    let tokens = Tokens::of(statement);
    let name = tokens.name(1)?;
    let is_assignment = tokens.tokens.get(2).is_some_and(|token| token.kind == TokenKind::Symbol(b'='));
    if !is_assignment {
        return None;
    }
    let value = match tokens.tokens.get(3)? {
        &token if token.kind == TokenKind::Literal => {
            let quoted = tokens.text_of(token);
            quoted.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'")
        }
        token if matches!(token.kind, TokenKind::Symbol(_)) => tokens.text_of(*token).to_owned(),
        _ => tokens.name(3)?,
    };
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_owners_and_privileges() {
        for (statement, roles) in [
            ("ALTER TABLE public.t OWNER TO app;", vec!["app"]),
            ("ALTER FUNCTION public.f(\"to\" integer) OWNER TO \"Odd \"\"Role\";", vec!["Odd \"Role"]),
            ("ALTER TABLE public.owner ADD COLUMN \"to\" integer;", vec![]),
            ("GRANT SELECT ON TABLE public.\"from\" TO app WITH GRANT OPTION;", vec!["app"]),
            ("GRANT ALL ON SCHEMA public TO PUBLIC;", vec![]),
            ("REVOKE ALL ON FUNCTION public.f(x integer) FROM app;", vec!["app"]),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s REVOKE ALL ON TABLES FROM b;", vec!["a", "b"]),
            ("CREATE FUNCTION f() AS 'GRANT x TO y';", vec![]),
        ] {
            assert_eq!(roles_of(statement), roles, "{statement}");
        }
    }

    #[test]
    fn settings() {
        let setting = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(
            setting_of("SET default_table_access_method = heap;"),
            setting("default_table_access_method", "heap")
        );
        assert_eq!(setting_of("SET default_tablespace = '';"), setting("default_tablespace", ""));
        assert_eq!(setting_of("SET default_tablespace = \"Fast\";"), setting("default_tablespace", "Fast"));
        assert_eq!(setting_of("SET statement_timeout = 0;"), setting("statement_timeout", "0"));
        let path = "SELECT pg_catalog.set_config('search_path', '', false);";
        assert_eq!(setting_of(path), setting("search_path", ""));
        assert_eq!(setting_of("SET SESSION AUTHORIZATION app;"), None);
        assert_eq!(setting_of("SELECT 1;"), None);
    }
}
