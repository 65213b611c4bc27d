//! Rows into a table as it stands, through the server's own COPY FROM: for tables whose storage cannot be exchanged.

use super::expressions::Expressions;
use crate::error::{Error, Result};
use crate::local::encoding;
use crate::order::{Loaded, SourceTable, TableSpec};
use crate::source::{CopyReader, Framed, Session};
use copystream::{BinaryStream, StreamError, TextStream};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::Wire;
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

thread_local! {
    /// The stream that COPY FROM reads, whose callback takes no argument.
    static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
}

struct Source {
    reader: CopyReader,
    counter: Counter,
    rows: u64,
    failed: bool,
    /// The row that the failure is about, where it is about one.
    column: Option<usize>,
    /// The function that is told of bytes that have arrived.
    listener: Box<dyn Fn(u64)>,
}

/// Counts the rows that have arrived, so that an error of the source can name the one that did not.
enum Counter {
    Binary(BinaryStream),
    Text(TextStream),
}

impl Source {
    fn read(&mut self, buffer: &mut [u8], least: usize) -> Result<usize> {
        let read = self.reader.read(buffer, least).inspect_err(|_| self.failed = true)?;
        let rows = &mut self.rows;
        let counted = match &mut self.counter {
            Counter::Binary(stream) => stream.feed(&buffer[..read], |_| {
                *rows += 1;
                Ok::<_, StreamError>(())
            }),
            Counter::Text(stream) => stream.feed(&buffer[..read], |_| {
                *rows += 1;
                Ok::<_, StreamError>(())
            }),
        };
        counted.inspect_err(|error| {
            self.failed = true;
            self.column = error.column();
        })?;
        Ok(read)
    }

    /// Names the table and the row: the one that the source could not send, or the one `here` that COPY FROM was at.
    fn locate(&self, error: Error, table: &TableSpec, here: Option<u64>) -> Error {
        if !super::concerns_a_row(error.sqlstate) {
            return error;
        }
        let row = if self.failed { (!super::is_refusal(&error)).then_some(self.rows + 1) } else { here };
        let row = row.map_or_else(String::new, |row| format!(", row {row}"));
        let column = self.column.map_or_else(String::new, |column| super::column_of(table, column));
        error.detail(format!("Table {}{row}{column}.", table.qualified_name()))
    }
}

/// Copies a whole source table into the target, which routes rows to its partitions and maintains its indexes.
/// `listener` is told of bytes as they arrive.
///
/// # Errors
/// The errors of COPY FROM, and those of the stream. The transaction must then be given up.
pub fn load_in_place(
    session: &Rc<Session>,
    from: &SourceTable,
    table: &TableSpec,
    listener: impl Fn(u64) + 'static,
) -> Result<(Loaded, Option<Framed>)> {
    let listener = Rc::new(listener);
    let mut loaded = Loaded::default();
    let mut framed = None;
    for part in 0..from.partitions.len().max(1) {
        let reader = super::copy_of_relation(from, table, part).start(session);
        let listener = Rc::clone(&listener);
        let (of_part, framed_part) = load_stream(reader, from.wire, table, Box::new(move |bytes| listener(bytes)))?;
        loaded.rows += of_part.rows;
        loaded.bytes += of_part.bytes;
        if let Some(of_part) = framed_part {
            *framed.get_or_insert_with(Framed::default) += of_part;
        }
    }
    if loaded.rows > 0 {
        refuse_unfit_defaults(table)?;
    }
    Ok((loaded, framed))
}

fn load_stream(
    reader: CopyReader,
    wire: Wire,
    table: &TableSpec,
    listener: Box<dyn Fn(u64)>,
) -> Result<(Loaded, Option<Framed>)> {
    let counter = match wire {
        Wire::Binary => Counter::Binary(BinaryStream::new(table.columns.len())),
        Wire::Text => Counter::Text(TextStream::new(table.columns.len())),
        Wire::Heap => return Err(Error::internal("COPY FROM does not take rows as they are stored")),
    };
    SOURCE.with_borrow_mut(|source| {
        *source = Some(Source { reader, counter, rows: 0, failed: false, column: None, listener })
    });
    let (rows, (here, _)) = RowWatcher::during(&table.name, &[], || crate::error::catch(|| Ok(copy_from(table, wire))));
    let source = SOURCE.with_borrow_mut(Option::take).ok_or_else(|| Error::internal("the stream of COPY was lost"))?;
    let here = here.filter(|&row| row <= source.rows + 1);
    let rows = rows.map_err(|error| source.locate(error, table, here))?;
    let mut reader = source.reader;
    // COPY FROM may not have asked for the end of the stream, in which the source tells how many rows it sent.
    while reader.read(&mut [0; 64], 1)? > 0 {}
    super::refuse_lost_rows(reader.rows().unwrap_or(0), rows)?;
    Ok((Loaded { rows, bytes: reader.bytes() }, reader.framed()))
}

/// COPY FROM leaves NULL in a column without a default, even where the column's domain refuses it.
fn refuse_unfit_defaults(table: &TableSpec) -> Result<()> {
    crate::error::catch(|| {
        let mut expressions = Expressions::new();
        for default in &table.defaults {
            if let Some(expression) = expressions.prepare_stable(&default.expression)? {
                expressions.value(&expression, std::ptr::null_mut());
            }
        }
        Ok(())
    })
    .map_err(|error| error.detail(format!("Table {}.", table.qualified_name())))
}

/// Learns from COPY FROM which row and column an error is about. It tells that in the context of its messages and nowhere
/// else.
pub(super) struct RowWatcher<'a> {
    /// The table's name as the context has it: without the schema.
    table: CString,
    columns: &'a [String],
    row: Option<u64>,
    column: Option<String>,
}

impl<'a> RowWatcher<'a> {
    /// `table` is the name without the schema, `columns` are those that an error can be about.
    pub(super) fn during<T>(
        table: &str,
        columns: &'a [String],
        work: impl FnOnce() -> T,
    ) -> (T, (Option<u64>, Option<String>)) {
        let table = encoding::to_database(table).unwrap_or_default();
        let mut watcher = Self { table, columns, row: None, column: None };
        // SAFETY: the place in the chain is taken out again before it goes; errors do not get past `work`.
        let value = unsafe {
            let mut place = pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(note_row),
                arg: (&raw mut watcher).cast(),
            };
            pg_sys::error_context_stack = &raw mut place;
            let value = work();
            pg_sys::error_context_stack = place.previous;
            value
        };
        (value, (watcher.row, watcher.column))
    }

    /// Finds the row in `COPY item, line 3, column note`, which may be in any language: it is the first number after
    /// the table's name, in the last line that has one, because functions that COPY FROM called have added their lines
    /// before it.
    /// The column's name is after it, in front of a colon.
    fn place_of(&self, context: &[u8]) -> Option<(u64, Option<String>)> {
        let name = self.table.to_bytes();
        let row_in = |line: &[u8]| {
            let after = line.windows(name.len()).position(|part| part == name)? + name.len();
            let start = after + line[after..].iter().position(u8::is_ascii_digit)?;
            let end = start + line[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let row = std::str::from_utf8(&line[start..end]).ok()?.parse().ok()?;
            let behind = encoding::to_utf8(&line[end..]);
            let behind = String::from_utf8_lossy(&behind);
            let place = |column: &&String| behind.find(&format!(" {column}:"));
            let named = self.columns.iter().filter(|column| place(column).is_some());
            Some((row, named.min_by_key(|column| (place(column), usize::MAX - column.len())).cloned()))
        };
        context.split(|&byte| byte == b'\n').rev().find_map(row_in)
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn note_row(watcher: *mut std::ffi::c_void) {
    // SAFETY: called while a message is being reported during the work, whose watcher is alive; the copy is freed again.
    unsafe {
        let watcher = &mut *watcher.cast::<RowWatcher>();
        let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let message = pg_sys::CopyErrorData();
        if (*message).elevel >= PgLogLevel::ERROR as i32 && !(*message).context.is_null() {
            let place = watcher.place_of(CStr::from_ptr((*message).context).to_bytes());
            (watcher.row, watcher.column) = place.map_or((None, None), |(row, column)| (Some(row), column));
        }
        pg_sys::FreeErrorData(message);
        pg_sys::MemoryContextSwitchTo(context);
    }
}

/// Copies as `copy_table` in `tablesync.c` does.
fn copy_from(table: &TableSpec, wire: Wire) -> u64 {
    // SAFETY: the lists and nodes are palloc'd here and outlive the call; the relation stays open during it. The
    // callback is guarded, so that no panic crosses the server's frames.
    unsafe {
        let relation = pg_sys::table_open(table.target.into(), pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        pg_sys::addRangeTableEntryForRelation(
            state,
            relation,
            pg_sys::RowExclusiveLock as i32,
            std::ptr::null_mut(),
            false,
            false,
        );
        let mut names = std::ptr::null_mut();
        for column in &table.columns {
            let name = crate::error::or_raise(encoding::to_database(&column.name));
            names = pg_sys::lappend(names, pg_sys::makeString(pg_sys::pstrdup(name.as_ptr())).cast());
        }
        let format = CString::new(wire.name()).expect("a constant without NUL");
        let value = pg_sys::makeString(pg_sys::pstrdup(format.as_ptr()));
        let option = pg_sys::makeDefElem(c"format".as_ptr().cast_mut(), value.cast(), -1);
        let options = pg_sys::lappend(std::ptr::null_mut(), option.cast());
        let copy = pg_sys::BeginCopyFrom(
            state,
            relation,
            std::ptr::null_mut(),
            std::ptr::null(),
            false,
            Some(read_source),
            names,
            options,
        );
        let rows = pg_sys::CopyFrom(copy);
        pg_sys::EndCopyFrom(copy);
        pg_sys::free_parsestate(state);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        rows
    }
}

/// Fills `buffer` with at least `least` bytes, unless the stream ends before. Returns their number.
#[pg_guard]
unsafe extern "C-unwind" fn read_source(buffer: *mut std::ffi::c_void, least: i32, most: i32) -> i32 {
    // SAFETY: COPY FROM gives a buffer of `most` bytes.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), most as usize) };
    let read = SOURCE.with_borrow_mut(|source| match source {
        Some(stream) => {
            let read = stream.read(buffer, least as usize)?;
            (stream.listener)(read as u64);
            Ok(read)
        }
        None => Ok(0),
    });
    crate::error::or_raise(read) as i32
}
