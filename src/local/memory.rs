//! Memory whose size another party decides. The standard library aborts the process when there is none, which restarts
//! the whole server; here it is an ERROR, as in the server's own allocations.

use crate::error::Error;
use pgrx::prelude::*;

/// `MaxAllocSize` (`utils/memutils.h`): the most that the server allocates for a value, a row or a message.
pub const MAX_ALLOC_SIZE: usize = 0x3fff_ffff;

/// Makes room for that many more elements, or raises an ERROR.
#[inline]
pub fn reserve<T>(elements: &mut Vec<T>, additional: usize) {
    if elements.capacity() - elements.len() < additional && elements.try_reserve(additional).is_err() {
        out_of_memory(additional.saturating_mul(size_of::<T>())).raise();
    }
}

/// A buffer of more bytes is freed before a value that needs less.
const LARGE: usize = 1 << 20;

/// Empties a buffer that values use one after the other, and makes room for one of that many bytes, or raises an ERROR.
#[inline]
pub fn reuse(buffer: &mut Vec<u8>, bytes: usize) {
    if buffer.capacity() > LARGE && bytes < LARGE {
        *buffer = Vec::new();
    }
    buffer.clear();
    reserve(buffer, bytes);
}

/// Raises an ERROR unless that many bytes can be allocated now. They are freed at once: the function is for work whose
/// memory is known in size, but allocated by others.
pub fn expect(bytes: usize) {
    let mut trial: Vec<u8> = Vec::new();
    if trial.try_reserve_exact(bytes).is_err() {
        out_of_memory(bytes).raise();
    }
    // This keeps the allocation from being optimized away.
    std::hint::black_box(&trial);
}

/// Returns the error of the server's own allocations.
#[cold]
pub fn out_of_memory(bytes: usize) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
        .detail(format!("Failed on request of size {bytes}."))
}
