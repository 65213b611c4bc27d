//! Guarded calls of server functions that the bindings do not guard: calls through function pointers, and calls with a
//! variable number of arguments.

use pgrx::pg_sys;

/// Makes such a call, and nothing else, with the guard that the bindings put around all other functions: an ERROR
/// unwinds the frames above instead of jumping over them. The compiler refuses the call without it.
macro_rules! guarded {
    ($call:expr) => {{
        #[allow(ffi_unwind_calls, reason = "an ERROR ends at the guard")]
        let result = $crate::local::guard::with_guard(|| $call);
        result
    }};
}
pub(crate) use guarded;

/// # Safety
/// The conditions are those of the function that is called; `call` does nothing else.
pub unsafe fn with_guard<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: promised by the caller; the server's functions are called from its one thread.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}
