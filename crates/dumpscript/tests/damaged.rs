//! Damaged scripts are errors or other scripts, and never a panic or an endless loop.

use dumpscript::{Commands, Encoding, Piece, Rules, Splitter, entries, made_kind, roles_of, setting_of, subject_of};

const SCRIPT: &str = "\\restrict k
-- TOC entry 1 (class 2 OID 3)
-- Name: f(); Type: FUNCTION; Schema: public; Owner: app
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN E'\\';' ELSE $a$;$a$ END; END;
ALTER FUNCTION f() OWNER TO \"a\"\"b\"; SET x = 'ä'; GRANT a TO b; /* /* ; */ */ SELECT U&'\\0041', $1;
\\unrestrict k
";

/// The pieces of a script in chunks of so many bytes, and the error at its end.
fn pieces(script: &[u8], chunk: usize, rules: Rules) -> (Vec<(String, Vec<u8>)>, Option<String>) {
    let mut splitter = Splitter::new();
    splitter.set_rules(rules);
    let mut commands = Commands::default();
    let mut chunks = script.chunks(chunk);
    let mut pieces: Vec<(String, Vec<u8>)> = Vec::new();
    let mut has_ended = false;
    loop {
        let (kind, bytes) = match splitter.next_piece() {
            Ok(Some(Piece::Statement { text, line, .. })) => {
                assert!(!text.is_empty());
                (format!("statement {line}"), text.to_vec())
            }
            Ok(Some(Piece::Comment { text, line })) => (format!("comment {line}"), text.to_vec()),
            Ok(Some(Piece::Command { text, line })) => {
                let _ = commands.take(text, line);
                (format!("command {line}"), text.to_vec())
            }
            Ok(Some(Piece::Rows { bytes, at, .. })) => {
                assert_eq!(&script[at as usize..at as usize + bytes.len()], bytes);
                match pieces.last_mut().filter(|(kind, _)| kind == "rows") {
                    Some((_, rows)) => rows.extend_from_slice(bytes),
                    None => pieces.push(("rows".to_owned(), bytes.to_vec())),
                }
                continue;
            }
            Ok(Some(Piece::EndOfRows { line })) => (format!("end {line}"), Vec::new()),
            Ok(None) => match chunks.next() {
                Some(chunk) => {
                    splitter.feed(chunk).unwrap();
                    continue;
                }
                None if has_ended => return (pieces, None),
                None => {
                    splitter.end();
                    has_ended = true;
                    continue;
                }
            },
            Err(error) => return (pieces, Some(error.to_string())),
        };
        pieces.push((kind, bytes));
    }
}

fn take_apart(script: &str) {
    let _ = entries(script, &|| ());
    for rules in [
        Rules::default(),
        Rules { escapes: true, encoding: Encoding::Gb18030 },
        Rules { escapes: true, encoding: Encoding::ShiftJis },
    ] {
        let whole = pieces(script.as_bytes(), script.len().max(1), rules);
        for chunk in [1, 2, 7] {
            assert_eq!(pieces(script.as_bytes(), chunk, rules), whole, "{script:?} in chunks of {chunk}");
        }
        let bytes: usize = whole.0.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= script.len());
        for (_, text) in whole.0 {
            let text = String::from_utf8_lossy(&text);
            let _ = (roles_of(&text), setting_of(&text), subject_of(&text), made_kind(&text));
        }
    }
}

#[test]
fn cut_at_every_place() {
    for (end, _) in SCRIPT.char_indices() {
        take_apart(&SCRIPT[..end]);
        take_apart(&SCRIPT[end..]);
        let _ = (roles_of(&SCRIPT[end..]), setting_of(&SCRIPT[..end]));
    }
}

#[test]
fn random_pieces_in_random_order() {
    const PIECES: [&str; 33] = [
        "'",
        "\"",
        "$",
        "$$",
        "$a$",
        "(",
        ")",
        ";",
        "/*",
        "*/",
        "--",
        "\n",
        "\\",
        "E'",
        "U&\"",
        "create ",
        "or ",
        "replace ",
        "function ",
        "begin ",
        "atomic ",
        "case ",
        "end ",
        "ä",
        "1",
        "-- Name: a; Type: b; Schema: c; Owner: d",
        "SET a=",
        "GRANT a TO ",
        "COPY t FROM stdin;\n",
        "\\.",
        "\\.\n",
        "\r\n",
        "ALTER TABLE t ADD CONSTRAINT ",
    ];
    let mut state = 4711_u64;
    for _ in 0..20_000 {
        let mut script = String::new();
        for _ in 0..24 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            script.push_str(PIECES[(state >> 33) as usize % PIECES.len()]);
        }
        take_apart(&script);
        let _ = (roles_of(&script), setting_of(&script));
    }
}
