//! Cancels, terminations and other signals.

use pgrx::pg_sys;
use std::time::Duration;

/// Serves interrupts: raises the ERROR of a pending cancel or termination, and does the server's other pending work.
pub fn check() {
    pgrx::check_for_interrupts!();
}

/// Waits until another process wakes this one or the time is over, then serves interrupts.
pub fn wait(longest: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: waits on this process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, longest.as_millis() as i64, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    check();
}

/// Ends the wait of another process. A process that is gone is no error.
pub fn wake(pid: i32) {
    if pid == 0 {
        return;
    }
    // SAFETY: the PGPROC is in shared memory; if another process has taken it over meanwhile, that one merely wakes up.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&mut (*process).procLatch);
        }
    }
}
