//! Masks as JSON says them.

use super::{DateSpread, Mask, NamePart, Spread};
use crate::decimal::Decimal;
use serde_json::Value;

/// The names of masks.
const MASKS: [&str; 13] =
    ["address", "constant", "date", "email", "hash", "ip", "json", "name", "null", "number", "phone", "text", "uuid"];

const DEFAULT_JITTER: &str = "0.1";
const DEFAULT_DAYS: u32 = 30;
const MOST_DAYS: u64 = 36_500;
const MOST_PATHS: usize = 100;
const MOST_KEYS: usize = 20;
const MOST_BYTES_OF_CONSTANT: usize = 16 * 1024;

/// The decimal digits that every double precision number keeps.
const DIGITS_OF_DOUBLE: usize = 15;

impl Mask {
    /// Reads a mask: its name, or an object with the name and its options.
    ///
    /// # Errors
    /// The reason and a hint, in words that follow the place.
    pub fn parse(value: &Value) -> Result<Self, (String, Option<String>)> {
        Self::parse_at(value, true)
    }

    fn parse_at(value: &Value, may_be_json: bool) -> Result<Self, (String, Option<String>)> {
        let plain = |reason: &str| Err((reason.to_owned(), None));
        let (name, options) = match value {
            Value::String(name) => (name.as_str(), None),
            Value::Object(object) if object.len() == 1 => {
                let (name, options) = object.iter().next().ok_or_else(|| ("it is empty".to_owned(), None))?;
                (name.as_str(), Some(options))
            }
            _ => return plain("a mask is its name, or an object with its name and options"),
        };
        if !MASKS.contains(&name) {
            let hint = match plan::nearest(name, MASKS.into_iter(), &|| ()) {
                Some(near) => format!("Perhaps you meant \"{near}\"."),
                None => format!("Masks are: {}.", MASKS.join(", ")),
            };
            return Err((format!("mask \"{}\" is not known", name.chars().take(60).collect::<String>()), Some(hint)));
        }
        let option = |key: &str, known: &[&str]| -> Result<Option<&Value>, (String, Option<String>)> {
            let Some(options) = options else { return Ok(None) };
            let Some(object) = options.as_object() else {
                return Err((format!("the options of mask {name} must be an object"), None));
            };
            if let Some(other) = object.keys().find(|key| !known.contains(&key.as_str())) {
                let hint = plan::nearest(other, known.iter().copied(), &|| ())
                    .map(|near| format!("Perhaps you meant \"{near}\"."))
                    .or_else(|| Some(format!("Options are: {}.", known.join(", "))));
                return Err((format!("mask {name} has no option \"{other}\""), hint));
            }
            Ok(object.get(key))
        };
        let without_options = |mask: Self| match options {
            None => Ok(mask),
            Some(_) => Err((format!("mask {name} has no options"), None)),
        };
        match name {
            "email" => without_options(Self::Email),
            "phone" => without_options(Self::Phone),
            "address" => without_options(Self::Address),
            "text" => without_options(Self::Text),
            "uuid" => without_options(Self::Uuid),
            "ip" => without_options(Self::Ip),
            "hash" => without_options(Self::Hash),
            "null" => without_options(Self::Null),
            "name" => match option("part", &["part"])? {
                None => Ok(Self::Name(NamePart::Both)),
                Some(part) => match part.as_str() {
                    Some("first") => Ok(Self::Name(NamePart::First)),
                    Some("last") => Ok(Self::Name(NamePart::Last)),
                    Some("both") => Ok(Self::Name(NamePart::Both)),
                    _ => plain("part of mask name must be \"first\", \"last\" or \"both\""),
                },
            },
            "number" => {
                const KNOWN: [&str; 3] = ["jitter", "max", "min"];
                let number = |key: &str| match option(key, &KNOWN)? {
                    None => Ok(None),
                    Some(Value::Number(number)) if is_plain(number) => Ok(Some(number.to_string())),
                    Some(Value::Number(_)) => Err((
                        format!("{key} of mask number must have at most {DIGITS_OF_DOUBLE} digits and no exponent"),
                        None,
                    )),
                    Some(_) => Err((format!("{key} of mask number must be a number"), None)),
                };
                match (number("min")?, number("max")?, number("jitter")?) {
                    (None, None, jitter) => {
                        let jitter = jitter.unwrap_or_else(|| DEFAULT_JITTER.to_owned());
                        match jitter.parse::<f64>() {
                            Ok(fraction) if fraction > 0.0 && fraction <= 1.0 => {
                                Ok(Self::Number(Spread::Jitter(jitter)))
                            }
                            _ => plain("jitter of mask number must be greater than 0 and at most 1"),
                        }
                    }
                    (Some(least), Some(most), None) => {
                        if Decimal::of(&least).cmp(&Decimal::of(&most)).is_le() {
                            Ok(Self::Number(Spread::Range { least, most }))
                        } else {
                            plain("min of mask number must not be greater than max")
                        }
                    }
                    _ => plain("mask number takes either min and max or jitter"),
                }
            }
            "date" => {
                const KNOWN: [&str; 3] = ["jitter", "max", "min"];
                let day = |key: &str| match option(key, &KNOWN)? {
                    None => Ok(None),
                    Some(Value::String(day)) if is_day(day) => Ok(Some(day.clone())),
                    Some(_) => Err((format!("{key} of mask date must be a day such as \"2000-12-31\""), None)),
                };
                let jitter = option("jitter", &KNOWN)?;
                match (day("min")?, day("max")?, jitter) {
                    (None, None, None) => Ok(Self::Date(DateSpread::Jitter(DEFAULT_DAYS))),
                    (None, None, Some(days)) => match days.as_u64() {
                        Some(days @ 1..=MOST_DAYS) => Ok(Self::Date(DateSpread::Jitter(days as u32))),
                        _ => Err((format!("jitter of mask date must be from 1 to {MOST_DAYS} days"), None)),
                    },
                    (Some(first), Some(last), None) if first <= last => {
                        Ok(Self::Date(DateSpread::Range { first, last }))
                    }
                    (Some(_), Some(_), None) => plain("min of mask date must not be later than max"),
                    _ => plain("mask date takes either min and max or jitter"),
                }
            }
            "constant" => match options {
                Some(Value::String(text)) if text.len() <= MOST_BYTES_OF_CONSTANT => Ok(Self::Constant(text.clone())),
                Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                    Ok(Self::Constant(number.to_string()))
                }
                Some(Value::Number(_)) => Err((
                    "a number of mask constant must be whole and have at most 64 bits; others must be strings"
                        .to_owned(),
                    Some("Write {\"mask\": {\"constant\": \"0.50\"}}: a string keeps all digits.".to_owned()),
                )),
                Some(Value::Bool(value)) => Ok(Self::Constant(value.to_string())),
                Some(Value::String(_)) => plain("the value of mask constant is too long"),
                _ => Err((
                    "mask constant needs a string, a number or a boolean".to_owned(),
                    Some("Write {\"mask\": {\"constant\": \"…\"}}.".to_owned()),
                )),
            },
            _ => {
                if !may_be_json {
                    return plain("mask json cannot be within another");
                }
                let needs_paths = || {
                    let hint = "Write {\"mask\": {\"json\": {\"customer.email\": \"email\"}}}.".to_owned();
                    ("mask json needs paths with their masks".to_owned(), Some(hint))
                };
                let paths =
                    options.and_then(Value::as_object).filter(|paths| !paths.is_empty()).ok_or_else(needs_paths)?;
                if paths.len() > MOST_PATHS {
                    return Err((format!("mask json has more than {MOST_PATHS} paths"), None));
                }
                let mut masks = Vec::new();
                for (path, mask) in paths {
                    let Some(keys) = keys_of_path(path).filter(|keys| keys.len() <= MOST_KEYS) else {
                        return Err((
                            "a path of mask json is made of keys with dots between them".to_owned(),
                            Some("A key that has a dot itself stands in double quotes.".to_owned()),
                        ));
                    };
                    let mask = Self::parse_at(mask, false).map_err(|(reason, hint)| {
                        (format!("{}: {reason}", path.chars().take(60).collect::<String>()), hint)
                    })?;
                    if matches!(mask, Self::Date(_)) {
                        return plain(
                            "mask date cannot be within json, where dates are texts: take text, hash, constant or null",
                        );
                    }
                    masks.push((keys, mask));
                }
                Ok(Self::Json(masks))
            }
        }
    }
}

/// Returns the keys of a path. A key in double quotes may have dots, and double quotes that are written twice, as in identifiers.
fn keys_of_path(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = path;
    loop {
        let mut key = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (part, behind) = quoted.split_once('"')?;
                key.push_str(part);
                rest = behind;
                let Some(more) = behind.strip_prefix('"') else { break };
                key.push('"');
                quoted = more;
            }
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            key.push_str(&rest[..end]);
            rest = &rest[end..];
            if key.is_empty() {
                return None;
            }
        }
        keys.push(key);
        if rest.is_empty() {
            return Some(keys);
        }
        rest = rest.strip_prefix('.')?;
    }
}

/// Returns whether a number is written with digits alone, and still has all of them: others than whole ones were read as double
/// precision.
fn is_plain(number: &serde_json::Number) -> bool {
    let text = number.to_string();
    let digits = text.trim_end_matches('0').chars().filter(char::is_ascii_digit).skip_while(|digit| *digit == '0');
    number.is_i64() || number.is_u64() || !text.contains(['e', 'E']) && digits.count() <= DIGITS_OF_DOUBLE
}

/// Returns whether a text is a day as ISO 8601 writes it.
fn is_day(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dots_stand_in_quotes() {
        let keys = |path: &str| keys_of_path(path).map(|keys| keys.join("|"));
        for (path, expected) in [
            ("a", "a"),
            ("a.b", "a|b"),
            (r#""a.b".c"#, "a.b|c"),
            (r#"a."b.c""#, "a|b.c"),
            (r#""say ""no"".""#, r#"say "no"."#),
            (r#""""#, ""),
            (r#"a"b.c"#, r#"a"b|c"#),
            ("ü.ß", "ü|ß"),
        ] {
            assert_eq!(keys(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["", ".", "a.", ".a", "a..b", r#"""#, r#""a"#, r#""a"b"#, r#""a"."#, r#""a"""#] {
            assert_eq!(keys(path), None, "{path}");
        }
    }
}
