//! The visibility map of a table that was loaded as a whole.

use super::page::{PAGE_BYTES, PAGE_HEADER_BYTES, Pages};
use super::relation_file::{RelationFile, WRITER_LOCK};
use pgrx::pg_sys;

/// Heap pages that a page of the visibility map describes, with two bits each (`visibilitymap.c`).
const HEAP_PAGES_PER_PAGE: u32 = (PAGE_BYTES - PAGE_HEADER_BYTES) as u32 * 4;

// Both bits are set for every page.
const _: () = assert!(pg_sys::VISIBILITYMAP_VALID_BITS == 0b11);

/// The size from which a table gets a map. For a smaller one a map saves nothing, and it is one more file for each of
/// many small tables.
const FEWEST_PAGES: u32 = 8;

/// Writes the visibility map of a loaded stage table: every page is all-visible and all-frozen.
pub fn write(stage: u32) {
    let fork = pg_sys::ForkNumber::VISIBILITYMAP_FORKNUM;
    // SAFETY: the stage table exists and is complete; nobody else writes its map.
    unsafe {
        let relation = pg_sys::table_open(stage.into(), WRITER_LOCK);
        let heap_pages = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        let storage = pg_sys::RelationGetSmgr(relation);
        // Several tasks may get here for the same table.
        let extension = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        pg_sys::LockRelationForExtension(relation, extension);
        if heap_pages >= FEWEST_PAGES && !pg_sys::smgrexists(storage, fork) {
            pg_sys::smgrcreate(storage, fork, false);
            let file = RelationFile::new(relation, fork);
            let mut pages = Pages::new(1);
            for number in 0..heap_pages.div_ceil(HEAP_PAGES_PER_PAGE) {
                let described = (heap_pages - number * HEAP_PAGES_PER_PAGE).min(HEAP_PAGES_PER_PAGE) as usize;
                let page = pages.page(0);
                page.initialize(0, 0);
                page.bytes[PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + described / 4].fill(0xff);
                if !described.is_multiple_of(4) {
                    page.bytes[PAGE_HEADER_BYTES + described / 4] = (1 << (described % 4 * 2)) - 1;
                }
                let block = file.reserve(1);
                file.write(&mut pages, &[block], |file, pages| file.log_images(pages, &[block], false));
            }
        }
        pg_sys::UnlockRelationForExtension(relation, extension);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
}
