//! Rows of Parquet files to heap: a batch of columns at a time.

use super::arrow::{self, ColumnReader, PreparedColumn, Rebase, Rules, Target};
use super::expressions::Filter;
use super::insert::Inserter;
use super::writer::{RowValues, TableWriter};
use super::{LoadHelper, Position, concerns_a_row, refuse_lost_rows};
use crate::error::{Error, Result, catch, sqlstate_class};
use crate::local::interrupts;
use crate::order::{FilesSpec, Found, Loaded, RowGroup, TableSpec};
use crate::parquet::parquet_file::ParquetFile;
use crate::parquet::schema::{Scalar, Shape};
use crate::storage::tuple::Accept;
use arrow_array::{Array, BinaryViewArray};
use pgrx::prelude::*;
use std::cell::Cell;
use std::sync::Arc;

/// The shape of a folder's values: any text that the column's input function takes.
const FOLDER_SHAPE: Shape = Shape::Scalar(Scalar::Text);

fn open(files: &FilesSpec, file: usize) -> Result<ParquetFile> {
    let data_file = &files.files[file];
    ParquetFile::open(&data_file.name, files.store.open(data_file)?)
}

/// Files that were opened, the last one kept.
#[derive(Default)]
pub struct OpenFiles(Option<(usize, Arc<ParquetFile>)>);

impl OpenFiles {
    pub fn keep(&mut self, position: usize, file: ParquetFile) {
        self.0 = Some((position, Arc::new(file)));
    }

    fn get(&mut self, files: &FilesSpec, file: usize) -> Result<Arc<ParquetFile>> {
        if let Some((open, parquet)) = &self.0
            && *open == file
        {
            return Ok(Arc::clone(parquet));
        }
        let parquet = Arc::new(open(files, file)?);
        self.0 = Some((file, Arc::clone(&parquet)));
        Ok(parquet)
    }
}

/// Stores the rows of one part of the files in a stage table.
///
/// # Errors
/// The error of a row that cannot be stored, with file, row group, row and column. The transaction must then be given
/// up.
pub fn load_row_groups(
    files: &FilesSpec,
    part: usize,
    open_files: &mut OpenFiles,
    table: &TableSpec,
    stage: u32,
    helper: &dyn LoadHelper,
) -> Result<Loaded> {
    let position = Position::default();
    let mut at = None;
    let outcome = catch(|| {
        let mut targets = Vec::with_capacity(table.columns.len());
        let mut writer = TableWriter::open(stage, table, &position, helper, |column, attribute| {
            targets.push(Target::of(attribute.type_oid, attribute.typmod));
            column
        })?;
        let mut loaded = Loaded::default();
        for row_group in &files.parts[part] {
            at = Some(*row_group);
            position.row.set(0);
            let file = open_files.get(files, row_group.file)?;
            let columns = BatchColumns::plan(files, row_group.file, &file)?;
            writer.leave_out(columns.left_out());
            let each = EachRow {
                files,
                row_group: *row_group,
                file: &file,
                columns: &columns,
                targets: &targets,
                position: &position,
            };
            let group = each.run(&|loaded| helper.add_progress(loaded), |batch, row| {
                writer.add_row(batch.longest(row), BatchRow { batch, row })
            })?;
            loaded.rows += group.rows;
            loaded.bytes += group.bytes;
        }
        refuse_lost_rows(loaded.rows, writer.finish()?)?;
        Ok(loaded)
    });
    outcome.map_err(|error| match at {
        Some(row_group) => locate(error, files, row_group, table, &position),
        None => error,
    })
}

/// Adds the rows of all files to a table as it stands, in the caller's transaction, and tells `on_progress` of them on
/// the way. Returns the number of rows that were stored from each file.
///
/// # Errors
/// The errors of COPY FROM, with file, row group, row and column. The transaction must then be given up.
pub fn insert_row_groups(
    files: &FilesSpec,
    open_files: &mut OpenFiles,
    table: &TableSpec,
    filter: Option<Filter>,
    on_progress: &dyn Fn(Loaded),
) -> Result<Vec<u64>> {
    let position = Position::default();
    let at = Cell::new(None);
    let outcome = catch(|| {
        let filled: Vec<usize> = table.columns.iter().map(|column| (column.number - 1) as usize).collect();
        let is_partial = |attribute: &&usize| files.partial.iter().any(|number| **attribute + 1 == *number as usize);
        let filled_by_all: Vec<usize> = filled.iter().filter(|attribute| !is_partial(attribute)).copied().collect();
        let mut inserter = Inserter::open(table.target, &filled_by_all, filter)?;
        let targets = inserter.targets(&filled);
        let mut stored_of_files = vec![0; files.files.len()];
        // The numbers of rows that were stored, and that were reported.
        let (stored, told) = (Cell::new(0), Cell::new(0));
        let tell = |bytes| on_progress(Loaded { rows: stored.get() - told.replace(stored.get()), bytes });
        for row_group in files.parts.iter().flatten() {
            at.set(Some(*row_group));
            position.row.set(0);
            let file = open_files.get(files, row_group.file)?;
            let before = stored.get();
            let columns = BatchColumns::plan(files, row_group.file, &file)?;
            let supplied = filled.iter().zip(columns.left_out()).filter(|(_, is_left_out)| !is_left_out);
            inserter.supply(supplied.map(|(attribute, _)| *attribute));
            let each = EachRow {
                files,
                row_group: *row_group,
                file: &file,
                columns: &columns,
                targets: &targets,
                position: &position,
            };
            each.run(&|read| tell(read.bytes), |batch, row| {
                inserter.add(|values, nulls| {
                    for (column, &attribute) in filled.iter().enumerate() {
                        position.column.set(Some(column));
                        if let Some(datum) = batch.value(column, row, arrow::datum_of)? {
                            values[attribute] = datum;
                            nulls[attribute] = false;
                        }
                    }
                    position.column.set(None);
                    Ok(())
                })?;
                stored.set(inserter.stored());
                Ok(())
            })?;
            inserter.flush();
            stored.set(inserter.stored());
            tell(0);
            stored_of_files[row_group.file] += stored.get() - before;
        }
        at.set(None);
        inserter.finish();
        Ok(stored_of_files)
    });
    outcome.map_err(|error| match at.get() {
        Some(row_group) => locate(error, files, row_group, table, &position),
        None => error,
    })
}

/// The columns of a batch, ready to be read row by row.
struct Batch<'a> {
    readers: Vec<ColumnReader<'a>>,
    columns: &'a BatchColumns,
    /// The most bytes that a row's values take, with their lengths and padding.
    longest: usize,
}

/// The most bytes by which the length of a row may be overestimated.
const NEGLIGIBLE: usize = 16 << 20;

impl<'a> Batch<'a> {
    fn new(prepared: &'a [PreparedColumn<'a>], columns: &'a BatchColumns) -> Self {
        let readers: Vec<_> = prepared.iter().map(PreparedColumn::reader).collect();
        let longest = readers.iter().map(|reader| reader.longest).sum();
        Self { readers, columns, longest }
    }

    /// Returns the most bytes that the values of a row take. Where that is not much, it is the length of the longest of
    /// all rows.
    #[inline]
    fn longest(&self, row: usize) -> usize {
        if self.longest <= NEGLIGIBLE { self.longest } else { self.bytes(row) }
    }

    #[cold]
    fn bytes(&self, row: usize) -> usize {
        let readers = self.readers.iter().enumerate();
        readers.map(|(column, reader)| reader.bytes(self.columns.row(column, row))).sum()
    }

    #[inline(always)]
    fn value<R>(&self, column: usize, row: usize, to: impl Accept<R>) -> Result<R> {
        self.readers[column].value(self.columns.row(column, row), to)
    }
}

struct BatchRow<'a> {
    batch: &'a Batch<'a>,
    row: usize,
}

/// The decoder of a column is its position.
impl RowValues<usize> for BatchRow<'_> {
    #[inline(always)]
    fn next<R>(&mut self, column: &mut usize, _: &mut Vec<u8>, to: impl Accept<R>) -> Result<R> {
        self.batch.value(*column, self.row, to)
    }
}

/// The rows of one row group, one after the other.
struct EachRow<'a> {
    files: &'a FilesSpec,
    row_group: RowGroup,
    file: &'a ParquetFile,
    columns: &'a BatchColumns,
    targets: &'a [Target],
    position: &'a Position,
}

impl EachRow<'_> {
    fn run(
        &self,
        on_progress: &dyn Fn(Loaded),
        mut on_row: impl FnMut(&Batch<'_>, usize) -> Result<()>,
    ) -> Result<Loaded> {
        let columns = self.columns;
        let mut batches = self.file.read(self.row_group.number, &columns.read)?;
        let expected = self.file.rows(self.row_group.number);
        let rules = Rules {
            on_lossy: self.files.on_lossy,
            on_invalid_text: self.files.on_invalid_text,
            extremes_are_infinite: self.file.schema.provenance.extremes_are_infinite,
        };
        let mut loaded = Loaded::default();
        let rebase = Rebase::of(&self.file.schema.provenance);
        while let Some(mut batch) = batches.next()? {
            interrupts::check();
            if let Some(rebase) = &rebase {
                let shapes = columns.read.iter().map(|column| &self.file.schema.columns[*column].shape);
                batch = rebase.batch(batch, shapes)?;
            }
            let prepared: Vec<PreparedColumn<'_>> = columns
                .sources
                .iter()
                .zip(self.targets)
                .map(|(source, target)| {
                    let (array, shape) = columns.array(source, &batch, self.file);
                    PreparedColumn::new(array, shape, target, rules)
                })
                .collect();
            let rows = Batch::new(&prepared, columns);
            for row in 0..batch.num_rows() {
                self.position.row.set(loaded.rows + row as u64 + 1);
                on_row(&rows, row)?;
            }
            let before = loaded;
            loaded.rows += batch.num_rows() as u64;
            loaded.bytes =
                (u128::from(self.row_group.bytes) * u128::from(loaded.rows) / u128::from(expected.max(1))) as u64;
            on_progress(Loaded { rows: loaded.rows - before.rows, bytes: loaded.bytes - before.bytes });
        }
        self.position.row.set(0);
        // A row group that ends early has lost rows.
        refuse_lost_rows(expected, loaded.rows)?;
        Ok(loaded)
    }
}

/// The arrays of a batch that the columns are in.
pub(super) struct BatchColumns {
    /// Positions in the file of the columns that are read, in its order.
    pub(super) read: Vec<usize>,
    pub(super) sources: Vec<BatchSource>,
}

pub(super) enum BatchSource {
    /// A column of the file, and the position of its array in the batch.
    Array { column: usize, array: usize },
    /// One row for all.
    Constant(BinaryViewArray),
    /// The file has no such column: NULL where the column has no default.
    Nothing(BinaryViewArray),
}

impl BatchColumns {
    pub(super) fn plan(files: &FilesSpec, data_file: usize, file: &ParquetFile) -> Result<Self> {
        let data_file = &files.files[data_file];
        let found: Vec<Found<'_>> =
            files.columns.iter().map(|source| source.find(data_file, &file.schema.columns)).collect::<Result<_>>()?;
        let mut read: Vec<usize> = found
            .iter()
            .filter_map(|found| match found {
                Found::Column(column) => Some(*column),
                Found::Constant(_) | Found::Nothing => None,
            })
            .collect();
        read.sort_unstable();
        read.dedup();
        let sources = found
            .into_iter()
            .map(|found| match found {
                Found::Column(column) => BatchSource::Array {
                    column,
                    array: read.binary_search(&column).expect("every column that was found is read"),
                },
                Found::Constant(value) => BatchSource::Constant([value.map(str::as_bytes)].into_iter().collect()),
                Found::Nothing => BatchSource::Nothing(BinaryViewArray::new_null(1)),
            })
            .collect();
        Ok(Self { read, sources })
    }

    pub(super) fn array<'a>(
        &'a self,
        source: &'a BatchSource,
        batch: &'a arrow_array::RecordBatch,
        file: &'a ParquetFile,
    ) -> (&'a dyn Array, &'a Shape) {
        match source {
            BatchSource::Array { column, array } => {
                (batch.column(*array).as_ref(), &file.schema.columns[*column].shape)
            }
            BatchSource::Constant(array) | BatchSource::Nothing(array) => (array, &FOLDER_SHAPE),
        }
    }

    /// Tells for each column whether the file has nothing for it.
    fn left_out(&self) -> impl Iterator<Item = bool> + '_ {
        self.sources.iter().map(|source| matches!(source, BatchSource::Nothing(_)))
    }

    /// Returns the row of the column's array for a row of the batch.
    #[inline]
    pub(super) fn row(&self, column: usize, row: usize) -> usize {
        match self.sources[column] {
            BatchSource::Array { .. } => row,
            BatchSource::Constant(_) | BatchSource::Nothing(_) => 0,
        }
    }
}

/// Names file, row group, row and column of an error.
pub(super) fn locate(
    error: Error,
    files: &FilesSpec,
    row_group: RowGroup,
    table: &TableSpec,
    position: &Position,
) -> Error {
    let is_of_memory = error.sqlstate == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as i32;
    if !concerns_a_row(error.sqlstate) && !is_of_memory && sqlstate_class(error.sqlstate) != *b"58" {
        return error;
    }
    let mut place = format!("File {}, row group {}", files.files[row_group.file].name, row_group.number);
    if position.row.get() > 0 {
        place.push_str(&format!(", row {}", position.row.get()));
        if let Some(column) = position.column.get() {
            place.push_str(&format!(", column {}", plan::quote_identifier(&table.columns[column].name)));
        }
    }
    error.detail(place + ".")
}
