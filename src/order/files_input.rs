use crate::error::{Error, Result};
use crate::local::settings::ValueSettings;
use crate::parquet::data_files::DataFile;
use crate::parquet::schema::FileColumn;
use crate::parquet::store::Store;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

/// The description of a load of files. It travels in the job's shared memory and may hold secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct FilesSpec {
    pub store: Store,
    pub files: Vec<DataFile>,
    /// The row groups of each part of the target.
    pub parts: Vec<Vec<RowGroup>>,
    /// The sources of each column of the target that the files fill, in the order of its attributes.
    pub columns: Vec<ColumnSource>,
    /// The numbers of those columns that some file has nothing for.
    pub partial: Vec<i16>,
    pub on_lossy: OnLossy,
    pub on_invalid_text: OnInvalidText,
    /// The settings of the caller's session, with which texts are read.
    pub settings: ValueSettings,
}

/// A piece of a file, by positions from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroup {
    pub file: usize,
    pub number: usize,
    /// Compressed bytes.
    pub bytes: u64,
}

/// The source of a column's values.
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
    /// A value that is the same for all rows.
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

/// Returns the columns that are not skipped, with their positions.
pub fn kept<'a>(columns: &'a [FileColumn], skip: &'a [String]) -> impl Iterator<Item = (usize, &'a FileColumn)> {
    columns.iter().enumerate().filter(|(_, column)| !skip.contains(&column.name))
}

fn missing(column: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN, format!("column \"{column}\" is not in every file"))
}

impl FilesSpec {
    /// Describes the origin of the rows for people.
    pub fn describe(&self) -> String {
        match self.files.as_slice() {
            [file] => file.name.clone(),
            files => format!("{} files, {} first", files.len(), files.first().map_or("", |file| file.name.as_str())),
        }
    }

    /// Returns the compressed bytes of one part.
    pub fn part_bytes(&self, part: usize) -> u64 {
        self.parts[part].iter().map(|group| group.bytes).sum()
    }

    /// Returns the compressed bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().flatten().map(|group| group.bytes).sum()
    }
}

/// The treatment of a value of which something would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLossy {
    Error,
    /// The value is rounded towards the past or zero, or cut.
    Truncate,
}

/// The treatment of a text that is not UTF-8, or that holds the character with code 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnInvalidText {
    Error,
    /// U+FFFD replaces each character that cannot be stored.
    Replace,
}
