use crate::compat;
use crate::error::Result;
use crate::local::identity::{Role, run_as};
use crate::storage::btree::BuildByKeys;
use pgrx::pg_sys;

/// Fills an index of a loaded stage table.
///
/// Functions in index expressions run as the table's owner, under the restrictions of core's own CREATE INDEX; a
/// second pass verifies exclusion constraints.
pub fn build_index(heap: u32, owner: u32, index: u32) -> Result<()> {
    run_as(Role::TableOwner(owner), || {
        // SAFETY: as index_concurrently_build in index.c, without what only a table that others use needs. ShareLock is
        // what a plain CREATE INDEX takes.
        unsafe {
            let lock = pg_sys::ShareLock as pg_sys::LOCKMODE;
            let heap_relation = pg_sys::table_open(heap.into(), lock);
            let index_relation = pg_sys::index_open(index.into(), pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            let info = pg_sys::BuildIndexInfo(index_relation);
            let by_keys = BuildByKeys::install(index_relation, info);
            pg_sys::index_build(heap_relation, index_relation, info, false, true);
            drop(by_keys);
            pg_sys::index_close(index_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            pg_sys::table_close(heap_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            // From here on planners and ANALYZE may use it.
            for action in [
                pg_sys::IndexStateFlagsAction::INDEX_CREATE_SET_READY,
                pg_sys::IndexStateFlagsAction::INDEX_CREATE_SET_VALID,
            ] {
                pg_sys::CommandCounterIncrement();
                pg_sys::index_set_state_flags(index.into(), action);
            }
        }
    });
    Ok(())
}

/// Fills an index of a table that this transaction has made and filled. The index was made with the empty table.
///
/// Functions run as for [`build_index`].
pub fn fill_index(heap: u32, owner: u32, index: u32) -> Result<()> {
    run_as(Role::TableOwner(owner), || {
        // SAFETY: as reindex_index in index.c, for a table that nobody else sees and this transaction holds exclusively.
        unsafe {
            let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
            let heap_relation = pg_sys::table_open(heap.into(), lock);
            // An index of no rows is complete.
            if pg_sys::RelationGetNumberOfBlocksInFork(heap_relation, pg_sys::ForkNumber::MAIN_FORKNUM) > 0 {
                let index_relation = pg_sys::index_open(index.into(), lock);
                let info = pg_sys::BuildIndexInfo(index_relation);
                // A truncation would flush the log, for each index.
                compat::give_new_file(index_relation);
                let by_keys = BuildByKeys::install(index_relation, info);
                pg_sys::index_build(heap_relation, index_relation, info, true, false);
                drop(by_keys);
                pg_sys::index_close(index_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
            pg_sys::table_close(heap_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            pg_sys::CommandCounterIncrement();
        }
    });
    Ok(())
}
