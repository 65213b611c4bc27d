//! The JSON object, entry by entry.

use crate::expression::Expression;
use crate::mask::Mask;
use plan::Pattern;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// What is taken of each table, as somebody has written it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// The more exact ones first.
    pub(crate) entries: Vec<Entry>,
}

/// What is said of the tables that a pattern matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The pattern as it is written.
    pub key: String,
    pub(crate) pattern: Pattern,
    pub(crate) filter: Option<Expression>,
    pub(crate) sample: Option<f64>,
    pub(crate) into: Option<TargetName>,
    /// The unique index that tells rows apart, by its name on the destination.
    pub(crate) index: Option<String>,
    pub(crate) columns: BTreeMap<String, ColumnChoice>,
    pub(crate) references: Option<Vec<Reference>>,
}

/// Columns that refer to those of another table without a foreign key.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub columns: Vec<String>,
    /// The name of the other table.
    pub table: Pattern,
    /// Its columns, in the order of the referring ones.
    pub to: Vec<String>,
    /// The condition, over the referring row, under which they do so.
    pub condition: Option<Expression>,
}

/// What is said of a column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnChoice {
    pub content: Option<Content>,
    /// Its name on the destination.
    pub into: Option<String>,
}

/// What a column of the destination gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// The source's value.
    Kept,
    /// Nothing: its default.
    Skipped,
    Value(Expression),
    Mask(Mask),
}

/// The name of a table on the destination; `*` in it stands for the name on the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    schema: Option<String>,
    before: String,
    /// What follows the star, if there is one.
    after: Option<String>,
}

/// The reason why a JSON value is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectionError {
    pub message: String,
    pub hint: Option<String>,
}

impl SelectionError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for SelectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SelectionError {}

/// The keys of an entry, and those of a column.
pub(crate) const ENTRY_KEYS: [&str; 6] = ["columns", "into", "key", "references", "sample", "where"];
pub(crate) const REFERENCE_KEYS: [&str; 4] = ["columns", "table", "to", "where"];
pub(crate) const COLUMN_KEYS: [&str; 4] = ["into", "mask", "skip", "value"];

impl Selection {
    /// The most entries, and the most columns of one.
    const MOST_ENTRIES: usize = 10_000;
    const MOST_COLUMNS: usize = 1_600;
    const MOST_REFERENCES: usize = 1_000;

    /// # Errors
    /// [`SelectionError`] names the place, and the nearest known key for one that is not known.
    pub fn parse(value: &Value) -> Result<Self, SelectionError> {
        let object = value.as_object().ok_or_else(|| {
            SelectionError::new("tables must be an object").hint(
                "Write tables => '{\"public.orders\": {\"where\": \"…\"}}': patterns of tables with what is taken of each.",
            )
        })?;
        if object.len() > Self::MOST_ENTRIES {
            return Err(SelectionError::new(format!("tables has more than {} entries", Self::MOST_ENTRIES)));
        }
        let mut entries = object.iter().map(|(key, value)| entry(key, value)).collect::<Result<Vec<_>, _>>()?;
        // The order among equals is that of their keys, so that messages are the same every time.
        entries.sort_by(|a, b| b.pattern.exactness().cmp(&a.pattern.exactness()).then_with(|| a.key.cmp(&b.key)));
        Ok(Self { entries })
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether something depends on the key of masks.
    pub fn needs_key(&self) -> bool {
        let contents =
            self.entries.iter().flat_map(|entry| entry.columns.values()).filter_map(|column| column.content.as_ref());
        contents.into_iter().any(|content| matches!(content, Content::Mask(mask) if mask.needs_key()))
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Entry {
    /// Returns whether the pattern names tables one by one.
    pub fn is_literal(&self) -> bool {
        self.pattern.is_literal()
    }

    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Names of the columns that it says something of.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }
}

fn entry(key: &str, value: &Value) -> Result<Entry, SelectionError> {
    let place = format!("tables entry {}", quoted(key));
    let pattern = Pattern::parse(key).map_err(|error| SelectionError::new(format!("{place}: {error}")))?;
    let object = members(&place, value, &ENTRY_KEYS)?;
    let mut entry = Entry {
        key: pattern.to_string(),
        pattern,
        filter: None,
        sample: None,
        into: None,
        index: None,
        columns: BTreeMap::new(),
        references: None,
    };
    for (name, value) in object {
        let place = format!("{place}, {name}");
        match name.as_str() {
            "where" => entry.filter = Some(expression(&place, value)?),
            "sample" => entry.sample = Some(fraction(&place, value)?),
            "key" => entry.index = Some(text(&place, value)?.to_owned()),
            "into" => {
                let text = text(&place, value)?;
                entry.into =
                    Some(TargetName::parse(text).map_err(|reason| SelectionError::new(format!("{place}: {reason}")))?);
            }
            "references" => {
                let list = value.as_array().ok_or_else(|| wrong_type(&place, "an array", value))?;
                if list.len() > Selection::MOST_REFERENCES {
                    return Err(SelectionError::new(format!("{place}: more than {} keys", Selection::MOST_REFERENCES)));
                }
                entry.references = Some(list.iter().map(|value| reference(&place, value)).collect::<Result<_, _>>()?);
            }
            _ => {
                let columns = value.as_object().ok_or_else(|| wrong_type(&place, "an object", value))?;
                if columns.len() > Selection::MOST_COLUMNS {
                    return Err(SelectionError::new(format!("{place}: more than {} columns", Selection::MOST_COLUMNS)));
                }
                for (column, value) in columns {
                    entry
                        .columns
                        .insert(column.clone(), column_choice(&format!("{place}, {}", quoted(column)), value)?);
                }
            }
        }
    }
    Ok(entry)
}

fn reference(place: &str, value: &Value) -> Result<Reference, SelectionError> {
    const MOST_COLUMNS_OF_KEY: usize = 32;
    let object = members(place, value, &REFERENCE_KEYS)?;
    let given = |key: &str| {
        object.get(key).ok_or_else(|| {
            SelectionError::new(format!("{place}: {key} is missing"))
                .hint("Write [{\"columns\": [\"owner\"], \"table\": \"public.users\", \"to\": [\"id\"]}].")
        })
    };
    let names = |key: &str| {
        let (place, value) = (format!("{place}, {key}"), given(key)?);
        let list = value.as_array().ok_or_else(|| wrong_type(&place, "an array", value))?;
        if list.is_empty() || list.len() > MOST_COLUMNS_OF_KEY {
            return Err(SelectionError::new(format!("{place} must hold from 1 to {MOST_COLUMNS_OF_KEY} names")));
        }
        list.iter().map(|name| text(&place, name).map(str::to_owned)).collect::<Result<Vec<_>, _>>()
    };
    let (columns, to) = (names("columns")?, names("to")?);
    if columns.len() != to.len() {
        return Err(SelectionError::new(format!("{place}: columns and to must hold as many names")));
    }
    let table = text(&format!("{place}, table"), given("table")?)?;
    let table = Pattern::parse(table).map_err(|error| SelectionError::new(format!("{place}, table: {error}")))?;
    let condition = object.get("where").map(|value| expression(&format!("{place}, where"), value)).transpose()?;
    Ok(Reference { columns, table, to, condition })
}

fn column_choice(place: &str, value: &Value) -> Result<ColumnChoice, SelectionError> {
    let mut choice = ColumnChoice::default();
    let mut contents = Vec::new();
    for (name, value) in members(place, value, &COLUMN_KEYS)? {
        let place = format!("{place}, {name}");
        match name.as_str() {
            "skip" => {
                let skipped = value.as_bool().ok_or_else(|| wrong_type(&place, "true or false", value))?;
                contents.push((name, if skipped { Content::Skipped } else { Content::Kept }));
            }
            "value" => contents.push((name, Content::Value(expression(&place, value)?))),
            "mask" => {
                let mask = Mask::parse(value).map_err(|(reason, hint)| {
                    let error = SelectionError::new(format!("{place}: {reason}"));
                    hint.into_iter().fold(error, SelectionError::hint)
                })?;
                contents.push((name, Content::Mask(mask)));
            }
            _ => {
                let name = text(&place, value)?;
                if name.is_empty() {
                    return Err(SelectionError::new(format!("{place}: a column's name must not be empty")));
                }
                choice.into = Some(name.to_owned());
            }
        }
    }
    // One that is kept by another entry's word and changed by its own would be a contradiction.
    let mut given = contents.into_iter();
    choice.content = match (given.next(), given.next()) {
        (Some((first, _)), Some((second, _))) => {
            return Err(SelectionError::new(format!("{place}: {first} and {second} cannot both be given")));
        }
        (first, _) => first.map(|(_, content)| content),
    };
    if choice.content == Some(Content::Skipped) && choice.into.is_some() {
        return Err(SelectionError::new(format!("{place}: into and skip cannot both be given")));
    }
    Ok(choice)
}

/// Returns the members of an object with known keys.
fn members<'a>(place: &str, value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, SelectionError> {
    let object = value.as_object().ok_or_else(|| wrong_type(place, "an object", value))?;
    for key in object.keys() {
        if known.contains(&key.as_str()) {
            continue;
        }
        let error = SelectionError::new(format!("{place}: key {} is not known", quoted(key)));
        return Err(match plan::nearest(key, known.iter().copied(), &|| ()) {
            Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
            None => error.hint(format!("Keys are: {}.", known.join(", "))),
        });
    }
    Ok(object)
}

fn expression(place: &str, value: &Value) -> Result<Expression, SelectionError> {
    let text = text(place, value)?;
    Expression::parse(text).map_err(|error| SelectionError::new(format!("{place}: {error}")))
}

fn fraction(place: &str, value: &Value) -> Result<f64, SelectionError> {
    let number = value.as_f64().ok_or_else(|| wrong_type(place, "a number", value))?;
    if number > 0.0 && number <= 1.0 {
        return Ok(number);
    }
    let error = SelectionError::new(format!("{place}: a fraction must be greater than 0 and at most 1"));
    Err(if number == 0.0 { error.hint("{\"where\": \"false\"} takes no row.") } else { error })
}

fn text<'a>(place: &str, value: &'a Value) -> Result<&'a str, SelectionError> {
    value.as_str().ok_or_else(|| wrong_type(place, "a string", value))
}

fn wrong_type(place: &str, wanted: &str, value: &Value) -> SelectionError {
    let given = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    SelectionError::new(format!("{place} must be {wanted}, not {given}"))
}

/// Returns a key for a message, cut off where it is long.
fn quoted(key: &str) -> String {
    const LONGEST: usize = 200;
    let end = key.floor_char_boundary(LONGEST);
    format!("\"{}{}\"", &key[..end], if end < key.len() { "…" } else { "" })
}

impl TargetName {
    /// # Errors
    /// The reason, in words that follow the place.
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > Pattern::MOST_BYTES {
            return Err("the name is too long".to_owned());
        }
        // The names are made of the same pieces as those of a pattern.
        let names = plan::split_name(text).map_err(|error| error.to_string())?;
        let (schema, name) = match names.as_slice() {
            [name] => (None, name),
            [schema, name] => (Some(schema), name),
            _ => return Err("a name has a schema and a name".to_owned()),
        };
        let schema = match schema.map(Vec::as_slice) {
            None => None,
            Some([Some(schema)]) => Some(schema.clone()),
            Some(_) => return Err("the schema must be a name without *".to_owned()),
        };
        let name: Vec<Option<&str>> = name.iter().map(|piece| piece.as_deref()).collect();
        let (before, after) = match name.as_slice() {
            [Some(name)] => (*name, None),
            [None] => ("", Some("")),
            [Some(before), None] => (*before, Some("")),
            [None, Some(after)] => ("", Some(*after)),
            [Some(before), None, Some(after)] => (*before, Some(*after)),
            _ => return Err("* may stand in a name once, for the name on the source".to_owned()),
        };
        Ok(Self { schema, before: before.to_owned(), after: after.map(str::to_owned) })
    }

    /// Returns schema and name on the destination of a table of the source.
    pub fn of(&self, schema: &str, name: &str) -> (String, String) {
        let schema = self.schema.as_deref().unwrap_or(schema).to_owned();
        let name = match &self.after {
            Some(after) => format!("{}{name}{after}", self.before),
            None => self.before.clone(),
        };
        (schema, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Selection, SelectionError> {
        Selection::parse(&serde_json::from_str(text).expect("JSON"))
    }

    fn refused(text: &str) -> String {
        let error = parse(text).expect_err(text);
        format!("{}{}", error.message, error.hint.map_or(String::new(), |hint| format!(" ({hint})")))
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_place() {
        for (text, message) in [
            (
                "[]",
                "tables must be an object (Write tables => '{\"public.orders\": {\"where\": \"…\"}}': patterns of tables with what is taken of each.)",
            ),
            (r#"{"a": 1}"#, "tables entry \"a\" must be an object, not a number"),
            (r#"{"a.b.c": {}}"#, "tables entry \"a.b.c\": too many dotted names in table pattern: a.b.c"),
            (
                r#"{"a": {"wehre": "true"}}"#,
                "tables entry \"a\": key \"wehre\" is not known (Perhaps you meant \"where\".)",
            ),
            (
                r#"{"a": {"limit": 1}}"#,
                "tables entry \"a\": key \"limit\" is not known (Keys are: columns, into, key, references, sample, where.)",
            ),
            (r#"{"a": {"where": true}}"#, "tables entry \"a\", where must be a string, not a boolean"),
            (r#"{"a": {"where": "a = 1) OR (b"}}"#, "tables entry \"a\", where: unexpected \")\" at character 6"),
            (r#"{"a": {"sample": "1%"}}"#, "tables entry \"a\", sample must be a number, not a string"),
            (
                r#"{"a": {"sample": 1.5}}"#,
                "tables entry \"a\", sample: a fraction must be greater than 0 and at most 1",
            ),
            (
                r#"{"a": {"sample": 0}}"#,
                "tables entry \"a\", sample: a fraction must be greater than 0 and at most 1 ({\"where\": \"false\"} takes no row.)",
            ),
            (r#"{"a": {"references": {}}}"#, "tables entry \"a\", references must be an array, not an object"),
            (
                r#"{"a": {"references": [{"columns": ["b"], "table": "c"}]}}"#,
                "tables entry \"a\", references: to is missing (Write [{\"columns\": [\"owner\"], \"table\": \"public.users\", \"to\": [\"id\"]}].)",
            ),
            (
                r#"{"a": {"references": [{"columns": ["b"], "table": "c", "to": ["d", "e"]}]}}"#,
                "tables entry \"a\", references: columns and to must hold as many names",
            ),
            (
                r#"{"a": {"references": [{"columns": ["b"], "table": "c", "to": ["d"], "when": "x"}]}}"#,
                "tables entry \"a\", references: key \"when\" is not known (Perhaps you meant \"where\".)",
            ),
            (r#"{"a": {"columns": ["b"]}}"#, "tables entry \"a\", columns must be an object, not an array"),
            (
                r#"{"a": {"columns": {"b": {"skipp": true}}}}"#,
                "tables entry \"a\", columns, \"b\": key \"skipp\" is not known (Perhaps you meant \"skip\".)",
            ),
            (
                r#"{"a": {"columns": {"b": {"skip": 1}}}}"#,
                "tables entry \"a\", columns, \"b\", skip must be true or false, not a number",
            ),
            (
                r#"{"a": {"columns": {"b": {"skip": true, "value": "1"}}}}"#,
                "tables entry \"a\", columns, \"b\": skip and value cannot both be given",
            ),
            (
                r#"{"a": {"columns": {"b": {"skip": true, "into": "c"}}}}"#,
                "tables entry \"a\", columns, \"b\": into and skip cannot both be given",
            ),
            (
                r#"{"a": {"columns": {"b": {"into": ""}}}}"#,
                "tables entry \"a\", columns, \"b\", into: a column's name must not be empty",
            ),
            (r#"{"a": {"into": "x.y.z"}}"#, "tables entry \"a\", into: a name has a schema and a name"),
            (r#"{"a": {"into": "*.y"}}"#, "tables entry \"a\", into: the schema must be a name without *"),
            (
                r#"{"a": {"into": "*a*"}}"#,
                "tables entry \"a\", into: * may stand in a name once, for the name on the source",
            ),
        ] {
            assert_eq!(refused(text), message, "{text}");
        }
    }

    #[test]
    fn names_on_the_destination() {
        for (into, expected) in [
            ("archive.*", ("archive", "Order")),
            ("people", ("sales", "people")),
            ("\"New\".\"Old*\"", ("New", "Old*")),
            ("old_*_2", ("sales", "old_Order_2")),
            ("Archive.People", ("archive", "people")),
        ] {
            let (schema, name) = TargetName::parse(into).unwrap().of("sales", "Order");
            assert_eq!((schema.as_str(), name.as_str()), expected, "{into}");
        }
    }

    #[test]
    fn the_schema_in_the_documentation_knows_the_same_keys() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tables.schema.json");
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let keys = |pointer: &str| -> Vec<String> {
            let mut keys: Vec<_> = schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys("/additionalProperties/properties"), ENTRY_KEYS);
        assert_eq!(keys("/additionalProperties/properties/columns/additionalProperties/properties"), COLUMN_KEYS);
    }
}
