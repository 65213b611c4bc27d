//! Masks: what takes the place of a value, as expressions in SQL that any source can evaluate.
//!
//! All of them but `constant` and `null` depend on the value and on the key alone, by a hash with 256 bits over both. The key is a
//! setting of the session on the source, and never part of a text. What is left of the hash is shorter than the hash, so that nothing
//! can be told of other values by it.
//!
//! A hash is most of what a mask costs, and a subquery for each value the second most: there is one hash for a value, over its bytes
//! as they are, and a subquery only where the hash is used more than once.

use crate::decimal::{Decimal, Units};
use serde_json::Value;

/// The setting with the key, as 64 hexadecimal digits.
pub const KEY_SETTING: &str = "pgcopy_mask.key";

/// What takes the place of a column's values.
#[derive(Debug, Clone, PartialEq)]
pub enum Mask {
    Email,
    Name(NamePart),
    Phone,
    Address,
    Text,
    Number(Spread),
    Date(DateSpread),
    Uuid,
    Ip,
    /// What takes the place of the values at these paths in a document.
    Json(Vec<(Vec<String>, Self)>),
    Hash,
    Constant(String),
    Null,
}

/// Which part of a person's name a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamePart {
    First,
    Last,
    Both,
}

/// Where a number goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Spread {
    /// Anywhere between the two.
    Range { least: String, most: String },
    /// Up or down by at most this fraction of itself.
    Jitter(String),
}

/// Where a date goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DateSpread {
    /// To any day between the two.
    Range { first: String, last: String },
    /// Up or down by at most so many days.
    Jitter(u32),
}

/// A column as far as masks go by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedColumn {
    /// The type on the destination, under its domains and without a modifier, as the server writes it.
    pub base_type: String,
    /// The most characters of a text, if there is such a limit.
    pub limit: Option<usize>,
    /// The number of decimals, where all its values have the same; negative where digits before the point are zeros.
    pub decimals: Option<i32>,
    /// The most digits of a number, if there is such a limit.
    pub precision: Option<u32>,
    /// Whether texts that differ in case are equal.
    pub ignores_case: bool,
    /// Whether so many rows are expected that masks can be computed beforehand for all values that are common in such columns.
    pub has_many_rows: bool,
}

/// The names of masks.
pub const MASKS: [&str; 13] =
    ["address", "constant", "date", "email", "hash", "ip", "json", "name", "null", "number", "phone", "text", "uuid"];

const DEFAULT_JITTER: &str = "0.1";
const DEFAULT_DAYS: u32 = 30;
const MOST_DAYS: u64 = 36_500;
const MOST_PATHS: usize = 100;
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
                    let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
                    if keys.iter().any(String::is_empty) || keys.len() > 20 {
                        return plain("a path of mask json is made of keys with dots between them");
                    }
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

    pub fn name(&self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Name(_) => "name",
            Self::Phone => "phone",
            Self::Address => "address",
            Self::Text => "text",
            Self::Number(_) => "number",
            Self::Date(_) => "date",
            Self::Uuid => "uuid",
            Self::Ip => "ip",
            Self::Json(_) => "json",
            Self::Hash => "hash",
            Self::Constant(_) => "constant",
            Self::Null => "null",
        }
    }

    /// Returns whether the result depends on the value and the key.
    pub fn needs_key(&self) -> bool {
        match self {
            Self::Constant(_) | Self::Null => false,
            Self::Json(paths) => paths.iter().any(|(_, mask)| mask.needs_key()),
            _ => true,
        }
    }

    /// Returns whether the same result for different values is as good as impossible.
    pub fn keeps_differences(&self) -> bool {
        matches!(self, Self::Email | Self::Uuid | Self::Hash)
    }

    /// Returns constants that the column's type must hold, as SQL.
    pub fn bounds(&self) -> Vec<String> {
        match self {
            Self::Number(Spread::Range { least, most }) => {
                [least, most].map(|bound| format!("({bound})::pg_catalog.numeric")).into()
            }
            Self::Date(DateSpread::Range { first, last }) => {
                [first, last].map(|bound| format!("'{bound}'::pg_catalog.date")).into()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the expression over a value, which is SQL for a column of the row. Where the column's type is an array, the
    /// elements are masked.
    ///
    /// # Errors
    /// The reason why columns of that type cannot be masked so.
    pub fn sql(&self, value: &str, column: &MaskedColumn) -> Result<String, String> {
        match self {
            Self::Null => return Ok("NULL".to_owned()),
            Self::Constant(constant) => return Ok(plan::quote_literal(constant)),
            _ => {}
        }
        let misfit =
            |types: &str| format!("mask {} is for columns of type {types}, not {}", self.name(), column.base_type);
        match column.base_type.strip_suffix("[]") {
            Some(_) if matches!(self, Self::Json(_)) => Err(misfit("json or jsonb")),
            Some(element) => {
                let masked = self.value_sql("a.x", element, column)?.map_err(misfit)?;
                Ok(format!(
                    "CASE WHEN {value} IS NOT NULL THEN
                     ARRAY(SELECT {masked} FROM pg_catalog.unnest({value}) WITH ORDINALITY a(x, n) ORDER BY a.n) END"
                ))
            }
            None => self.value_sql(value, &column.base_type, column)?.map_err(misfit),
        }
    }

    /// Returns the expression over a value of a type; the types that the mask is for, where that type is none of them.
    fn value_sql(
        &self,
        value: &str,
        base_type: &str,
        column: &MaskedColumn,
    ) -> Result<Result<String, &'static str>, String> {
        let kind = Kind::of(base_type);
        let text = match column.ignores_case {
            true => format!("pg_catalog.lower({value}::pg_catalog.text)"),
            false => format!("{value}::pg_catalog.text"),
        };
        let is_text = kind == Kind::Text || column.ignores_case;
        Ok(match self {
            Self::Null | Self::Constant(_) => Err("any kind"),
            Self::Email | Self::Name(_) | Self::Phone | Self::Address | Self::Text if !is_text => Err("text"),
            Self::Email | Self::Name(_) | Self::Phone | Self::Address | Self::Text => {
                Ok(self.text_sql(&text, column.limit)?)
            }
            Self::Hash => match kind {
                Kind::Bytes => Ok(format!("pg_catalog.substr({}, 1, 16)", digest("hash", value))),
                Kind::BigInteger => Ok(natural("hash", &format!("pg_catalog.int8send({value}::pg_catalog.int8)"))),
                _ if is_text => Ok(self.text_sql(&text, column.limit)?),
                _ => Err("text, bytea or bigint"),
            },
            Self::Uuid => match kind {
                Kind::Uuid => Ok(uuid_sql(&text)),
                _ if is_text => Ok(self.text_sql(&text, column.limit)?),
                _ => Err("uuid or text"),
            },
            Self::Ip => match kind {
                Kind::Address => Ok(ip_sql(value)),
                _ if is_text => Ok(self.text_sql(&text, column.limit)?),
                _ => Err("inet or text"),
            },
            Self::Number(spread) => number_sql(value, spread, kind, base_type, Some(column))?.ok_or("number"),
            Self::Date(spread) => date_sql(value, spread, kind, column.has_many_rows).ok_or("date or timestamp"),
            Self::Json(paths) => match kind {
                Kind::Json => Ok(json_sql(&format!("{value}::pg_catalog.jsonb"), paths)?),
                _ => Err("json or jsonb"),
            },
        })
    }

    /// Returns the mask of a text as a text.
    fn text_sql(&self, text: &str, limit: Option<usize>) -> Result<String, String> {
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
        match self {
            Self::Email => {
                let digits = digits(1 + DOMAIN.len())?;
                Ok(format!("'u' || pg_catalog.left({}, {digits}) || '{DOMAIN}'", hexadecimal("email")))
            }
            Self::Hash => Ok(format!("pg_catalog.left({}, {})", hexadecimal("hash"), digits(0)?)),
            Self::Uuid => {
                if limit.is_some_and(|limit| limit < 36) {
                    return Err("mask uuid needs room for 36 characters".to_owned());
                }
                Ok(format!("{}::pg_catalog.text", uuid_sql(text)))
            }
            Self::Ip => {
                if limit.is_some_and(|limit| limit < 14) {
                    return Err("mask ip needs room for 14 characters".to_owned());
                }
                Ok(with_digest(
                    "ip",
                    text,
                    "'10.' || pg_catalog.get_byte(m.d, 0) || '.' || pg_catalog.get_byte(m.d, 1) || '.' || pg_catalog.get_byte(m.d, 2)",
                ))
            }
            Self::Name(part) => {
                let one = |names: &str, at: usize| {
                    format!("({})[1 + pg_catalog.get_byte(m.d, {at}) % 64]", names_array(names))
                };
                let name = match part {
                    NamePart::First => one(FIRST_NAMES, 0),
                    NamePart::Last => one(LAST_NAMES, 1),
                    NamePart::Both => format!("{} || ' ' || {}", one(FIRST_NAMES, 0), one(LAST_NAMES, 1)),
                };
                Ok(cut(with_digest("name", text, &name)))
            }
            Self::Address => {
                let address = format!(
                    "(1 + pg_catalog.get_byte(m.d, 0)) || ' ' || ({})[1 + pg_catalog.get_byte(m.d, 1) % 64] || ' Street'",
                    names_array(LAST_NAMES)
                );
                Ok(cut(with_digest("address", text, &address)))
            }
            Self::Phone | Self::Text => Ok(shape_sql(self.name(), text)),
            _ => Err(format!("mask {} is not for texts", self.name())),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    SmallInteger,
    Integer,
    BigInteger,
    Numeric,
    Float,
    Date,
    Timestamp,
    TimestampWithZone,
    Uuid,
    Address,
    Json,
    Bytes,
    Other,
}

impl Kind {
    fn of(base_type: &str) -> Self {
        match base_type {
            "text" | "character varying" | "character" => Self::Text,
            "smallint" => Self::SmallInteger,
            "integer" => Self::Integer,
            "bigint" => Self::BigInteger,
            "numeric" => Self::Numeric,
            "real" | "double precision" => Self::Float,
            "date" => Self::Date,
            "timestamp without time zone" => Self::Timestamp,
            "timestamp with time zone" => Self::TimestampWithZone,
            "uuid" => Self::Uuid,
            "inet" => Self::Address,
            "json" | "jsonb" => Self::Json,
            "bytea" => Self::Bytes,
            _ => Self::Other,
        }
    }
}

/// Returns the hash over the key, the mask's name and bytes, as `bytea`; NULL for NULL. The subquery is of no row: it is computed once.
fn digest(tag: &str, bytes: &str) -> String {
    let tag: String = tag.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "pg_catalog.sha256((SELECT pg_catalog.decode(pg_catalog.current_setting('{KEY_SETTING}') || '{tag}', 'hex')) || {bytes})"
    )
}

/// Returns the bytes of a text, whatever encoding the server has.
fn bytes_of(text: &str) -> String {
    format!("pg_catalog.convert_to({text}, 'UTF8')")
}

fn hexadecimal(tag: &str, text: &str) -> String {
    format!("pg_catalog.encode({}, 'hex')", digest(tag, &bytes_of(text)))
}

/// Returns a `bigint` of a hash.
fn number(digest: &str) -> String {
    format!("pg_catalog.hashtextextended(pg_catalog.encode({digest}, 'hex') COLLATE pg_catalog.\"C\", 0)")
}

/// Returns a `bigint` from zero on.
fn natural(tag: &str, bytes: &str) -> String {
    format!("({} & {})", number(&digest(tag, bytes)), i64::MAX)
}

/// Returns an expression over `m.d`, the hash, which is computed once.
fn with_digest(tag: &str, text: &str, expression: &str) -> String {
    format!("(SELECT {expression} FROM (SELECT {} AS d OFFSET 0) m)", digest(tag, &bytes_of(text)))
}

/// Returns a UUID of version 4.
fn uuid_sql(text: &str) -> String {
    format!(
        "pg_catalog.overlay(pg_catalog.overlay(pg_catalog.left({}, 32), '4', 13), '8', 17)::pg_catalog.uuid",
        hexadecimal("uuid", text)
    )
}

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
fn shape_sql(tag: &str, text: &str) -> String {
    /// A multiple of the bytes of a hash, so that pieces of a text become what they would within it.
    const LONGEST_PIECE: usize = 32 * 1024;
    let not_ascii = plan::quote_literal("[^\\x01-\\x7f]");
    let hashed = format!(
        "SELECT CASE WHEN pg_catalog.octet_length(s.c) = pg_catalog.length(s.c, 'UTF8') THEN s.c
                ELSE pg_catalog.convert_to(pg_catalog.regexp_replace({text}, {not_ascii}, 'a', 'g'), 'UTF8') END AS a,
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
        "CASE WHEN {text} = '' THEN '' WHEN pg_catalog.octet_length({text}) <= {LONGEST_PIECE} THEN (SELECT {}) ELSE (SELECT pg_catalog.string_agg(m.t, '' ORDER BY m.n) FROM (SELECT s.n, {} OFFSET 0) m) END",
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

/// Returns the mask of a number; `None` for other types.
fn number_sql(
    value: &str,
    spread: &Spread,
    kind: Kind,
    base_type: &str,
    column: Option<&MaskedColumn>,
) -> Result<Option<String>, String> {
    let (least, most) = match kind {
        Kind::SmallInteger => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Kind::Integer => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Kind::BigInteger => (i64::MIN, i64::MAX),
        Kind::Numeric => match column.and_then(|column| Some((column.precision?, column.decimals?))) {
            Some((precision @ 1..=Units::MOST_DIGITS, decimals)) => {
                let most = 10_i64.pow(precision) - 1;
                return units_sql(value, spread, base_type, Units { decimals, least: -most, most }).map(Some);
            }
            _ => return various_sql(value, spread, kind, base_type, column),
        },
        Kind::Float => return various_sql(value, spread, kind, base_type, column),
        _ => return Ok(None),
    };
    units_sql(value, spread, base_type, Units { decimals: 0, least, most }).map(Some)
}

/// Returns the mask of numbers that all have the same decimals: they are counted in their last one.
fn units_sql(value: &str, spread: &Spread, base_type: &str, units: Units) -> Result<String, String> {
    let is_whole = base_type != "numeric";
    let (scaled, unscaled) = (Units::power_of_ten(units.decimals), Units::power_of_ten(-units.decimals));
    let counted = match is_whole {
        true => format!("{value}::pg_catalog.int8"),
        false => format!("({value} * {scaled})::pg_catalog.int8"),
    };
    let number_of = |count: &str| match is_whole {
        true => format!("({count})::{base_type}"),
        false => format!("(({count})::pg_catalog.numeric * {unscaled})"),
    };
    let hash = |count: &str| natural("number", &format!("pg_catalog.int8send({count})"));
    let (masked, of_nan) = match spread {
        Spread::Range { least, most } => {
            let (first, last) = units.between(least, most)?;
            let (hash, count) = (hash(&counted), i128::from(last) - i128::from(first) + 1);
            let offset = match i64::try_from(count) {
                Ok(count) => format!("{hash} % {count}"),
                // Half of them are as good as all.
                Err(_) => hash,
            };
            (number_of(&format!("({first}) + {offset}")), number_of(&format!("({first})::pg_catalog.int8")))
        }
        // The number goes to another one at most so far away, by its last decimal at least. Those on both sides are counted round: from
        // the number upwards, and on from the least one.
        Spread::Jitter(fraction) => {
            /// Keeps sums of these within 64 bits.
            const FARTHEST: i64 = 1 << 61;
            let far = format!(
                "pg_catalog.floor(least(s.v::pg_catalog.float8 * {fraction}::pg_catalog.float8, {FARTHEST}::pg_catalog.float8))::pg_catalog.int8"
            );
            let masked = number_of(
                "CASE WHEN s.x < 0 THEN -1 ELSE 1 END * (s.v - s.b + (s.b + 1 + s.h % (s.b + s.t)) % (s.b + s.t + 1))",
            );
            let most = units.most;
            (
                format!(
                    "(SELECT {masked} FROM (SELECT s.x, s.v, s.h, least(s.f, greatest(s.v - 1, 0)) AS b, least(s.f, {most} - s.v) AS t
                      FROM (SELECT s.x, s.v, s.h, greatest({far}, 1) AS f
                      FROM (SELECT s.x, least(pg_catalog.abs(greatest(s.x, -{}::pg_catalog.int8)), {most}) AS v, {} AS h
                      FROM (SELECT {counted} AS x OFFSET 0) s OFFSET 0) s OFFSET 0) s OFFSET 0) s)",
                    i64::MAX,
                    hash("s.x")
                ),
                format!("{value}::pg_catalog.numeric"),
            )
        }
    };
    Ok(match is_whole {
        true => format!("CASE WHEN {value} IS NOT NULL THEN {masked} END"),
        false => format!(
            "CASE WHEN {value} = 'NaN'::pg_catalog.numeric THEN {of_nan} WHEN {value} IS NOT NULL THEN {masked} END"
        ),
    })
}

/// Returns the mask of numbers that have as many decimals as they need.
fn various_sql(
    value: &str,
    spread: &Spread,
    kind: Kind,
    base_type: &str,
    column: Option<&MaskedColumn>,
) -> Result<Option<String>, String> {
    // The decimals of the result, where all have the same. Without, it has those that the value needs.
    let decimals = column.filter(|_| kind == Kind::Numeric).and_then(|column| column.decimals);
    // The greatest number of the type.
    let most = match (column.and_then(|column| column.precision), decimals) {
        (Some(precision), Some(decimals)) => {
            Some(format!("(1e{} - 1e{})", i64::from(precision) - i64::from(decimals), -decimals))
        }
        _ => None,
    };
    // A number from 0 to 1, without 1.
    const RESOLUTION: i64 = 1 << 40;
    let text = format!("{value}::pg_catalog.text");
    // Equal numbers may be written with different numbers of zeros.
    let text = match kind {
        Kind::Numeric => format!(
            "CASE WHEN pg_catalog.strpos({text}, '.') > 0 THEN pg_catalog.rtrim(pg_catalog.rtrim({text}, '0'), '.') ELSE {text} END"
        ),
        // Zero and its negative are equal.
        Kind::Float => format!("({value} + 0::{base_type})::pg_catalog.text"),
        _ => text,
    };
    let needed = format!("coalesce(pg_catalog.scale(({text})::pg_catalog.numeric), 0)");
    let hash = number(&digest("number", &bytes_of(&text)));
    let unit = format!("({hash} & {})::pg_catalog.numeric / {RESOLUTION}", RESOLUTION - 1);
    let numeric = |number: &str| format!("({number})::pg_catalog.numeric");
    let (taken, places) = match (kind, decimals) {
        (Kind::Float, _) => (format!("({value})::pg_catalog.float8"), "0".to_owned()),
        (_, Some(decimals)) => (numeric(value), decimals.to_string()),
        (_, None) => (numeric(value), needed),
    };
    let expression = match (spread, kind) {
        (Spread::Range { least, most }, Kind::Float) => {
            let bound = |bound: &str| format!("({bound})::{base_type}");
            format!(
                "least(greatest((({least})::pg_catalog.float8 + m.u::pg_catalog.float8 * ({most} - ({least}))::pg_catalog.float8)::{base_type}, {}), {})",
                bound(least),
                bound(most)
            )
        }
        (Spread::Range { least, most }, _) => match decimals {
            Some(decimals) => {
                if !Decimal::any_between(least, most, decimals) {
                    return Err(Decimal::none_between(least, most, decimals));
                }
                let at = |function: &str, bound: &str| {
                    format!("pg_catalog.{function}(({bound})::pg_catalog.numeric * 1e{decimals})")
                };
                let (first, last) = (at("ceil", least), at("floor", most));
                // A product is exact, where a quotient is rounded.
                format!("({first} + pg_catalog.floor(m.u * ({last} - {first} + 1))) * 1e{}", -decimals)
            }
            None => {
                let of_bounds = Decimal::places(least).max(Decimal::places(most));
                format!(
                    "pg_catalog.round({least} + m.u * ({most} - ({least})), greatest(m.p, {of_bounds}))",
                    least = numeric(least),
                    most = numeric(most)
                )
            }
        },
        // A share that is too small for the type would give the number back. Numbers near an end of the type go inwards.
        (Spread::Jitter(fraction), Kind::Float) => {
            let (share, least, half) =
                if base_type == "real" { ("3e-7", "1e-30", "1.7e38") } else { ("1e-15", "1e-290", "8.9e307") };
            format!(
                "SELECT CASE WHEN j.v = 0 THEN pg_catalog.abs(j.r)
                 WHEN pg_catalog.abs(j.v) > {half} THEN j.v * (1 - pg_catalog.abs(j.r))
                 WHEN pg_catalog.abs(j.v) < {least} THEN j.v * (1 + pg_catalog.abs(j.r)) ELSE j.v * (1 + j.r) END
                 FROM (SELECT m.v, CASE WHEN m.u < 0.5 THEN -1 ELSE 1 END::pg_catalog.float8
                       * greatest(({fraction} * pg_catalog.abs(2 * m.u - 1))::pg_catalog.float8, {share}::pg_catalog.float8) AS r OFFSET 0) j"
            )
        }
        // The number moves by its last decimal at least, and to the other side where it would get to zero, or out of its type.
        (Spread::Jitter(fraction), _) => {
            let (holds, other) = match most {
                Some(most) => (
                    format!(" AND pg_catalog.abs(j.v + j.d) <= {most}"),
                    format!(" OR pg_catalog.abs(j.v - j.d) > {most}"),
                ),
                None => Default::default(),
            };
            format!(
                "SELECT CASE WHEN j.v = 0 THEN pg_catalog.abs(j.d)
                 WHEN pg_catalog.sign(j.v + j.d) = pg_catalog.sign(j.v){holds}{other} THEN j.v + j.d ELSE j.v - j.d END
                 FROM (SELECT s.v, CASE WHEN s.d <> 0 THEN s.d ELSE CASE WHEN s.u < 0.5 THEN -1 ELSE 1 END * ('1e' || -s.p)::pg_catalog.numeric END AS d
                       FROM (SELECT m.v, m.u, m.p, pg_catalog.round(m.v * {fraction} * (2 * m.u - 1), m.p) AS d OFFSET 0) s OFFSET 0) j",
                fraction = numeric(fraction)
            )
        }
    };
    Ok(Some(format!(
        "CASE WHEN {value} IS NOT NULL THEN (SELECT ({expression})::{base_type} FROM (SELECT {taken} AS v, {unit} AS u, {places} AS p OFFSET 0) m) END"
    )))
}

/// Returns the mask of a date or a timestamp; `None` for other types.
fn date_sql(value: &str, spread: &DateSpread, kind: Kind, has_many_rows: bool) -> Option<String> {
    // The last day for which no other is too late by the most days.
    let (type_name, send, last) = match kind {
        Kind::Date => ("date", "date_send", "5874700-01-01"),
        Kind::Timestamp => ("timestamp", "timestamp_send", "294100-01-01"),
        Kind::TimestampWithZone => ("timestamptz", "timestamptz_send", "294100-01-01"),
        _ => return None,
    };
    let hash = |value: &str| natural("date", &format!("pg_catalog.{send}({value})"));
    let day = |day: &str| format!("'{day}'::pg_catalog.date");
    // All days on both sides but the one in the middle, counted round: from it upwards, and on from the first.
    let offset =
        |value: &str, days: u32| format!("((1 + {} % {} + {days}) % {} - {days})", hash(value), 2 * days, 2 * days + 1);
    let in_range = |value: &str, first: &str, last: &str| {
        let (first, last) = (day(first), day(last));
        format!("({first} + ({} % ({last} - {first} + 1))::pg_catalog.int4)", hash(value))
    };
    let masked = match spread {
        DateSpread::Jitter(days) => {
            let offset = offset(value, *days);
            let moved = |offset: &str| match kind {
                Kind::Date => format!("{value} + ({offset})::pg_catalog.int4"),
                _ => format!("{value} + ({offset}) * INTERVAL '1 day'"),
            };
            // Those near an end of the type go inwards, by more than the most days.
            let inwards = format!("pg_catalog.abs({offset})");
            let end = |day: &str| format!("'{day}'::pg_catalog.{type_name}");
            format!(
                "CASE WHEN {value} > {} THEN {} WHEN {value} < {} THEN {} ELSE {} END",
                end(last),
                moved(&format!("-{inwards}")),
                end("4600-01-01 BC"),
                moved(&inwards),
                moved(&offset)
            )
        }
        DateSpread::Range { first, last } => format!("{}::pg_catalog.{type_name}", in_range(value, first, last)),
    };
    // There are few days, and many rows with each of them. The subquery is of no row: it is computed once.
    let beforehand = if has_many_rows && kind == Kind::Date {
        let (first, last) = (day("1970-01-01"), day("2049-12-31"));
        let of_day = format!("({first} + d.n)");
        let known = match spread {
            DateSpread::Jitter(days) => format!("{of_day} + {}::pg_catalog.int4", offset(&of_day, *days)),
            DateSpread::Range { first, last } => in_range(&of_day, first, last),
        };
        format!(
            "WHEN {value} >= {first} AND {value} <= {last} THEN
             (ARRAY(SELECT {known} FROM pg_catalog.generate_series(0, {last} - {first}) d(n) ORDER BY d.n))[{value} - {first} + 1]"
        )
    } else {
        String::new()
    };
    Some(format!("CASE {beforehand} WHEN {value} IS NOT NULL THEN {masked} END"))
}

fn ip_sql(value: &str) -> String {
    let byte = |at: usize| format!("pg_catalog.get_byte(m.d, {at})");
    let four = format!("('10.' || {} || '.' || {} || '.' || {})::pg_catalog.inet", byte(0), byte(1), byte(2));
    let group = |at: usize| format!("pg_catalog.substr(pg_catalog.encode(m.d, 'hex'), {at}, 4)");
    let six = format!("('fd00:' || {} || ':' || {} || '::' || {})::pg_catalog.inet", group(1), group(5), group(9));
    let body = format!(
        "CASE WHEN pg_catalog.family({value}) = 4 THEN pg_catalog.set_masklen({four}, pg_catalog.masklen({value}))
         ELSE pg_catalog.set_masklen({six}, pg_catalog.masklen({value})) END"
    );
    let masked = with_digest("ip", &format!("{value}::pg_catalog.text"), &body);
    format!("CASE WHEN {value} IS NOT NULL THEN {masked} END")
}

/// Returns a document with the values at the paths masked.
fn json_sql(document: &str, paths: &[(Vec<String>, Mask)]) -> Result<String, String> {
    let mut masked = document.to_owned();
    for (path, mask) in paths {
        masked = masked_at(&masked, path, mask)?;
    }
    Ok(format!("CASE WHEN {document} IS NOT NULL THEN {masked} END"))
}

/// Returns a document with the value at a path masked. An array on the way, or at its end, stands for its elements. Any other value
/// where the path goes on is replaced by null: it may hold what is to be masked.
fn masked_at(document: &str, path: &[String], mask: &Mask) -> Result<String, String> {
    const NOTHING: &str = "'null'::pg_catalog.jsonb";
    const VALUE: &str = "(e.v #>> '{}'::pg_catalog.text[])";
    let masked = match (path.split_first(), mask) {
        (Some((key, rest)), _) => {
            let member = format!("(e.v -> {}::pg_catalog.text)", plan::quote_literal(key));
            let masked = masked_at(&member, rest, mask)?;
            format!(
                "CASE WHEN pg_catalog.jsonb_typeof(e.v) <> 'object' THEN {NOTHING} WHEN {member} IS NULL THEN e.v
                 ELSE pg_catalog.jsonb_set(e.v, {}, {masked}, false) END",
                plan::text_array([key.as_str()])
            )
        }
        (None, Mask::Null) => NOTHING.to_owned(),
        (None, Mask::Constant(constant)) => {
            format!("pg_catalog.to_jsonb({}::pg_catalog.text)", plan::quote_literal(constant))
        }
        (None, Mask::Number(spread)) => {
            // The order of evaluation is not promised where a cast could fail for a text.
            let number =
                format!("(CASE WHEN pg_catalog.jsonb_typeof(e.v) = 'number' THEN {VALUE} END)::pg_catalog.numeric");
            let masked = number_sql(&number, spread, Kind::Numeric, "pg_catalog.numeric", None)?.unwrap_or_default();
            format!("coalesce(pg_catalog.to_jsonb({masked}), {NOTHING})")
        }
        (None, mask) => {
            format!("coalesce(pg_catalog.to_jsonb(({})::pg_catalog.text), {NOTHING})", mask.text_sql(VALUE, None)?)
        }
    };
    Ok(format!(
        "(SELECT CASE pg_catalog.jsonb_typeof(d.v) WHEN 'array' THEN l.list ELSE l.list -> 0 END
          FROM (SELECT {document} AS v OFFSET 0) d
          CROSS JOIN LATERAL (
              SELECT coalesce(pg_catalog.jsonb_agg({masked} ORDER BY e.n), '[]') AS list
              FROM pg_catalog.jsonb_array_elements(
                  CASE pg_catalog.jsonb_typeof(d.v) WHEN 'array' THEN d.v ELSE pg_catalog.jsonb_build_array(d.v) END
              ) WITH ORDINALITY e(v, n)) l)"
    ))
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

fn names_array(names: &str) -> String {
    format!("'{{{}}}'::pg_catalog.text[]", names.split_ascii_whitespace().collect::<Vec<_>>().join(","))
}

/// 64 of each: common in many countries, and nobody's in particular.
const FIRST_NAMES: &str = "Ada Adam Aisha Alan Alma Amir Ana Andrei Anna Anton Ben Carla Carlos Chen Clara Daniel David Dora Elena Elif \
     Emil Emma Eva Farid Felix Fatima Grace Hana Hugo Ida Ines Ivan Jan Jana Jonas Julia Karim Kenji Lara Leo Lina Lucas Luis Mai Maria \
     Mark Marta Max Mei Milan Mina Nadia Nina Noah Nora Olga Omar Oscar Paul Petra Rosa Samir Sara Yuki";
const LAST_NAMES: &str = "Adler Ahmed Baker Becker Berg Blanc Brown Carter Castro Chan Cohen Cook Costa Cruz Dahl Diaz Evans Farah \
     Fischer Ford Garcia Gomez Green Haas Hall Hansen Hill Holm Hughes Ito Jansen Jones Kaya Keller Khan Kim Klein Kovacs Larsen Lee Lopez \
     Martin Meyer Mills Moreau Mori Nagy Nilsen Novak Olsen Park Patel Perez Petrov Reid Rossi Sato Silva Smith Stone Tanaka Weber Wolf Young";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mask, (String, Option<String>)> {
        Mask::parse(&serde_json::from_str(text).unwrap())
    }

    fn column(base_type: &str, limit: Option<usize>) -> MaskedColumn {
        MaskedColumn {
            base_type: base_type.to_owned(),
            limit,
            decimals: None,
            precision: None,
            ignores_case: false,
            has_many_rows: false,
        }
    }

    #[test]
    fn masks_and_their_options() {
        assert_eq!(parse("\"email\""), Ok(Mask::Email));
        assert_eq!(parse(r#"{"name": {"part": "first"}}"#), Ok(Mask::Name(NamePart::First)));
        assert_eq!(
            parse(r#"{"number": {"min": -1.5, "max": 2}}"#),
            Ok(Mask::Number(Spread::Range { least: "-1.5".into(), most: "2".into() }))
        );
        assert_eq!(parse("\"date\""), Ok(Mask::Date(DateSpread::Jitter(30))));
        assert_eq!(parse(r#"{"constant": true}"#), Ok(Mask::Constant("true".into())));
        for digits in ["9223372036854775807", "18446744073709551615", "-7"] {
            assert_eq!(parse(&format!(r#"{{"constant": {digits}}}"#)), Ok(Mask::Constant(digits.into())));
        }
        for digits in ["12345678901234567890.123456789", "1234567890123456789012", "0.10", "100.0", "1e5"] {
            let refused = parse(&format!(r#"{{"constant": {digits}}}"#)).unwrap_err().0;
            assert!(refused.starts_with("a number of mask constant must be whole"), "{refused}");
        }
        for (text, reason) in [
            ("1", "a mask is its name, or an object with its name and options"),
            ("\"emial\"", "mask \"emial\" is not known"),
            (r#"{"email": {"a": 1}}"#, "mask email has no options"),
            (r#"{"number": {"jiter": 1}}"#, "mask number has no option \"jiter\""),
            (r#"{"number": {"min": 1}}"#, "mask number takes either min and max or jitter"),
            (r#"{"number": {"min": 2, "max": 1}}"#, "min of mask number must not be greater than max"),
            (r#"{"number": {"jitter": 2}}"#, "jitter of mask number must be greater than 0 and at most 1"),
            (
                r#"{"date": {"min": "1.1.2000", "max": "2000-01-01"}}"#,
                "min of mask date must be a day such as \"2000-12-31\"",
            ),
            (r#"{"date": {"jitter": 0}}"#, "jitter of mask date must be from 1 to 36500 days"),
            ("\"constant\"", "mask constant needs a string, a number or a boolean"),
            ("\"json\"", "mask json needs paths with their masks"),
            (r#"{"json": {"a..b": "email"}}"#, "a path of mask json is made of keys with dots between them"),
            (r#"{"json": {"a": {"json": {"b": "null"}}}}"#, "a: mask json cannot be within another"),
            (r#"{"json": {"a.b": "emial"}}"#, "a.b: mask \"emial\" is not known"),
        ] {
            assert_eq!(parse(text).unwrap_err().0, reason, "{text}");
        }
    }

    #[test]
    fn masks_are_for_types() {
        for (mask, base_type, limit, reason) in [
            (Mask::Email, "integer", None, "mask email is for columns of type text, not integer"),
            (Mask::Email, "character varying", Some(20), "mask email needs room for 29 characters at least"),
            (Mask::Hash, "integer", None, "mask hash is for columns of type text, bytea or bigint, not integer"),
            (Mask::Uuid, "integer", None, "mask uuid is for columns of type uuid or text, not integer"),
            (Mask::Ip, "cidr", None, "mask ip is for columns of type inet or text, not cidr"),
            (Mask::Email, "integer[]", None, "mask email is for columns of type text, not integer[]"),
            (Mask::Json(vec![]), "jsonb[]", None, "mask json is for columns of type json or jsonb, not jsonb[]"),
            (
                Mask::Number(Spread::Jitter("0.1".into())),
                "text",
                None,
                "mask number is for columns of type number, not text",
            ),
            (
                Mask::Date(DateSpread::Jitter(1)),
                "text",
                None,
                "mask date is for columns of type date or timestamp, not text",
            ),
            (Mask::Json(vec![]), "text", None, "mask json is for columns of type json or jsonb, not text"),
        ] {
            assert_eq!(mask.sql("c", &column(base_type, limit)), Err(reason.to_owned()));
        }
    }

    #[test]
    fn ranges_that_hold_no_value_are_refused() {
        let of = |least: &str, most: &str, decimals: i32| {
            let range = parse(&format!(r#"{{"number": {{"min": {least}, "max": {most}}}}}"#)).unwrap();
            let column = MaskedColumn { decimals: Some(decimals), precision: Some(30), ..column("numeric", None) };
            range.sql("c", &column).map(|_| ())
        };
        for (least, most, decimals) in [
            ("0.1", "0.4", 0),
            ("-0.9", "-0.1", 0),
            ("1.001", "1.009", 2),
            ("0.0001", "0.0002", 3),
            ("1", "99", -2),
            ("-199.5", "-101", -2),
        ] {
            assert!(of(least, most, decimals).is_err(), "{least} {most} {decimals}");
        }
        for (least, most, decimals) in [
            ("-0.1", "0.4", 0),
            ("0.0", "0.4", 0),
            ("0.5", "1.0", 0),
            ("9.5", "10.5", 0),
            ("1.00", "1.004", 2),
            ("-1.01", "-1.001", 2),
            ("1", "100", -2),
            ("100.0", "100.5", -2),
        ] {
            assert_eq!(of(least, most, decimals), Ok(()), "{least} {most} {decimals}");
        }
        let range = parse(r#"{"number": {"min": 0.1, "max": 0.4}}"#).unwrap();
        assert_eq!(
            range.sql("c", &column("integer", None)).unwrap_err(),
            "no whole number is from 0.1 to 0.4".to_owned()
        );
        assert!(range.sql("c", &column("numeric", None)).is_ok());
    }

    #[test]
    fn bounds_are_compared_with_all_their_digits() {
        let refused = |least: &str, most: &str| {
            parse(&format!(r#"{{"number": {{"min": {least}, "max": {most}}}}}"#))
                .map_or_else(|error| error.0, |_| String::new())
        };
        for (least, most) in [("9007199254740993", "9007199254740992"), ("-1", "-1.5"), ("0", "-1")] {
            assert_eq!(refused(least, most), "min of mask number must not be greater than max");
        }
        for (least, most) in [("-0", "0.0"), ("9.9", "10"), ("-10", "-9.9"), ("1.5", "1.50")] {
            assert_eq!(refused(least, most), "");
        }
        for most in ["1e30", "1.2345678901234567"] {
            assert_eq!(refused("0", most), "max of mask number must have at most 15 digits and no exponent");
        }
    }

    #[test]
    fn names_have_no_ends() {
        for names in [FIRST_NAMES, LAST_NAMES] {
            let names: std::collections::BTreeSet<&str> = names.split_ascii_whitespace().collect();
            assert_eq!(names.len(), 64);
            assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphabetic())));
        }
    }

    #[test]
    fn no_text_of_a_mask_leaves_its_quotes() {
        // A server with backslash_quote = off refuses the other way to write it.
        for mask in [Mask::Text, Mask::Phone] {
            assert!(!mask.sql("c", &column("text", None)).unwrap().contains("\\'\""));
        }
        let constant = parse(r#"{"constant": "'; DROP TABLE t; -- \\"}"#).unwrap();
        assert_eq!(constant.sql("c", &column("text", None)).unwrap(), "E'''; DROP TABLE t; -- \\\\'");
        let json = parse(r#"{"json": {"a'); --.b\"}": "null"}}"#).unwrap().sql("c", &column("jsonb", None)).unwrap();
        for part in [r#"(e.v -> 'a''); --'::pg_catalog.text)"#, r#"E'{"b\\"}"}'::pg_catalog.text[]"#] {
            assert!(json.contains(part), "{json}");
        }
    }
}
