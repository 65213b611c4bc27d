//! Masks: what takes the place of a value, as expressions in SQL that any source can evaluate.
//!
//! All of them but `constant` and `null` depend on the value and on the key alone, by a hash with 256 bits over both. The key is a
//! setting of the session on the source, and never part of a text. What is left of the hash is shorter than the hash, so that nothing
//! can be told of other values by it.
//!
//! A hash is most of what a mask costs, and a subquery for each value the second most: there is one hash for a value, over its bytes
//! as they are, and a subquery only where the hash is used more than once. Where the source has pgcopy, functions of it compute the
//! same (see [`functions`] and the crate `masks`).

mod date;
mod digest;
mod functions;
mod json;
mod names;
mod network;
mod number;
mod parse;
mod shape;
#[cfg(test)]
mod tests;
mod text;

use date::{date_by_function, date_sql};
use digest::{digest, natural};
use json::json_sql;
use network::{ip_sql, uuid_sql};
use number::{is_counted, number_sql};
use text::By;

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
    /// Whether the source has pgcopy with functions for masks.
    pub has_functions: bool,
    /// Whether all numbers of the source's column have these digits.
    pub has_same_digits: bool,
    /// Whether the source's column is of type `character`, or an array of such values.
    pub is_character: bool,
}

impl Mask {
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

    /// Returns whether all results have the digits of the column by themselves, so that a cast to its type would only take time.
    pub fn has_digits_of(&self, column: &MaskedColumn) -> bool {
        let element = column.base_type.trim_end_matches("[]");
        matches!(self, Self::Number(_)) && Kind::of(element) == Kind::Numeric && is_counted(column)
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
        let by = match By::functions_if(column.has_functions) {
            By::Functions if column.is_character && !column.ignores_case => By::FunctionsOfCharacter(value),
            by => by,
        };
        let is_text = kind == Kind::Text || column.ignores_case;
        Ok(match self {
            Self::Null | Self::Constant(_) => Err("any kind"),
            Self::Email | Self::Name(_) | Self::Phone | Self::Address | Self::Text if !is_text => Err("text"),
            Self::Email | Self::Name(_) | Self::Phone | Self::Address | Self::Text => {
                Ok(self.text_sql(&text, column.limit, by)?)
            }
            Self::Hash => match kind {
                Kind::Bytes => Ok(format!("pg_catalog.substr({}, 1, 16)", digest("hash", value))),
                Kind::BigInteger => {
                    let bytes = format!("pg_catalog.int8send({value}::pg_catalog.int8)");
                    Ok(match column.has_functions {
                        true => format!("({} & {})", functions::number("hash", &bytes), i64::MAX),
                        false => natural("hash", &bytes),
                    })
                }
                _ if is_text => Ok(self.text_sql(&text, column.limit, by)?),
                _ => Err("text, bytea or bigint"),
            },
            Self::Uuid => match kind {
                Kind::Uuid => Ok(if column.has_functions { functions::uuid(value) } else { uuid_sql(&text) }),
                _ if is_text => Ok(self.text_sql(&text, column.limit, by)?),
                _ => Err("uuid or text"),
            },
            Self::Ip => match kind {
                Kind::Address => Ok(ip_sql(value, column.has_functions)),
                _ if is_text => Ok(self.text_sql(&text, column.limit, by)?),
                _ => Err("inet or text"),
            },
            Self::Number(spread) => {
                number_sql(value, spread, kind, base_type, Some(column), column.has_functions)?.ok_or("number")
            }
            Self::Date(spread) => match column.has_functions {
                true => date_by_function(value, spread, kind),
                false => date_sql(value, spread, kind, column.has_many_rows),
            }
            .ok_or("date or timestamp"),
            Self::Json(paths) => match kind {
                Kind::Json => Ok(json_sql(&format!("{value}::pg_catalog.jsonb"), paths, column.has_functions)?),
                _ => Err("json or jsonb"),
            },
        })
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
