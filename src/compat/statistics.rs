//! The server's cumulative statistics of tables.

use pgrx::pg_sys;

/// The place of an object's statistics in shared memory, and what this process has not passed on to it yet
/// (`utils/pgstat_internal.h`).
#[repr(C)]
pub struct PgStat_EntryRef {
    _private: [u8; 0],
}

#[cfg(not(since_18))]
type Kind = pg_sys::PgStat_Kind::Type;
#[cfg(not(since_18))]
type ObjectId = pg_sys::Oid;
#[cfg(not(since_18))]
const TABLE: Kind = pg_sys::PgStat_Kind::PGSTAT_KIND_RELATION;

#[cfg(since_18)]
type Kind = u32;
#[cfg(since_18)]
type ObjectId = u64;
#[cfg(since_18)]
const TABLE: Kind = pg_sys::PGSTAT_KIND_RELATION;

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    /// What this process has counted of an object and not passed on yet; null for nothing.
    fn pgstat_fetch_pending_entry(kind: Kind, database: pg_sys::Oid, object: ObjectId) -> *mut PgStat_EntryRef;
    /// Passes on what is counted of a table; the counts themselves stay.
    fn pgstat_relation_flush_cb(entry: *mut PgStat_EntryRef, no_wait: bool) -> bool;
}

/// Passes on that the table was emptied and filled with so many rows, which its transaction, which has just been committed,
/// has counted among its changes; the rest of the changes is left to the server.
///
/// # Safety
/// The counts are this process's own of a table of its database, with those of the top transaction.
pub unsafe fn pass_on_replacement(counted: *mut pg_sys::PgStat_TableStatus, rows: i64) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        let (relation, counts) = {
            let counts = &mut (*counted).t_counts;
            counts.t_tuples_inserted += rows;
            counts.t_truncdropped = true;
            counts.t_delta_live_tuples = rows;
            counts.t_delta_dead_tuples = 0;
            ((*counted).t_id, counts)
        };
        #[cfg(since_16)]
        let (relation, counts) = {
            let counts = &mut (*counted).counts;
            counts.tuples_inserted += rows;
            counts.truncdropped = true;
            counts.delta_live_tuples = rows;
            counts.delta_dead_tuples = 0;
            ((*counted).id, counts)
        };
        #[cfg(since_18)]
        let relation = ObjectId::from(relation.to_u32());
        let entry = pgstat_fetch_pending_entry(TABLE, pg_sys::MyDatabaseId, relation);
        if !entry.is_null() && pgstat_relation_flush_cb(entry, false) {
            *counts = Default::default();
        }
        let changes = &mut *(*counted).trans;
        changes.tuples_inserted -= rows;
        changes.truncdropped = false;
    }
}

/// Reports that VACUUM and ANALYZE have found so many rows in a table of this database, and no dead ones.
pub fn report_maintenance(relation: u32, rows: i64) {
    // SAFETY: zeroes are valid for both structures. The server reads of them what is set here: what this transaction has
    // counted of the table is not to be taken off, as it would be for an open relation.
    unsafe {
        #[cfg(since_18)]
        let now = pg_sys::GetCurrentTimestamp();
        #[cfg(not(since_18))]
        pg_sys::pgstat_report_vacuum(relation.into(), false, rows, 0);
        #[cfg(since_18)]
        pg_sys::pgstat_report_vacuum(relation.into(), false, rows, 0, now);
        let mut class: pg_sys::FormData_pg_class = std::mem::zeroed();
        class.relkind = pg_sys::RELKIND_RELATION as std::ffi::c_char;
        let mut described: pg_sys::RelationData = std::mem::zeroed();
        described.rd_id = relation.into();
        described.rd_rel = &mut class;
        #[cfg(not(since_18))]
        pg_sys::pgstat_report_analyze(&mut described, rows, 0, true);
        #[cfg(since_18)]
        pg_sys::pgstat_report_analyze(&mut described, rows, 0, true, now);
    }
}
