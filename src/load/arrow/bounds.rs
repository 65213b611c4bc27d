//! The bounds of values whose length a file says: as long as the server can hold one.

use crate::error::{Error, Result};
use crate::local::memory::{self, out_of_memory};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// The bytes of a value, its length included.
pub(super) const LONGEST_VALUE: usize = memory::MAX_ALLOC_SIZE;

/// Makes room for more of a document, of which no more may be written than that.
#[inline]
pub(super) fn room(document: &mut Vec<u8>, bytes: usize) -> Result<()> {
    if bytes > document.capacity() - document.len() { more_room(document, bytes) } else { Ok(()) }
}

#[cold]
fn more_room(document: &mut Vec<u8>, bytes: usize) -> Result<()> {
    crate::local::interrupts::check();
    if bytes > LONGEST_VALUE - document.len().min(LONGEST_VALUE) {
        return Err(too_long("a document"));
    }
    document.try_reserve(bytes).map_err(|_| out_of_memory(document.len() + bytes))
}

/// Makes room for so many more elements.
pub(super) fn room_for<T>(elements: &mut Vec<T>, count: usize) -> Result<()> {
    elements.try_reserve(count).map_err(|_| out_of_memory((elements.len() + count) * size_of::<T>()))
}

/// Refuses values of one row that together have more bytes than a row can have. They lie in the current memory context,
/// which is reset between rows or soon after.
pub(super) fn refuse_beyond_row(more: usize) -> Result<()> {
    // SAFETY: the current context is alive.
    let taken = unsafe { (*pg_sys::CurrentMemoryContext).mem_allocated };
    if taken.saturating_add(more) > 2 * LONGEST_VALUE { Err(too_long("a row")) } else { Ok(()) }
}

pub(super) fn too_long(what: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("{what} would have more than {LONGEST_VALUE} bytes"),
    )
}
