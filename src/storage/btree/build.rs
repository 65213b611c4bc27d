//! Builds an index: scans the table for its keys, sorts them, writes the tree.

use super::packing::{KeyColumn, Packing, Range};
use super::pages::{Place, TreeWriter};
use super::sort::{Entry, Sorter};
use crate::error::{Error, Result};
use crate::local::guard::guarded;
use crate::local::{encoding, relation, settings};
use crate::storage::key_scan::KeyScan;
use crate::storage::page::MOST_ROWS_ON_PAGE;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CStr;

/// The number of bits that line pointers of a heap page, counted from 1, fit into.
const ITEM_BITS: u32 = usize::BITS - MOST_ROWS_ON_PAGE.leading_zeros();

/// Builds the index and returns the number of rows.
///
/// # Safety
/// The arguments are those of the access method's `ambuild`; the heap is a complete stage table.
pub(super) unsafe fn build(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: &pg_sys::IndexInfo,
    columns: &[KeyColumn],
) -> u64 {
    // SAFETY: promised by the caller.
    let (scan, pages) = unsafe {
        let parts = columns.iter().flat_map(|column| column.parts.iter().copied()).collect();
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(heap, pg_sys::ForkNumber::MAIN_FORKNUM);
        (KeyScan::new(heap, parts), pages)
    };
    let parts: usize = columns.iter().map(|column| column.parts.len()).sum();
    let mut ranges = vec![Range::EMPTY; parts];
    let mut rows = 0;
    scan.scan(|row| {
        rows += 1;
        for (position, range) in ranges.iter_mut().enumerate() {
            range.include(row.numbers[position], row.nulls >> position & 1 == 1);
        }
        true
    });
    let Some(packing) = Packing::new(columns, &ranges) else {
        // SAFETY: the access method's own function with its own arguments.
        return unsafe {
            let routine = pg_sys::GetIndexAmRoutineByAmId((*(*index).rd_rel).relam, false);
            let original = (*routine).ambuild.expect("every access method builds indexes");
            let result = guarded!(original(heap, index, std::ptr::from_ref(info).cast_mut()));
            (*result).heap_tuples as u64
        };
    };
    let build = Build { scan: &scan, packing: &packing, index, info, block_bits: u32::BITS - pages.leading_zeros() };
    let place_bits = build.block_bits + ITEM_BITS;
    let built = if packing.bits + place_bits <= u64::BITS {
        build.run(
            |key, place| (key as u64) << place_bits | place,
            |entry: u64| (u128::from(entry >> place_bits), entry & ((1 << place_bits) - 1)),
        )
    } else if packing.bits + place_bits <= u128::BITS {
        build.run(
            |key, place| key << place_bits | u128::from(place),
            |entry: u128| (entry >> place_bits, entry as u64 & ((1 << place_bits) - 1)),
        )
    } else {
        build.run(|key, place| [key, place.into()], |[key, place]: [u128; 2]| (key, place as u64))
    };
    crate::error::or_raise(built);
    rows
}

struct Build<'a> {
    scan: &'a KeyScan,
    packing: &'a Packing,
    index: pg_sys::Relation,
    info: &'a pg_sys::IndexInfo,
    block_bits: u32,
}

impl Build<'_> {
    /// Sorts entries that `join` makes of a key and a place, and writes the index of them.
    fn run<E: Entry>(&self, join: impl Fn(u128, u64) -> E, split: impl Fn(E) -> (u128, u64)) -> Result<()> {
        debug_assert!(self.block_bits + ITEM_BITS < u64::BITS);
        let memory = usize::try_from(settings::maintenance_work_mem()).unwrap_or(0) * 1024;
        let mut sorter = Sorter::new(memory);
        self.scan.scan(|row| {
            sorter.add(join(self.packing.pack(row), u64::from(row.block) << ITEM_BITS | u64::from(row.item)));
            true
        });
        let unique = self.info.ii_Unique;
        // SAFETY: the index is open, empty and nobody else's.
        let mut tree = unsafe { TreeWriter::new(self.index, self.packing, unique) };
        let mut previous = None;
        sorter.drain(|entry| {
            let (key, place) = split(entry);
            if unique && previous == Some(key) && (self.info.ii_NullsNotDistinct || !self.packing.has_null(key)) {
                return Err(self.duplicate(key));
            }
            previous = Some(key);
            tree.add(key, Place { block: (place >> ITEM_BITS) as u32, item: place as u16 & ((1 << ITEM_BITS) - 1) });
            Ok(())
        })?;
        tree.finish();
        Ok(())
    }

    /// Returns the error for a duplicate key, worded as in `comparetup_index_btree` (`tuplesort.c`).
    #[cold]
    fn duplicate(&self, key: u128) -> Error {
        let (mut datums, mut nulls) = self.packing.datums(key);
        // SAFETY: the index is open and the values are those of its columns; the text is palloc'd or null.
        let (name, description) = unsafe {
            let text = pg_sys::BuildIndexValueDescription(self.index, datums.as_mut_ptr(), nulls.as_mut_ptr());
            (
                relation::relation_name(self.index),
                (!text.is_null()).then(|| encoding::from_database(CStr::from_ptr(text))),
            )
        };
        Error::new(PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION, format!("could not create unique index \"{name}\""))
            .of_constraint(&name)
            .detail(match description {
                Some(description) => format!("Key {description} is duplicated."),
                None => "Duplicate keys exist.".to_owned(),
            })
    }
}
