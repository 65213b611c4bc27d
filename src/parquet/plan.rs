//! Which columns of which files go where, decided before anything is loaded.

use super::file::{FileOutline, ParquetFile};
use super::files::DataFile;
use super::schema::{FileColumn, Shape};
use super::store::Store;
use crate::error::{Error, Result};
use crate::load::{OnInvalidText, OnLossy, Target};
use crate::local::settings::ValueSettings;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// All that loading files takes. It travels in the job's shared memory and may hold secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct FilesSpec {
    pub store: Store,
    pub files: Vec<DataFile>,
    /// For each part of the target, in the order of its parts.
    pub parts: Vec<Vec<RowGroup>>,
    /// For each column of the target that the files fill, in the order of its attributes.
    pub columns: Vec<ColumnSource>,
    /// The numbers of those columns that some file has nothing for.
    pub partial: Vec<i16>,
    pub on_lossy: OnLossy,
    pub on_invalid_text: OnInvalidText,
    /// Of the caller's session, in which texts are read.
    pub settings: ValueSettings,
}

/// A piece of a file, by positions from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroup {
    pub file: usize,
    pub number: usize,
    /// Compressed.
    pub bytes: u64,
}

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnSource {
    /// A column of the file.
    Named(String),
    /// The position from 0 among the columns of the file, without those of these names.
    At { position: usize, skip: Vec<String> },
    /// A folder `key=value` that the file is in.
    Folder(String),
}

/// The source of one column in one file.
pub enum Found<'a> {
    Column(usize),
    /// The same for all rows.
    Constant(Option<&'a str>),
    /// The file has no such column.
    Nothing,
}

impl ColumnSource {
    pub fn find<'a>(&self, data_file: &'a DataFile, columns: &[FileColumn]) -> Result<Found<'a>> {
        match self {
            Self::Folder(key) => {
                let value = data_file.partition.iter().find(|(folder, _)| folder == key);
                match value {
                    Some((_, value)) => Ok(Found::Constant(value.as_deref())),
                    None => Err(missing(key).detail(format!("File {} is in no folder {key}=….", data_file.name))),
                }
            }
            Self::At { position, skip } => {
                match kept(columns, skip).nth(*position) {
                    Some((position, _)) => Ok(Found::Column(position)),
                    None => Err(missing(&(position + 1).to_string())
                        .detail(format!("File {} has no such column.", data_file.name))),
                }
            }
            Self::Named(name) => {
                let position = columns.iter().position(|column| column.name == *name);
                Ok(position.map_or(Found::Nothing, Found::Column))
            }
        }
    }
}

/// The columns that are not skipped, with their positions.
fn kept<'a>(columns: &'a [FileColumn], skip: &'a [String]) -> impl Iterator<Item = (usize, &'a FileColumn)> {
    columns.iter().enumerate().filter(|(_, column)| !skip.contains(&column.name))
}

fn missing(column: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN, format!("column \"{column}\" is not in every file"))
}

impl FilesSpec {
    /// For people.
    pub fn describe(&self) -> String {
        match self.files.as_slice() {
            [file] => file.name.clone(),
            files => format!("{} files, {} first", files.len(), files.first().map_or("", |file| file.name.as_str())),
        }
    }

    /// Compressed bytes of one part.
    pub fn part_bytes(&self, part: usize) -> u64 {
        self.parts[part].iter().map(|group| group.bytes).sum()
    }

    /// Compressed bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().flatten().map(|group| group.bytes).sum()
    }

    pub fn open(&self, file: usize) -> Result<ParquetFile> {
        let data_file = &self.files[file];
        ParquetFile::open(&data_file.name, self.store.open(data_file)?)
    }
}

/// The shape of a folder's values: whatever the column's input function takes.
pub const FOLDER_SHAPE: Shape = Shape::Scalar(super::schema::Scalar::Text);

/// A column of the target, in the order of its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetColumn {
    pub number: i16,
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
    pub type_name: String,
    pub generated: bool,
}

/// How columns of the files find their columns of the target.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    pub by_position: bool,
    /// Columns of the target with those of the files that go there.
    pub map: Vec<(String, String)>,
    /// Columns of the files that are left out; `*` for all that have no place.
    pub skip: Vec<String>,
    /// Set by COPY, which has a list of columns instead of `map` and `skip`.
    pub copy: Option<ColumnList>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnList {
    None,
    /// Columns that are not listed stay out, and those that are must be there.
    Given,
}

impl Matching {
    fn skips(&self, name: &str) -> bool {
        self.skip.iter().any(|skipped| skipped == name)
    }

    /// The columns that folders give. Where a file has a column of the same name, skipping leaves out that of the file.
    fn folders<'a>(&self, files: &[FileOutline], data_files: &'a [DataFile]) -> Vec<&'a str> {
        let Some(first) = data_files.first() else { return Vec::new() };
        let keys = first.partition.iter().map(|(key, _)| key.as_str());
        keys.filter(|key| !self.skips(key) || has_column(files, key)).collect()
    }

    fn hint(&self) -> &'static str {
        match self.copy {
            None => {
                "Columns are matched by name. columns => '{\"target\": \"file\"}' pairs other names, skip => '{name}' leaves columns of the files out, match_by => 'position' takes them in order."
            }
            Some(_) => {
                "Columns are matched by name. With a list of columns, those of the files that are not listed are left out; the option match_by 'position' takes them in order."
            }
        }
    }
}

/// The columns, in the order of the target's, that not every file has.
pub fn partial_columns(
    outlines: &[FileOutline],
    data_files: &[DataFile],
    sources: &[(TargetColumn, ColumnSource)],
) -> Vec<i16> {
    let is_missing = |source: &ColumnSource| {
        let mut files = data_files.iter().zip(outlines);
        files.any(|(data_file, file)| matches!(source.find(data_file, &file.columns), Ok(Found::Nothing)))
    };
    sources.iter().filter(|(_, source)| is_missing(source)).map(|(column, _)| column.number).collect()
}

fn has_column(files: &[FileOutline], name: &str) -> bool {
    files.iter().any(|file| file.columns.iter().any(|column| column.name == name))
}

/// The columns that the files fill, with where each comes from.
///
/// # Errors
/// One for all that does not fit: columns without a place, columns that are missing, types that do not go together.
pub fn match_columns(
    files: &[FileOutline],
    data_files: &[DataFile],
    columns: &[TargetColumn],
    matching: &Matching,
) -> Result<Vec<(TargetColumn, ColumnSource)>> {
    let mut problems = Vec::new();
    for file in files {
        problems.extend(duplicates(file).map(|name| format!("{}: there are two columns \"{name}\"", file.name)));
    }
    let all_folders: Vec<&str> =
        data_files.first().map_or_else(Vec::new, |file| file.partition.iter().map(|(key, _)| key.as_str()).collect());
    for (target, source) in &matching.map {
        if !columns.iter().any(|column| column.name == *target) {
            problems.push(format!("the target has no column \"{target}\""));
        }
        if !has_column(files, source) && !all_folders.contains(&source.as_str()) {
            problems.push(format!("no file has a column \"{source}\""));
        }
    }
    for name in matching.skip.iter().filter(|name| *name != "*") {
        if !has_column(files, name) && !all_folders.contains(&name.as_str()) {
            problems.push(format!("no file has a column \"{name}\" to skip"));
        }
    }
    let folders = matching.folders(files, data_files);
    for key in folders.iter().filter(|key| !matching.skips(key)) {
        if let Some(file) = files.iter().find(|file| file.columns.iter().any(|column| column.name == **key)) {
            problems.push(format!("{}: both the file and a folder above it have a column \"{key}\"", file.name));
        }
    }
    let writable: Vec<&TargetColumn> = columns.iter().filter(|column| !column.generated).collect();
    let sources: Vec<(TargetColumn, ColumnSource)> = if matching.by_position {
        let most = files.iter().map(|file| kept(&file.columns, &matching.skip).count()).max().unwrap_or(0);
        let of_files = (0..most).map(|position| ColumnSource::At { position, skip: matching.skip.clone() });
        let of_folders = folders.iter().map(|key| ColumnSource::Folder((*key).to_owned()));
        writable.iter().map(|column| (*column).clone()).zip(of_files.chain(of_folders)).collect()
    } else {
        writable
            .iter()
            .filter_map(|column| Some(((*column).clone(), named_source(column, files, &folders, matching)?)))
            .collect()
    };
    if matching.copy == Some(ColumnList::Given) {
        let unfilled = writable.iter().filter(|column| !sources.iter().any(|(filled, _)| filled.name == column.name));
        problems.extend(unfilled.map(|column| format!("there is nothing for the listed column \"{}\"", column.name)));
    }
    problems.extend(unused_columns(files, &folders, columns, &sources, matching));
    for (data_file, file) in data_files.iter().zip(files) {
        let finds_nothing = |(_, source): &(TargetColumn, ColumnSource)| {
            matches!(source.find(data_file, &file.columns), Ok(Found::Nothing | Found::Constant(_)))
        };
        if !sources.is_empty() && sources.iter().all(finds_nothing) && !file.columns.is_empty() {
            problems.push(format!("{}: the file has none of the table's columns", file.name));
            continue;
        }
        for (column, source) in &sources {
            match source.find(data_file, &file.columns) {
                Ok(Found::Column(position)) => {
                    let target = Target::of(column.type_oid.into(), column.typmod);
                    let from = &file.columns[position];
                    if let Some(reason) = target.refusal(&from.shape) {
                        problems.push(format!(
                            "{}: column \"{}\" ({}) cannot be stored in column \"{}\" ({}): {reason}",
                            file.name, from.name, from.arrow_type, column.name, column.type_name
                        ));
                    }
                }
                Ok(Found::Nothing) if matching.copy == Some(ColumnList::Given) => {
                    problems.push(format!("{}: there is nothing for the listed column \"{}\"", file.name, column.name));
                }
                Ok(Found::Constant(_) | Found::Nothing) => {}
                Err(error) => problems
                    .push(format!("{}: there is nothing for column \"{}\": {}", file.name, column.name, error.message)),
            }
        }
    }
    if sources.is_empty() && problems.is_empty() {
        problems.push("no column of the files has the name of a column of the target".to_owned());
    }
    if problems.is_empty() {
        return Ok(sources);
    }
    const MOST_LINES: usize = 50;
    let more = problems.len().saturating_sub(MOST_LINES);
    problems.truncate(MOST_LINES);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH, "the files do not fit the target; nothing was touched")
        .details(problems)
        .hint(matching.hint()))
}

fn duplicates(file: &FileOutline) -> impl Iterator<Item = &str> {
    let columns = &file.columns;
    columns.iter().enumerate().filter_map(|(position, column)| {
        let again = columns[position + 1..].iter().any(|other| other.name == column.name);
        again.then_some(column.name.as_str())
    })
}

/// The exact name, or else the only one that differs from it in nothing but the case of its letters.
fn named_source(
    column: &TargetColumn,
    files: &[FileOutline],
    folders: &[&str],
    matching: &Matching,
) -> Option<ColumnSource> {
    let mapped = matching.map.iter().find(|(target, _)| *target == column.name).map(|(_, source)| source.as_str());
    let names: BTreeSet<&str> = files
        .iter()
        .flat_map(|file| kept(&file.columns, &matching.skip).map(|(_, column)| column.name.as_str()))
        .collect();
    let source = |name: &str| {
        let from_folder = folders.contains(&name) && !names.contains(name);
        let name = name.to_owned();
        if from_folder { ColumnSource::Folder(name) } else { ColumnSource::Named(name) }
    };
    if let Some(name) = mapped {
        return Some(source(name));
    }
    let all: BTreeSet<&str> = names.iter().chain(folders).copied().collect();
    if all.contains(column.name.as_str()) {
        return Some(source(&column.name));
    }
    let alike: Vec<_> = all.iter().filter(|name| clipped(name).to_lowercase() == column.name.to_lowercase()).collect();
    match alike.as_slice() {
        [name] => Some(source(name)),
        _ => None,
    }
}

/// A name as the server keeps it.
pub fn clipped(name: &str) -> &str {
    const LONGEST: usize = pg_sys::NAMEDATALEN as usize - 1;
    &name[..name.floor_char_boundary(LONGEST)]
}

fn unused_columns(
    files: &[FileOutline],
    folders: &[&str],
    columns: &[TargetColumn],
    sources: &[(TargetColumn, ColumnSource)],
    matching: &Matching,
) -> Vec<String> {
    let listed_by_name = matching.copy == Some(ColumnList::Given) && !matching.by_position;
    if matching.skips("*") || listed_by_name {
        return Vec::new();
    }
    let no_place = |name: &str| {
        let named = columns.iter().find(|column| column.name == name);
        let taker = named.and_then(|column| matching.map.iter().find(|(target, _)| *target == column.name));
        match (taker, named) {
            (Some((target, source)), _) => {
                format!("\"{name}\" has no place left: the target's column \"{target}\" takes \"{source}\"")
            }
            (None, Some(column)) if column.generated => {
                format!("the target's column \"{name}\" is generated, and takes no values")
            }
            _ => format!("the target has no column for \"{name}\""),
        }
    };
    let mut unused = Vec::new();
    for file in files {
        for (at, (_, column)) in kept(&file.columns, &matching.skip).enumerate() {
            let used = sources.iter().any(|(_, source)| match source {
                ColumnSource::Named(name) => *name == column.name,
                ColumnSource::At { position, .. } => *position == at,
                ColumnSource::Folder(_) => false,
            });
            if !used {
                unused.push(format!("{}: {}", file.name, no_place(&column.name)));
            }
        }
    }
    for key in folders {
        let used = sources.iter().any(|(_, source)| matches!(source, ColumnSource::Folder(name) if name == key));
        // Said already of one that a file has, too.
        if !used && !has_column(files, key) {
            unused.push(format!("folders {key}=…: {}", no_place(key)));
        }
    }
    unused
}

/// Columns of a table that is made for the files.
pub struct NewColumn {
    pub name: String,
    pub type_name: String,
    /// The name in the files.
    source: String,
}

impl NewColumn {
    /// The type whatever is on the search path. The grammar itself sees to the other names.
    pub fn qualified_type(&self) -> String {
        match self.type_name.trim_end_matches("[]") {
            "bytea" | "date" | "json" | "jsonb" | "text" | "uuid" => format!("pg_catalog.{}", self.type_name),
            _ => self.type_name.clone(),
        }
    }
}

/// The columns that files need, with the names that they are to have.
///
/// # Errors
/// When files disagree on a column in a way that no type bridges.
pub fn new_columns(files: &[FileOutline], data_files: &[DataFile], matching: &Matching) -> Result<Vec<NewColumn>> {
    let mut columns: Vec<(String, Shape)> = Vec::new();
    for file in files {
        for (_, column) in kept(&file.columns, &matching.skip) {
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
    for key in matching.folders(files, data_files) {
        if !typed.iter().any(|(name, _)| name == key) {
            let values = data_files.iter().flat_map(|file| &file.partition).filter(|(other, _)| other == key);
            typed.push((key.to_owned(), folder_type(values.filter_map(|(_, value)| value.as_deref())).to_owned()));
        }
    }
    let mut named = Vec::with_capacity(typed.len());
    for (source, type_name) in typed {
        let given: Vec<&String> =
            matching.map.iter().filter(|(_, file)| *file == source).map(|(target, _)| target).collect();
        let names = if given.is_empty() { vec![&source] } else { given };
        named.extend(names.into_iter().map(|name| NewColumn {
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
/// With the file and the column.
pub fn check_new_names(columns: &[NewColumn], files: &[FileOutline]) -> Result<()> {
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
    use crate::parquet::schema::Scalar as S;
    let (left, right) = match (one, other) {
        (Shape::Scalar(left), Shape::Scalar(right)) => (left, right),
        (Shape::Scalar(S::Null), shape) | (shape, Shape::Scalar(S::Null)) => return Some(shape.clone()),
        (Shape::List(left), Shape::List(right)) => return wider(left, right).map(|wider| Shape::List(Box::new(wider))),
        // Whatever is in documents.
        _ => return [one, other].into_iter().all(Shape::is_document).then(|| one.clone()),
    };
    Some(Shape::Scalar(match (*left, *right) {
        (same, again) if same == again => same,
        (S::Null, scalar) | (scalar, S::Null) => scalar,
        (S::Int { bits: b1, signed: s1 }, S::Int { bits: b2, signed: s2 }) if s1 == s2 => {
            S::Int { bits: b1.max(b2), signed: s1 }
        }
        // Bits that hold both signs.
        (S::Int { bits: signed, signed: true }, S::Int { bits: unsigned, .. })
        | (S::Int { bits: unsigned, .. }, S::Int { bits: signed, signed: true }) => {
            let bits = signed.max(unsigned.saturating_mul(2));
            if bits > 64 { S::Decimal { precision: 20, scale: 0 } } else { S::Int { bits, signed: true } }
        }
        (S::Float16 | S::Float32 | S::Float64, S::Float16 | S::Float32 | S::Float64) => S::Float64,
        // A number that has more digits than that is an error, not another number.
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
            // One without a sensible precision may have any digits.
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

/// The type that all folders' values have the form of.
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

/// The statement that makes a table for the files. `name` is quoted where it must be.
pub fn create_table(name: &str, columns: &[NewColumn], type_of: impl Fn(&NewColumn) -> String) -> String {
    let columns: Vec<_> = columns
        .iter()
        .map(|column| format!("{} {}", ::plan::quote_identifier(&column.name), type_of(column)))
        .collect();
    format!("CREATE TABLE {name} ({})", columns.join(", "))
}
