//! Reads key columns of fixed width out of a loaded stage table, page by page and past the buffer manager.
//!
//! Every row of a stage table is visible: rows are written frozen, and never changed afterwards.

use super::page::{PAGE_BYTES, PAGE_HEADER_BYTES, Pages, ROW_HEADER_BYTES};
use crate::compat;
use crate::error::Error;
use crate::local::interrupts;
use crate::local::relation::{self, AttributeLayout};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::mem::offset_of;

/// How the bytes of a value become a number that sorts as the type does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Signed,
    Unsigned,
    /// The bytes are compared in their order, as for `uuid`.
    Bytes,
}

/// Up to eight bytes of a column.
#[derive(Debug, Clone, Copy)]
pub struct KeyPart {
    /// Zero-based.
    pub attribute: usize,
    /// Counted from the value's beginning.
    pub offset: usize,
    /// 1, 2, 4 or 8.
    pub width: usize,
    pub order: Order,
}

const SIGN: u64 = 1 << 63;

impl KeyPart {
    /// Returns the number for the value whose bytes begin there.
    ///
    /// # Safety
    /// The value has at least `offset + width` bytes.
    #[inline]
    unsafe fn read(&self, value: *const u8) -> u64 {
        // SAFETY: promised by the caller.
        unsafe {
            let start = value.add(self.offset);
            match (self.order, self.width) {
                (Order::Signed, 8) => start.cast::<u64>().read_unaligned() ^ SIGN,
                (Order::Signed, 4) => start.cast::<i32>().read_unaligned() as u64 ^ SIGN,
                (Order::Signed, 2) => start.cast::<i16>().read_unaligned() as u64 ^ SIGN,
                (Order::Signed, _) => start.cast::<i8>().read_unaligned() as u64 ^ SIGN,
                (Order::Unsigned, 8) => start.cast::<u64>().read_unaligned(),
                (Order::Unsigned, 4) => start.cast::<u32>().read_unaligned().into(),
                (Order::Unsigned, 2) => start.cast::<u16>().read_unaligned().into(),
                (Order::Unsigned, _) => start.read().into(),
                (Order::Bytes, _) => u64::from_be(start.cast::<u64>().read_unaligned()),
            }
        }
    }

    /// Returns the number for a value of a signed type that the server passes by value.
    #[inline]
    pub fn number_of(&self, datum: u64) -> u64 {
        let value = match self.width {
            8 => datum,
            4 => datum as i32 as u64,
            2 => datum as i16 as u64,
            _ => datum as i8 as u64,
        };
        value ^ SIGN
    }

    /// Returns the bytes for a number that `read` returned, in the value's own order, in the low `width` bytes of the
    /// result's memory.
    #[inline]
    pub fn to_bytes(self, number: u64) -> [u8; 8] {
        match (self.order, self.width) {
            (Order::Signed, 8) => (number ^ SIGN).to_ne_bytes(),
            (Order::Bytes, _) => number.to_be_bytes(),
            (order, width) => {
                let bits = if order == Order::Signed { number ^ SIGN } else { number };
                let mut bytes = [0; 8];
                match width {
                    8 => bytes.copy_from_slice(&bits.to_ne_bytes()),
                    4 => bytes[..4].copy_from_slice(&(bits as u32).to_ne_bytes()),
                    2 => bytes[..2].copy_from_slice(&(bits as u16).to_ne_bytes()),
                    _ => bytes[0] = bits as u8,
                }
                bytes
            }
        }
    }
}

/// The columns to read, and what is known of their places in a row.
pub struct KeyScan {
    relation: pg_sys::Relation,
    layouts: Vec<AttributeLayout>,
    parts: Vec<KeyPart>,
    /// For each part, the value's place in a row without NULLs, where every column before it has a fixed width.
    offsets: Option<Vec<usize>>,
    /// The length of the shortest possible row.
    least_bytes: usize,
}

/// Most parts that can be read at once.
pub const MOST_PARTS: usize = 32;

/// The key of one row: a number for each part, and a bit for each part that is NULL.
pub struct RowKey<'a> {
    pub block: u32,
    /// The row's line pointer, counted from 1.
    pub item: u16,
    pub numbers: &'a [u64],
    pub nulls: u32,
}

/// Returns the error of the buffer manager for a damaged page.
///
/// # Safety
/// The relation is open.
#[cold]
unsafe fn refuse_damaged_page(relation: pg_sys::Relation, block: u32) -> ! {
    // SAFETY: promised by the caller.
    let path = unsafe { relation::relation_path(relation) };
    Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("invalid page in block {block} of relation {path}"))
        .raise()
}

impl KeyScan {
    /// # Safety
    /// The relation is a complete stage table that stays open and locked.
    pub unsafe fn new(relation: pg_sys::Relation, parts: Vec<KeyPart>) -> Self {
        assert!(parts.len() <= MOST_PARTS);
        // SAFETY: promised by the caller.
        let attributes = unsafe { relation::attributes((*relation).rd_att) };
        let last = parts.iter().map(|part| part.attribute).max().unwrap_or(0);
        let layouts: Vec<_> = attributes.iter().take(last + 1).map(|attribute| attribute.layout).collect();
        let mut places = Vec::new();
        let mut offset = 0usize;
        for layout in &layouts {
            offset = offset.next_multiple_of(layout.alignment);
            places.push(offset);
            match usize::try_from(layout.length) {
                Ok(length) => offset += length,
                Err(_) => break,
            }
        }
        let offsets = parts.iter().map(|part| places.get(part.attribute).copied()).collect::<Option<Vec<_>>>();
        // A varlena's own place is only known where the row tells how long its length word is.
        let offsets = offsets.filter(|_| parts.iter().all(|part| layouts[part.attribute].length > 0));
        Self { relation, layouts, parts, offsets, least_bytes: ROW_HEADER_BYTES.next_multiple_of(8) }
    }

    /// Calls `on_row` for each row, in the order of their places, until it returns false. Returns true if all rows were
    /// read.
    pub fn scan(&self, mut on_row: impl FnMut(&RowKey<'_>) -> bool) -> bool {
        const PAGES_BETWEEN_INTERRUPTS: u32 = 64;
        let main = pg_sys::ForkNumber::MAIN_FORKNUM;
        // SAFETY: the relation is open.
        let count = unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.relation, main) };
        let mut pages = Pages::new(1);
        pages.page(0).initialize(0, 0);
        let mut numbers = [0u64; MOST_PARTS];
        for block in 0..count {
            if block.is_multiple_of(PAGES_BETWEEN_INTERRUPTS) {
                interrupts::check();
            }
            // SAFETY: the block exists, the page is a whole one of ours, and the relation is open.
            unsafe {
                compat::read_page(pg_sys::RelationGetSmgr(self.relation), main, block, pages.address(0));
                if !compat::is_page_sound(pages.address(0), block) {
                    refuse_damaged_page(self.relation, block);
                }
            }
            let page = pages.page(0);
            // A worker that failed has left the blocks that it had reserved empty.
            if page.is_new() {
                continue;
            }
            for item in 0..page.items() {
                let range = page.item_range(item);
                // Without checksums, nothing else has verified this length.
                if range.start < PAGE_HEADER_BYTES || range.len() < self.least_bytes || range.end > PAGE_BYTES {
                    // SAFETY: the relation is open.
                    unsafe { refuse_damaged_page(self.relation, block) };
                }
                // SAFETY: a row of this relation, which the layouts describe.
                let nulls = unsafe { self.read_row(page.bytes.as_ptr().add(range.start), &mut numbers) };
                let key = RowKey { block, item: item as u16 + 1, numbers: &numbers[..self.parts.len()], nulls };
                if !on_row(&key) {
                    return false;
                }
            }
        }
        true
    }

    #[inline]
    unsafe fn read_row(&self, row: *const u8, numbers: &mut [u64; MOST_PARTS]) -> u32 {
        const HAS_NULL: u8 = 0x01;
        // SAFETY: `t_infomask` and `t_hoff` of `HeapTupleHeaderData`; the rest as the caller promised.
        unsafe {
            let infomask = row.add(offset_of!(pg_sys::HeapTupleHeaderData, t_infomask)).cast::<u16>().read_unaligned();
            let has_null = infomask & u16::from(HAS_NULL) != 0;
            let data = row.add(usize::from(row.add(offset_of!(pg_sys::HeapTupleHeaderData, t_hoff)).read()));
            if let Some(offsets) = &self.offsets
                && !has_null
            {
                for (position, (part, &offset)) in self.parts.iter().zip(offsets).enumerate() {
                    numbers[position] = part.read(data.add(offset));
                }
                return 0;
            }
            self.walk_row(row.add(ROW_HEADER_BYTES), has_null, data, numbers)
        }
    }

    /// Finds values as `heap_deform_tuple` does.
    unsafe fn walk_row(
        &self,
        bitmap: *const u8,
        has_null: bool,
        data: *const u8,
        numbers: &mut [u64; MOST_PARTS],
    ) -> u32 {
        let mut nulls = 0u32;
        let mut offset = 0usize;
        for (attribute, layout) in self.layouts.iter().enumerate() {
            // SAFETY: a row with NULLs has a bit for each attribute.
            let is_null = has_null && unsafe { bitmap.add(attribute / 8).read() >> (attribute % 8) & 1 == 0 };
            // SAFETY: the offset stays within the row, as its values tell their lengths.
            let value = unsafe {
                // A length word that is not padding needs no alignment, or stands aligned.
                let stands = is_null || (layout.length == -1 && data.add(offset).read() != 0);
                if !stands {
                    offset = offset.next_multiple_of(layout.alignment);
                }
                data.add(offset)
            };
            for (position, part) in self.parts.iter().enumerate().filter(|(_, part)| part.attribute == attribute) {
                if is_null {
                    nulls |= 1 << position;
                    numbers[position] = 0;
                } else {
                    // SAFETY: the value has the width that its column says.
                    numbers[position] = unsafe { part.read(value) };
                }
            }
            if !is_null {
                // SAFETY: a value of such a type tells its length, or ends with a NUL.
                offset += unsafe {
                    match layout.length {
                        -1 => pgrx::varsize_any(value.cast()),
                        -2 => std::ffi::CStr::from_ptr(value.cast()).to_bytes_with_nul().len(),
                        length => length as usize,
                    }
                };
            }
        }
        nulls
    }
}
