//! Tests whether tables hold rows.

use super::locks;
use crate::error::Result;
use pgrx::pg_sys;

/// Returns whether the table holds a row that is committed now, or of this transaction. A partitioned table itself
/// holds none.
///
/// An older snapshot of the transaction is not used at any isolation level: it would not show rows that a replacement
/// would lose.
///
/// No SQL is used: a policy could hide the rows, and the name could mean another table by the time that it is looked
/// up.
///
/// # Errors
/// Another session has kept it locked for as long as `lock_timeout` allows.
pub fn are_in(relation: u32) -> Result<bool> {
    locks::while_locked_for_reading(relation, || are_in_locked(relation))
}

/// Returns the same without waiting; `None` where another session's lock is in the way.
pub fn are_in_now(relation: u32) -> Option<bool> {
    // SAFETY: takes a heavyweight lock by OID, as opening the relation would; it is given up as it was taken.
    unsafe {
        if !pg_sys::ConditionalLockRelationOid(relation.into(), LOCK) {
            return None;
        }
        let found = are_in_locked(relation);
        pg_sys::UnlockRelationOid(relation.into(), LOCK);
        Some(found)
    }
}

const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

fn are_in_locked(relation: u32) -> bool {
    let lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: what is opened is closed again here, or by the end of the transaction after an ERROR. The relation may have
    // been dropped, which gives null.
    unsafe {
        let opened = pg_sys::try_relation_open(relation.into(), lock);
        if opened.is_null() {
            return false;
        }
        let kind = (*(*opened).rd_rel).relkind as u8;
        let found = match kind {
            pg_sys::RELKIND_RELATION => {
                let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
                let slot = pg_sys::table_slot_create(opened, std::ptr::null_mut());
                let scan = pg_sys::table_beginscan(opened, snapshot, 0, std::ptr::null_mut());
                let forward = pg_sys::ScanDirection::ForwardScanDirection;
                let found = pg_sys::table_scan_getnextslot(scan, forward, slot);
                pg_sys::table_endscan(scan);
                pg_sys::ExecDropSingleTupleTableSlot(slot);
                pg_sys::UnregisterSnapshot(snapshot);
                found
            }
            // The rows of a foreign table are elsewhere. It counts as filled, so that the caller must say that they may
            // be overwritten.
            pg_sys::RELKIND_FOREIGN_TABLE => true,
            _ => false,
        };
        pg_sys::relation_close(opened, lock);
        found
    }
}
