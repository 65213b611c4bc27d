//! Cancels, terminations and other signals.

/// Raises the ERROR of a pending cancel or termination, and does the server's other duties of that kind.
pub fn check() {
    pgrx::check_for_interrupts!();
}

/// For a thread that a library started: the server's signal handlers are made for the main thread.
pub fn leave_to_main_thread() {
    // SAFETY: changes the calling thread's mask only; the set is initialized by sigfillset.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}
