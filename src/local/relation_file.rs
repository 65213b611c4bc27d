//! New pages at the end of a relation's file, logged and written past the buffer manager.
//!
//! For relations that nobody else reads yet. A page is formed once in our own memory and written once; the buffer
//! manager would write zeroes first and the page on its way out of a ring of buffers.

use crate::compat;
use crate::local::interrupts;
use pgrx::pg_sys;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::offset_of;

/// Who writes pages of a table past the buffer manager holds this on it. VACUUM of the whole database, or anybody who
/// reads, would otherwise leave pages in shared buffers that are not yet written, and nobody would see their rows.
pub const WRITER_LOCK: pg_sys::LOCKMODE = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;

pub const PAGE_BYTES: usize = pg_sys::BLCKSZ as usize;
/// `PageHeaderData` up to the line pointers (`storage/bufpage.h`).
pub const PAGE_HEADER_BYTES: usize = offset_of!(pg_sys::PageHeaderData, pd_linp);
pub const LINE_POINTER_BYTES: usize = size_of::<pg_sys::ItemIdData>();
/// The size of the fixed part of `HeapTupleHeaderData`, before the bitmap of NULLs (`access/htup_details.h`).
pub const ROW_HEADER_BYTES: usize = offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
/// Most rows that fit into a page (`MaxHeapTuplesPerPage`); more line pointers than that are taken for damage.
pub const MOST_ROWS_ON_PAGE: usize =
    (PAGE_BYTES - PAGE_HEADER_BYTES) / (ROW_HEADER_BYTES.next_multiple_of(8) + LINE_POINTER_BYTES);

const LSN: usize = offset_of!(pg_sys::PageHeaderData, pd_lsn);
const FLAGS: usize = offset_of!(pg_sys::PageHeaderData, pd_flags);
const LOWER: usize = offset_of!(pg_sys::PageHeaderData, pd_lower);
const UPPER: usize = offset_of!(pg_sys::PageHeaderData, pd_upper);
const SPECIAL: usize = offset_of!(pg_sys::PageHeaderData, pd_special);
const SIZE_AND_VERSION: usize = offset_of!(pg_sys::PageHeaderData, pd_pagesize_version);

// What this file, and those who fill pages, take for granted.
const _: () = {
    assert!(PAGE_BYTES.is_power_of_two() && PAGE_BYTES >= 1024 && PAGE_BYTES <= 32768);
    assert!(pg_sys::MAXIMUM_ALIGNOF == 8);
    assert!(pg_sys::PG_PAGE_LAYOUT_VERSION == 4);
    assert!(PAGE_HEADER_BYTES == 24 && LINE_POINTER_BYTES == 4 && ROW_HEADER_BYTES == 23);
    assert!(offset_of!(pg_sys::HeapTupleHeaderData, t_infomask2) == 18);
    assert!(offset_of!(pg_sys::HeapTupleHeaderData, t_infomask) == 20);
    assert!(offset_of!(pg_sys::HeapTupleHeaderData, t_hoff) == 22);
    assert!(size_of::<pg_sys::IndexTupleData>() == 8 && offset_of!(pg_sys::IndexTupleData, t_info) == 6);
    assert!(size_of::<Page>() == PAGE_BYTES);
};

/// Pages side by side in memory that is aligned as direct I/O wants it.
pub struct Pages {
    start: *mut u8,
    count: usize,
}

impl Pages {
    pub fn new(count: usize) -> Self {
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(Self::layout(count)) };
        if start.is_null() {
            handle_alloc_error(Self::layout(count));
        }
        Self { start, count }
    }

    fn layout(count: usize) -> Layout {
        Layout::from_size_align(count * PAGE_BYTES, 4096).expect("a small number of pages")
    }

    pub fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub fn page(&mut self, position: usize) -> &mut Page {
        assert!(position < self.count);
        // SAFETY: within the allocation, as just checked; every bit pattern is an array of bytes, and `initialize`
        // writes all of them before anything is read.
        unsafe { &mut *self.start.add(position * PAGE_BYTES).cast::<Page>() }
    }

    pub(crate) fn address(&self, position: usize) -> *mut u8 {
        assert!(position < self.count);
        // SAFETY: within the allocation, as just checked.
        unsafe { self.start.add(position * PAGE_BYTES) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.start, Self::layout(self.count)) };
    }
}

/// A page in the standard layout: line pointers grow up from the header, items down from the special space.
#[repr(C, align(8))]
pub struct Page {
    pub bytes: [u8; PAGE_BYTES],
}

impl Page {
    /// An empty page with `special` bytes, a multiple of 8, at its end.
    pub fn initialize(&mut self, special: usize, flags: u16) {
        self.bytes.fill(0);
        let end = PAGE_BYTES - special;
        self.set(FLAGS, flags);
        self.set(LOWER, PAGE_HEADER_BYTES as u16);
        self.set(UPPER, end as u16);
        self.set(SPECIAL, end as u16);
        self.set(SIZE_AND_VERSION, PAGE_BYTES as u16 | pg_sys::PG_PAGE_LAYOUT_VERSION as u16);
    }

    #[inline]
    fn set(&mut self, offset: usize, value: u16) {
        self.bytes[offset..offset + 2].copy_from_slice(&value.to_ne_bytes());
    }

    #[inline]
    fn get(&self, offset: usize) -> usize {
        u16::from_ne_bytes([self.bytes[offset], self.bytes[offset + 1]]).into()
    }

    /// Whether nothing was ever written to it.
    #[inline]
    pub fn is_new(&self) -> bool {
        self.get(UPPER) == 0
    }

    /// Bytes between the line pointers and the items.
    #[inline]
    pub fn free(&self) -> usize {
        self.get(UPPER) - self.get(LOWER)
    }

    /// The number of line pointers.
    #[inline]
    pub fn items(&self) -> usize {
        (self.get(LOWER) - PAGE_HEADER_BYTES) / LINE_POINTER_BYTES
    }

    /// Leaves room for one more line pointer, to be filled later with [`Page::place`].
    pub fn skip_line_pointer(&mut self) {
        let lower = self.get(LOWER) + LINE_POINTER_BYTES;
        self.set(LOWER, lower as u16);
    }

    /// Removes the first line pointer; the others move down by one.
    pub fn drop_first_line_pointer(&mut self) {
        let lower = self.get(LOWER);
        self.bytes.copy_within(PAGE_HEADER_BYTES + LINE_POINTER_BYTES..lower, PAGE_HEADER_BYTES);
        self.bytes[lower - LINE_POINTER_BYTES..lower].fill(0);
        self.set(LOWER, (lower - LINE_POINTER_BYTES) as u16);
    }

    /// Appends an item behind the others. The caller has seen to it that there is room.
    #[inline]
    pub fn add(&mut self, item: &[u8]) {
        let lower = self.get(LOWER);
        self.set(LOWER, (lower + LINE_POINTER_BYTES) as u16);
        self.place((lower - PAGE_HEADER_BYTES) / LINE_POINTER_BYTES, item);
    }

    /// Puts an item behind the zero-based line pointer, which exists.
    #[inline]
    pub fn place(&mut self, position: usize, item: &[u8]) {
        let start = self.get(UPPER) - item.len().next_multiple_of(8);
        self.bytes[start..start + item.len()].copy_from_slice(item);
        self.set(UPPER, start as u16);
        // `ItemIdData`: offset, state LP_NORMAL, length.
        let pointer = start as u32 | 1 << 15 | (item.len() as u32) << 17;
        let at = PAGE_HEADER_BYTES + position * LINE_POINTER_BYTES;
        self.bytes[at..at + LINE_POINTER_BYTES].copy_from_slice(&pointer.to_ne_bytes());
    }

    /// Where the item of a zero-based line pointer stands.
    #[inline]
    pub fn item_range(&self, position: usize) -> std::ops::Range<usize> {
        let at = PAGE_HEADER_BYTES + position * LINE_POINTER_BYTES;
        let pointer = u32::from_ne_bytes(self.bytes[at..at + LINE_POINTER_BYTES].try_into().expect("four bytes"));
        let start = (pointer & 0x7fff) as usize;
        start..start + (pointer >> 17) as usize
    }

    #[inline]
    pub fn item(&self, position: usize) -> &[u8] {
        &self.bytes[self.item_range(position)]
    }

    /// The log position that the page is covered by.
    pub fn set_lsn(&mut self, lsn: u64) {
        self.bytes[LSN..LSN + 4].copy_from_slice(&((lsn >> 32) as u32).to_ne_bytes());
        self.bytes[LSN + 4..LSN + 8].copy_from_slice(&(lsn as u32).to_ne_bytes());
    }
}

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

    /// Makes room for `count` pages at the end of the file, for this process alone, and returns the first one's number.
    pub fn reserve(&self, count: usize) -> u32 {
        let lock = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: the relation is open. The lock is the one under which every process extends it.
        unsafe {
            pg_sys::LockRelationForExtension(self.relation, lock);
            let storage = pg_sys::RelationGetSmgr(self.relation);
            let first = pg_sys::smgrnblocks(storage, self.fork);
            // The file's length is what others go by, so that the last page must be there before the lock is given up.
            // All pages of a segment that another one follows must be: the storage manager would write zeroes.
            let end = first.checked_add(count as u32).filter(|&end| end < pg_sys::InvalidBlockNumber);
            let Some(end) = end else {
                crate::error::Error::internal("a table cannot have more than 2^32 - 2 pages").raise();
            };
            let zeroes = Pages::new(1);
            std::ptr::write_bytes(zeroes.address(0), 0, PAGE_BYTES);
            let segment_end = first.next_multiple_of(pg_sys::RELSEG_SIZE);
            for block in first..end {
                if block + 1 == end || (block < segment_end && end > segment_end) {
                    compat::extend_relation(storage, self.fork, block, zeroes.address(0), true);
                }
            }
            pg_sys::UnlockRelationForExtension(self.relation, lock);
            first
        }
    }

    /// Logs pages with `log` and writes them to blocks that were reserved, or that are known to be this process's own.
    /// Checksums are set here.
    pub fn write(&self, pages: &mut Pages, blocks: &[u32], log: impl FnOnce(&Self, &mut Pages)) {
        interrupts::check();
        assert!(blocks.len() <= pages.count());
        // A checkpoint that begins between the two must wait: it would neither replay the log record nor have flushed
        // the page. As the buffer manager's callers do it for changes of more than one place.
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
                compat::extend_relation(storage, self.fork, block, page, !last_of_its_segment);
            }
        }
    }

    /// Logs the pages as they are. `standard` leaves out the hole between line pointers and items.
    pub fn log_images(&self, pages: &mut Pages, blocks: &[u32], standard: bool) {
        let mut addresses: Vec<_> = (0..blocks.len()).map(|position| pages.address(position)).collect();
        // SAFETY: whole pages, which the function only reads and gives their log position.
        unsafe { compat::log_new_pages(self.relation, self.fork, blocks, &mut addresses, standard) };
    }

    /// Logs a new heap page as the insertion of `rows` rows into an empty page, which takes less than its image.
    pub fn log_heap_rows(&self, page: &mut Page, block: u32, rows: usize, tuples: &[u8]) {
        // SAFETY: the page and the data outlive the call; their form is that of `heap_multi_insert`.
        let lsn = unsafe {
            compat::log_heap_rows(self.relation, self.fork, block, page.bytes.as_mut_ptr(), rows as u16, tuples)
        };
        page.set_lsn(lsn);
    }
}

/// Keeps a checkpoint from completing while it lives.
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
