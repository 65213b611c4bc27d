//! An open Parquet file, read one row group at a time.

use super::files::error_of;
use super::schema::{FileColumn, FileSchema, guarded, unreadable};
use crate::error::{Error, Result};
use arrow_array::RecordBatch;
use parquet::arrow::FieldLevels;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::basic::Type;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::ColumnDescriptor;
use parquetpages::{ColumnPages, Limits, Reports, Source};
use pgrx::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

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
            let schema = FileSchema::new(metadata.file_metadata())?;
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
        let budget = Arc::<BatchBudget>::default();
        let group = OneRowGroup {
            metadata: Arc::clone(&self.metadata),
            row_group,
            source: Arc::clone(&self.source),
            reports: Reports::default(),
            budget: Arc::clone(&budget),
        };
        let rows = self.first_batch_rows(row_group, columns);
        let mut batches = Batches { reader: None, levels, group, budget, rows, given: 0, name: self.name.clone() };
        batches.open()?;
        Ok(batches)
    }

    /// A power of two.
    fn first_batch_rows(&self, row_group: usize, columns: &[usize]) -> usize {
        let group = self.metadata.row_group(row_group);
        let bytes = u64::try_from(group.total_byte_size()).unwrap_or(0);
        let average = bytes / self.rows(row_group).max(1);
        // A NULL of such a type takes as much as a value.
        let leaves = columns.iter().flat_map(|&column| self.schema.columns[column].leaves.clone());
        let fixed: u64 = leaves.map(|leaf| fixed_bytes(group.column(leaf).column_descr())).sum();
        let rows = (BATCH_BYTES / average.max(fixed).max(1)).clamp(1, MOST_ROWS);
        1 << rows.ilog2()
    }
}

/// The length of a value of fixed length, which is no integer.
fn fixed_bytes(leaf: &ColumnDescriptor) -> u64 {
    match leaf.physical_type() {
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(leaf.type_length()).unwrap_or(0),
        _ => 0,
    }
}

/// Uncompressed bytes that a batch should have, and its rows at most.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
const MOST_ROWS: u64 = 8192;

/// What pages may add to a batch, besides the one of each column that it begins in. Rows can be longer than those of their
/// row group are on average.
const BUDGET: u64 = 8 * BATCH_BYTES;
/// How much smaller batches become where that is not enough. A power of two, so that old batches end where new ones do.
const SHRINKS_BY: usize = 8;

/// The rows of one row group, some thousands at a time.
pub struct Batches {
    reader: Option<ParquetRecordBatchReader>,
    levels: FieldLevels,
    group: OneRowGroup,
    budget: Arc<BatchBudget>,
    /// Of a batch.
    rows: usize,
    /// Rows of the batches so far.
    given: usize,
    name: String,
}

impl Batches {
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let error = match self.next_of_reader() {
                Ok(batch) => {
                    self.given += batch.as_ref().map_or(0, RecordBatch::num_rows);
                    return Ok(batch);
                }
                Err(error) => error,
            };
            if !self.budget.is_spent() {
                return Err(error);
            }
            self.rows = (self.rows / SHRINKS_BY).max(1);
            self.open()?;
            // The reader has no way back, and none forth that would be shorter for every column.
            let mut passed = 0;
            while passed < self.given {
                match self.next_of_reader()? {
                    Some(batch) => passed += batch.num_rows(),
                    None => break,
                }
            }
            if passed != self.given {
                return Err(Error::internal("batches of another size end elsewhere"));
            }
        }
    }

    /// From the first row on.
    fn open(&mut self) -> Result<()> {
        // A row is what it is.
        self.budget.start(if self.rows == 1 { u64::MAX } else { BUDGET });
        let reader = guarded(|| {
            ParquetRecordBatchReader::try_new_with_row_groups(&self.levels, &self.group, self.rows, None)
                .map_err(unreadable)
        });
        self.reader = Some(reader.map_err(|error| first_reported(&self.name, &self.group.reports, error))?);
        Ok(())
    }

    fn next_of_reader(&mut self) -> Result<Option<RecordBatch>> {
        self.budget.begin_batch();
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let next = guarded(|| reader.next().transpose().map_err(unreadable));
        next.map_err(|error| first_reported(&self.name, &self.group.reports, error))
    }
}

/// What the pages of a batch may take.
#[derive(Default)]
struct BatchBudget {
    batch: AtomicU64,
    left: AtomicU64,
    limit: AtomicU64,
    spent: AtomicBool,
}

impl BatchBudget {
    fn start(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
        self.spent.store(false, Relaxed);
    }

    fn begin_batch(&self) {
        self.batch.fetch_add(1, Relaxed);
        self.left.store(self.limit.load(Relaxed), Relaxed);
    }

    /// False where the batch would become too big.
    fn take(&self, bytes: u64) -> bool {
        let left = self.left.load(Relaxed);
        self.left.store(left.saturating_sub(bytes), Relaxed);
        if bytes > left {
            self.spent.store(true, Relaxed);
        }
        bytes <= left
    }

    fn is_spent(&self) -> bool {
        self.spent.load(Relaxed)
    }
}

/// Pages that are counted against the budget.
struct CountedPages {
    pages: ColumnPages,
    budget: Arc<BatchBudget>,
    /// What a value takes in a batch beside its bytes in the page. Of a column that is not repeated a batch has few.
    value_bytes: u64,
    /// The batch that the last page was given to; none at first.
    batch: u64,
}

impl PageReader for CountedPages {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        let Some(page) = self.pages.get_next_page()? else { return Ok(None) };
        if page.is_data_page() {
            let batch = self.budget.batch.load(Relaxed);
            let bytes = page.buffer().len() as u64 + u64::from(page.num_values()) * self.value_bytes;
            if self.batch == batch && !self.budget.take(bytes) {
                return Err(ParquetError::General("a batch would become too big".into()));
            }
            self.batch = batch;
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> parquet::errors::Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for CountedPages {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
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
    budget: Arc<BatchBudget>,
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
        let leaf = column.column_descr();
        // A view, or what is longer.
        let value_bytes = if leaf.max_rep_level() > 0 { fixed_bytes(leaf).max(16) } else { 0 };
        let counted = CountedPages { pages, budget: Arc::clone(&self.budget), value_bytes, batch: u64::MAX };
        Ok(Box::new(OneChunk(Some(Box::new(counted)))))
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
