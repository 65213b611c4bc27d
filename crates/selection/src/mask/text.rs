//! Masks of texts.

use super::digest::{hexadecimal, with_digest};
use super::names::names_array;
use super::network::uuid_sql;
use super::shape::shape_sql;
use super::{Mask, NamePart, functions};
use masks::{FIRST_NAMES, LAST_NAMES};

/// What computes the mask of a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum By<'a> {
    Sql,
    /// Functions of the source's pgcopy.
    Functions,
    /// Those for this value of type `character`, of which the text is made.
    FunctionsOfCharacter(&'a str),
}

impl By<'_> {
    pub(super) fn functions_if(has_functions: bool) -> Self {
        if has_functions { Self::Functions } else { Self::Sql }
    }
}

impl Mask {
    /// Returns the mask of a text as a text, by functions of the source's pgcopy where it has them.
    pub(super) fn text_sql(&self, text: &str, limit: Option<usize>, by: By) -> Result<String, String> {
        /// Hexadecimal digits that two values have in common by accident as good as never, and those that are enough.
        const DIGITS: usize = 32;
        const FEWEST_DIGITS: usize = 16;
        const DOMAIN: &str = "@example.com";
        let hexadecimal = |tag: &str| hexadecimal(tag, text);
        let digits = |others: usize| {
            let room = limit.unwrap_or(usize::MAX).saturating_sub(others).min(DIGITS);
            if room >= FEWEST_DIGITS {
                return Ok(room);
            }
            Err(format!("mask {} needs room for {} characters at least", self.name(), FEWEST_DIGITS + others))
        };
        let cut = |sql: String| match limit {
            Some(limit) => format!("pg_catalog.left({sql}, {limit})"),
            None => sql,
        };
        let by_function = |mask: &str, length: Option<usize>| match by {
            By::Sql => None,
            By::Functions => Some(functions::text(mask, text, length)),
            By::FunctionsOfCharacter(value) => Some(functions::character(mask, value, length)),
        };
        match self {
            Self::Email => {
                let digits = digits(1 + DOMAIN.len())?;
                Ok(by_function("email", Some(digits)).unwrap_or_else(|| {
                    format!("'u' || pg_catalog.left({}, {digits}) || '{DOMAIN}'", hexadecimal("email"))
                }))
            }
            Self::Hash => {
                let digits = digits(0)?;
                Ok(by_function("hash", Some(digits))
                    .unwrap_or_else(|| format!("pg_catalog.left({}, {digits})", hexadecimal("hash"))))
            }
            Self::Uuid => {
                if limit.is_some_and(|limit| limit < 36) {
                    return Err("mask uuid needs room for 36 characters".to_owned());
                }
                Ok(by_function("uuid", None).unwrap_or_else(|| format!("{}::pg_catalog.text", uuid_sql(text))))
            }
            Self::Ip => {
                if limit.is_some_and(|limit| limit < 14) {
                    return Err("mask ip needs room for 14 characters".to_owned());
                }
                let four = "'10.' || pg_catalog.get_byte(m.d, 0) || '.' || pg_catalog.get_byte(m.d, 1) || '.' || pg_catalog.get_byte(m.d, 2)";
                Ok(by_function("ip", None).unwrap_or_else(|| with_digest("ip", text, four)))
            }
            Self::Name(part) => {
                let function = match part {
                    NamePart::First => "first name",
                    NamePart::Last => "last name",
                    NamePart::Both => "name",
                };
                if let Some(call) = by_function(function, limit) {
                    return Ok(call);
                }
                let one = |names: &[&str], at: usize| {
                    format!("({})[1 + pg_catalog.get_byte(m.d, {at}) % 64]", names_array(names))
                };
                let name = match part {
                    NamePart::First => one(&FIRST_NAMES, 0),
                    NamePart::Last => one(&LAST_NAMES, 1),
                    NamePart::Both => format!("{} || ' ' || {}", one(&FIRST_NAMES, 0), one(&LAST_NAMES, 1)),
                };
                Ok(cut(with_digest("name", text, &name)))
            }
            Self::Address => {
                if let Some(call) = by_function("address", limit) {
                    return Ok(call);
                }
                let address = format!(
                    "(1 + pg_catalog.get_byte(m.d, 0)) || ' ' || ({})[1 + pg_catalog.get_byte(m.d, 1) % 64] || ' Street'",
                    names_array(&LAST_NAMES)
                );
                Ok(cut(with_digest("address", text, &address)))
            }
            Self::Phone | Self::Text => {
                Ok(by_function(self.name(), None).unwrap_or_else(|| shape_sql(self.name(), text)))
            }
            _ => Err(format!("mask {} is not for texts", self.name())),
        }
    }
}
