//! Transaction identifiers.

use pgrx::pg_sys;

/// The top transaction's identifier; assigns one if it has none yet.
pub fn assign_top_xid() -> u64 {
    // SAFETY: called inside a transaction that may write.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// Whether the top transaction with this identifier is still open, prepared included.
pub fn is_in_progress(full_xid: u64) -> bool {
    // SAFETY: reads shared memory only; the low half is the 32-bit identifier.
    unsafe { pg_sys::TransactionIdIsInProgress(pg_sys::TransactionId::from_inner(full_xid as u32)) }
}

pub fn make_changes_visible() {
    // SAFETY: called inside a transaction, between commands.
    unsafe { pg_sys::CommandCounterIncrement() }
}

/// Lets this transaction see what others have committed to the definitions of relations that it has open.
pub fn accept_changes_of_others() {
    // SAFETY: called inside a transaction, where every lock acquisition does the same.
    unsafe { pg_sys::AcceptInvalidationMessages() }
}
