//! Texts of the same length and shape.

use super::digest::{bytes_of, digest};

/// Returns a text of the same length and shape: digits stay digits, capitals capitals, and punctuation as it is. What a character
/// becomes does not depend on what it was.
///
/// All characters are worked on together, as a string of bits, of which one operator costs as much as it would for one of them.
/// Letters beyond ASCII become small ones of it first, so that each character is a byte. Each step is a subquery, because the next
/// one needs its results more than once. A long text is worked on in pieces, because all of these are there at the same time:
///
/// - `a` are the bytes, and `d` hexadecimal digits of the hash without zeros, so that there is a letter for each.
/// - `w` are the bits, `r` as many of the hash, and `h` has the first bit of each byte.
/// - `b6` to `b0` have the bits of each byte in the place of its first.
/// - `digits` and `letters` have the first bit of such bytes: from 0x30 to 0x39, and from 0x41 to 0x5A or 0x61 to 0x7A.
/// - `f` has the lower four bits of both, of which `p` is what they become: digits of less than 0xA, the letters from A to O.
pub(super) fn shape_sql(tag: &str, text: &str) -> String {
    /// A multiple of the bytes of a hash, so that pieces of a text become what they would within it.
    const LONGEST_PIECE: usize = 32 * 1024;
    let not_ascii = plan::quote_literal("[^\\x01-\\x7f]");
    let hashed = format!(
        "SELECT CASE WHEN pg_catalog.octet_length(s.c) = pg_catalog.length(s.c, 'UTF8') THEN s.c
                ELSE pg_catalog.convert_to(pg_catalog.regexp_replace({text} COLLATE pg_catalog.\"C\", {not_ascii}, 'a', 'g'), 'UTF8') END AS a,
                pg_catalog.replace(pg_catalog.encode({}, 'hex'), '0', '7') AS d
         FROM (SELECT {} AS c OFFSET 0) s",
        digest(tag, "s.c"),
        bytes_of(text)
    );
    let pieces = format!(
        "SELECT pg_catalog.substr(s.a, 1 + p.n * {LONGEST_PIECE}, {LONGEST_PIECE}) AS a, s.d, p.n FROM ({hashed} OFFSET 0) s
         CROSS JOIN pg_catalog.generate_series(0, (pg_catalog.octet_length(s.a) - 1) / {LONGEST_PIECE}) p(n)"
    );
    format!(
        "CASE WHEN pg_catalog.octet_length({text}) = 0 THEN '' WHEN pg_catalog.octet_length({text}) <= {LONGEST_PIECE} THEN (SELECT {}) ELSE (SELECT pg_catalog.string_agg(m.t, '' ORDER BY m.n) FROM (SELECT s.n, {} OFFSET 0) m) END",
        shape_of_bytes(&hashed, ""),
        shape_of_bytes(&pieces, "s.n, ")
    )
}

/// Returns what follows SELECT to make texts `t` of what a query returns as `a` and `d`, with other columns beside them.
fn shape_of_bytes(query: &str, beside: &str) -> String {
    const BITS: &str = "pg_catalog.\"bit\"";
    /// Bytes of most texts.
    const USUAL: usize = 1024;
    let bits = format!(
        "('x' || pg_catalog.encode(s.a, 'hex'))::{BITS} AS w,
         ('x' || pg_catalog.left(pg_catalog.repeat(s.d, pg_catalog.octet_length(s.a) / 32 + 1), 2 * pg_catalog.octet_length(s.a)))::{BITS} AS r,
         CASE WHEN pg_catalog.octet_length(s.a) <= {USUAL}
         THEN pg_catalog.substring((SELECT ('x' || pg_catalog.repeat('80', {USUAL}))::{BITS}), 1, 8 * pg_catalog.octet_length(s.a))
         ELSE ('x' || pg_catalog.repeat('80', pg_catalog.octet_length(s.a)))::{BITS} END AS h"
    );
    let steps = [
        bits.as_str(),
        "s.w, s.r, s.h, s.w << 1 AS b6, s.w << 2 AS b5, s.w << 3 AS b4, s.w << 4 AS b3, s.w << 5 AS b2, s.w << 6 AS b1, s.w << 7 AS b0",
        "s.w, s.r, s.h & s.b5 & s.b4 & (~(s.b6 | (s.b3 & (s.b2 | s.b1)))) AS digits,
         s.h & s.b6 & (s.b4 | s.b3 | s.b2 | s.b1 | s.b0) & (~(s.b4 & s.b3 & (s.b2 | (s.b1 & s.b0)))) AS letters",
        "s.w, s.r, s.digits >> 4 AS digits, s.letters >> 3 AS letters,
         ((s.digits | s.letters) >> 4) | ((s.digits | s.letters) >> 5) AS f",
        "s.w, s.r, s.digits, s.letters, s.f | (s.f >> 2) AS f",
        "s.w & (~(s.f | s.letters)) AS w, s.digits, s.r & s.f AS p",
    ];
    let from =
        steps.iter().fold(query.to_owned(), |from, step| format!("SELECT {beside}{step} FROM ({from} OFFSET 0) s"));
    format!(
        "pg_catalog.convert_from(pg_catalog.substr(pg_catalog.bit_send(
             s.w | (s.p & (~(((s.p << 1) | (s.p << 2)) & s.digits)))), 5), 'UTF8') AS t FROM ({from} OFFSET 0) s"
    )
}
