//! Files of access rules, `pg_hba.conf` and `pg_ident.conf`, as far as they name other files.

use crate::settings_file::Include;
use std::ops::Range;

/// A file, or a directory, that a file of access rules names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub include: Include,
    /// Where it is named.
    place: Range<usize>,
    /// What stands before the name there.
    before: &'static str,
}

/// A word of a line.
struct Token {
    value: String,
    /// Whether it begins with a quote, so that it means what it says.
    is_quoted: bool,
    place: Range<usize>,
}

/// Returns what a file names: what it includes, which versions from 16 on know, and lists of names, as in `@admins`.
pub fn references(text: &str) -> Vec<Reference> {
    let mut references = Vec::new();
    let mut rest = 0;
    while rest < text.len() {
        let (tokens, end) = tokens_of_line(text, rest);
        let reference = |token: &Token, include: fn(String) -> Include, value: &str, before: &'static str| Reference {
            include: include(value.to_owned()),
            place: token.place.clone(),
            before,
        };
        if let [word, path, ..] = tokens.as_slice() {
            match word.value.as_str() {
                "include" | "include_if_exists" => references.push(reference(path, Include::File, &path.value, "")),
                "include_dir" => references.push(reference(path, Include::Directory, &path.value, "")),
                _ => {}
            }
        }
        for token in tokens.iter().filter(|token| !token.is_quoted) {
            if let Some(path) = token.value.strip_prefix('@').filter(|path| !path.is_empty()) {
                references.push(reference(token, Include::File, path, "@"));
            }
        }
        rest = end;
    }
    references
}

/// Returns a text with other names of files. `other` returns the new name of one that is to have one.
pub fn with_others(text: &str, other: &dyn Fn(&Include) -> Option<String>) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut done = 0;
    for reference in references(text) {
        // Nothing names two.
        if reference.place.start < done {
            continue;
        }
        if let Some(path) = other(&reference.include) {
            changed.push_str(&text[done..reference.place.start]);
            changed.push_str(&format!("{}\"{}\"", reference.before, path.replace('"', "\"\"")));
            done = reference.place.end;
        }
    }
    changed + &text[done..]
}

/// Reads a line, which goes on in the next one where it ends with a backslash. Returns its words, and where the next one begins.
fn tokens_of_line(text: &str, start: usize) -> (Vec<Token>, usize) {
    let bytes = text.as_bytes();
    let mut end = start;
    loop {
        end = bytes[end..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| end + length);
        if end < bytes.len() && end > start && bytes[end - 1] == b'\\' {
            end += 1;
            continue;
        }
        break;
    }
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = start;
    // The backslash and the end of a line that goes on are nothing.
    let is_blank = |at: usize| {
        matches!(bytes[at], b' ' | b'\t' | b'\r' | b'\n')
            || (bytes[at] == b'\\' && bytes.get(at + 1) == Some(&b'\n') && at + 1 < end)
    };
    while at < end {
        if is_blank(at) || bytes[at] == b',' {
            at += 1;
            continue;
        }
        if bytes[at] == b'#' {
            break;
        }
        let (begin, mut value) = (at, Vec::new());
        let (mut in_quotes, mut was_quote, mut is_quoted) = (false, false, false);
        while at < end && (in_quotes || !(is_blank(at) || matches!(bytes[at], b',' | b'#'))) {
            let is_quote = bytes[at] == b'"';
            if !is_quote || was_quote {
                value.push(bytes[at]);
            }
            // A quote is written as two.
            was_quote = in_quotes && is_quote && !was_quote;
            if is_quote {
                in_quotes = !in_quotes;
                is_quoted |= value.is_empty();
            }
            at += 1;
        }
        let value = String::from_utf8_lossy(&value).into_owned();
        tokens.push(Token { value, is_quoted, place: begin..at });
    }
    (tokens, (end + 1).min(bytes.len()).max(start + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<Include> {
        references(text).into_iter().map(|reference| reference.include).collect()
    }

    #[test]
    fn files_that_rules_name() {
        let file = |name: &str| Include::File(name.into());
        for (text, expected) in [
            ("local all all peer\n", vec![]),
            ("include a.conf\ninclude_if_exists \"b \"\"c\"\"\"\n", vec![file("a.conf"), file("b \"c\"")]),
            ("include_dir\t'x' # include y\n#include z", vec![Include::Directory("'x'".into())]),
            ("local all @admins,alice,@\"more admins\" trust", vec![file("admins"), file("more admins")]),
            ("host @dbs\t@/etc/users 127.0.0.1/32 trust\r\n", vec![file("dbs"), file("/etc/users")]),
            ("local all \"@quoted\" trust\nlocal all @ trust", vec![]),
            ("local all \\\n@next \\\n trust\ninclude x", vec![file("next"), file("x")]),
            ("local all a@b trust # @c\n@list", vec![file("list")]),
            ("include", vec![]),
            ("", vec![]),
            ("\n\n\\\n\\", vec![]),
            ("local \"all all", vec![]),
        ] {
            assert_eq!(named(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_are_changed_where_they_stand() {
        let other = |include: &Include| match include {
            Include::File(path) | Include::Directory(path) => {
                path.strip_prefix("/old/").map(|rest| format!("./{rest}"))
            }
        };
        for (text, expected) in [
            ("include /old/a\ninclude b", "include \"./a\"\ninclude b"),
            ("local @/old/x,@y all # @/old/z\n", "local @\"./x\",@y all # @/old/z\n"),
            ("include_dir \"/old/a \"\"b\"\"\"", "include_dir \"./a \"\"b\"\"\""),
            ("local all all trust", "local all all trust"),
        ] {
            let changed = with_others(text, &other);
            assert_eq!(changed, expected);
            assert_eq!(with_others(&changed, &other), expected);
        }
    }

    /// Whatever a file says, each line is read and nothing else.
    #[test]
    fn any_text_is_read_to_its_end() {
        let mut seed = 7_u64;
        let pieces = ["include ", "@", "\"", "\\", "\n", "#", ",", " ", "ä", "x", "\\\n", "include_dir", "\r", "\0"];
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            assert_eq!(with_others(&text, &|_| None), text);
            let changed = with_others(&text, &|_| Some("new".to_owned()));
            let all_new = named(&changed)
                .iter()
                .all(|it| *it == Include::File("new".into()) || *it == Include::Directory("new".into()));
            assert!(all_new, "{text:?} {changed:?}");
        }
    }
}
