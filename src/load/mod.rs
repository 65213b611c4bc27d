//! Rows to heap: the stream of one part is decoded row by row into finished pages of a stage table.

mod arena;
mod arrow;
mod characters;
mod decode;
mod expressions;
mod from_files;
mod from_script;
mod heap_rows;
mod in_place;
mod insert;
mod kind;
mod numeric;
mod script_rows;
mod selfcheck;
mod text;
mod to_datum;
mod writer;

use crate::error::{Error, Result, catch, sqlstate_class};
use crate::order::{ChosenRows, Loaded, SourceTable, TableSpec};
use crate::source::{CopyOut, RunningCopies};
use copystream::{BinaryStream, StreamError, TextStream};
use heap_rows::HeapRows;
use pgrx::prelude::*;
use plan::{Part, Wire};
use std::borrow::Cow;
use std::cell::Cell;
use writer::TableWriter;

pub use arrow::Target;
pub use expressions::Filter;
pub use from_files::{OpenFiles, insert_row_groups, load_row_groups};
pub use from_script::{CopiedRows, copy_from_script};
pub use in_place::load_in_place;
pub use script_rows::load_script_rows;

/// The decoder's position, for the message of a row that cannot be stored.
#[derive(Default)]
struct Position {
    /// The number of rows that were begun.
    row: Cell<u64>,
    /// Position among the copied columns, where one is being decoded.
    column: Cell<Option<usize>>,
}

/// Why a chunk of a stream cannot be stored.
enum FeedError {
    /// The end of a row cannot be found.
    Stream(StreamError),
    /// A whole row cannot be stored.
    Row(Error),
}

impl From<StreamError> for FeedError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl FeedError {
    /// Returns the error itself, and notes its place, after so many rows, in `position`.
    #[cold]
    fn at(self, position: &Position, rows: u64) -> Error {
        match self {
            Self::Row(error) => error,
            Self::Stream(error) => {
                position.row.set(rows + 1);
                position.column.set(error.column());
                error.into()
            }
        }
    }
}

/// The services that a load needs from the process that runs it.
pub trait LoadHelper {
    /// Adds new rows and bytes to the progress of the job. It is called often.
    fn add_progress(&self, loaded: Loaded);

    /// Gives the target's stage table the TOAST table that it was made without. This process sees it afterwards.
    ///
    /// # Errors
    /// The job has failed meanwhile.
    fn make_toast_table(&self, table: &TableSpec) -> Result<()>;
}

/// Describes a part of a source table as the source is asked for it.
///
/// # Panics
/// When rows are to be chosen of a table whose rows travel as they are stored: all of them would.
pub fn copy_of<'a>(source: &'a SourceTable, table: &'a TableSpec, part: usize) -> CopyOut<'a> {
    CopyOut { part: source.parts[part], ..copy_of_relation(source, table, part) }
}

/// All rows of the relation that a part is of.
fn copy_of_relation<'a>(source: &'a SourceTable, table: &'a TableSpec, part: usize) -> CopyOut<'a> {
    assert!(source.wire != Wire::Heap || source.chosen.is_none(), "stored rows are not chosen");
    let (relation, partitioned) = source.relation_of(part);
    CopyOut {
        table: relation,
        partitioned,
        generated: source.generates,
        columns: match &source.chosen {
            Some(chosen) => chosen.columns.iter().map(Cow::from).collect(),
            None if source.wire == Wire::Heap => {
                table.columns.iter().map(|column| column.name.as_str().into()).collect()
            }
            None => table.columns.iter().map(|column| plan::quote_identifier(&column.name).into()).collect(),
        },
        condition: source.chosen.as_ref().and_then(|chosen| chosen.condition.as_deref()),
        computed: source.chosen.as_ref().is_some_and(ChosenRows::needs_query),
        partly_granted: source.is_partly_granted,
        part: Part::WHOLE,
        wire: source.wire,
        transport: source.transport,
    }
}

/// Copies one part of a source table, whose stream is the next one of `copies`, into a stage table. The caller compares
/// the rows with those that the source says it sent.
///
/// # Errors
/// The error of a row that cannot be stored, with table, column and row. The transaction must then be given up.
pub fn load_part(
    copies: &mut RunningCopies,
    source: &SourceTable,
    table: &TableSpec,
    part: usize,
    stage: u32,
    helper: &dyn LoadHelper,
) -> Result<Loaded> {
    let position = Position::default();
    let outcome = catch(|| {
        let wire = source.wire;
        let (loaded, written) = match wire {
            Wire::Binary => {
                let mut writer = TableWriter::for_copy(stage, table, wire, &position, helper)?;
                let mut stream = BinaryStream::new(table.columns.len());
                let loaded = load_stream(copies, helper, &position, |chunk, rows| {
                    let fed = stream.feed(chunk, |row| {
                        *rows += 1;
                        position.row.set(*rows);
                        writer.add_binary(row).map_err(FeedError::Row)
                    });
                    fed.map_err(|error| error.at(&position, *rows))
                })?;
                stream.finish()?;
                (loaded, writer.finish()?)
            }
            Wire::Heap => {
                let mut rows = HeapRows::open(stage, table, &source.labels, &position, helper)?;
                let mut stream = heapform::Stream::new(table.columns.len());
                let loaded = load_stream(copies, helper, &position, |chunk, count| {
                    // Where the stream is damaged, it is in the row that comes next.
                    position.row.set(*count + 1);
                    stream.feed(chunk, |record| {
                        *count += 1;
                        position.row.set(*count);
                        rows.add(record)?;
                        // Where the stream is damaged, it is in the row that comes next.
                        position.row.set(*count + 1);
                        Ok(())
                    })
                })?;
                stream.finish()?;
                (loaded, rows.finish()?)
            }
            Wire::Text => {
                let mut writer = TableWriter::for_copy(stage, table, wire, &position, helper)?;
                let mut stream = TextStream::new(table.columns.len());
                let loaded = load_stream(copies, helper, &position, |chunk, rows| {
                    let fed = stream.feed(chunk, |row| {
                        *rows += 1;
                        position.row.set(*rows);
                        writer.add_text(row).map_err(FeedError::Row)
                    });
                    fed.map_err(|error| error.at(&position, *rows))
                })?;
                stream.finish()?;
                (loaded, writer.finish()?)
            }
        };
        refuse_lost_rows(loaded.rows, written)?;
        Ok(loaded)
    });
    outcome.map_err(|error| locate(error, table, source.parts[part], &position))
}

/// Reads a part's stream to its end. `feed` takes each chunk and counts the rows that it completes.
fn load_stream(
    copies: &mut RunningCopies,
    helper: &dyn LoadHelper,
    position: &Position,
    mut feed: impl FnMut(&[u8], &mut u64) -> Result<()>,
) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut reported = Loaded::default();
    loop {
        let feeding = Cell::new(false);
        let more = copies.read(&mut |chunk| {
            feeding.set(true);
            loaded.bytes += chunk.len() as u64;
            feed(chunk, &mut loaded.rows)?;
            report(&loaded, &mut reported, helper);
            feeding.set(false);
            Ok(())
        });
        if let Err(error) = &more
            && !feeding.get()
        {
            // The source could not send the row that comes next, unless it does not want to send any.
            position.row.set(if is_refusal(error) { 0 } else { loaded.rows + 1 });
        }
        if !more? {
            break;
        }
    }
    helper.add_progress(difference(&loaded, &reported));
    Ok(loaded)
}

/// Refuses a load that stored fewer rows than were sent, or more.
pub fn refuse_lost_rows(sent: u64, stored: u64) -> Result<()> {
    if sent == stored {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("{sent} rows were sent but {stored} were stored")))
}

/// Bytes between two reports: shared counters are not touched for every row.
const REPORT_BYTES: u64 = 256 * 1024;

fn report(loaded: &Loaded, reported: &mut Loaded, helper: &dyn LoadHelper) {
    if loaded.bytes - reported.bytes >= REPORT_BYTES {
        helper.add_progress(difference(loaded, reported));
        *reported = *loaded;
    }
}

fn difference(now: &Loaded, before: &Loaded) -> Loaded {
    Loaded { rows: now.rows - before.rows, bytes: now.bytes - before.bytes }
}

/// Names table, part, row and column of an error that a row caused.
fn locate(error: Error, table: &TableSpec, part: Part, position: &Position) -> Error {
    let row = position.row.get();
    if row == 0 || !concerns_a_row(error.sqlstate) {
        return error;
    }
    let of_part = if part.is_whole() { String::new() } else { format!(" from page {} on", part.first_page) };
    let column = match position.column.get() {
        Some(column) => column_of(table, column),
        None => String::new(),
    };
    error.detail(format!("Table {}, row {row}{of_part}{column}.", table.qualified_name()))
}

/// Names a column by its position in the stream, which is that among the copied ones.
fn column_of(table: &TableSpec, column: usize) -> String {
    let name = table.columns.get(column).map(|column| plan::quote_identifier(&column.name));
    name.map_or_else(String::new, |name| format!(", column {name}"))
}

/// Returns whether a source refuses to send any row: a privilege is missing, or the table.
fn is_refusal(error: &Error) -> bool {
    sqlstate_class(error.sqlstate) == *b"42"
}

/// Returns whether an error is about a row, and not about a lost connection, a cancel or a full disk. A lack of memory
/// is about a row.
fn concerns_a_row(sqlstate: i32) -> bool {
    let class = sqlstate_class(sqlstate);
    !matches!(&class, b"08" | b"53" | b"57" | b"58") || sqlstate == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as i32
}
