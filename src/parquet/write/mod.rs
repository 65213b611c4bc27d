//! COPY TO a Parquet file: rows are gathered into Arrow arrays, which the `parquet` crate encodes row group by row group.

mod byte_values;
mod column;
mod convert;
mod numeric;
mod options;
mod refusal;

use crate::error::{Error, Result};
use crate::local::copy_statement::CopyStatement;
use crate::local::datum::Row;
use crate::local::interrupts;
use crate::local::new_file::{NewFile, file_error};
use crate::local::progress::CopyToProgress;
use crate::local::query::ResultColumn;
use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use column::Column;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use pgrx::prelude::*;
use refusal::Refusal;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use options::WriteOptions;

/// The number of rows that are encoded together: enough for encoders to be quick, few enough to stay in the processor's
/// cache.
const BATCH_ROWS: usize = 4096;
/// The bytes of values, about, after which big rows are encoded.
const BATCH_BYTES: usize = 8 << 20;

/// Writes the rows that the statement reads and returns their number. The file exists when this returns, and never in
/// part.
pub fn copy_to(statement: &CopyStatement, path: &Path, options: &WriteOptions) -> Result<u64> {
    let source = statement.open_source()?;
    let columns = source.query.columns();
    refuse_columns(&columns)?;
    let mut writer = TableWriter::create(path, columns, options)?;
    let progress = CopyToProgress::start(source.relation);
    let rows = source.query.run(&mut |row| writer.add(row, &progress));
    writer.finish(&progress)?;
    Ok(rows)
}

/// Refuses columns that a Parquet file cannot have.
fn refuse_columns(columns: &[ResultColumn]) -> Result<()> {
    if columns.is_empty() {
        let message = "cannot write a Parquet file without columns";
        return Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message));
    }
    let mut names = HashSet::new();
    match columns.iter().find(|column| !names.insert(&column.name)) {
        None => Ok(()),
        Some(column) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_COLUMN,
            format!("column name \"{}\" appears more than once", column.name),
        )
        .hint("Give the columns of the query names with AS.")),
    }
}

struct TableWriter {
    columns: Vec<Column>,
    schema: SchemaRef,
    file: ArrowWriter<NewFile>,
    path: PathBuf,
    /// The number of the statement's rows so far.
    rows: u64,
    /// The number of rows that are not encoded yet, and about how many bytes they are.
    batch_rows: usize,
    batch_bytes: usize,
    /// The bytes at which a batch is encoded: the size of a row group is looked at between batches.
    full_batch_bytes: usize,
}

impl TableWriter {
    fn create(path: &Path, columns: Vec<ResultColumn>, options: &WriteOptions) -> Result<Self> {
        let columns: Vec<Column> = columns
            .into_iter()
            .map(|column| Column::new(column.name, column.type_oid, column.typmod, column.dimensions))
            .collect();
        let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_created_by(concat!("pgcopy version ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(options.compression)
            .set_max_row_group_row_count(Some(options.row_group_rows))
            .set_max_row_group_bytes(Some(options.row_group_bytes))
            .build();
        // The file gets the schema in Arrow's form, too: polars takes JSON for bytes without it.
        let full_batch_bytes = BATCH_BYTES.min(options.row_group_bytes);
        let options = ArrowWriterOptions::new().with_properties(properties);
        let file = NewFile::create(path)?;
        let file =
            ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options).map_err(|error| plain(&error))?;
        Ok(Self { columns, schema, file, path: path.into(), rows: 0, batch_rows: 0, batch_bytes: 0, full_batch_bytes })
    }

    fn add(&mut self, row: Row<'_>, progress: &CopyToProgress) -> Result<()> {
        if self.batch_rows >= BATCH_ROWS || self.batch_bytes >= self.full_batch_bytes {
            self.write_batch(progress)?;
        }
        self.rows += 1;
        self.batch_rows += 1;
        for (position, column) in self.columns.iter_mut().enumerate() {
            match column.append(row.value(position)) {
                Ok(bytes) => self.batch_bytes += bytes,
                Err(refusal) => return Err(self.locate(refusal, position)),
            }
        }
        Ok(())
    }

    fn locate(&self, refusal: Refusal, position: usize) -> Error {
        let name = plan::quote_identifier(self.schema.field(position).name());
        refusal.error.detail(format!("Row {}, column {name}{}.", self.rows, refusal.path))
    }

    fn write_batch(&mut self, progress: &CopyToProgress) -> Result<()> {
        interrupts::check();
        let arrays = self
            .columns
            .iter_mut()
            .map(Column::finish)
            .collect::<std::result::Result<_, ArrowError>>()
            .map_err(|error| plain(&error))?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| plain(&error))?;
        self.file.write(&batch).map_err(|error| write_error(&self.path, &error))?;
        (self.batch_rows, self.batch_bytes) = (0, 0);
        progress.update(self.rows, self.file.bytes_written() as u64);
        Ok(())
    }

    fn finish(mut self, progress: &CopyToProgress) -> Result<()> {
        self.write_batch(progress)?;
        self.file.finish().map_err(|error| write_error(&self.path, &error))?;
        self.file.inner_mut().complete()
    }
}

/// Returns the error of the file system, where it is one.
fn write_error(path: &Path, error: &ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast_ref::<io::Error>() {
            Some(cause) => file_error("could not write to file", path, cause),
            None => plain(error),
        },
        _ => plain(error),
    }
}

fn plain(error: &dyn std::error::Error) -> Error {
    Error::internal(format!("could not write Parquet data: {error}"))
}
