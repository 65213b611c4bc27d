//! Calls through function pointers.

use pgrx::pg_sys;

/// Calls a function of the server, or of another module, through a pointer, with the guard that the bindings put around every
/// function that they know: an ERROR unwinds the frames above instead of jumping over them.
///
/// # Safety
/// As the function that is called; `call` does nothing else.
pub unsafe fn guarded<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: promised by the caller; the server's functions are called from its one thread.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}
