//! Memory whose size somebody else decides. The standard library ends the whole server when there is none; here it is an
//! ERROR, as it is where the server itself allocates.

use crate::error::Error;
use pgrx::prelude::*;

/// `MaxAllocSize` (`utils/memutils.h`): what the server allocates at most for a value, a row or a message.
pub const MAX_ALLOC_SIZE: usize = 0x3fff_ffff;

/// Makes room for so many elements more, or raises an ERROR.
#[inline]
pub fn reserve<T>(elements: &mut Vec<T>, additional: usize) {
    if elements.capacity() - elements.len() < additional && elements.try_reserve(additional).is_err() {
        out_of_memory(additional.saturating_mul(size_of::<T>())).raise();
    }
}

/// Raises an ERROR unless so many bytes can be had now. They are given back at once: it is for work whose memory is known
/// in size, but allocated by others.
pub fn expect(bytes: usize) {
    let mut trial: Vec<u8> = Vec::new();
    if trial.try_reserve_exact(bytes).is_err() {
        out_of_memory(bytes).raise();
    }
    // Not to be optimized away.
    std::hint::black_box(&trial);
}

/// As the server's own allocations word it.
#[cold]
pub fn out_of_memory(bytes: usize) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
        .detail(format!("Failed on request of size {bytes}."))
}
