//! The commands of psql that `pg_dump` writes.

use crate::{ScriptError, ScriptErrorKind};

/// Follows the commands of a script.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// The key that ends the part in which psql takes no other command.
    key: Option<Vec<u8>>,
}

impl Commands {
    /// Takes a command, without its backslash. Returns the database that it connects to, if it does.
    ///
    /// # Errors
    /// For every other command, and for keys that do not fit together.
    pub fn take(&mut self, text: &[u8], line: usize) -> Result<Option<String>, ScriptError> {
        let refused = |kind| Err(ScriptError { line, kind });
        let (command, argument) = match text.iter().position(|byte| byte.is_ascii_whitespace()) {
            Some(length) => (&text[..length], text[length..].trim_ascii()),
            None => (text, &b""[..]),
        };
        let is_key = |key: &[u8]| !key.is_empty() && key.iter().all(u8::is_ascii_alphanumeric);
        match (command, &self.key) {
            (b"restrict", None) if is_key(argument) => {
                self.key = Some(argument.to_vec());
                Ok(None)
            }
            (b"unrestrict", Some(key)) if key == argument => {
                self.key = None;
                Ok(None)
            }
            (b"restrict" | b"unrestrict", _) => refused(ScriptErrorKind::Key),
            (b"connect", None) => match database_of(argument) {
                Some(database) => Ok(Some(database)),
                None => refused(ScriptErrorKind::Command),
            },
            _ => refused(ScriptErrorKind::Command),
        }
    }

    /// # Errors
    /// When a part that was begun has not ended.
    pub fn end(&self, line: usize) -> Result<(), ScriptError> {
        match self.key {
            Some(_) => Err(ScriptError { line, kind: ScriptErrorKind::Key }),
            None => Ok(()),
        }
    }
}

/// The database in the argument of `\connect` as `pg_dump` writes it: a name, or a connection string that holds nothing else.
fn database_of(argument: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(argument).ok()?;
    let (text, is_string) = match text.strip_prefix("-reuse-previous=on ") {
        Some(string) => (string.trim(), true),
        None => (text, false),
    };
    let unquoted = match text.strip_prefix('"') {
        Some(quoted) => {
            let inner = quoted.strip_suffix('"')?;
            // A quote alone would end the argument.
            if inner.replace("\"\"", "").contains('"') {
                return None;
            }
            inner.replace("\"\"", "\"")
        }
        None if text.contains(|c: char| !c.is_alphanumeric() && c != '_' && c != '.') => return None,
        None => text.to_owned(),
    };
    if !is_string {
        return (!unquoted.is_empty() && !unquoted.contains(['=', ':'])).then_some(unquoted);
    }
    let value = unquoted.strip_prefix("dbname=")?;
    let Some(quoted) = value.strip_prefix('\'') else {
        return (!value.contains(char::is_whitespace)).then(|| value.to_owned());
    };
    let mut name = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '\\' => name.push(characters.next()?),
            '\'' => return characters.next().is_none().then_some(name),
            other => name.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_named_as_pg_dump_names_them() {
        let of = |text: &str| database_of(text.as_bytes());
        assert_eq!(of("shop").as_deref(), Some("shop"));
        assert_eq!(of("\"Shop\"").as_deref(), Some("Shop"));
        assert_eq!(of(r#"-reuse-previous=on "dbname='it\'s ""odd""'""#).as_deref(), Some("it's \"odd\""));
        for text in [
            "",
            "shop user",
            "host=elsewhere",
            "-reuse-previous=on \"dbname='a' host=b\"",
            "postgres://x",
            "\"a\" \"b\"",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        let take = |commands: &[&str]| {
            let mut state = Commands::default();
            commands.iter().try_for_each(|text| state.take(text.as_bytes(), 1).map(drop)).and_then(|()| state.end(1))
        };
        assert!(take(&["restrict a1", "unrestrict a1", "connect shop", "restrict b", "unrestrict b"]).is_ok());
        for commands in [
            &["! rm -rf /"][..],
            &["restrict a"],
            &["unrestrict a"],
            &["restrict a", "unrestrict b"],
            &["restrict a", "restrict b"],
            &["restrict a", "connect shop", "unrestrict a"],
            &["restrict"],
            &["copy t from x"],
            &["i file"],
            &["c shop"],
            &["gexec"],
            &["encoding UTF8"],
            &[""],
        ] {
            assert!(take(commands).is_err(), "{commands:?}");
        }
    }
}
