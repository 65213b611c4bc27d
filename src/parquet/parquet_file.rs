//! An open Parquet file, read one row group at a time.

use super::data_files::error_of;
use super::schema::{FileColumn, FileSchema, unreadable};
use crate::error::{Error, Result};
use arrow_array::RecordBatch;
use parquet::file::metadata::ParquetMetaData;
use parquetpages::{Limits, Source};
use pgrx::prelude::*;
use std::sync::Arc;

pub struct ParquetFile {
    /// The name for people.
    pub name: String,
    pub metadata: Arc<ParquetMetaData>,
    pub schema: FileSchema,
    source: Arc<dyn Source>,
}

/// The part of a file's metadata that planning needs. The whole metadata of thousands of files would be too much.
pub struct FileOutline {
    pub name: String,
    pub columns: Arc<[FileColumn]>,
    pub row_groups: Vec<RowGroupOutline>,
}

#[derive(Debug, Clone, Copy)]
pub struct RowGroupOutline {
    pub rows: u64,
    /// Compressed bytes.
    pub bytes: u64,
}

impl FileOutline {
    pub fn rows(&self) -> u64 {
        self.row_groups.iter().map(|group| group.rows).sum()
    }
}

impl ParquetFile {
    /// # Errors
    /// Each names the file.
    pub fn open(name: &str, source: Arc<dyn Source>) -> Result<Self> {
        let read = || {
            let metadata = parquetpages::read_metadata(source.as_ref(), &Limits::default())
                .map_err(|error| pages_error(name, error))?;
            let schema = FileSchema::new(metadata.file_metadata())?;
            Ok((Arc::new(metadata), schema))
        };
        let (metadata, schema) = read().map_err(|error: Error| error.detail(format!("File {name}.")))?;
        Ok(Self { name: name.to_owned(), metadata, schema, source })
    }

    pub fn rows(&self, row_group: usize) -> u64 {
        self.metadata.row_group(row_group).num_rows().try_into().unwrap_or(0)
    }

    /// Returns the compressed bytes of a whole row group.
    pub fn group_bytes(&self, row_group: usize) -> u64 {
        u64::try_from(self.metadata.row_group(row_group).compressed_size()).unwrap_or(0)
    }

    /// Returns the columns of the file; those of `other`, a file before it, where they are the same, as they are most
    /// often.
    pub fn outline(&self, other: Option<&FileOutline>) -> FileOutline {
        let columns = match other.filter(|other| *other.columns == *self.schema.columns) {
            Some(other) => Arc::clone(&other.columns),
            None => self.schema.columns.as_slice().into(),
        };
        let row_groups = (0..self.metadata.num_row_groups())
            .map(|number| RowGroupOutline { rows: self.rows(number), bytes: self.group_bytes(number) })
            .collect();
        FileOutline { name: self.name.clone(), columns, row_groups }
    }

    /// Reads some columns of a row group, in the order of the file whatever that of `columns`.
    pub fn read(&self, row_group: usize, columns: &[usize]) -> Result<Batches<'_>> {
        let batches = self.open_batches(row_group, columns)?.map_err(|error| self.unread(error));
        Ok(Batches { batches: batches?, file: self, row_group, columns: columns.to_vec() })
    }

    fn open_batches(
        &self,
        row_group: usize,
        columns: &[usize],
    ) -> Result<std::result::Result<parquetpages::Batches, parquetpages::Error>> {
        let levels = self.schema.levels(columns)?;
        let leaves = columns.iter().flat_map(|&column| self.schema.columns[column].leaves.clone());
        Ok(parquetpages::Batches::open(
            Arc::clone(&self.source),
            Arc::clone(&self.metadata),
            row_group,
            levels,
            leaves,
            Limits::default(),
        ))
    }

    fn unread(&self, error: parquetpages::Error) -> Error {
        pages_error(&self.name, error)
    }
}

/// The rows of one row group, some thousands at a time.
pub struct Batches<'a> {
    batches: parquetpages::Batches,
    file: &'a ParquetFile,
    row_group: usize,
    columns: Vec<usize>,
}

impl Batches<'_> {
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.batches.next().map_err(|error| self.placed(error))
    }

    /// Returns the error with its column, which the decoder of several columns does not tell.
    fn placed(&self, error: parquetpages::Error) -> Error {
        let is_of_decoder = matches!(&error, parquetpages::Error::Malformed(text) if !text.starts_with("column "));
        if !is_of_decoder || self.columns.len() < 2 {
            return self.named(self.columns.first().filter(|_| is_of_decoder), error);
        }
        for column in &self.columns {
            let Ok(Ok(mut alone)) = self.file.open_batches(self.row_group, &[*column]) else { continue };
            while alone.given() <= self.batches.given() {
                match alone.next() {
                    Ok(Some(_)) => crate::local::interrupts::check(),
                    Ok(None) => break,
                    Err(error) => return self.named(Some(column), error),
                }
            }
        }
        self.named(None, error)
    }

    fn named(&self, column: Option<&usize>, error: parquetpages::Error) -> Error {
        match (column, error) {
            (Some(&column), parquetpages::Error::Malformed(text)) if !text.starts_with("column ") => {
                let name = &self.file.schema.columns[column].name;
                self.file.unread(parquetpages::Error::Malformed(format!("column \"{name}\": {text}")))
            }
            (_, error) => self.file.unread(error),
        }
    }
}

fn pages_error(file: &str, error: parquetpages::Error) -> Error {
    crate::local::interrupts::check();
    match error {
        parquetpages::Error::Io(error) => error_of(file, &error),
        parquetpages::Error::NotParquet => {
            Error::new(PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT, format!("\"{file}\" is not a Parquet file"))
        }
        parquetpages::Error::Encrypted => {
            Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, "encrypted Parquet files cannot be read")
        }
        parquetpages::Error::Unsupported(text) => Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, text),
        parquetpages::Error::TooLarge(text) => Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, text),
        parquetpages::Error::OutOfMemory(text) => {
            Error::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory").detail(text)
        }
        error => unreadable(error),
    }
}
