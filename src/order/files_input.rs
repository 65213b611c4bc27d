use crate::error::{Error, Result};
use crate::local::settings::ValueSettings;
use crate::parquet::data_files::DataFile;
use crate::parquet::schema::FileColumn;
use crate::parquet::store::Store;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

/// All that loading files takes. It travels in the job's shared memory and may hold secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct FilesSpec {
    pub store: Store,
    pub files: Vec<DataFile>,
    /// What each part of the target is made of.
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
pub fn kept<'a>(columns: &'a [FileColumn], skip: &'a [String]) -> impl Iterator<Item = (usize, &'a FileColumn)> {
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
}

/// What becomes of a value of which something would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLossy {
    Error,
    /// It is rounded towards the past or zero, or cut.
    Truncate,
}

/// What becomes of a text that is not UTF-8, or that holds the character with code 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnInvalidText {
    Error,
    /// U+FFFD takes the place of each character that cannot be.
    Replace,
}
