//! Cancels, terminations and other signals.

/// Raises the ERROR of a pending cancel or termination, and does the server's other duties of that kind.
pub fn check() {
    pgrx::check_for_interrupts!();
}
