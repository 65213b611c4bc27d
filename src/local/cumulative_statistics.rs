//! What the server's cumulative statistics are told of tables whose rows this transaction has replaced: that they were
//! vacuumed and analyzed, so that autovacuum need not do it again.
//!
//! It is told when the transaction has been committed. What a transaction has counted is passed on after its end, and would be
//! added to what was reported in it: all rows would count as changes since the ANALYZE that has seen them.

use crate::compat;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::sync::Once;

/// A table that was emptied, filled and analyzed.
struct Replaced {
    relation: u32,
    rows: i64,
    maintenance: Maintenance,
    /// What this process counts of the table. It stays until it is passed on, which the server does between transactions.
    counted: *mut pg_sys::PgStat_TableStatus,
    subtransaction: pg_sys::SubTransactionId,
}

/// Who tells that the new rows are analyzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maintenance {
    /// ANALYZE itself has done so.
    Reported,
    /// Nobody yet, and the rows are vacuumed as well.
    Unreported,
}

thread_local! {
    /// Those of the current transaction.
    static REPLACED: RefCell<Vec<Replaced>> = const { RefCell::new(Vec::new()) };
}

/// Counts that all rows of a table have been replaced by so many others, which are vacuumed and analyzed.
///
/// # Safety
/// The relation is a table that is open and that this transaction keeps everybody else out of.
pub unsafe fn count_replacement(relation: pg_sys::Relation, rows: u64) {
    // SAFETY: promised by the caller. The counts are transactional: a rollback brings the old ones back.
    unsafe {
        pg_sys::pgstat_count_truncate(relation);
        pg_sys::pgstat_count_heap_insert(relation, rows as i64);
        note(relation, Maintenance::Unreported);
    }
}

/// Notes that ANALYZE has seen the rows that this transaction has put into tables that it had emptied. It keeps everybody else
/// out of them.
pub fn note_analyzed(relations: &[u32]) {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    for &oid in relations {
        // SAFETY: the relation is locked, and closed again; an ERROR closes it with the transaction.
        unsafe {
            let relation = pg_sys::table_open(oid.into(), no_lock);
            note(relation, Maintenance::Reported);
            pg_sys::table_close(relation, no_lock);
        }
    }
}

/// # Safety
/// As for [`count_replacement`].
unsafe fn note(relation: pg_sys::Relation, maintenance: Maintenance) {
    register();
    // SAFETY: promised by the caller; null where nothing is counted.
    unsafe {
        let counted = (*relation).pgstat_info;
        if counted.is_null() || (*counted).trans.is_null() {
            return;
        }
        let changes = &*(*counted).trans;
        if changes.nest_level != pg_sys::GetCurrentTransactionNestLevel() || !changes.truncdropped {
            return;
        }
        let replaced = Replaced {
            relation: (*relation).rd_id.to_u32(),
            rows: changes.tuples_inserted,
            maintenance,
            counted,
            subtransaction: pg_sys::GetCurrentSubTransactionId(),
        };
        REPLACED.with_borrow_mut(|all| all.push(replaced));
    }
}

fn register() {
    static REGISTERED: Once = Once::new();
    // SAFETY: the callbacks are functions of this library, which is never unloaded.
    REGISTERED.call_once(|| unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), std::ptr::null_mut());
    });
}

/// The server calls it when a transaction is committed and has still its locks, and for other events.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn transaction_ends(event: pg_sys::XactEvent::Type, _argument: *mut std::ffi::c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            let mut reported = Vec::new();
            // Of a table that was replaced more than once the last time counts.
            for replaced in REPLACED.take().into_iter().rev() {
                if !reported.contains(&replaced.relation) {
                    reported.push(replaced.relation);
                    // SAFETY: between the commit and the moment when the server adds up what was counted.
                    unsafe { report(&replaced) };
                }
            }
        }
        // A prepared transaction is another process's to commit.
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => drop(REPLACED.take()),
        _ => {}
    }
}

/// # Safety
/// The transaction has been committed, and nothing that it has counted is passed on yet.
unsafe fn report(replaced: &Replaced) {
    // SAFETY: promised by the caller.
    unsafe {
        let changes = (*replaced.counted).trans;
        // Not what was emptied once more.
        if changes.is_null() || !(*changes).truncdropped || (*changes).tuples_inserted < replaced.rows {
            return;
        }
        compat::pass_on_replacement(replaced.counted, replaced.rows);
    }
    if replaced.maintenance == Maintenance::Unreported {
        compat::report_maintenance(replaced.relation, replaced.rows);
    }
}

/// The server calls it at the end of every subtransaction.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    REPLACED.with_borrow_mut(|all| match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            all.iter_mut()
                .filter(|replaced| replaced.subtransaction == ended)
                .for_each(|replaced| replaced.subtransaction = parent);
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => all.retain(|replaced| replaced.subtransaction != ended),
        _ => {}
    });
}
