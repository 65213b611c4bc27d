//! A comparison of our decoders with the server's receive functions, which a test calls with bytes of its choice.
//!
//! `pgcopy_compare_decoders` belongs to no SQL function of the extension: a superuser declares one where it is wanted.

use super::arena::Arena;
use super::decode::ColumnDecoder;
use super::to_datum::to_datum;
use crate::error::{Error, Result, catch};
use crate::local::transaction;
use crate::storage::tuple::Value;
use pgrx::pg_sys;
use pgrx::prelude::*;

/// Compares, as `(type oid, typmod integer, wire bytea) → text`, and returns `same`, `refused` with the SQLSTATE where
/// both refuse, or the difference.
///
/// # Safety
/// Called by the function manager with three arguments of those types, none of them NULL.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pgcopy_compare_decoders(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: promised by the caller; the bytes are copied before anything else runs.
    let (type_oid, typmod, wire) = unsafe {
        let argument = |number: usize| (*(*call).args.as_ptr().add(number)).value;
        let packed = pg_sys::pg_detoast_datum(argument(2).cast_mut_ptr());
        let length = pgrx::varsize_any_exhdr(packed);
        let start = pgrx::vardata_any(packed).cast::<u8>();
        (
            pg_sys::Oid::from(argument(0).value() as u32),
            argument(1).value() as i32,
            std::slice::from_raw_parts(start, length).to_vec(),
        )
    };
    let ours = value_of(type_oid, ColumnDecoder::binary(type_oid, typmod), &wire);
    let theirs = value_of(type_oid, ColumnDecoder::binary_by_function(type_oid, typmod), &wire);
    let verdict = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => "same".to_owned(),
        (Ok(ours), Ok(theirs)) => format!("ours is {ours:?}, theirs is {theirs:?}"),
        (Err(ours), Err(theirs)) if ours.sqlstate == theirs.sqlstate => format!("refused {}", ours.sqlstate),
        (ours, theirs) => format!("ours is {ours:?}, theirs is {theirs:?}"),
    };
    // SAFETY: the text is copied into the current memory context.
    unsafe { pg_sys::cstring_to_text_with_len(verdict.as_ptr().cast(), verdict.len() as i32).into() }
}

/// Tells the function manager the calling convention.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_pgcopy_compare_decoders() -> &'static pg_sys::Pg_finfo_record {
    const RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &RECORD
}

/// Returns the bytes of the decoded value, whose length word is always the long one here.
fn value_of(type_oid: pg_sys::Oid, mut decoder: ColumnDecoder, wire: &[u8]) -> Result<Vec<u8>> {
    transaction::in_subtransaction(|| {
        catch(|| {
            let mut arena = Arena::new();
            let to_datum = |value: Value<'_>| to_datum(value, |bytes| arena.allocate(bytes));
            let Some(datum) = decoder.decode_binary(Some(wire), &mut Vec::new(), to_datum)? else {
                return Err(Error::internal("a value became NULL"));
            };
            let (mut length, mut by_value) = (0i16, false);
            // SAFETY: a syscache lookup that fills both; then a datum of the type is read as such.
            unsafe {
                pg_sys::get_typlenbyval(type_oid, &mut length, &mut by_value);
                if by_value {
                    let bytes = datum.value().to_le_bytes();
                    return Ok(bytes[..length as usize].to_vec());
                }
                let start = datum.cast_mut_ptr::<u8>();
                let length = match length {
                    -1 => pgrx::varsize_any(start.cast()),
                    -2 => std::ffi::CStr::from_ptr(start.cast()).count_bytes(),
                    length => length as usize,
                };
                Ok(std::slice::from_raw_parts(start, length).to_vec())
            }
        })
    })
}
