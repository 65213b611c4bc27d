//! Folders that name a column and its value, as Hive writes them: `year=2024/country=DE`.

use percent_encoding::percent_decode_str;
use std::fmt;

/// The folder that stands for NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column and its value.
pub type Value = (String, Option<String>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HiveError {
    NotUtf8(String),
    Nul(String),
    Twice(String),
}

impl fmt::Display for HiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8(folder) => write!(f, "the folder name \"{folder}\" is not valid UTF-8 once it is decoded"),
            Self::Nul(folder) => write!(f, "the folder name \"{folder}\" holds a NUL"),
            Self::Twice(column) => write!(f, "more than one folder names the column \"{column}\""),
        }
    }
}

impl std::error::Error for HiveError {}

/// Returns the columns that folders name, in their order. Folders of another form are left out.
///
/// # Errors
/// [`HiveError`] for names that cannot be columns or values.
pub fn partition<'a>(folders: impl IntoIterator<Item = &'a str>) -> Result<Vec<Value>, HiveError> {
    let mut values: Vec<Value> = Vec::new();
    for folder in folders {
        let Some((column, value)) = folder.split_once('=').filter(|(column, _)| !column.is_empty()) else { continue };
        let decode = |text| match percent_decode_str(text).decode_utf8() {
            Ok(text) if text.contains('\0') => Err(HiveError::Nul(folder.into())),
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(HiveError::NotUtf8(folder.into())),
        };
        let column = decode(column)?;
        if values.iter().any(|(other, _)| *other == column) {
            return Err(HiveError::Twice(column));
        }
        let value = if value == NULL { None } else { Some(decode(value)?) };
        values.push((column, value));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(column: &str, value: &str) -> Value {
        (column.into(), Some(value.into()))
    }

    #[test]
    fn folders_with_and_without_values() {
        let values = partition(["year=2024", "plain", "place=a%2Fb%20c", "empty=", "=x", "e=a=b"]).unwrap();
        assert_eq!(values, [some("year", "2024"), some("place", "a/b c"), some("empty", ""), some("e", "a=b")]);
        assert_eq!(partition(["x=__HIVE_DEFAULT_PARTITION__"]).unwrap(), [("x".to_owned(), None)]);
        assert_eq!(partition(["gr%C3%B6%C3%9Fe=100%"]).unwrap(), [some("größe", "100%")]);
    }

    #[test]
    fn folders_that_cannot_be() {
        assert_eq!(partition(["x=%FF"]), Err(HiveError::NotUtf8("x=%FF".into())));
        assert_eq!(partition(["x=a%00b"]), Err(HiveError::Nul("x=a%00b".into())));
        assert_eq!(partition(["x=1", "x=2"]), Err(HiveError::Twice("x".into())));
    }
}
