use crate::compat;
use crate::error::Result;
use crate::local::guard::guarded;
use crate::local::identity::{Role, run_as};
use crate::storage::btree::BuildByKeys;
use pgrx::{pg_guard, pg_sys};

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

/// The greatest table whose indexes are filled row by row: their files stay what they are, and are not flushed.
const MOST_PAGES_BY_ROW: u32 = 16;

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
            let pages = pg_sys::RelationGetNumberOfBlocksInFork(heap_relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            if pages > 0 {
                let index_relation = pg_sys::index_open(index.into(), lock);
                let info = pg_sys::BuildIndexInfo(index_relation);
                if pages > MOST_PAGES_BY_ROW || !fill_by_row(heap_relation, index_relation, info) {
                    // A truncation would flush the log, for each index.
                    compat::give_new_file(index_relation);
                    let by_keys = BuildByKeys::install(index_relation, info);
                    pg_sys::index_build(heap_relation, index_relation, info, true, false);
                    drop(by_keys);
                }
                pg_sys::index_close(index_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
            pg_sys::table_close(heap_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            pg_sys::CommandCounterIncrement();
        }
    });
    Ok(())
}

/// Adds all rows of a table to a B-tree that holds none. Returns whether the index is complete then: where keys are not unique, or
/// may not be, the build tells.
///
/// # Safety
/// Both are open and locked exclusively, and `info` describes the index.
unsafe fn fill_by_row(heap: pg_sys::Relation, index: pg_sys::Relation, info: *mut pg_sys::IndexInfo) -> bool {
    // SAFETY: promised by the caller; the state outlives the scan.
    unsafe {
        let is_empty_tree = (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
            && (*info).ii_ExclusionOps.is_null()
            && pg_sys::RelationGetNumberOfBlocksInFork(index, pg_sys::ForkNumber::MAIN_FORKNUM) == 1;
        let scan = (*(*heap).rd_tableam).index_build_range_scan;
        let (true, Some(scan)) = (is_empty_tree, scan) else { return false };
        let mut filling = Filling { heap, info, is_complete: true };
        let (state, all) = ((&raw mut filling).cast(), pg_sys::InvalidBlockNumber);
        let no_scan = std::ptr::null_mut();
        guarded!(scan(heap, index, info, false, false, false, 0, all, Some(add_to_index), state, no_scan));
        // Rows of older versions would be missing from the index: the build marks it for that.
        filling.is_complete && !(*info).ii_BrokenHotChain
    }
}

struct Filling {
    heap: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    is_complete: bool,
}

#[pg_guard]
unsafe extern "C-unwind" fn add_to_index(
    index: pg_sys::Relation,
    place: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    _is_alive: bool,
    state: *mut std::ffi::c_void,
) {
    // SAFETY: the server's own arguments, and the state of `fill_by_row`.
    unsafe {
        let filling = &mut *state.cast::<Filling>();
        let check = if (*filling.info).ii_Unique {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_PARTIAL
        } else {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
        };
        let is_unique = pg_sys::index_insert(index, values, nulls, place, filling.heap, check, false, filling.info);
        filling.is_complete &= is_unique || !(*filling.info).ii_Unique;
    }
}
