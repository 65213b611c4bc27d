//! Rows of a script into a table as it stands, through the server's own COPY FROM.

use super::in_place::RowWatcher;
use crate::error::{Error, Result, catch};
use crate::local::copy_statement::CopyStatement;
use crate::local::names;
use dumpscript::{Encoding, EndMarks};
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::{CStr, CString};

/// Fills a buffer with at least so many bytes, unless the rows end before. Returns their number.
type Reader<'a> = dyn FnMut(&mut [u8], usize) -> Result<usize> + 'a;

thread_local! {
    /// The rows that COPY FROM reads, whose callback takes no argument.
    static ROWS: Cell<Option<*mut Reader<'static>>> = const { Cell::new(None) };
}

/// The rows that a COPY statement has stored.
pub struct CopiedRows {
    pub schema: String,
    pub table: String,
    pub rows: u64,
}

/// Executes a COPY FROM STDIN with the caller's rights. `on_table` is told of schema and name of its table before the first row.
///
/// # Errors
/// The errors of COPY FROM, and those of the reader, each with the row that it is about, counted from 1. The (sub)transaction
/// must then be given up.
pub fn copy_from_script(
    statement: &CStr,
    encoding: &str,
    reader: &mut Reader<'_>,
) -> std::result::Result<CopiedRows, (Error, Option<u64>)> {
    let encoding = CString::new(encoding).unwrap_or_default();
    let opened = catch(|| {
        let copy = CopyStatement::parse(statement)?;
        if is_binary(&copy) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "rows in the binary format cannot be part of a script",
            ));
        }
        copy.refuse_where_writing_is_forbidden();
        let table = copy.open_table()?;
        let (schema, name) =
            names::qualified_name(table.relation).ok_or_else(|| Error::internal("a locked table is not there"))?;
        let marks = is_text(&copy).then(|| EndMarks::new(encoding_of(&copy, &encoding)));
        Ok((copy, table, marks, schema, name))
    });
    let (copy, table, mut marks, schema, name) = opened.map_err(|error| (error, None))?;
    let mut marked = None;
    let mut watched = |buffer: &mut [u8], least: usize| {
        let read = reader(buffer, least)?;
        marked = marks.as_mut().and_then(|marks| marks.find(&buffer[..read]));
        if marked.is_some() {
            // Servers before 18 take the mark out of the row, or drop all rows behind it, without a word.
            let message = "end-of-copy marker is not alone on its line";
            return Err(Error::new(PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT, message));
        }
        Ok(read)
    };
    let watched: &mut Reader<'_> = &mut watched;
    // SAFETY: the pointer is used while this function runs, and replaced before it returns: errors are caught.
    let reader = unsafe { std::mem::transmute::<*mut Reader<'_>, *mut Reader<'static>>(watched) };
    // A trigger may load a script, too.
    let outer = ROWS.replace(Some(reader));
    let copying = || catch(|| Ok(copy.copy_from(&table, &encoding, Some(read_rows))));
    let (rows, (row, column)) = RowWatcher::during(&name, &table.filled, copying);
    ROWS.set(outer);
    match rows {
        Ok(rows) => Ok(CopiedRows { schema, table: name, rows }),
        Err(error) => {
            let names_column = error.objects.as_ref().is_some_and(|objects| objects.column.is_some());
            let error = error.of_table(&schema, &name);
            let error = match column.filter(|_| !names_column) {
                Some(column) => error.of_column(&column),
                None => error,
            };
            Err((error, marked.or(row)))
        }
    }
}

fn option(copy: &CopyStatement, name: &str) -> Option<String> {
    copy.options().into_iter().find(|option| option.name == name)?.value
}

fn is_binary(copy: &CopyStatement) -> bool {
    option(copy, "format").is_some_and(|format| format == "binary")
}

fn is_text(copy: &CopyStatement) -> bool {
    option(copy, "format").is_none_or(|format| format == "text")
}

/// The encoding of the rows: that of the script, unless the statement says otherwise.
fn encoding_of(copy: &CopyStatement, of_script: &CStr) -> Encoding {
    match option(copy, "encoding") {
        Some(encoding) => Encoding::named(&encoding),
        None => Encoding::named(&of_script.to_string_lossy()),
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn read_rows(buffer: *mut std::ffi::c_void, least: i32, most: i32) -> i32 {
    // SAFETY: COPY FROM gives a buffer of `most` bytes.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), most as usize) };
    let Some(reader) = ROWS.get() else { return 0 };
    // SAFETY: set by `copy_from_script`, which is still running; COPY FROM does not call this while it is called.
    let read = unsafe { (*reader)(buffer, least as usize) };
    crate::error::or_raise(read) as i32
}
