//! The table that is made for files: its name, and columns for the values of theirs.

use super::data_files::DataFile;
use super::parquet_file::FileOutline;
use super::schema::Shape;
use crate::error::{Error, Result};
use pgrx::prelude::*;

/// A column of a table that is made for files.
pub struct InferredColumn {
    pub name: String,
    pub type_name: String,
    /// The name in the files.
    source: String,
}

impl InferredColumn {
    /// Returns the name of the type qualified, so that it does not depend on the search path. The grammar itself
    /// resolves the other names.
    pub fn qualified_type(&self) -> String {
        match self.type_name.trim_end_matches("[]") {
            "bytea" | "date" | "json" | "jsonb" | "text" | "uuid" => format!("pg_catalog.{}", self.type_name),
            _ => self.type_name.clone(),
        }
    }
}

/// Returns a name as the server keeps it.
pub fn clipped(name: &str) -> &str {
    const LONGEST: usize = pg_sys::NAMEDATALEN as usize - 1;
    &name[..name.floor_char_boundary(LONGEST)]
}

/// The choice of the columns of files that a table is to have.
#[derive(Default)]
pub struct WantedColumns<'a> {
    /// Columns of the files that are left out.
    pub skip: &'a [String],
    /// Names for columns, each with the name in the files.
    pub names: &'a [(String, String)],
    /// The keys of folders `key=value` that give columns.
    pub folders: Vec<&'a str>,
}

/// Returns the columns that files need, with the names that they are to have.
///
/// # Errors
/// Files disagree on a column, and no type has room for both.
pub fn new_columns(
    files: &[FileOutline],
    data_files: &[DataFile],
    wanted: &WantedColumns<'_>,
) -> Result<Vec<InferredColumn>> {
    let mut columns: Vec<(String, Shape)> = Vec::new();
    for file in files {
        for column in file.columns.iter().filter(|column| !wanted.skip.contains(&column.name)) {
            match columns.iter_mut().find(|(name, _)| *name == column.name) {
                None => columns.push((column.name.clone(), column.shape.clone())),
                Some((_, known)) => {
                    *known = wider(known, &column.shape).ok_or_else(|| {
                        Error::new(
                            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                            format!("the files disagree on the type of column \"{}\"", column.name),
                        )
                        .detail(format!("File {} has {}.", file.name, column.arrow_type))
                        .hint("Create the table first, with a type that takes both.")
                    })?;
                }
            }
        }
    }
    let mut typed: Vec<(String, String)> =
        columns.into_iter().map(|(name, shape)| (name, shape.default_type())).collect();
    for &key in &wanted.folders {
        if !typed.iter().any(|(name, _)| name == key) {
            let values = data_files.iter().flat_map(|file| &file.partition).filter(|(other, _)| other == key);
            typed.push((key.to_owned(), folder_type(values.filter_map(|(_, value)| value.as_deref())).to_owned()));
        }
    }
    let mut named = Vec::with_capacity(typed.len());
    for (source, type_name) in typed {
        let given: Vec<&String> =
            wanted.names.iter().filter(|(_, file)| *file == source).map(|(target, _)| target).collect();
        let names = if given.is_empty() { vec![&source] } else { given };
        named.extend(names.into_iter().map(|name| InferredColumn {
            name: name.clone(),
            type_name: type_name.clone(),
            source: source.clone(),
        }));
    }
    Ok(named)
}

/// Refuses names that columns of a table cannot have.
///
/// # Errors
/// The name is refused, with the file and the column.
pub fn check_new_names(columns: &[InferredColumn], files: &[FileOutline]) -> Result<()> {
    const OF_THE_SYSTEM: [&str; 6] = ["tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"];
    for (position, column) in columns.iter().enumerate() {
        let earlier = columns[..position].iter().find(|earlier| clipped(&earlier.name) == clipped(&column.name));
        let reason = if column.name.is_empty() {
            "The name is empty.".to_owned()
        } else if column.name.contains('\0') {
            "The name holds the character with code 0.".to_owned()
        } else if OF_THE_SYSTEM.contains(&column.name.as_str()) {
            "The name is that of a system column.".to_owned()
        } else if let Some(earlier) = earlier {
            if column.name.len() < pg_sys::NAMEDATALEN as usize {
                format!("Column \"{}\" becomes \"{}\", too.", earlier.source, earlier.name)
            } else {
                format!("Names are cut off after 63 bytes, which makes it the same as column \"{}\".", earlier.source)
            }
        } else {
            continue;
        };
        let holder = files.iter().find(|file| file.columns.iter().any(|of_file| of_file.name == column.source));
        let place = holder.or(files.first()).map_or(String::new(), |file| format!(" The file is {}.", file.name));
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_COLUMN_DEFINITION,
            format!("column \"{}\" of the files cannot get a column of its name", column.source),
        )
        .detail(reason + &place)
        .hint("Leave it out with skip, give another name with columns => '{\"target\": \"file\"}', or create the table first."));
    }
    Ok(())
}

fn wider(one: &Shape, other: &Shape) -> Option<Shape> {
    use super::schema::Scalar as S;
    let (left, right) = match (one, other) {
        (Shape::Scalar(left), Shape::Scalar(right)) => (left, right),
        (Shape::Scalar(S::Null), shape) | (shape, Shape::Scalar(S::Null)) => return Some(shape.clone()),
        (Shape::List(left), Shape::List(right)) => return wider(left, right).map(|wider| Shape::List(Box::new(wider))),
        // Documents hold values of any type.
        _ => return [one, other].into_iter().all(Shape::is_document).then(|| one.clone()),
    };
    Some(Shape::Scalar(match (*left, *right) {
        (same, again) if same == again => same,
        (S::Null, scalar) | (scalar, S::Null) => scalar,
        (S::Int { bits: b1, signed: s1 }, S::Int { bits: b2, signed: s2 }) if s1 == s2 => {
            S::Int { bits: b1.max(b2), signed: s1 }
        }
        // The number of bits that hold both signs.
        (S::Int { bits: signed, signed: true }, S::Int { bits: unsigned, .. })
        | (S::Int { bits: unsigned, .. }, S::Int { bits: signed, signed: true }) => {
            let bits = signed.max(unsigned.saturating_mul(2));
            if bits > 64 { S::Decimal { precision: 20, scale: 0 } } else { S::Int { bits, signed: true } }
        }
        (S::Float16 | S::Float32 | S::Float64, S::Float16 | S::Float32 | S::Float64) => S::Float64,
        // A number with more digits than that is an error, not another number.
        (S::Int { .. }, S::Float16 | S::Float32 | S::Float64)
        | (S::Float16 | S::Float32 | S::Float64, S::Int { .. }) => S::Float64,
        (S::Int { bits, .. }, S::Decimal { precision, scale })
        | (S::Decimal { precision, scale }, S::Int { bits, .. }) => {
            let digits = if bits > 32 { 20 } else { 10 };
            let precision = if precision > 0 { precision.max(scale.saturating_add(digits)) } else { 0 };
            S::Decimal { precision, scale }
        }
        (S::Date | S::DateMillis, S::Date | S::DateMillis) => S::Date,
        (S::Date | S::DateMillis, moment @ (S::Timestamp { utc: false, .. } | S::Int96))
        | (moment @ (S::Timestamp { utc: false, .. } | S::Int96), S::Date | S::DateMillis) => moment,
        (S::Int96, S::Timestamp { utc: false, .. }) | (S::Timestamp { utc: false, .. }, S::Int96) => S::Int96,
        (S::Duration(_) | S::Interval, S::Duration(_) | S::Interval) => S::Interval,
        (S::Decimal { precision: p1, scale: s1 }, S::Decimal { precision: p2, scale: s2 }) => {
            let scale = s1.max(s2);
            let whole = p1.saturating_sub(s1).max(p2.saturating_sub(s2));
            // A decimal without a sensible precision may have any number of digits.
            let precision = if p1.min(p2) > 0 { whole.saturating_add(scale) } else { 0 };
            S::Decimal { precision, scale }
        }
        (S::Timestamp { utc: u1, .. }, S::Timestamp { utc: u2, .. }) if u1 == u2 => *left,
        (S::Time(_), S::Time(_)) => *left,
        (S::Text | S::Enum, S::Text | S::Enum | S::Json) | (S::Json, S::Text | S::Enum) => S::Text,
        (S::Bytes | S::Bson | S::FixedBytes(_) | S::Uuid, S::Bytes | S::Bson | S::FixedBytes(_) | S::Uuid) => S::Bytes,
        _ => return None,
    }))
}

/// Returns the type whose form the values of all folders have.
fn folder_type<'a>(values: impl Iterator<Item = &'a str> + Clone) -> &'static str {
    let is_date = |value: &str| {
        let bytes = value.as_bytes();
        bytes.len() == 10
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    // A leading zero belongs to a code, not to a number.
    let is_number = |value: &str| value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
    let mut all = values.clone().peekable();
    if all.peek().is_none() {
        return "text";
    }
    if values.clone().all(is_number) {
        "bigint"
    } else if values.clone().all(is_date) {
        "date"
    } else {
        "text"
    }
}

/// Returns the statement that makes a table for the files. `name` is quoted where it must be.
pub fn create_table(name: &str, columns: &[InferredColumn], type_of: impl Fn(&InferredColumn) -> String) -> String {
    let columns: Vec<_> =
        columns.iter().map(|column| format!("{} {}", plan::quote_identifier(&column.name), type_of(column))).collect();
    format!("CREATE TABLE {name} ({})", columns.join(", "))
}

/// Returns the last name of a path or URL.
pub fn last_of(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split('?').next().unwrap_or(name)
}

/// Returns the name of a table that is called after a file, quoted where it must be.
pub fn stem_of(name: &str) -> String {
    let name = last_of(name);
    plan::quote_identifier(name.split_once('.').map_or(name, |(stem, _)| stem))
}
