//! What single statements of a dump say, as far as it decides whether they can be run here.

use crate::Rules;
use crate::lexer::{Token, TokenKind, next_token};
use crate::unicode;

/// The rules of statements in UTF-8 whose strings were read already.
const RULES: Rules = Rules { escapes: false, encoding: crate::Encoding::Plain };

pub(crate) struct Tokens<'a> {
    text: &'a str,
    pub(crate) tokens: Vec<Token>,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        Self::first(text, usize::MAX)
    }

    /// The first tokens, up to so many.
    fn first(text: &'a str, most: usize) -> Self {
        let mut tokens = Vec::new();
        let mut position = 0;
        while tokens.len() < most
            && let Ok(Some(token)) = next_token(text.as_bytes(), position, RULES)
        {
            position = token.end;
            tokens.push(token);
            unicode::join_escape(text, &mut tokens);
        }
        Self { text, tokens }
    }

    /// All tokens of one statement with its semicolon, unless they are too many.
    pub(crate) fn whole(text: &'a str) -> Option<Self> {
        let tokens = Self::first(text, MOST_TOKENS + 1);
        let last = tokens.tokens.last()?;
        let is_end = |token: &&Token| token.kind == TokenKind::Symbol(b';');
        let ends = last.end == text.trim_end().len() && tokens.tokens.iter().filter(is_end).count() == 1;
        (ends && tokens.tokens.len() <= MOST_TOKENS && last.kind == TokenKind::Symbol(b';')).then_some(tokens)
    }

    pub(crate) fn text_of(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    pub(crate) fn is_word(&self, position: usize, word: &str) -> bool {
        self.tokens
            .get(position)
            .is_some_and(|&token| token.kind == TokenKind::Word && self.text_of(token).eq_ignore_ascii_case(word))
    }

    /// Whether these words, divided by blanks, begin at the position.
    pub(crate) fn are_words(&self, position: usize, words: &str) -> bool {
        words.split(' ').enumerate().all(|(number, word)| self.is_word(position + number, word))
    }

    pub(crate) fn is_symbol(&self, position: usize, symbol: u8) -> bool {
        self.tokens.get(position).is_some_and(|token| token.kind == TokenKind::Symbol(symbol))
    }

    /// The position after the words, where they are there.
    pub(crate) fn past(&self, position: usize, words: &str) -> usize {
        if self.are_words(position, words) { position + words.split(' ').count() } else { position }
    }

    /// The position after the first word of this kind that is not in parentheses.
    pub(crate) fn after(&self, mut position: usize, word: &str) -> Option<usize> {
        let mut depth = 0_usize;
        while position < self.tokens.len() {
            if self.is_symbol(position, b'(') {
                depth += 1;
            } else if self.is_symbol(position, b')') {
                depth = depth.saturating_sub(1);
            } else if depth == 0 && self.is_word(position, word) {
                return Some(position + 1);
            }
            position += 1;
        }
        None
    }

    /// The qualified name at the position. The last name of one that ends in a column's is left out on request.
    pub(crate) fn qualified(&self, mut position: usize, with_column: bool) -> Option<Name> {
        let mut names = vec![self.name(position)?];
        while self.is_symbol(position + 1, b'.') {
            position += 2;
            names.push(self.name(position)?);
        }
        if with_column {
            names.pop();
        }
        let name = names.pop()?;
        Some(Name { schema: names.pop(), name })
    }

    /// The name that an identifier stands for.
    pub(crate) fn name(&self, position: usize) -> Option<String> {
        let token = *self.tokens.get(position)?;
        match token.kind {
            TokenKind::Word => Some(self.text_of(token).to_ascii_lowercase()),
            TokenKind::Quoted => {
                let quoted = self.text_of(token);
                if unicode::is_escaped(quoted) {
                    return unicode::name(quoted);
                }
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
    let at = ["session", "local"].iter().fold(1, |at, word| if at == 1 { tokens.past(at, word) } else { at });
    let name = tokens.name(at)?;
    if !tokens.is_symbol(at + 1, b'=') && !tokens.is_word(at + 1, "to") {
        return None;
    }
    let at = at + 2;
    let value = match tokens.tokens.get(at)? {
        &token if token.kind == TokenKind::Literal => {
            let quoted = tokens.text_of(token);
            quoted.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'")
        }
        token if matches!(token.kind, TokenKind::Symbol(_)) => tokens.text_of(*token).to_owned(),
        _ => tokens.name(at)?,
    };
    Some((name, value))
}

/// Whether a statement may set `client_encoding`: it names the setting, also within code that it runs.
pub fn may_set_encoding(statement: &str) -> bool {
    const NAME: &[u8] = b"client_encoding";
    let tokens = Tokens::first(statement, 3);
    let names = |position: usize| tokens.is_word(position, "names");
    resets_encoding(statement)
        || tokens.is_word(0, "set") && (names(1) || names(2))
        || statement.as_bytes().windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME))
}

/// Whether a statement gives up the `client_encoding` that was set.
pub fn resets_encoding(statement: &str) -> bool {
    let tokens = Tokens::first(statement, 3);
    tokens.is_word(0, "reset") && (tokens.is_word(1, "all") || tokens.is_word(1, "client_encoding"))
}

/// The name of a relation as a statement has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
}

/// The relations that a statement is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The table that it makes, changes or fills; others that it cannot do without follow.
    pub tables: Vec<Name>,
    /// The index that it makes for the table, also as that of a constraint.
    pub makes_index: Option<Name>,
    /// The indexes that it names.
    pub indexes: Vec<Name>,
}

/// Enough for every statement whose subject does not come first.
const MOST_TOKENS: usize = 20_000;

/// Returns the relations that a statement of a dump is about.
pub fn subject_of(statement: &str) -> Subject {
    const FEW_TOKENS: usize = 16;
    let tokens = Tokens::first(statement, FEW_TOKENS);
    let mut subject = Subject::default();
    let of_table = |name: Option<Name>| Subject { tables: name.into_iter().collect(), ..Subject::default() };
    if tokens.is_word(0, "copy") {
        return of_table(tokens.qualified(tokens.past(1, "binary"), false));
    } else if tokens.are_words(0, "insert into") {
        return of_table(tokens.qualified(2, false));
    } else if tokens.is_word(0, "with") {
        let tokens = Tokens::first(statement, MOST_TOKENS);
        return of_table(insert_of(&tokens).and_then(|insert| tokens.qualified(insert + 2, false)));
    } else if tokens.are_words(0, "drop table") {
        return of_table(tokens.qualified(tokens.past(2, "if exists"), false));
    }
    let tokens = Tokens::first(statement, MOST_TOKENS);
    if tokens.is_word(0, "create") {
        let mut position = tokens.past(1, "or replace");
        for word in ["unlogged", "foreign", "unique", "constraint"] {
            position = tokens.past(position, word);
        }
        let name = position + 1;
        if tokens.is_word(position, "table") {
            subject.tables.extend(tokens.qualified(tokens.past(name, "if not exists"), false));
            // INHERITS and PARTITION OF need their parents.
            for word in ["inherits", "of"] {
                if let Some(at) = tokens.after(name, word) {
                    let at = if tokens.is_symbol(at, b'(') { at + 1 } else { at };
                    subject.tables.extend(tokens.qualified(at, false));
                }
            }
        } else if tokens.is_word(position, "index") {
            let name = tokens.past(tokens.past(name, "concurrently"), "if not exists");
            if let Some(on) = tokens.after(name, "on") {
                let table = tokens.qualified(tokens.past(on, "only"), false);
                let schema = table.as_ref().and_then(|table| table.schema.clone());
                subject.makes_index = tokens.name(name).map(|name| Name { schema, name });
                subject.tables.extend(table);
            }
        } else if tokens.is_word(position, "trigger") || tokens.is_word(position, "policy") {
            subject.tables.extend(tokens.after(name, "on").and_then(|on| tokens.qualified(on, false)));
        } else if tokens.is_word(position, "rule") {
            subject.tables.extend(tokens.after(name, "to").and_then(|to| tokens.qualified(to, false)));
        } else if tokens.is_word(position, "statistics") {
            subject.tables.extend(tokens.after(name, "from").and_then(|from| tokens.qualified(from, false)));
        }
    } else if tokens.are_words(0, "alter table") || tokens.are_words(0, "alter foreign table") {
        let name = tokens.past(tokens.past(tokens.past(1, "foreign") + 1, "if exists"), "only");
        let table = tokens.qualified(name, false);
        if let Some(at) = tokens.after(name, "constraint")
            && let Some(constraint) = tokens.name(at)
        {
            let schema = table.as_ref().and_then(|table| table.schema.clone());
            subject.makes_index = Some(Name { schema, name: constraint });
        }
        subject.tables.extend(table);
        for word in ["references", "partition"] {
            subject.tables.extend(tokens.after(name, word).and_then(|at| tokens.qualified(at, false)));
        }
    } else if tokens.are_words(0, "alter index") {
        subject.indexes.extend(tokens.qualified(tokens.past(2, "if exists"), false));
        subject.indexes.extend(tokens.after(2, "partition").and_then(|at| tokens.qualified(at, false)));
    } else if tokens.are_words(0, "drop index") {
        subject.indexes.extend(tokens.qualified(tokens.past(2, "if exists"), false));
    } else if tokens.are_words(0, "alter sequence") {
        let owned = tokens.after(2, "owned").filter(|&by| tokens.is_word(by, "by"));
        subject.tables.extend(owned.and_then(|by| tokens.qualified(by + 1, true)));
    } else if tokens.are_words(0, "comment on") {
        if tokens.is_word(2, "table") {
            subject.tables.extend(tokens.qualified(3, false));
        } else if tokens.is_word(2, "column") {
            subject.tables.extend(tokens.qualified(3, true));
        } else if tokens.is_word(2, "index") {
            subject.indexes.extend(tokens.qualified(3, false));
        } else if ["constraint", "trigger", "rule", "policy"].iter().any(|kind| tokens.is_word(2, kind)) {
            subject.tables.extend(tokens.after(3, "on").and_then(|on| tokens.qualified(on, false)));
        }
    } else if tokens.is_word(0, "grant") || tokens.is_word(0, "revoke") {
        let on = tokens.after(1, "on").filter(|&on| tokens.is_word(on, "table"));
        subject.tables.extend(on.and_then(|on| tokens.qualified(on + 1, false)));
    }
    subject
}

/// Whether a statement is an INSERT, also one with queries in front of it.
pub fn is_insert(statement: &str) -> bool {
    insert_of(&Tokens::first(statement, MOST_TOKENS)).is_some()
}

/// The position of the INSERT that a statement is, behind its WITH.
fn insert_of(tokens: &Tokens<'_>) -> Option<usize> {
    if !tokens.is_word(0, "with") {
        return tokens.are_words(0, "insert into").then_some(0);
    }
    let mut depth = 0_usize;
    for position in 1..tokens.tokens.len() {
        if tokens.is_symbol(position, b'(') {
            depth += 1;
        } else if tokens.is_symbol(position, b')') {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && tokens.are_words(position, "insert into") {
            return Some(position);
        } else if depth == 0 && tokens.is_word(position, "select") {
            // The queries in front have names, which this word cannot be.
            return None;
        }
    }
    None
}

/// Returns the beginning of an INSERT, which its table's name is a part of: statements that begin alike fill the same table.
/// `None` where comments or queries are among it.
pub fn before_values(insert: &[u8]) -> Option<&[u8]> {
    const WORD: &[u8] = b"insert";
    insert.get(..WORD.len()).filter(|word| word.eq_ignore_ascii_case(WORD))?;
    let mut is_quoted = false;
    let end = insert.iter().position(|&byte| {
        is_quoted ^= byte == b'"';
        byte == b'(' && !is_quoted
    });
    let head = &insert[..end.unwrap_or(insert.len())];
    let has_comment = head.windows(2).any(|two| two == b"/*" || two == b"--");
    (!has_comment).then_some(head)
}

/// Returns the sequence that a statement of a dump sets, as SQL text.
pub fn sequence_of(statement: &str) -> Option<String> {
    let tokens = Tokens::first(statement, 6);
    let is_call = tokens.are_words(0, "select pg_catalog") && tokens.is_word(3, "setval") && tokens.is_symbol(4, b'(');
    let &name = tokens.tokens.get(5).filter(|token| is_call && token.kind == TokenKind::Literal)?;
    Some(tokens.text_of(name).strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"))
}

/// A statement about the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    Begin,
    Commit,
    /// It would undo a part of the script.
    Rollback,
    /// Savepoints, and transactions in two phases.
    Other,
}

/// Tells what a statement does with the transaction.
pub fn transaction_of(statement: &str) -> Option<Transaction> {
    let tokens = Tokens::first(statement, 3);
    Some(match () {
        () if tokens.is_word(0, "begin") || tokens.are_words(0, "start transaction") => Transaction::Begin,
        () if tokens.are_words(0, "commit prepared") || tokens.are_words(0, "rollback prepared") => Transaction::Other,
        () if tokens.are_words(0, "prepare transaction") => Transaction::Other,
        () if tokens.is_word(0, "commit") || tokens.is_word(0, "end") => Transaction::Commit,
        () if tokens.is_word(0, "rollback") || tokens.is_word(0, "abort") => Transaction::Rollback,
        () if tokens.is_word(0, "savepoint") || tokens.is_word(0, "release") => Transaction::Other,
        () => return None,
    })
}

/// Returns the database that a statement creates or drops.
pub fn database_of(statement: &str) -> Option<String> {
    let tokens = Tokens::first(statement, 6);
    if tokens.are_words(0, "create database") {
        tokens.name(2)
    } else if tokens.are_words(0, "drop database") {
        tokens.name(tokens.past(2, "if exists"))
    } else {
        None
    }
}

/// Returns whether a statement drops this extension.
pub fn drops_extension(statement: &str, extension: &str) -> bool {
    let tokens = Tokens::first(statement, 6);
    tokens.are_words(0, "drop extension")
        && tokens.name(tokens.past(2, "if exists")).is_some_and(|name| name == extension)
}

/// Returns whether a statement becomes somebody else, or ceases to be.
pub fn is_change_of_session_role(statement: &str) -> bool {
    let tokens = Tokens::first(statement, 4);
    tokens.are_words(0, "set session authorization")
        || tokens.are_words(0, "set local session authorization")
        || tokens.are_words(0, "reset session authorization")
}

/// Returns whether a statement gives an object to an owner.
pub fn changes_owner(statement: &str) -> bool {
    let tokens = Tokens::first(statement, MOST_TOKENS);
    let last = tokens.tokens.len();
    // With the semicolon behind it.
    tokens.is_word(0, "alter") && last >= 5 && tokens.are_words(last - 4, "owner to")
}

/// Returns whether a statement is about privileges.
pub fn is_about_privileges(statement: &str) -> bool {
    let tokens = Tokens::first(statement, 3);
    tokens.is_word(0, "grant") || tokens.is_word(0, "revoke") || tokens.are_words(0, "alter default privileges")
}

/// Returns the kind of the object that a statement makes, as `table` or `foreign key`.
pub fn made_kind(statement: &str) -> Option<String> {
    let tokens = Tokens::first(statement, MOST_TOKENS.min(24));
    if tokens.is_word(0, "create") {
        let mut position = tokens.past(1, "or replace");
        for word in
            ["unlogged", "temporary", "temp", "recursive", "unique", "trusted", "procedural", "constraint", "default"]
        {
            position = tokens.past(position, word);
        }
        let kinds = [
            "materialized view",
            "foreign data wrapper",
            "foreign table",
            "user mapping",
            "event trigger",
            "access method",
            "operator class",
            "operator family",
            "text search configuration",
            "text search dictionary",
            "text search parser",
            "text search template",
        ];
        if let Some(kind) = kinds.iter().find(|kind| tokens.are_words(position, kind)) {
            return Some((*kind).to_owned());
        }
        return tokens
            .tokens
            .get(position)
            .filter(|token| token.kind == TokenKind::Word)
            .map(|&token| tokens.text_of(token).to_ascii_lowercase());
    }
    if tokens.are_words(0, "alter table") {
        let add = tokens.after(2, "add")?;
        if !tokens.is_word(add, "constraint") {
            return None;
        }
        let is_key = |words: &str| tokens.are_words(add + 2, words);
        return Some(if is_key("foreign key") { "foreign key" } else { "constraint" }.to_owned());
    }
    tokens.are_words(0, "comment on").then(|| "comment".to_owned())
}

/// Returns the beginning of a statement for people: one line of at most so many characters.
pub fn first_words(statement: &str, most: usize) -> String {
    let mut text = String::new();
    let mut length = 0;
    for word in statement.split_whitespace() {
        let word_length = word.chars().count();
        if length + word_length + 1 > most {
            if text.is_empty() {
                text = word.chars().take(most).collect();
            }
            text.push_str(" …");
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
        length += word_length + 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_that_begin_alike_fill_the_same_table() {
        for (statement, head) in [
            ("INSERT INTO public.t VALUES (1);", Some("INSERT INTO public.t VALUES ")),
            ("INSERT INTO public.t (a, b) VALUES (1, '(');", Some("INSERT INTO public.t ")),
            ("INSERT INTO public.\"a(b\" (\"c(\") VALUES (1);", Some("INSERT INTO public.\"a(b\" ")),
            ("INSERT INTO \"a\"\"(\"\"b\" VALUES (1);", Some("INSERT INTO \"a\"\"(\"\"b\" VALUES ")),
            ("INSERT INTO t DEFAULT VALUES;", Some("INSERT INTO t DEFAULT VALUES;")),
            ("INSERT INTO /* ( */ t VALUES (1);", None),
            ("INSERT INTO -- (\n t VALUES (1);", None),
            ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x;", None),
        ] {
            assert_eq!(before_values(statement.as_bytes()), head.map(str::as_bytes), "{statement}");
        }
    }

    #[test]
    fn statements_that_may_set_the_encoding() {
        for (statement, may) in [
            ("SET client_encoding = 'LATIN1';", true),
            ("set session CLIENT_ENCODING to default;", true),
            ("SET NAMES 'LATIN1';", true),
            ("SET LOCAL NAMES 'LATIN1';", true),
            ("RESET client_encoding;", true),
            ("reset all;", true),
            ("RESET work_mem;", false),
            ("SELECT pg_catalog.set_config('client_encoding', 'LATIN1', false);", true),
            ("DO $$BEGIN SET client_encoding = 'LATIN1'; END$$;", true),
            ("SET names.encoding = 'x';", true),
            ("SET search_path = names;", false),
            ("CREATE TABLE names (names text);", false),
        ] {
            assert_eq!(may_set_encoding(statement), may, "{statement}");
        }
    }

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
        assert_eq!(setting_of("SET SESSION client_encoding TO utf8;"), setting("client_encoding", "utf8"));
        let path = "SELECT pg_catalog.set_config('search_path', '', false);";
        assert_eq!(setting_of(path), setting("search_path", ""));
        assert_eq!(setting_of("SET SESSION AUTHORIZATION app;"), None);
        assert_eq!(setting_of("SELECT 1;"), None);
    }

    fn name(schema: &str, name: &str) -> Name {
        Name { schema: (!schema.is_empty()).then(|| schema.to_owned()), name: name.to_owned() }
    }

    #[test]
    fn tables_that_statements_are_about() {
        let t = || name("public", "t");
        for (statement, tables) in [
            ("COPY public.t (a) FROM stdin;", vec![t()]),
            ("INSERT INTO public.t VALUES (1);", vec![t()]),
            ("INSERT INTO U&\"public\".U&\"!0074\" UESCAPE '!' VALUES (1);", vec![t()]),
            ("COPY U&\"pu!0062lic\" UESCAPE '!' . U&\"\\0074\" FROM stdin;", vec![t()]),
            ("WITH x AS (SELECT 1) INSERT INTO public.t SELECT * FROM x;", vec![t()]),
            (
                "WITH RECURSIVE insert(a) AS (INSERT INTO other VALUES (1) RETURNING a), x AS MATERIALIZED (SELECT 1)
                 INSERT INTO public.t SELECT * FROM x;",
                vec![t()],
            ),
            ("WITH x AS (INSERT INTO public.t VALUES (1) RETURNING a) SELECT * FROM x;", vec![]),
            ("WITH x AS (SELECT 1) UPDATE public.t SET a = 1;", vec![]),
            ("CREATE TABLE public.t (a int);", vec![t()]),
            ("CREATE UNLOGGED TABLE t (a int) INHERITS (public.\"P\");", vec![name("", "t"), name("public", "P")]),
            (
                "ALTER TABLE ONLY public.t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES public.r(b);",
                vec![t(), name("public", "r")],
            ),
            ("ALTER TABLE ONLY public.t ATTACH PARTITION public.p FOR VALUES IN (1);", vec![t(), name("public", "p")]),
            ("CREATE UNIQUE INDEX i ON ONLY public.t USING btree (a);", vec![t()]),
            ("CREATE INDEX \"on\" ON public.t (a);", vec![t()]),
            ("CREATE TRIGGER g BEFORE UPDATE OF a ON public.t FOR EACH ROW EXECUTE FUNCTION f();", vec![t()]),
            ("CREATE POLICY p ON public.t USING (true);", vec![t()]),
            ("CREATE STATISTICS public.s (mcv) ON a, b FROM public.t;", vec![t()]),
            ("COMMENT ON TABLE public.t IS 'x';", vec![t()]),
            ("COMMENT ON COLUMN public.t.a IS 'x';", vec![t()]),
            ("COMMENT ON CONSTRAINT c ON public.t IS 'x';", vec![t()]),
            ("GRANT SELECT(a),UPDATE ON TABLE public.t TO x;", vec![t()]),
            ("GRANT USAGE ON SCHEMA public TO x;", vec![]),
            ("ALTER SEQUENCE public.s OWNED BY public.t.a;", vec![t()]),
            ("CREATE VIEW v AS SELECT 1;", vec![]),
        ] {
            assert_eq!(subject_of(statement).tables, tables, "{statement}");
        }
        let subject = subject_of("ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY (a);");
        assert_eq!(subject.makes_index, Some(name("public", "t_pkey")));
        let subject = subject_of("ALTER INDEX public.t_pkey ATTACH PARTITION public.p_pkey;");
        assert_eq!(subject.indexes, [name("public", "t_pkey"), name("public", "p_pkey")]);
        assert_eq!(sequence_of("SELECT pg_catalog.setval('public.\"S\"', 1, true);").as_deref(), Some("public.\"S\""));
    }

    #[test]
    fn kinds_of_statements() {
        let kind = |statement| made_kind(statement).unwrap_or_default();
        assert_eq!(kind("CREATE OR REPLACE FUNCTION f() ..."), "function");
        assert_eq!(kind("CREATE UNLOGGED TABLE t ();"), "table");
        assert_eq!(kind("CREATE MATERIALIZED VIEW v AS ..."), "materialized view");
        assert_eq!(kind("ALTER TABLE ONLY public.t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES r;"), "foreign key");
        assert_eq!(kind("ALTER TABLE ONLY public.t ADD CONSTRAINT c PRIMARY KEY (a);"), "constraint");
        assert_eq!(kind("SELECT 1;"), "");
        assert_eq!(transaction_of("BEGIN;"), Some(Transaction::Begin));
        assert_eq!(transaction_of("ROLLBACK TO x;"), Some(Transaction::Rollback));
        assert_eq!(transaction_of("COMMENT ON TABLE t IS '';"), None);
        assert_eq!(database_of("CREATE DATABASE \"A\" WITH TEMPLATE = template0;").as_deref(), Some("A"));
        assert!(changes_owner("ALTER TABLE public.t OWNER TO \"x\";") && !changes_owner("ALTER TABLE t ADD a int;"));
        assert!(is_change_of_session_role("SET SESSION AUTHORIZATION DEFAULT;"));
        assert_eq!(first_words("SELECT\n  1,\n 2;", 40), "SELECT 1, 2;");
        assert_eq!(first_words("SELECT 1, 2;", 9), "SELECT …");
    }
}
