//! Rows that the server itself forms and stores, as for COPY FROM. Every load uses this while `pgcopy.own_storage` is
//! off.

use super::relation_file::WRITER_LOCK;
use pgrx::pg_sys;

/// Rows that are stored together, as in `copyfrom.c`.
const MOST_ROWS: usize = 1000;
const MOST_BYTES: usize = 65_535;

/// Collects rows and stores them in batches.
pub struct ServerRows {
    relation: pg_sys::Relation,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    used: usize,
    bytes: usize,
    bulk_insert: pg_sys::BulkInsertState,
    /// The context of the collected rows, which lives as long as the load.
    context: pg_sys::MemoryContext,
}

impl ServerRows {
    /// # Safety
    /// The relation is a heap that stays open for as long as this lives, locked with [`WRITER_LOCK`], and that no other
    /// transaction reads before this one has committed.
    pub unsafe fn new(relation: pg_sys::Relation) -> Self {
        debug_assert!(WRITER_LOCK == pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE);
        // SAFETY: allocates in the current context, which outlives the load.
        let (bulk_insert, context) = unsafe { (pg_sys::GetBulkInsertState(), pg_sys::CurrentMemoryContext) };
        Self { relation, slots: Vec::new(), used: 0, bytes: 0, bulk_insert, context }
    }

    /// Copies a row and returns its length in bytes.
    ///
    /// # Safety
    /// The slot holds a row of the relation's descriptor.
    pub unsafe fn add(&mut self, row: *mut pg_sys::TupleTableSlot) -> usize {
        // SAFETY: promised by the caller; the copies belong to slots of ours. An ERROR releases them with the transaction.
        unsafe {
            if self.used == self.slots.len() {
                let descriptor = (*self.relation).rd_att;
                // The caller's own context is reset between rows.
                let outer = pg_sys::MemoryContextSwitchTo(self.context);
                self.slots.push(pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsHeapTuple));
                pg_sys::MemoryContextSwitchTo(outer);
            }
            let slot = self.slots[self.used];
            pg_sys::ExecCopySlot(slot, row);
            // The row belongs to the stage table until the swap.
            (*slot).tts_tableOid = (*self.relation).rd_id;
            let mut must_be_freed = false;
            let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut must_be_freed);
            self.used += 1;
            self.bytes += (*tuple).t_len as usize;
            (*tuple).t_len as usize
        }
    }

    /// Returns whether enough rows are collected to be stored.
    pub fn is_full(&self) -> bool {
        self.used >= MOST_ROWS || self.bytes >= MOST_BYTES
    }

    /// Stores the rows that were added, frozen: nobody sees a stage table before the swap.
    pub fn store(&mut self) {
        if self.used == 0 {
            return;
        }
        let options = pg_sys::TABLE_INSERT_FROZEN | pg_sys::TABLE_INSERT_SKIP_FSM;
        // SAFETY: the relation is open and the slots hold rows of it.
        unsafe {
            pg_sys::heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.used as i32,
                pg_sys::GetCurrentCommandId(true),
                options as i32,
                self.bulk_insert,
            );
            for &slot in &self.slots[..self.used] {
                pg_sys::ExecClearTuple(slot);
            }
        }
        (self.used, self.bytes) = (0, 0);
    }

    /// Stores the remaining rows and frees everything.
    pub fn finish(mut self) {
        self.store();
        // SAFETY: made by `new` and `add`.
        unsafe {
            pg_sys::FreeBulkInsertState(self.bulk_insert);
            self.slots.iter().for_each(|&slot| pg_sys::ExecDropSingleTupleTableSlot(slot));
        }
    }
}
