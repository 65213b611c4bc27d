//! New pages at the end of a relation's file, logged and written past the buffer manager.
//!
//! This is for relations that no other process reads yet. A page is formed once in our own memory and written once; the
//! buffer manager would write zeroes first, and the page when a ring of buffers evicts it.

use super::page::{PAGE_BYTES, Page, Pages};
use crate::compat;
use crate::local::interrupts;
use pgrx::pg_sys;

/// The lock that a process holds on a table while it writes pages past the buffer manager. VACUUM of the whole
/// database, or any reader, would otherwise leave versions of pages in shared buffers that are older than those in the
/// file, and nobody would see the new rows.
pub const WRITER_LOCK: pg_sys::LOCKMODE = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;

/// One fork of a relation that only its job knows.
pub struct RelationFile {
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    logged: bool,
}

impl RelationFile {
    /// # Safety
    /// The relation stays open and locked for as long as this lives, and none of its pages are in the buffer manager's
    /// hands with changes.
    pub unsafe fn new(relation: pg_sys::Relation, fork: pg_sys::ForkNumber::Type) -> Self {
        // SAFETY: promised by the caller.
        Self { relation, fork, logged: unsafe { compat::relation_needs_wal(relation) } }
    }

    /// Makes room for `count` pages at the end of the file, for this process alone, and returns the number of the first
    /// page.
    pub fn reserve(&self, count: usize) -> u32 {
        let lock = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: the relation is open. The lock is the one under which every process extends it.
        unsafe {
            pg_sys::LockRelationForExtension(self.relation, lock);
            let storage = pg_sys::RelationGetSmgr(self.relation);
            let first = pg_sys::smgrnblocks(storage, self.fork);
            // Other processes go by the file's length, so that the last page must exist before the lock is given up.
            // All pages of a segment that another segment follows must exist, too: the storage manager would write
            // zeroes.
            let end = first.checked_add(count as u32).filter(|&end| end < pg_sys::InvalidBlockNumber);
            let Some(end) = end else {
                crate::error::Error::internal("a table cannot have more than 2^32 - 2 pages").raise();
            };
            let zeroes = Pages::new(1);
            std::ptr::write_bytes(zeroes.address(0), 0, PAGE_BYTES);
            let segment_end = first.next_multiple_of(pg_sys::RELSEG_SIZE);
            for block in first..end {
                if block + 1 == end || (block < segment_end && end > segment_end) {
                    extend_relation(storage, self.fork, block, zeroes.address(0), true);
                }
            }
            pg_sys::UnlockRelationForExtension(self.relation, lock);
            first
        }
    }

    /// Logs pages with `log`, sets their checksums, and writes them to blocks that this process has reserved, or that
    /// are known to be its own.
    pub fn write(&self, pages: &mut Pages, blocks: &[u32], log: impl FnOnce(&Self, &mut Pages)) {
        interrupts::check();
        assert!(blocks.len() <= pages.count());
        // A checkpoint that begins between the two steps must wait: recovery would not replay the log record, and the
        // page would not be flushed. Callers of the buffer manager do the same for changes of more than one place.
        let _delay = CheckpointDelay::start();
        if self.logged {
            log(self, pages);
        }
        // SAFETY: the relation is open; every page is one of ours and stays put.
        unsafe {
            let storage = pg_sys::RelationGetSmgr(self.relation);
            for (position, &block) in blocks.iter().enumerate() {
                let page = pages.address(position);
                pg_sys::PageSetChecksumInplace(page.cast(), block);
                // One request to flush serves a whole segment.
                let last_of_its_segment = blocks
                    .get(position + 1)
                    .is_none_or(|next| next / pg_sys::RELSEG_SIZE != block / pg_sys::RELSEG_SIZE);
                extend_relation(storage, self.fork, block, page, !last_of_its_segment);
            }
        }
    }

    /// Logs images of the pages. With `standard`, the hole between line pointers and items is left out.
    pub fn log_images(&self, pages: &mut Pages, blocks: &[u32], standard: bool) {
        let mut addresses: Vec<_> = (0..blocks.len()).map(|position| pages.address(position)).collect();
        // SAFETY: whole pages, which the function only reads and gives their log position.
        unsafe { log_new_pages(self.relation, self.fork, blocks, &mut addresses, standard) };
    }

    /// Logs a new heap page as the insertion of `rows` rows into an empty page, which takes less than its image.
    pub fn log_heap_rows(&self, page: &mut Page, block: u32, rows: usize, tuples: &[u8]) {
        // SAFETY: the page and the data outlive the call; their form is that of `heap_multi_insert`.
        let lsn =
            unsafe { log_heap_rows(self.relation, self.fork, block, page.bytes.as_mut_ptr(), rows as u16, tuples) };
        page.set_lsn(lsn);
    }
}

/// Keeps a checkpoint from completing while this value lives.
struct CheckpointDelay;

impl CheckpointDelay {
    fn start() -> Self {
        // SAFETY: this process's own entry; the flag is read by the checkpointer under the lock that comes with logging.
        unsafe { (*pg_sys::MyProc).delayChkptFlags |= pg_sys::DELAY_CHKPT_START as i32 };
        Self
    }
}

impl Drop for CheckpointDelay {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { (*pg_sys::MyProc).delayChkptFlags &= !(pg_sys::DELAY_CHKPT_START as i32) };
    }
}

/// Writes a page of a relation's file, at its end or anywhere before it.
///
/// # Safety
/// `page` points to a whole page, and no buffer holds this block.
unsafe fn extend_relation(
    storage: pg_sys::SMgrRelation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    page: *mut u8,
    skip_fsync: bool,
) {
    // SAFETY: promised by the caller.
    unsafe { pg_sys::smgrextend(storage, fork, block, page.cast(), skip_fsync) };
}

/// Logs images of new pages and gives each its log position.
///
/// # Safety
/// The addresses are those of whole pages, one for each block, in the standard layout if `standard` is set.
unsafe fn log_new_pages(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    blocks: &[u32],
    pages: &mut [*mut u8],
    standard: bool,
) {
    // SAFETY: promised by the caller; the server only reads the block numbers.
    unsafe {
        pg_sys::log_newpages(
            compat::locator(relation),
            fork,
            blocks.len() as i32,
            blocks.as_ptr().cast_mut(),
            pages.as_mut_ptr().cast(),
            standard,
        );
    }
}

/// Logs rows that were put into an empty heap page, frozen, as `heap_multi_insert` logs them. Returns the log position.
///
/// # Safety
/// `page` is a whole page; `tuples` holds that many `xl_multi_insert_tuple` with their data.
unsafe fn log_heap_rows(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    page: *mut u8,
    rows: u16,
    tuples: &[u8],
) -> u64 {
    // `access/heapam_xlog.h`
    const MULTI_INSERT: u8 = 0x50;
    const INITIALIZES_PAGE: u8 = 0x80;
    const ALL_FROZEN: u8 = 1 << 5;
    // `xl_heap_multi_insert`: flags, padding, number of tuples; no offsets where the page is initialized.
    let [low, high] = rows.to_ne_bytes();
    let mut record = [ALL_FROZEN, 0, low, high];
    // SAFETY: promised by the caller; what is registered lives until the record is inserted.
    unsafe {
        pg_sys::XLogBeginInsert();
        pg_sys::XLogRegisterData(record.as_mut_ptr().cast(), record.len() as _);
        pg_sys::XLogRegisterBlock(
            0,
            compat::locator(relation),
            fork,
            block,
            page.cast(),
            pg_sys::REGBUF_WILL_INIT as u8,
        );
        pg_sys::XLogRegisterBufData(0, tuples.as_ptr().cast_mut().cast(), tuples.len() as _);
        pg_sys::XLogInsert(pg_sys::RmgrIds::RM_HEAP2_ID as u8, MULTI_INSERT | INITIALIZES_PAGE)
    }
}
