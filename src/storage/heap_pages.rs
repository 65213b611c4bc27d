//! Rows to finished heap pages, frozen and all-visible.

use super::page::{
    LINE_POINTER_BYTES, MOST_ROWS_ON_PAGE, PAGE_BYTES, PAGE_HEADER_BYTES, Page, Pages, ROW_HEADER_BYTES,
};
use super::relation_file::RelationFile;
use pgrx::pg_sys;

/// The number of pages that are formed before they are written: few enough for the processor's cache, enough to extend
/// the file seldom.
const PAGES_AT_ONCE: usize = 32;
/// `PD_ALL_VISIBLE` (`storage/bufpage.h`).
const ALL_VISIBLE: u16 = 0x0004;
const _: () = assert!(ALL_VISIBLE as u32 == pg_sys::PD_ALL_VISIBLE);
/// `MaxHeapTupleSize` (`access/htup_details.h`).
pub const LONGEST_ROW: usize = PAGE_BYTES - (PAGE_HEADER_BYTES + LINE_POINTER_BYTES).next_multiple_of(8);

/// Collects rows in pages of its own and appends those to a table.
///
/// Frozen is right although the writing transaction may still fail: nobody sees a stage table before the swap, and a
/// failed job's stage tables are dropped whole.
pub struct HeapPages {
    file: RelationFile,
    pages: Pages,
    /// Pages in use; the last one is still being filled.
    used: usize,
    /// Bytes of each page that the table's fill factor wants free.
    keep_free: usize,
    /// The rows of a page in the form of a log record.
    log_data: Vec<u8>,
}

impl HeapPages {
    /// # Safety
    /// As for [`RelationFile::new`]; the relation is a heap.
    pub unsafe fn new(relation: pg_sys::Relation) -> Self {
        // SAFETY: promised by the caller; a heap's options begin with the fill factor.
        let (file, fill_factor) = unsafe {
            let options = (*relation).rd_options.cast::<pg_sys::StdRdOptions>();
            let fill_factor = if options.is_null() { 100 } else { (*options).fillfactor };
            (RelationFile::new(relation, pg_sys::ForkNumber::MAIN_FORKNUM), fill_factor)
        };
        Self {
            file,
            pages: Pages::new(PAGES_AT_ONCE),
            used: 0,
            keep_free: PAGE_BYTES * (100 - fill_factor.clamp(10, 100) as usize) / 100,
            log_data: Vec::new(),
        }
    }

    /// Adds a row of at most [`LONGEST_ROW`] bytes. Returns whether pages were written.
    #[inline]
    pub fn add(&mut self, row: &mut [u8]) -> bool {
        let bytes = row.len().next_multiple_of(8) + LINE_POINTER_BYTES;
        let mut written = false;
        let fits = self.used > 0 && {
            let page = self.pages.page(self.used - 1);
            page.free() >= bytes + self.keep_free && page.items() < MOST_ROWS_ON_PAGE
        };
        if !fits {
            if self.used == PAGES_AT_ONCE {
                self.write();
                written = true;
            }
            self.pages.page(self.used).initialize(0, ALL_VISIBLE);
            self.used += 1;
        }
        let page = self.pages.page(self.used - 1);
        let number = page.items() as u16 + 1;
        // `t_ctid`, a row's own place; its block is known when the page is written.
        row[16..18].copy_from_slice(&number.to_ne_bytes());
        page.add(row);
        written
    }

    /// Writes the collected pages.
    pub fn write(&mut self) {
        if self.used == 0 {
            return;
        }
        let first = self.file.reserve(self.used);
        let blocks: Vec<u32> = (first..first + self.used as u32).collect();
        for (position, &block) in blocks.iter().enumerate() {
            set_block(self.pages.page(position), block);
        }
        let log_data = &mut self.log_data;
        self.file.write(&mut self.pages, &blocks, |file, pages| {
            for (position, &block) in blocks.iter().enumerate() {
                let page = pages.page(position);
                collect_for_log(page, log_data);
                file.log_heap_rows(page, block, page.items(), log_data);
            }
        });
        self.used = 0;
    }
}

fn set_block(page: &mut Page, block: u32) {
    let high = ((block >> 16) as u16).to_ne_bytes();
    let low = (block as u16).to_ne_bytes();
    for item in 0..page.items() {
        let start = page.item_range(item).start;
        page.bytes[start + 12..start + 14].copy_from_slice(&high);
        page.bytes[start + 14..start + 16].copy_from_slice(&low);
    }
}

/// Collects the rows as `xl_multi_insert_tuple` (`access/heapam_xlog.h`): length, info masks, header length, and all
/// that follows the fixed header; each row at an even offset.
fn collect_for_log(page: &Page, data: &mut Vec<u8>) {
    data.clear();
    for item in 0..page.items() {
        let row = page.item(item);
        if data.len() % 2 == 1 {
            data.push(0);
        }
        data.extend_from_slice(&((row.len() - ROW_HEADER_BYTES) as u16).to_ne_bytes());
        data.extend_from_slice(&row[18..ROW_HEADER_BYTES]);
        data.extend_from_slice(&row[ROW_HEADER_BYTES..]);
    }
}
