//! Whether statements of a dump could tell that rows which come before them in the script are not stored yet.

use crate::lexer::{Token, TokenKind};
use crate::statement::{Name, Tokens, changes_owner, setting_of};

/// What a statement has to do with rows that are still to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It sees no rows and runs no code that could, and what it makes holds for rows that are stored later.
    None,
    /// It adds a foreign key to the table, and looks at rows of this table alone.
    ForeignKey(Name),
    /// It replaces what was computed from rows. It can wait for them, and must.
    AfterRows,
    /// It may see rows.
    Unknown,
}

/// Settings that change neither the meaning of values nor that of other statements.
const SETTINGS: [&str; 13] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "client_encoding",
    "standard_conforming_strings",
    "escape_string_warning",
    "check_function_bodies",
    "client_min_messages",
    "row_security",
    "default_tablespace",
    "default_table_access_method",
    "default_with_oids",
];

/// Whether a setting is one that dumps make for their own session, so that a server which does not know it can do without.
pub fn is_setting_of_dumps(name: &str) -> bool {
    SETTINGS.iter().any(|setting| name.eq_ignore_ascii_case(setting))
}

/// Functions that dumps call with constants: of sequences and large objects.
const FUNCTIONS: [&str; 7] = ["setval", "lo_create", "lo_open", "lowrite", "lo_close", "lo_unlink", "lo_truncate"];

/// Functions that take over statistics.
const STATISTICS: [&str; 4] =
    ["pg_restore_relation_stats", "pg_restore_attribute_stats", "pg_restore_extended_stats", "pg_set_relation_stats"];

/// Returns the name of the function that a statement calls with constants, and with nothing else, to take over statistics.
pub fn restores_statistics(statement: &str) -> Option<String> {
    const MOST_BYTES: usize = 120;
    let beginning = statement.get(..MOST_BYTES.min(statement.len())).unwrap_or(statement);
    let is_named = STATISTICS.iter().any(|name| beginning.contains(name));
    if !is_named || effect_on_rows(statement) != Effect::AfterRows {
        return None;
    }
    STATISTICS.iter().find(|name| beginning.contains(*name)).map(|name| (*name).to_owned())
}

/// Returns an ALTER … ALTER COLUMN … SET (…) without the stamp by which newer minor releases tell changes of a column
/// (`pg_attver`), which older ones refuse: an empty text where it sets nothing else. `None` for all other statements.
pub fn without_column_stamp(statement: &str) -> Option<String> {
    const STAMP: &str = "pg_attver";
    if !statement.contains(STAMP) {
        return None;
    }
    let tokens = Tokens::whole(statement)?;
    let open = tokens.is_word(0, "alter").then(|| tokens.after(1, "set")).flatten()?;
    let close = tokens.is_symbol(open, b'(').then(|| tokens.close(open)).flatten()?;
    if close + 2 != tokens.tokens.len() {
        return None;
    }
    let inside = &tokens.tokens[open + 1..close];
    let is_stamp = |item: &&[Token]| item.first().is_some_and(|&name| tokens.text_of(name) == STAMP);
    let items: Vec<&[Token]> = inside.split(|token| token.kind == TokenKind::Symbol(b',')).collect();
    let kept: Vec<&[Token]> = items.iter().copied().filter(|item| !is_stamp(item)).collect();
    if kept.len() == items.len() {
        return None;
    }
    let text = |item: &[Token]| Some(&statement[item.first()?.start..item.last()?.end]);
    let kept: Vec<&str> = kept.into_iter().filter_map(text).collect();
    if kept.is_empty() {
        return Some(String::new());
    }
    Some(format!(
        "{}{}{}",
        &statement[..tokens.tokens[open].end],
        kept.join(", "),
        &statement[tokens.tokens[close].start..]
    ))
}

/// Returns whether the statement is a COPY FROM STDIN as `pg_dump` writes it: of a table, with columns or without, and without
/// options.
pub fn is_plain_copy(statement: &str) -> bool {
    let Some(tokens) = Tokens::whole(statement) else { return false };
    let mut at = 1;
    if !tokens.is_word(0, "copy") || tokens.is_word(1, "binary") && !tokens.is_symbol(2, b'.') {
        return false;
    }
    let Some(past) = tokens.past_name(at) else { return false };
    at = past;
    if tokens.is_symbol(at, b'(') {
        let Some(close) = tokens.close(at) else { return false };
        at = close + 1;
    }
    tokens.are_words(at, "from stdin") && tokens.is_symbol(at + 2, b';') && tokens.tokens.len() == at + 3
}

/// Returns what a statement of a dump has to do with rows that are not stored yet. Names without a schema must be those of
/// `pg_catalog`, and strings those of the standard.
pub fn effect_on_rows(statement: &str) -> Effect {
    let Some(tokens) = Tokens::whole(statement) else { return Effect::Unknown };
    let is_harmless = match () {
        () if tokens.is_word(0, "set") => setting_of(statement).is_some_and(|(name, _)| is_setting_of_dumps(&name)),
        () if tokens.are_words(0, "select") => return effect_of_call(&tokens),
        () if tokens.is_word(0, "grant") || tokens.is_word(0, "revoke") => tokens.after(1, "on").is_some(),
        () if tokens.are_words(0, "comment on") || tokens.are_words(0, "alter default privileges") => true,
        () if tokens.are_words(0, "alter table") => return effect_of_alter_table(&tokens),
        () if tokens.are_words(0, "alter index") => {
            tokens.after(2, "attach").is_some()
                || tokens.after(2, "set").is_some_and(|set| tokens.is_word(set, "statistics"))
        }
        () if tokens.are_words(0, "alter sequence") => tokens.after(2, "owned").is_some() || changes_owner(statement),
        () if tokens.are_words(0, "alter statistics") => true,
        () if tokens.is_word(0, "alter") => changes_owner(statement),
        () if tokens.is_word(0, "create") => is_harmless_create(&tokens),
        () => false,
    };
    if is_harmless { Effect::None } else { Effect::Unknown }
}

/// Whether a statement makes an index or a constraint that computes something from rows. Casts in it, which need not be written
/// there, may be functions of users.
pub fn computes_from_rows(statement: &str) -> bool {
    let Some(tokens) = Tokens::whole(statement) else { return true };
    if tokens.are_words(0, "alter table") {
        return tokens.after(2, "check").is_some() || tokens.after(2, "exclude").is_some();
    }
    if !tokens.are_words(0, "create index") && !tokens.are_words(0, "create unique index") {
        return false;
    }
    let mut depth = 0_usize;
    let is_nested = tokens.tokens.iter().any(|token| {
        match token.kind {
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > 1
    });
    is_nested || tokens.after(2, "where").is_some()
}

fn effect_of_call(tokens: &Tokens<'_>) -> Effect {
    let is_table = tokens.is_symbol(1, b'*') && tokens.is_word(2, "from");
    let at = if is_table { 3 } else { 1 };
    if !tokens.is_word(at, "pg_catalog") || !tokens.is_symbol(at + 1, b'.') || !tokens.is_symbol(at + 3, b'(') {
        return Effect::Unknown;
    }
    let open = at + 3;
    let ends = tokens.close(open).is_some_and(|close| close + 2 == tokens.tokens.len());
    // No other call is among the arguments.
    let are_constants = tokens.tokens[open + 1..].iter().all(|token| token.kind != TokenKind::Symbol(b'('));
    if !ends || !are_constants {
        return Effect::Unknown;
    }
    // A cast could call a function of the type.
    let casts = tokens.tokens[open + 1..].iter().any(|token| token.kind == TokenKind::Symbol(b':'));
    let is = |function: &str| tokens.is_word(at + 2, function);
    let is_empty_path = || {
        let literal = |position: usize, text: &str| {
            tokens.tokens.get(position).is_some_and(|&token| tokens.text_of(token) == text)
        };
        literal(open + 1, "'search_path'") && tokens.is_symbol(open + 2, b',') && literal(open + 3, "''")
    };
    if STATISTICS.iter().any(|function| is(function)) {
        Effect::AfterRows
    } else if !is_table
        && !casts
        && (FUNCTIONS.iter().any(|function| is(function)) || is("set_config") && is_empty_path())
    {
        Effect::None
    } else {
        Effect::Unknown
    }
}

fn effect_of_alter_table(tokens: &Tokens<'_>) -> Effect {
    let name = tokens.past(tokens.past(2, "if exists"), "only");
    let Some(at) = tokens.past_name(name) else { return Effect::Unknown };
    // Several changes at once.
    if tokens.has_comma(at) {
        return Effect::Unknown;
    }
    let are = |position: usize, words: &str| tokens.are_words(position, words);
    if are(at, "add constraint") {
        if are(at + 3, "foreign key") {
            return tokens.qualified(name, false).map_or(Effect::Unknown, Effect::ForeignKey);
        }
        let is_key = are(at + 3, "primary key") || are(at + 3, "unique");
        let is_other = are(at + 3, "check") || are(at + 3, "exclude");
        return if is_key || is_other && tokens.calls_no_functions_of_users(at) {
            Effect::None
        } else {
            Effect::Unknown
        };
    }
    let column = tokens.past(at + 1, "column") + 1;
    let is_harmless = ["cluster on", "replica identity", "owner to", "enable row level security"]
        .iter()
        .chain(&["force row level security", "no force row level security", "disable row level security"])
        .any(|words| are(at, words))
        || are(at, "alter")
            && (are(column, "set default")
                || are(column, "set statistics")
                || are(column, "set")
                    && tokens.is_symbol(column + 1, b'(')
                    && tokens.is_word(column + 2, "n_distinct"));
    if is_harmless { Effect::None } else { Effect::Unknown }
}

fn is_harmless_create(tokens: &Tokens<'_>) -> bool {
    let at = tokens.past(1, "or replace");
    let are = |words: &str| tokens.are_words(at, words);
    if are("index") || are("unique index") {
        return tokens.after(at, "on").is_some_and(|on| {
            tokens.past_name(tokens.past(on, "only")).is_some_and(|past| tokens.calls_no_functions_of_users(past))
        });
    }
    if are("table") || are("unlogged table") {
        // Not AS, OF and PARTITION OF.
        return tokens.after(at, "as").is_none() && tokens.after(at, "of").is_none();
    }
    if are("statistics") {
        return tokens.calls_no_functions_of_users(tokens.after(at, "on").unwrap_or(at));
    }
    if are("rule") {
        return tokens.after(at, "on").is_some_and(|event| !tokens.is_word(event, "select"));
    }
    let end = tokens.tokens.len();
    are("trigger")
        || are("constraint trigger")
        || are("policy")
        || are("view")
        || are("sequence")
        || are("materialized view") && end > 4 && tokens.are_words(end - 4, "with no data")
}

impl Tokens<'_> {
    /// The position after the name of a relation.
    fn past_name(&self, position: usize) -> Option<usize> {
        self.name(position)?;
        let mut at = position + 1;
        while self.is_symbol(at, b'.') {
            self.name(at + 1)?;
            at += 2;
        }
        Some(at)
    }

    /// The position of the parenthesis that closes the one at a position.
    fn close(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for position in open..self.tokens.len() {
            if self.is_symbol(position, b'(') {
                depth += 1;
            } else if self.is_symbol(position, b')') {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(position);
                }
            }
        }
        None
    }

    /// Whether there is a comma that is not in parentheses.
    fn has_comma(&self, from: usize) -> bool {
        let mut depth = 0_usize;
        self.tokens[from.min(self.tokens.len())..].iter().any(|token| {
            match token.kind {
                TokenKind::Symbol(b'(') => depth += 1,
                TokenKind::Symbol(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.kind == TokenKind::Symbol(b',')
        })
    }

    /// Whether expressions from a position on use nothing but what the server itself has, where names without a schema are
    /// those of `pg_catalog`. Operator classes and collations may be anybody's: they stand at the end of what they are for.
    fn calls_no_functions_of_users(&self, from: usize) -> bool {
        let symbol = |position: usize, symbols: &[u8]| matches!(self.tokens.get(position), Some(Token { kind: TokenKind::Symbol(symbol), .. }) if symbols.contains(symbol));
        (from..self.tokens.len()).all(|position| {
            if self.is_word(position, "operator") && symbol(position + 1, b"(") {
                return false;
            }
            if !symbol(position, b".") {
                return true;
            }
            let ends_there = symbol(position + 2, b",)")
                || ["asc", "desc", "nulls"].iter().any(|word| self.is_word(position + 2, word));
            let is_cast = position >= 2 && symbol(position - 2, b":");
            self.name(position + 1).is_some() && ends_there && !is_cast
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_dumps() {
        for (statement, is_plain) in [
            ("COPY public.t (a, \"B\") FROM stdin;", true),
            ("COPY \"T\" FROM stdin;", true),
            ("COPY public.t (a) FROM stdin WITH (FORMAT csv);", false),
            ("COPY public.t (a) FROM stdin WHERE a > 1;", false),
            ("COPY public.t FROM stdin CSV;", false),
            ("COPY BINARY public.t FROM stdin;", false),
            ("COPY t FROM 'stdin';", false),
        ] {
            assert_eq!(is_plain_copy(statement), is_plain, "{statement}");
        }
    }

    #[test]
    fn stamps_of_minor_releases() {
        for (statement, left) in [
            ("ALTER FOREIGN TABLE ONLY public.far ALTER COLUMN id SET (pg_attver=26761176);", Some("")),
            ("ALTER TABLE ONLY public.\"SET (\" ALTER COLUMN \"a b\" SET (pg_attver=1);", Some("")),
            (
                "ALTER TABLE ONLY public.t ALTER COLUMN id SET (pg_attver=1, n_distinct=-0.5);",
                Some("ALTER TABLE ONLY public.t ALTER COLUMN id SET (n_distinct=-0.5);"),
            ),
            (
                "ALTER TABLE ONLY public.t ALTER COLUMN id SET (n_distinct=5, pg_attver=1, n_distinct_inherited=7);",
                Some("ALTER TABLE ONLY public.t ALTER COLUMN id SET (n_distinct=5, n_distinct_inherited=7);"),
            ),
            ("ALTER TABLE ONLY public.\"x SET (pg_attver=1)\" ALTER COLUMN id SET (n_distinct=5);", None),
            ("SELECT 'SET (pg_attver=1)';", None),
        ] {
            assert_eq!(without_column_stamp(statement).as_deref(), left, "{statement}");
        }
    }

    #[test]
    fn statements_that_take_over_statistics() {
        let call = "SELECT * FROM pg_catalog.pg_restore_relation_stats('relname', 't', 'relpages', '1'::integer);";
        assert_eq!(restores_statistics(call).as_deref(), Some("pg_restore_relation_stats"));
        assert_eq!(restores_statistics("SELECT 'pg_restore_relation_stats';"), None);
        assert_eq!(
            restores_statistics("SELECT * FROM pg_catalog.pg_restore_relation_stats('relname', public.f());"),
            None
        );
    }

    #[test]
    fn statements_that_compute_from_rows() {
        for (statement, computes) in [
            ("CREATE INDEX i ON public.t USING btree (a, b DESC) WITH (fillfactor='70');", false),
            ("CREATE UNIQUE INDEX i ON public.t USING btree (a) INCLUDE (b);", false),
            ("CREATE INDEX i ON public.t USING btree (lower(b));", true),
            ("CREATE INDEX i ON public.t USING btree (((a)::integer));", true),
            ("CREATE INDEX i ON public.t USING btree (a) WHERE b;", true),
            ("ALTER TABLE ONLY public.t ADD CONSTRAINT k PRIMARY KEY (a);", false),
            ("ALTER TABLE public.t ADD CONSTRAINT k CHECK ((a > 1));", true),
            ("ALTER TABLE ONLY public.t ADD CONSTRAINT k EXCLUDE USING gist (r WITH &&);", true),
            ("CREATE VIEW public.v AS SELECT ((1)) WHERE true;", false),
        ] {
            assert_eq!(computes_from_rows(statement), computes, "{statement}");
        }
    }

    #[test]
    fn statements_that_see_no_rows() {
        let table = || Name { schema: Some("public".into()), name: "t".into() };
        for (statement, effect) in [
            ("SET default_tablespace = '';", Effect::None),
            ("SET datestyle = 'SQL, DMY';", Effect::Unknown),
            ("SET SESSION AUTHORIZATION x;", Effect::Unknown),
            ("SELECT pg_catalog.setval('public.s', 12, true);", Effect::None),
            ("SELECT pg_catalog.setval('public.s', (SELECT max(a) FROM public.t));", Effect::Unknown),
            ("SELECT pg_catalog.setval('public.s', 12), public.f();", Effect::Unknown),
            ("SELECT pg_catalog.setval('public.s', '1'::public.d);", Effect::Unknown),
            ("SELECT pg_catalog.set_config('search_path', '', false);", Effect::None),
            ("SELECT pg_catalog.set_config('search_path', 'public', false);", Effect::Unknown),
            ("SELECT pg_catalog.lowrite(0, '\\x00ff');", Effect::None),
            ("SELECT public.f();", Effect::Unknown),
            (
                "SELECT * FROM pg_catalog.pg_restore_relation_stats('relname', 't', 'relpages', '1'::integer);",
                Effect::AfterRows,
            ),
            ("SELECT * FROM pg_catalog.pg_restore_relation_stats('relname', public.f());", Effect::Unknown),
            ("CREATE UNIQUE INDEX i ON public.t USING btree (a, lower(b)) WHERE (a > 1);", Effect::None),
            ("CREATE INDEX i ON ONLY public.t USING gin (b public.gin_trgm_ops, c public.ops DESC);", Effect::None),
            ("CREATE INDEX i ON public.t USING btree (public.f(a));", Effect::Unknown),
            ("CREATE INDEX i ON public.t USING btree (((a)::public.d));", Effect::Unknown),
            ("CREATE INDEX i ON public.t USING btree (((t.*)::text));", Effect::Unknown),
            ("CREATE INDEX i ON public.t USING btree (a) WHERE (a OPERATOR(public.=) b);", Effect::Unknown),
            ("CREATE INDEX CONCURRENTLY i ON public.t (a);", Effect::None),
            ("ALTER TABLE ONLY public.t ADD CONSTRAINT k PRIMARY KEY (a);", Effect::None),
            ("ALTER TABLE public.t ADD CONSTRAINT k PRIMARY KEY (a), ADD COLUMN b int;", Effect::Unknown),
            ("ALTER TABLE ONLY public.t ADD CONSTRAINT k CHECK ((a > 0)) NOT VALID;", Effect::None),
            ("ALTER TABLE ONLY public.t ADD CONSTRAINT k CHECK (public.f(a)) NOT VALID;", Effect::Unknown),
            (
                "ALTER TABLE ONLY public.t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES public.r(b) ON DELETE CASCADE;",
                Effect::ForeignKey(table()),
            ),
            ("ALTER TABLE ONLY public.t ADD CONSTRAINT k NOT NULL a NOT VALID;", Effect::Unknown),
            ("ALTER TABLE public.t OWNER TO x;", Effect::None),
            ("ALTER TABLE public.t DISABLE TRIGGER ALL;", Effect::Unknown),
            ("ALTER TABLE ONLY public.t ALTER COLUMN a SET DEFAULT nextval('public.s'::regclass);", Effect::None),
            ("ALTER TABLE ONLY public.t ALTER COLUMN a SET STATISTICS 100;", Effect::None),
            ("ALTER TABLE ONLY public.t ALTER COLUMN a SET STORAGE EXTERNAL;", Effect::Unknown),
            ("ALTER TABLE public.t ALTER COLUMN a TYPE bigint;", Effect::Unknown),
            ("ALTER INDEX public.i ATTACH PARTITION public.j;", Effect::None),
            ("CREATE TABLE public.t (a int GENERATED ALWAYS AS (1) STORED) PARTITION BY RANGE (a);", Effect::None),
            ("CREATE TABLE public.t AS SELECT 1;", Effect::Unknown),
            ("CREATE TABLE public.t PARTITION OF public.p DEFAULT;", Effect::Unknown),
            ("CREATE TRIGGER g AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();", Effect::None),
            ("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f();", Effect::Unknown),
            ("CREATE MATERIALIZED VIEW public.m AS SELECT 1 WITH NO DATA;", Effect::None),
            ("CREATE MATERIALIZED VIEW public.m AS SELECT 1;", Effect::Unknown),
            ("REFRESH MATERIALIZED VIEW public.m;", Effect::Unknown),
            ("GRANT SELECT ON TABLE public.t TO x;", Effect::None),
            ("GRANT x TO y;", Effect::Unknown),
            ("COMMENT ON TABLE public.t IS 'x; y';", Effect::None),
            ("DO $$BEGIN END$$;", Effect::Unknown),
            ("INSERT INTO public.t VALUES (1);", Effect::Unknown),
            ("CREATE PUBLICATION p FOR ALL TABLES;", Effect::Unknown),
        ] {
            assert_eq!(effect_on_rows(statement), effect, "{statement}");
        }
    }
}
