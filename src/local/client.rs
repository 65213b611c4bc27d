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

/// Returns the number of bytes for the client that the operating system has taken and not put on the way yet; `None` where it does not
/// tell.
pub fn unsent_bytes() -> Option<usize> {
    #[cfg(target_os = "linux")]
    {
        /// `linux/sockios.h`
        const SIOCOUTQNSD: u32 = 0x894b;
        let mut bytes: std::ffi::c_int = 0;
        // SAFETY: the port, where there is one, lives as long as the process, and its socket, which is its first field in every version
        // (`libpq/libpq-be.h`), as long as the session. The call writes a number; for sockets other than those of TCP it fails.
        let failed = unsafe {
            pg_sys::MyProcPort.is_null()
                || libc::ioctl(pg_sys::MyProcPort.cast::<std::ffi::c_int>().read(), SIOCOUTQNSD.into(), &raw mut bytes)
                    != 0
        };
        if failed { None } else { usize::try_from(bytes).ok() }
    }
    #[cfg(not(target_os = "linux"))]
    None
}
