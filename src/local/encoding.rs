//! Texts between the database's encoding and UTF-8.

use crate::compat;
use pgrx::pg_sys;
use std::borrow::Cow;
use std::ffi::{CStr, c_char};

/// The bytes as UTF-8, as far as the database can vouch for its own texts. Raises an error for characters that UTF-8
/// has no equivalent of.
pub fn to_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    if compat::database_encoding_is_utf8() {
        return Cow::Borrowed(bytes);
    }
    let utf8 = pg_sys::pg_enc::PG_UTF8 as i32;
    // SAFETY: the function reads as many bytes as it is told and returns them, or a NUL-terminated copy of its own.
    unsafe {
        let converted = pg_sys::pg_server_to_any(bytes.as_ptr().cast(), bytes.len() as i32, utf8);
        if converted.cast_const() == bytes.as_ptr().cast() {
            return Cow::Borrowed(bytes);
        }
        Cow::Owned(CStr::from_ptr(converted).to_bytes().to_vec())
    }
}

/// A name or another short text of the server.
///
/// # Safety
/// The pointer is to a NUL-terminated text.
pub unsafe fn text_at(text: *const c_char) -> String {
    // SAFETY: promised by the caller.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    String::from_utf8_lossy(&to_utf8(bytes)).into_owned()
}
