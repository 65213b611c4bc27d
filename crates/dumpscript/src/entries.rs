//! The objects that a dump makes, one after the other, with their statements.

use crate::{Commands, Piece, ScriptError, ScriptErrorKind, Splitter};

/// An object's table-of-contents entry, as the comments above its statements tell it. It tells what something is for, and
/// decides about nothing that could be dangerous: names in it are the source's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// As `TABLE` or `FK CONSTRAINT`.
    pub kind: String,
    pub schema: Option<String>,
    /// As the dump writes it: of a constraint the table's name and its own, of a function with the types of its arguments.
    pub name: String,
    pub owner: Option<String>,
    /// The number of the entry.
    pub number: u32,
    /// The OIDs of the object and of its catalog on the source, or 0.
    pub class: u32,
    pub oid: u32,
    /// Numbers of entries that this one belongs to.
    pub dependencies: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// An entry and its statements. The statements before the first entry have a head without a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub head: Head,
    pub statements: Vec<Statement>,
}

/// Takes apart what `pg_dump --verbose` wrote without rows. `interrupt` is called all the time.
///
/// # Errors
/// For a text that is cut off, and for commands of psql other than the pair that `pg_dump` puts around a script.
pub fn entries(script: &str, interrupt: &dyn Fn()) -> Result<Vec<Entry>, ScriptError> {
    let mut entries = vec![Entry::default()];
    let mut next = Head::default();
    let mut commands = Commands::default();
    let mut splitter = Splitter::new();
    splitter.feed(script.as_bytes())?;
    splitter.end();
    while let Some(piece) = splitter.next_piece()? {
        interrupt();
        let text_of =
            |text, line| std::str::from_utf8(text).map_err(|_| ScriptError { line, kind: ScriptErrorKind::Encoding });
        match piece {
            Piece::Comment { text, line } => {
                let text = text_of(text, line)?;
                if let Some(entry) = text.strip_prefix("TOC entry ") {
                    next = Head::default();
                    let mut numbers = entry.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse().ok());
                    next.number = numbers.next().unwrap_or_default();
                    next.class = numbers.next().unwrap_or_default();
                    next.oid = numbers.next().unwrap_or_default();
                } else if let Some(numbers) = text.strip_prefix("Dependencies: ") {
                    next.dependencies = numbers.split_ascii_whitespace().filter_map(|text| text.parse().ok()).collect();
                } else if let Some(head) = text.strip_prefix("Name: ").and_then(|text| named(text, &mut next)) {
                    entries.push(Entry { head, statements: Vec::new() });
                }
            }
            Piece::Statement { text, line, copies: false } => {
                let entry = entries.last_mut().expect("it begins with one");
                entry.statements.push(Statement { text: text_of(text, line)?.to_owned(), line });
            }
            Piece::Command { text, line } => {
                if commands.take(text, line)?.is_some() {
                    return Err(ScriptError { line, kind: ScriptErrorKind::Command });
                }
            }
            Piece::Statement { line, .. } | Piece::Rows { line, .. } | Piece::EndOfRows { line } => {
                return Err(ScriptError { line, kind: ScriptErrorKind::Rows });
            }
        }
    }
    commands.end(splitter.place().1)?;
    Ok(entries)
}

/// The head whose names follow. They are read from the end, since the first may hold anything.
fn named(text: &str, numbers: &mut Head) -> Option<Head> {
    let (rest, owner) = text.rsplit_once("; Owner: ").or_else(|| {
        // Without owners the line ends like this.
        text.rsplit_once("; Owner:")
    })?;
    // A name that holds these words comes before the owner.
    let owner = owner.split_once("; Tablespace: ").map_or(owner, |(owner, _)| owner);
    let (rest, schema) = rest.rsplit_once("; Schema: ")?;
    let (name, kind) = rest.rsplit_once("; Type: ")?;
    let given = |text: &str| (!matches!(text, "" | "-")).then(|| text.to_owned());
    let mut head = std::mem::take(numbers);
    (head.kind, head.name) = (kind.to_owned(), name.to_owned());
    (head.schema, head.owner) = (given(schema), given(owner));
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "--
-- PostgreSQL database dump
--

\\restrict abc

SET client_encoding = 'UTF8';

--
-- TOC entry 853 (class 1247 OID 16413)
-- Name: we; Type: x; ird; Type: TYPE; Schema: public; Owner: app
--

CREATE TYPE public.\"we; Type: x; ird\" AS (a integer);


ALTER TYPE public.\"we; Type: x; ird\" OWNER TO app;

--
-- TOC entry 3394 (class 0 OID 0)
-- Dependencies: 215 7
-- Name: COLUMN t.b; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON COLUMN public.t.b IS '
-- Name: false; Type: TABLE; Schema: public; Owner: app
';

--
-- PostgreSQL database dump complete
--

\\unrestrict abc
";

    #[test]
    fn heads_and_statements() {
        let entries = entries(SCRIPT, &|| ()).unwrap();
        let counts: Vec<_> = entries.iter().map(|entry| (entry.head.kind.as_str(), entry.statements.len())).collect();
        assert_eq!(counts, [("", 1), ("TYPE", 2), ("COMMENT", 1)]);
        let head = &entries[1].head;
        assert_eq!((head.name.as_str(), head.schema.as_deref()), ("we; Type: x; ird", Some("public")));
        assert_eq!((head.owner.as_deref(), head.number, head.class, head.oid), (Some("app"), 853, 1247, 16413));
        let head = &entries[2].head;
        assert_eq!((&head.schema, &head.owner, head.dependencies.as_slice()), (&None, &None, [215, 7].as_slice()));
    }

    #[test]
    fn names_may_hold_the_words_of_heads() {
        for (line, name, owner) in [
            ("x; Tablespace: y; Type: SEQUENCE; Schema: s; Owner: me", "x; Tablespace: y", Some("me")),
            ("x; Owner: z; Type: SEQUENCE; Schema: s; Owner: me", "x; Owner: z", Some("me")),
            ("x; Tablespace: y; Type: SEQUENCE; Schema: s; Owner: me; Tablespace: t", "x; Tablespace: y", Some("me")),
            ("x; Type: TABLE; Schema: q; Type: SEQUENCE; Schema: s; Owner:", "x; Type: TABLE; Schema: q", None),
        ] {
            let head = named(line, &mut Head::default()).unwrap();
            assert_eq!((head.name.as_str(), head.kind.as_str()), (name, "SEQUENCE"), "{line}");
            assert_eq!((head.schema.as_deref(), head.owner.as_deref()), (Some("s"), owner), "{line}");
        }
    }

    #[test]
    fn commands_of_psql_are_refused() {
        for script in [
            "\\! rm -rf /\n",
            "\\connect other\n",
            "\\unrestrict abc\n",
            "\\restrict abc\n\\unrestrict abd\n",
            "\\restrict a\n\\restrict b\n",
        ] {
            let kind = entries(&format!("SET x = 1;\n{script}"), &|| ()).unwrap_err().kind;
            assert!(matches!(kind, ScriptErrorKind::Command | ScriptErrorKind::Key), "{script}: {kind:?}");
        }
    }
}
