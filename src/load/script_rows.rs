//! Rows that a script holds for a table, in text format: ranges of its file to heap.

use super::writer::TableWriter;
use super::{LoadHelper, Position, concerns_a_row, difference, refuse_lost_rows};
use crate::error::{Error, Result, catch};
use crate::local::{interrupts, memory};
use crate::order::{Loaded, RowBlock, RowRange, RowsOfTable, ScriptRows, ScriptText, TableSpec};
use crate::parquet::data_files::{RandomAccess, error_of};
use crate::storage::spool::SpoolReader;
use copystream::{StreamError, TextStream};
use pgrx::prelude::*;
use plan::Wire;
use std::cell::Cell;
use std::sync::Arc;

/// The bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The text that holds rows.
enum Text<'a> {
    File(&'a str, Arc<dyn RandomAccess>),
    Spool(SpoolReader),
}

impl<'a> Text<'a> {
    fn open(rows: &'a ScriptRows) -> Result<Self> {
        Ok(match &rows.text {
            ScriptText::File { store, file } => Self::File(&rows.name, store.open(file)?),
            ScriptText::Spool(handle) => Self::Spool(SpoolReader::open(*handle)?),
        })
    }

    /// Hands the bytes from one position to another to `take`, a chunk at a time, until it has enough.
    fn read(
        &mut self,
        mut start: u64,
        end: u64,
        chunk_bytes: usize,
        take: &mut dyn FnMut(u64, &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let mut buffer = Vec::new();
        while start < end {
            interrupts::check();
            let length = usize::try_from(end - start).unwrap_or(usize::MAX).min(chunk_bytes);
            let more = match self {
                Self::File(name, file) => {
                    let bytes = file.read(start, length).map_err(|error| error_of(name, &error))?;
                    take(start, &bytes)?
                }
                Self::Spool(spool) => {
                    if buffer.len() < length {
                        memory::reserve(&mut buffer, chunk_bytes);
                        buffer.resize(chunk_bytes, 0);
                    }
                    spool.read(start, &mut buffer[..length])?;
                    take(start, &buffer[..length])?
                }
            };
            if !more {
                break;
            }
            start += length as u64;
        }
        Ok(())
    }

    /// The position of the first row that begins at or after a limit between ranges, which everybody finds alike: behind the
    /// first newline that is certain to end a row.
    fn first_row(&mut self, block: &RowBlock, limit: u64) -> Result<u64> {
        const PIECE_BYTES: usize = 1 << 16;
        if limit <= block.start || limit >= block.end {
            return Ok(limit.clamp(block.start, block.end));
        }
        let mut found = block.end;
        // A row that ends right before the limit has its newline there, and it matters what is in front of that.
        let start = limit.saturating_sub(2).max(block.start);
        let mut before = if start == block.start { b'\n' } else { b'\\' };
        self.read(start, block.end, PIECE_BYTES, &mut |position, bytes| {
            for newline in memchr::memchr_iter(b'\n', bytes) {
                let previous = if newline == 0 { before } else { bytes[newline - 1] };
                let behind = position + newline as u64 + 1;
                if previous != b'\\' && behind >= limit {
                    found = behind;
                    return Ok(false);
                }
            }
            before = bytes.last().copied().unwrap_or(before);
            Ok(true)
        })?;
        Ok(found)
    }

    fn count_lines(&mut self, start: u64, end: u64) -> Result<u64> {
        let mut lines = 0;
        self.read(start, end, CHUNK_BYTES, &mut |_, bytes| {
            lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            Ok(true)
        })?;
        Ok(lines)
    }

    fn close(self) {
        if let Self::Spool(spool) = self {
            spool.close();
        }
    }
}

/// The place that a load has reached.
struct Place {
    range: RowRange,
    /// Where the first row of the range begins.
    start: u64,
    /// The lines of its rows that are behind.
    lines: Cell<u64>,
}

/// Stores one part of a table's rows in its stage table.
///
/// # Errors
/// The error of a row that cannot be stored, with line, row and column. The transaction must then be given up.
pub fn load_script_rows(
    rows: &ScriptRows,
    table: usize,
    part: usize,
    spec: &TableSpec,
    stage: u32,
    helper: &dyn LoadHelper,
) -> Result<Loaded> {
    let of_table = &rows.tables[table];
    let position = Position::default();
    let mut place = None;
    let outcome = catch(|| {
        let mut text = Text::open(rows)?;
        let mut writer = TableWriter::for_copy(stage, spec, Wire::Text, &position, helper)?;
        let mut loaded = Loaded::default();
        let mut reported = Loaded::default();
        for &range in &of_table.parts[part] {
            let block = &of_table.blocks[range.block];
            let (start, end) = (text.first_row(block, range.start)?, text.first_row(block, range.end)?);
            let place = &*place.insert(Place { range, start, lines: Cell::new(0) });
            let mut stream = TextStream::of_file(spec.columns.len());
            let (mut stored, mut counted) = (0, 0);
            position.row.set(0);
            text.read(start, end, CHUNK_BYTES, &mut |_, bytes| {
                let fed = stream.feed(bytes, |row| {
                    stored += 1;
                    position.row.set(stored);
                    place.lines.set(row.lines_before());
                    writer.add_text(row).map_err(RowError::Row)
                });
                fed.map_err(|error| {
                    if let RowError::Stream(_) = error {
                        place.lines.set(stream.lines());
                    }
                    error.of(spec, &position, stored)
                })?;
                loaded.bytes += bytes.len() as u64;
                loaded.rows += stored - counted;
                counted = stored;
                helper.add_progress(difference(&loaded, &reported));
                reported = loaded;
                Ok(true)
            })?;
            stream.finish()?;
        }
        text.close();
        refuse_lost_rows(loaded.rows, writer.finish()?)?;
        Ok(loaded)
    });
    outcome.map_err(|error| match &place {
        Some(place) => locate(error, rows, of_table, place, spec, &position),
        None => error,
    })
}

/// Why a chunk cannot be stored.
enum RowError {
    Stream(StreamError),
    Row(Error),
}

impl From<StreamError> for RowError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl RowError {
    /// Returns the error itself, in the words of COPY FROM where it has some.
    #[cold]
    fn of(self, spec: &TableSpec, position: &Position, rows: u64) -> Error {
        let malformed = |message| Error::new(PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT, message);
        match self {
            Self::Row(error) => error,
            Self::Stream(error) => {
                position.row.set(rows + 1);
                position.column.set(error.column());
                match error {
                    StreamError::FieldCount { expected, found } if found < expected as i64 => {
                        let missing = usize::try_from(found).ok().and_then(|found| spec.columns.get(found));
                        malformed(format!("missing data for column \"{}\"", missing.map_or("", |column| &column.name)))
                    }
                    StreamError::FieldCount { .. } => malformed("extra data after last expected column".to_owned()),
                    other => other.into(),
                }
            }
        }
    }
}

/// Names line, row and column of an error that a row caused.
fn locate(
    error: Error,
    rows: &ScriptRows,
    of_table: &RowsOfTable,
    place: &Place,
    spec: &TableSpec,
    position: &Position,
) -> Error {
    if position.row.get() == 0 || !concerns_a_row(error.sqlstate) {
        return error;
    }
    let block = &of_table.blocks[place.range.block];
    // The lines before are counted only now.
    let before = catch(|| {
        let mut text = Text::open(rows)?;
        let lines = text.count_lines(block.start, place.start)?;
        text.close();
        Ok(lines)
    });
    let Ok(before) = before else { return error.detail(format!("Table {}.", spec.qualified_name())) };
    let lines = before + place.lines.get();
    let column = match position.column.get() {
        Some(column) => super::column_of(spec, column),
        None => {
            let named = error.objects.as_ref().and_then(|objects| objects.column.as_deref());
            named.map_or_else(String::new, |column| format!(", column {}", plan::quote_identifier(column)))
        }
    };
    let (line, row) = (block.line as u64 + lines, lines + 1);
    error
        .of_table(&spec.schema, &spec.name)
        .detail(format!("Line {line} of \"{}\": row {row}{column} of {}", rows.name, block.statement))
}
