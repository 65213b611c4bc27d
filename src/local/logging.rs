//! Keeps the text of statements that hold a password out of the server's log, as far as that is up to an extension.

use pgrx::pg_guard;
use pgrx::pg_sys;
use std::cell::Cell;

thread_local! {
    /// When the statement began that nobody is to read. It is over when another one has begun.
    static HIDDEN: Cell<Option<pg_sys::TimestampTz>> = const { Cell::new(None) };
}

static mut PREVIOUS_HOOK: pg_sys::emit_log_hook_type = None;

/// Called once, when the library is loaded.
pub fn register() {
    // SAFETY: a backend has one thread when it loads a library.
    unsafe {
        PREVIOUS_HOOK = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(hide);
    }
}

/// Messages of the current statement are logged without its text from here on, above all the error that ends it.
pub fn hide_statement() {
    HIDDEN.set(Some(statement_start()));
}

/// The statement holds no password after all.
pub fn show_statement() {
    HIDDEN.set(None);
}

fn statement_start() -> pg_sys::TimestampTz {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

#[pg_guard]
unsafe extern "C-unwind" fn hide(error: *mut pg_sys::ErrorData) {
    // SAFETY: the server's own record of the message, which it lets hooks change; the previous hook gets what we got.
    unsafe {
        if HIDDEN.get().is_some_and(|start| start == statement_start()) {
            (*error).hide_stmt = true;
        }
        if let Some(previous) = PREVIOUS_HOOK {
            previous(error);
        }
    }
}
