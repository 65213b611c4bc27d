//! An open Parquet file, read one row group at a time.

use super::files::error_of;
use super::schema::{FileColumn, FileSchema, guarded, unreadable};
use crate::error::{Error, Result};
use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::column::page::{PageIterator, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquetpages::{ColumnPages, Limits, Reports, Source};
use pgrx::prelude::*;
use std::sync::Arc;

pub struct ParquetFile {
    /// As people know it.
    pub name: String,
    pub metadata: Arc<ParquetMetaData>,
    pub schema: FileSchema,
    source: Arc<dyn Source>,
}

/// What planning must know of a file. Of thousands of files the whole metadata would be too much.
pub struct FileOutline {
    pub name: String,
    pub columns: Arc<[FileColumn]>,
    pub row_groups: Vec<RowGroupOutline>,
}

#[derive(Debug, Clone, Copy)]
pub struct RowGroupOutline {
    pub rows: u64,
    /// Compressed.
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
            let file = metadata.file_metadata();
            let schema = FileSchema::new(file.schema_descr(), file.key_value_metadata())?;
            Ok((Arc::new(metadata), schema))
        };
        let (metadata, schema) = read().map_err(|error: Error| error.detail(format!("File {name}.")))?;
        Ok(Self { name: name.to_owned(), metadata, schema, source })
    }

    pub fn rows(&self, row_group: usize) -> u64 {
        self.metadata.row_group(row_group).num_rows().try_into().unwrap_or(0)
    }

    /// Compressed bytes of a whole row group.
    pub fn group_bytes(&self, row_group: usize) -> u64 {
        u64::try_from(self.metadata.row_group(row_group).compressed_size()).unwrap_or(0)
    }

    /// `other` is that of a file before, which most often has the same columns.
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
    pub fn read(&self, row_group: usize, columns: &[usize]) -> Result<Batches> {
        let levels = self.schema.levels(columns)?;
        let reports = Reports::default();
        let group = OneRowGroup {
            metadata: Arc::clone(&self.metadata),
            row_group,
            source: Arc::clone(&self.source),
            reports: Arc::clone(&reports),
        };
        let rows = self.rows(row_group);
        let bytes: i64 = self.metadata.row_group(row_group).total_byte_size();
        let average = (u64::try_from(bytes).unwrap_or(0) / rows.max(1)).max(1);
        let batch = (BATCH_BYTES / average).clamp(1, MOST_ROWS) as usize;
        let reader = guarded(|| {
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &group, batch, None).map_err(unreadable)
        });
        Ok(Batches {
            reader: reader.map_err(|error| first_reported(&self.name, &reports, error))?,
            reports,
            name: self.name.clone(),
        })
    }
}

/// Uncompressed bytes that a batch should have, and its rows at most.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
const MOST_ROWS: u64 = 8192;

/// The rows of one row group, some thousands at a time.
pub struct Batches {
    reader: ParquetRecordBatchReader,
    reports: Reports,
    name: String,
}

impl Batches {
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        let next = guarded(|| self.reader.next().transpose().map_err(unreadable));
        next.map_err(|error| first_reported(&self.name, &self.reports, error))
    }
}

/// What was found in the pages, or else what the Parquet library made of it.
fn first_reported(file: &str, reports: &Reports, error: Error) -> Error {
    let reported = reports.lock().ok().and_then(|mut first| first.take());
    reported.map_or(error, |reported| pages_error(file, reported))
}

fn pages_error(file: &str, error: parquetpages::Error) -> Error {
    crate::local::interrupts::check();
    match error {
        parquetpages::Error::Io(error) => error_of(file, &error),
        parquetpages::Error::Encrypted => {
            Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, "encrypted Parquet files cannot be read")
        }
        parquetpages::Error::Unsupported(text) => Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, text),
        parquetpages::Error::TooLarge(text) => Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, text),
        error => unreadable(error),
    }
}

/// The Parquet library's view of one row group, whose pages are read with bounds.
struct OneRowGroup {
    metadata: Arc<ParquetMetaData>,
    row_group: usize,
    source: Arc<dyn Source>,
    reports: Reports,
}

impl RowGroups for OneRowGroup {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.row_group).num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> parquet::errors::Result<Box<dyn PageIterator>> {
        let column = self.metadata.row_group(self.row_group).column(leaf);
        let pages = ColumnPages::new(Arc::clone(&self.source), column, Limits::default())
            .map_err(|error| ParquetError::External(Box::new(error)))?
            .report_to(Arc::clone(&self.reports));
        Ok(Box::new(OneChunk(Some(Box::new(pages)))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.row_group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

struct OneChunk(Option<Box<dyn PageReader>>);

impl Iterator for OneChunk {
    type Item = parquet::errors::Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OneChunk {}
