//! Damaged scripts are errors or other scripts, and never a panic or an endless loop.

use dumpscript::{Piece, Scanner, entries, roles_of, setting_of};

const SCRIPT: &str = "\\restrict k
-- TOC entry 1 (class 2 OID 3)
-- Name: f(); Type: FUNCTION; Schema: public; Owner: app
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN E'\\';' ELSE $a$;$a$ END; END;
ALTER FUNCTION f() OWNER TO \"a\"\"b\"; SET x = 'ä'; GRANT a TO b; /* /* ; */ */ SELECT U&'\\0041', $1;
\\unrestrict k
";

fn take_apart(script: &str) {
    let _ = entries(script, &|| ());
    let mut bytes = 0;
    for piece in Scanner::new(script).flatten() {
        if let Piece::Statement { text, .. } = piece {
            assert!(!text.is_empty());
            bytes += text.len();
            let _ = (roles_of(text), setting_of(text));
        }
    }
    assert!(bytes <= script.len());
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
    const PIECES: [&str; 28] = [
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
