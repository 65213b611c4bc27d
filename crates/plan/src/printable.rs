//! Texts from outside, made safe for people: names, messages of a source, contents of files.

use std::fmt::Write;

/// The most characters of a text. Longer ones are cut, which would fill logs and terminals.
const LONGEST_TEXT: usize = 16 * 1024;
/// The most lines of a text.
const MOST_LINES: usize = 1000;

/// Returns the text with `\x1b` and the like in the place of characters that move a terminal's cursor, change its
/// state, or change the direction of the following text. The result is one line.
pub fn one_line(text: &str) -> String {
    escape(text, false)
}

/// Returns the same for a text of several lines, which stay.
pub fn as_lines(text: &str) -> String {
    escape(text, true)
}

/// Returns texts as lines of their own.
pub fn lines(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut texts = texts.into_iter();
    let mut lines: Vec<String> = texts.by_ref().take(MOST_LINES).map(|text| one_line(text.as_ref())).collect();
    let more = texts.count();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// Returns as many of the names as fit into a sentence.
pub fn list(names: &[String]) -> String {
    const MOST_NAMES: usize = 100;
    let mut text = names[..names.len().min(MOST_NAMES)].join(", ");
    if names.len() > MOST_NAMES {
        let _ = write!(text, " and {} more", names.len() - MOST_NAMES);
    }
    text
}

fn escape(text: &str, keeps_lines: bool) -> String {
    let cut = text.floor_char_boundary(LONGEST_TEXT);
    let mut escaped = String::with_capacity(cut + 3);
    for c in text[..cut].chars() {
        match c {
            '\n' if keeps_lines => escaped.push(c),
            c if !is_harmful(c) => escaped.push(c),
            c if (c as u32) < 0x100 => {
                let _ = write!(escaped, "\\x{:02x}", c as u32);
            }
            c => escaped.extend(c.escape_unicode()),
        }
    }
    if cut < text.len() {
        escaped.push_str("...");
    }
    escaped
}

fn is_harmful(c: char) -> bool {
    // Line and paragraph separators, and what changes the direction of writing.
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(one_line("größe \"ok\" 日本"), "größe \"ok\" 日本");
        assert_eq!(one_line("a\x1b[31m\r\n\tb\x7f\u{9b}c\0"), "a\\x1b[31m\\x0d\\x0a\\x09b\\x7f\\x9bc\\x00");
        assert_eq!(one_line("x\u{202e}y\u{2028}z"), "x\\u{202e}y\\u{2028}z");
        assert_eq!(as_lines("a\n\x1bb"), "a\n\\x1bb");
        assert_eq!(lines(["a\nb", "c"]), "a\\x0ab\nc");
        for c in (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32) {
            assert!(!one_line(&format!("a{c}b")).contains(c), "{c:?}");
        }
        // A text that was escaped once is not escaped again.
        assert_eq!(one_line(&one_line("\x1b")), "\\x1b");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(one_line(&"x".repeat(LONGEST_TEXT)).len(), LONGEST_TEXT);
        assert_eq!(one_line(&"ä".repeat(LONGEST_TEXT)).len(), LONGEST_TEXT + 3);
        assert!(one_line(&"\x1b".repeat(1 << 24)).len() <= 4 * LONGEST_TEXT + 3);
        let text = lines((0..MOST_LINES + 5).map(|number| number.to_string()));
        assert!(text.ends_with("\n999\nand 5 more"), "{text}");
        assert_eq!(list(&["a".to_owned(), "b".to_owned()]), "a, b");
        assert!(list(&vec!["a".to_owned(); 102]).ends_with(", a and 2 more"));
    }
}
