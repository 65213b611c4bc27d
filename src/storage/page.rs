//! Pages in the server's standard layout (`storage/bufpage.h`), formed in our own memory.

use pgrx::pg_sys;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::offset_of;

pub const PAGE_BYTES: usize = pg_sys::BLCKSZ as usize;
/// `PageHeaderData` up to the line pointers (`storage/bufpage.h`).
pub const PAGE_HEADER_BYTES: usize = offset_of!(pg_sys::PageHeaderData, pd_linp);
pub const LINE_POINTER_BYTES: usize = size_of::<pg_sys::ItemIdData>();
/// The size of the fixed part of `HeapTupleHeaderData`, before the bitmap of NULLs (`access/htup_details.h`).
pub const ROW_HEADER_BYTES: usize = offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
/// The most rows that fit into a page (`MaxHeapTuplesPerPage`); the server takes more line pointers than that for
/// damage.
pub const MOST_ROWS_ON_PAGE: usize =
    (PAGE_BYTES - PAGE_HEADER_BYTES) / (ROW_HEADER_BYTES.next_multiple_of(8) + LINE_POINTER_BYTES);

const LSN: usize = offset_of!(pg_sys::PageHeaderData, pd_lsn);
const FLAGS: usize = offset_of!(pg_sys::PageHeaderData, pd_flags);
const LOWER: usize = offset_of!(pg_sys::PageHeaderData, pd_lower);
const UPPER: usize = offset_of!(pg_sys::PageHeaderData, pd_upper);
const SPECIAL: usize = offset_of!(pg_sys::PageHeaderData, pd_special);
const SIZE_AND_VERSION: usize = offset_of!(pg_sys::PageHeaderData, pd_pagesize_version);

// This file, and the code that fills pages, rely on all of it.
const _: () = {
    assert!(PAGE_BYTES.is_power_of_two() && PAGE_BYTES >= 1024 && PAGE_BYTES <= 32768);
    assert!(pg_sys::MAXIMUM_ALIGNOF == 8);
    assert!(pg_sys::PG_PAGE_LAYOUT_VERSION == 4);
    assert!(PAGE_HEADER_BYTES == 24 && LINE_POINTER_BYTES == 4 && ROW_HEADER_BYTES == 23);
    assert!(offset_of!(pg_sys::HeapTupleHeaderData, t_ctid) == 12 && size_of::<pg_sys::ItemPointerData>() == 6);
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
    /// Makes the page an empty one with `special` bytes, a multiple of 8, at its end.
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

    /// Returns whether nothing was ever written to the page.
    #[inline]
    pub fn is_new(&self) -> bool {
        self.get(UPPER) == 0
    }

    /// Returns the number of bytes between the line pointers and the items.
    #[inline]
    pub fn free(&self) -> usize {
        self.get(UPPER) - self.get(LOWER)
    }

    /// Returns the number of line pointers.
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

    /// Appends an item behind the others. The caller has made sure that there is room.
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

    /// Returns the place of the item of a zero-based line pointer.
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

    /// Sets the position in the log up to which the page is covered.
    pub fn set_lsn(&mut self, lsn: u64) {
        self.bytes[LSN..LSN + 4].copy_from_slice(&((lsn >> 32) as u32).to_ne_bytes());
        self.bytes[LSN + 4..LSN + 8].copy_from_slice(&(lsn as u32).to_ne_bytes());
    }
}
