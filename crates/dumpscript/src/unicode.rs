//! Identifiers with Unicode escapes: `U&"d\0061ta"`, and `U&"d!0061ta" UESCAPE '!'` with another escape character.

use crate::lexer::{Token, TokenKind};

/// Whether an identifier or a string has such escapes.
pub(crate) fn is_escaped(token: &str) -> bool {
    matches!(token.as_bytes(), [b'u' | b'U', b'&', ..])
}

/// Makes UESCAPE and its character a part of the token that they are about, where they are the last of these.
pub(crate) fn join_escape(text: &str, tokens: &mut Vec<Token>) {
    let &[.., escaped, word, character] = tokens.as_slice() else { return };
    let is_escape = character.kind == TokenKind::Literal
        && word.kind == TokenKind::Word
        && text[word.start..word.end].eq_ignore_ascii_case("uescape")
        && is_escaped(&text[escaped.start..escaped.end]);
    if is_escape {
        tokens.truncate(tokens.len() - 2);
        if let Some(last) = tokens.last_mut() {
            last.end = character.end;
        }
    }
}

/// Returns the name that such an identifier stands for; `None` where the server would refuse it.
pub(crate) fn name(token: &str) -> Option<String> {
    const DEFAULT_ESCAPE: char = '\\';
    let quoted = token.get(2..)?.strip_prefix('"')?;
    let mut end = 0;
    loop {
        end += quoted.get(end..)?.find('"')?;
        if !quoted[end + 1..].starts_with('"') {
            break;
        }
        end += 2;
    }
    let behind = quoted[end + 1..].trim_end();
    let escape = if behind.is_empty() { DEFAULT_ESCAPE } else { behind.strip_suffix('\'')?.chars().next_back()? };
    unescaped(&quoted[..end].replace("\"\"", "\""), escape)
}

fn unescaped(text: &str, escape: char) -> Option<String> {
    let mut rest = text;
    let mut name = String::with_capacity(text.len());
    // The first half of a character that is written as two.
    let mut half = None;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let mut code = None;
        if c == escape {
            if let Some(after) = rest.strip_prefix(escape) {
                rest = after;
            } else {
                let (digits, length) = rest.strip_prefix('+').map_or((rest, 4), |after| (after, 6));
                let hexadecimal = digits.get(..length)?;
                if !hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                code = Some(u32::from_str_radix(hexadecimal, 16).ok()?);
                rest = &digits[length..];
            }
        }
        match (half.take(), code) {
            (None, Some(first @ 0xd800..=0xdbff)) => half = Some(first),
            (Some(first), Some(second @ 0xdc00..=0xdfff)) => {
                name.push(char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))?);
            }
            (Some(_), _) => return None,
            (None, Some(code)) => name.push(char::from_u32(code)?),
            (None, None) => name.push(c),
        }
    }
    half.is_none().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_escapes_stand_for() {
        for (token, wanted) in [
            (r#"U&"d\0061ta""#, Some("data")),
            (r#"u&"\+000064ata""#, Some("data")),
            (r#"U&"a\\b""c""#, Some(r#"a\b"c"#)),
            (r#"U&"\D83D\DE00""#, Some("😀")),
            (r#"U&"d!0061ta" UESCAPE '!'"#, Some("data")),
            ("U&\"d!0061t\\a\"\n\tuescape '!'", Some(r"dat\a")),
            (r#"U&"größe""#, Some("größe")),
            (r#"U&"\00""#, None),
            (r#"U&"\zzzz""#, None),
            (r#"U&"\++0061""#, None),
            (r#"U&"\D83D""#, None),
            (r#"U&"\D83Dx""#, None),
        ] {
            assert_eq!(name(token).as_deref(), wanted, "{token}");
        }
    }
}
