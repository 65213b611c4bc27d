//! Rows into a table as it stands, through the server's own COPY FROM: for tables whose storage cannot be exchanged.

use super::Loaded;
use crate::error::{Error, Result};
use crate::job::TableSpec;
use crate::source::{CopyReader, Session};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::Part;
use std::cell::RefCell;
use std::ffi::CString;
use std::rc::Rc;

thread_local! {
    /// COPY FROM takes a callback without an argument: this is what it reads from.
    static SOURCE: RefCell<Option<Stream>> = const { RefCell::new(None) };
}

struct Stream {
    reader: CopyReader,
    /// Is told of bytes that have arrived.
    listener: Box<dyn Fn(u64)>,
}

/// Copies a whole source table into the target, which routes rows to its partitions and maintains its indexes.
/// `listener` is told of bytes as they arrive.
///
/// # Errors
/// As COPY FROM, and whatever happens to the stream. The transaction must then be given up.
pub fn load_in_place(session: &Rc<Session>, table: &TableSpec, listener: impl Fn(u64) + 'static) -> Result<Loaded> {
    let reader = super::copy_of(table, Part::WHOLE).start(session);
    SOURCE.with_borrow_mut(|source| *source = Some(Stream { reader, listener: Box::new(listener) }));
    let rows = crate::error::catch(|| Ok(copy_from(table)));
    let stream = SOURCE.with_borrow_mut(Option::take);
    let rows = rows?;
    let Stream { mut reader, .. } = stream.ok_or_else(|| Error::internal("the stream of COPY was lost"))?;
    // Whatever COPY FROM did not ask for, the source's last word is needed.
    while reader.read(&mut [0; 64], 1)? > 0 {}
    super::refuse_lost_rows(reader.rows().unwrap_or(0), rows)?;
    Ok(Loaded { rows, bytes: reader.bytes() })
}

/// As `copy_table` in `tablesync.c`.
fn copy_from(table: &TableSpec) -> u64 {
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
            let name = CString::new(column.name.as_str()).expect("a column name has no NUL");
            names = pg_sys::lappend(names, pg_sys::makeString(pg_sys::pstrdup(name.as_ptr())).cast());
        }
        let format = CString::new(table.wire.name()).expect("a constant without NUL");
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
            let read = stream.reader.read(buffer, least as usize)?;
            (stream.listener)(read as u64);
            Ok(read)
        }
        None => Ok(0),
    });
    crate::error::or_raise(read) as i32
}
