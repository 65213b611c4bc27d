//! The client of this session.

use super::settings;
use crate::error::Result;
use pgrx::pg_sys;

/// Runs `work`, and ends the session when its client turns out to have gone away meanwhile, whatever the session waits for at
/// that moment. The server itself looks for that only where `client_connection_check_interval` says so.
pub fn while_there<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !is_unobserved() {
        return work();
    }
    settings::scoped(|| {
        settings::set_local(c"client_connection_check_interval", "1s")?;
        // The server begins to look when a statement begins, which is over.
        // SAFETY: flags of this process, which its signal handlers set in the same way. The first look sets the clock for the
        // next one; when the setting is back, a look that is still to come does nothing.
        unsafe {
            pg_sys::CheckClientConnectionPending = 1;
            pg_sys::InterruptPending = 1;
        }
        work()
    })
}

/// Whether there is a client that can be found to be gone, and nobody looks for that.
fn is_unobserved() -> bool {
    // SAFETY: reads backend-local variables; the function asks for what the platform can do.
    unsafe {
        pg_sys::client_connection_check_interval == 0
            && !pg_sys::MyProcPort.is_null()
            && pg_sys::WaitEventSetCanReportClosed()
    }
}
