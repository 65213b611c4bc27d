//! Values as datums, for functions of the server.

use crate::storage::tuple::{VARHDRSZ, Value, long_length};
use pgrx::pg_sys;

/// Copies a payload behind a length word, in the current memory context.
pub(super) fn store_varlena(payload: &[u8]) -> Value<'static> {
    let word = long_length(payload.len());
    // SAFETY: memory of that size, which nobody else uses, aligned for any type.
    unsafe {
        let target = pg_sys::palloc(VARHDRSZ + payload.len()).cast::<u8>();
        target.cast::<u32>().write(word);
        std::ptr::copy_nonoverlapping(payload.as_ptr(), target.add(VARHDRSZ), payload.len());
        Value::Datum(pg_sys::Datum::from(target))
    }
}

/// Returns a value as a datum, for the server's own functions. Values that are passed by reference live in memory from
/// `allocate`, which is aligned for any type.
#[inline]
pub(super) fn to_datum(value: Value<'_>, mut allocate: impl FnMut(usize) -> *mut u8) -> Option<pg_sys::Datum> {
    match value {
        Value::Null => None,
        Value::Bits(bits) => Some(pg_sys::Datum::from(bits)),
        Value::Datum(datum) => Some(datum),
        Value::Fixed(bytes) => {
            let target = allocate(bytes.len());
            // SAFETY: `allocate` gave that many bytes, which nobody else uses.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
            Some(pg_sys::Datum::from(target))
        }
        Value::Varlena(bytes) => {
            let word = long_length(bytes.len());
            let target = allocate(VARHDRSZ + bytes.len());
            // SAFETY: as above.
            unsafe {
                target.cast::<u32>().write(word);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.add(VARHDRSZ), bytes.len());
            }
            Some(pg_sys::Datum::from(target))
        }
        Value::Pieces { head, tail } => {
            let word = long_length(head.len() + tail.len());
            let target = allocate(VARHDRSZ + head.len() + tail.len());
            // SAFETY: `allocate` gave so many bytes, aligned.
            unsafe {
                target.cast::<u32>().write(word);
                std::ptr::copy_nonoverlapping(head.as_ptr(), target.add(VARHDRSZ), head.len());
                std::ptr::copy_nonoverlapping(tail.as_ptr(), target.add(VARHDRSZ + head.len()), tail.len());
            }
            Some(pg_sys::Datum::from(target))
        }
        Value::Numeric { header, digits } => {
            let word = long_length(2 + digits.len());
            let target = allocate(VARHDRSZ + 2 + digits.len());
            // SAFETY: as above; the header word and the digit groups are 2-aligned behind the 4-byte length.
            unsafe {
                target.cast::<u32>().write(word);
                target.add(VARHDRSZ).cast::<u16>().write(header);
                let mut group = target.add(VARHDRSZ + 2).cast::<u16>();
                for digits in digits.chunks_exact(2) {
                    group.write(u16::from_be_bytes([digits[0], digits[1]]));
                    group = group.add(1);
                }
            }
            Some(pg_sys::Datum::from(target))
        }
    }
}
