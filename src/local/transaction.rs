//! Transaction identifiers.

use crate::error::{Result, catch};
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

/// Gives up what this process remembers of relations and catalogs, as after an overflow of the queue of changes.
pub fn forget_definitions() {
    // SAFETY: called inside a transaction that has nothing open yet.
    unsafe { pg_sys::InvalidateSystemCaches() }
}

/// Runs `work` in a subtransaction, which is rolled back whatever happens.
pub fn in_subtransaction<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: begun and ended in pairs around work that catches its errors; context and owner are put back.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let value = work();
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        value
    }
}

/// Runs `work` in a subtransaction, which lasts if the work succeeds. An ERROR of it becomes a value.
pub fn attempt<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: begun and ended in pairs; context and owner are put back.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let value = catch(work);
        match value {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        value
    }
}
