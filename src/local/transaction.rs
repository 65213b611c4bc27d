//! Transactions: identifiers, times, visibility and subtransactions.

use crate::error::{Result, catch};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// Returns the top transaction's identifier; assigns one if it has none yet.
pub fn assign_top_xid() -> u64 {
    // SAFETY: called inside a transaction that may write.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// Returns whether the top transaction with this identifier is still open, prepared included.
pub fn is_in_progress(full_xid: u64) -> bool {
    // SAFETY: reads shared memory only; the low half is the 32-bit identifier.
    unsafe { pg_sys::TransactionIdIsInProgress(pg_sys::TransactionId::from_inner(full_xid as u32)) }
}

/// Whether this server recovers, as standbys always do: nothing is written then.
pub fn in_recovery() -> bool {
    // SAFETY: reads the state in shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Returns whether this transaction has written anything that other transactions do not see yet.
pub fn has_written() -> bool {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::TransactionId::INVALID }
}

/// Returns whether this transaction has created the extension or altered it, which other processes do not see.
pub fn has_written_extension() -> bool {
    if !has_written() {
        return false;
    }
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
    // SAFETY: keys and scan are those of the catalog's own index; the tuple stays until the end of the scan.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::ExtensionRelationId, lock);
        let mut key: pg_sys::ScanKeyData = std::mem::zeroed();
        let name = pg_sys::Datum::from(c"pgcopy".as_ptr());
        let column = pg_sys::Anum_pg_extension_extname as pg_sys::AttrNumber;
        pg_sys::ScanKeyInit(&mut key, column, equal, pg_sys::F_NAMEEQ.into(), name);
        let index = pg_sys::ExtensionNameIndexId.into();
        let scan = pg_sys::systable_beginscan(catalog, index, true, std::ptr::null_mut(), 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let own =
            !tuple.is_null() && pg_sys::TransactionIdIsCurrentTransactionId((*(*tuple).t_data).t_choice.t_heap.t_xmin);
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
        own
    }
}

/// The start of a transaction and of its current command, in microseconds since PostgreSQL's epoch.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Instants {
    transaction: i64,
    statement: i64,
}

impl Instants {
    pub fn of_this_session() -> Self {
        // SAFETY: both read backend-local variables.
        unsafe {
            Self {
                transaction: pg_sys::GetCurrentTransactionStartTimestamp(),
                statement: pg_sys::GetCurrentStatementStartTimestamp(),
            }
        }
    }

    /// Makes them the times of this process's own transaction, as a parallel worker takes over those of its leader.
    pub fn adopt(self) {
        // SAFETY: the server insists on being in a parallel worker, which this process is as far as these instants are
        // concerned; nothing else runs in between.
        unsafe {
            let number = pg_sys::ParallelWorkerNumber;
            pg_sys::ParallelWorkerNumber = 0;
            pg_sys::SetParallelStartTimestamps(self.transaction, self.statement);
            pg_sys::ParallelWorkerNumber = number;
        }
    }
}

pub fn make_changes_visible() {
    // SAFETY: called inside a transaction, between commands.
    unsafe { pg_sys::CommandCounterIncrement() }
}

/// Lets this transaction see changes that others have committed to the definitions of relations that it has open.
pub fn accept_changes_of_others() {
    // SAFETY: called inside a transaction, where every lock acquisition does the same.
    unsafe { pg_sys::AcceptInvalidationMessages() }
}

/// Empties this process's caches of relations and catalogs, as after an overflow of the queue of changes.
pub fn forget_definitions() {
    // SAFETY: called inside a transaction that has nothing open yet.
    unsafe { pg_sys::InvalidateSystemCaches() }
}

/// Runs `work` in a subtransaction, which is rolled back in any case.
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
