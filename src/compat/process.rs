//! Settings and signals of a process.

use pgrx::pg_sys;
use std::ffi::CStr;

/// Returns the server's own structures of this process's settings, and their number.
pub fn setting_variables() -> (*mut *mut pg_sys::config_generic, usize) {
    // SAFETY: returns an array of as many pointers as are counted.
    unsafe {
        #[cfg(not(since_16))]
        let (variables, count) = (pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions());
        #[cfg(since_16)]
        let (variables, count) = {
            let mut count = 0;
            (pg_sys::get_guc_variables(&mut count), count)
        };
        (variables, count as usize)
    }
}

/// Lets the handler take a signal, as the macro `pqsignal` (`port.h`) does.
///
/// # Safety
/// The handler is one that this process may run at any moment.
pub unsafe fn handle_signal(signal: std::ffi::c_int, handler: unsafe extern "C-unwind" fn(std::ffi::c_int)) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_18))]
        pg_sys::pqsignal(signal, Some(handler));
        #[cfg(since_18)]
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

/// Returns the name of an encoding, by its number.
pub fn encoding_name(encoding: i32) -> &'static CStr {
    // SAFETY: returns a static string for every number (`encnames.c`).
    unsafe {
        #[cfg(not(since_17))]
        let name = pg_sys::pg_encoding_to_char(encoding);
        #[cfg(since_17)]
        let name = pg_sys::pg_encoding_to_char_private(encoding);
        CStr::from_ptr(name)
    }
}
