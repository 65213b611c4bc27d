//! Calls of the server that the bindings put no guard around: through function pointers, and with a variable number of
//! arguments.

use pgrx::pg_sys;

/// Makes a call of that kind, and nothing else, with the guard that the bindings put around every function that they know: an
/// ERROR unwinds the frames above instead of jumping over them. Without it the compiler refuses the call.
macro_rules! guarded {
    ($call:expr) => {{
        #[allow(ffi_unwind_calls, reason = "an ERROR ends at the guard")]
        let result = $crate::local::guard::with_guard(|| $call);
        result
    }};
}
pub(crate) use guarded;

/// # Safety
/// As the function that is called; `call` does nothing else.
pub unsafe fn with_guard<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: promised by the caller; the server's functions are called from its one thread.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}
