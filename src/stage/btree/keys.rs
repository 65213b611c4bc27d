//! Keys of an index as integers: each column takes just the bits that its values in this table need.

use super::pages::{Place, TreeWriter};
use super::sort::{Entry, Sorter};
use crate::compat::{self, AttributeLayout};
use crate::error::{Error, Result};
use crate::local::relation_file::MOST_ROWS_ON_PAGE;
use crate::local::{encoding, settings};
use crate::stage::key_scan::{KeyPart, KeyScan, RowKey};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CStr;

/// A column of the key.
pub(super) struct KeyColumn {
    /// More than one where a value is wider than a number.
    pub(super) parts: Vec<KeyPart>,
    pub(super) layout: AttributeLayout,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// `IndexTupleData`: a row's place and the size with flags (`access/itup.h`).
const TUPLE_HEADER: usize = 8;
/// Behind the header of a tuple with NULLs: the bitmap and its padding.
const BITMAP: usize = 8;
const HAS_NULL: u16 = 0x8000;
/// Line pointers on a heap page, counted from 1, fit into so many bits.
const ITEM_BITS: u32 = usize::BITS - MOST_ROWS_ON_PAGE.leading_zeros();

/// How a part's numbers are packed.
struct PackedPart {
    part: KeyPart,
    column: usize,
    shift: u32,
    mask: u128,
    least: u64,
    greatest: u64,
    descending: bool,
    /// The code of NULL, where the column has any.
    null: Option<u128>,
    /// Added to the code of every other value: NULL may come first.
    first: u128,
}

impl PackedPart {
    #[inline]
    fn pack(&self, number: u64, is_null: bool) -> u128 {
        let code = match self.null {
            Some(null) if is_null => null,
            _ if self.descending => u128::from(self.greatest - number) + self.first,
            _ => u128::from(number - self.least) + self.first,
        };
        code << self.shift
    }

    /// `None` for NULL.
    #[inline]
    fn unpack(&self, key: u128) -> Option<u64> {
        let code = key >> self.shift & self.mask;
        if self.null == Some(code) {
            return None;
        }
        let distance = (code - self.first) as u64;
        Some(if self.descending { self.greatest - distance } else { self.least + distance })
    }
}

/// The shape of an index's keys.
pub(super) struct Packing {
    parts: Vec<PackedPart>,
    layouts: Vec<AttributeLayout>,
    bits: u32,
}

impl Packing {
    /// From the least and greatest number of each part and whether its column has NULLs. `None` if a key is too long.
    fn new(columns: &[KeyColumn], ranges: &[Range]) -> Option<Self> {
        let mut parts = Vec::new();
        let mut bits = 0;
        let mut ranges = ranges.iter().rev();
        // The last column takes the lowest bits.
        for (number, column) in columns.iter().enumerate().rev() {
            for &part in column.parts.iter().rev() {
                let range = ranges.next().expect("one for each part");
                let values = if range.is_empty() { 0 } else { u128::from(range.greatest - range.least) + 1 };
                let codes = values + u128::from(range.has_null);
                let width = u128::BITS - codes.saturating_sub(1).leading_zeros();
                if bits + width > u128::BITS {
                    return None;
                }
                let null_first = range.has_null && column.nulls_first;
                parts.push(PackedPart {
                    part,
                    column: number,
                    // A part of no bits may stand at the very end.
                    shift: bits.min(u128::BITS - 1),
                    mask: if width == 0 { 0 } else { u128::MAX >> (u128::BITS - width) },
                    least: range.least,
                    greatest: range.greatest,
                    descending: column.descending,
                    null: range.has_null.then_some(if null_first { 0 } else { values }),
                    first: null_first.into(),
                });
                bits += width;
            }
        }
        parts.reverse();
        Some(Self { parts, layouts: columns.iter().map(|column| column.layout).collect(), bits })
    }

    #[inline]
    fn pack(&self, row: &RowKey<'_>) -> u128 {
        let mut key = 0;
        for (position, part) in self.parts.iter().enumerate() {
            key |= part.pack(row.numbers[position], row.nulls >> position & 1 == 1);
        }
        key
    }

    pub(super) fn columns(&self) -> usize {
        self.layouts.len()
    }

    /// The first column in which two different keys differ.
    pub(super) fn first_difference(&self, one: u128, other: u128) -> usize {
        let differ = |part: &&PackedPart| (one ^ other) >> part.shift & part.mask != 0;
        self.parts.iter().find(differ).map_or(self.layouts.len(), |part| part.column)
    }

    /// The index tuple of a key, cut to its first `columns`, without a place.
    pub(super) fn form(&self, key: u128, columns: usize, tuple: &mut Vec<u8>) {
        tuple.clear();
        let kept = || self.parts.iter().filter(|part| part.column < columns);
        let has_null = kept().any(|part| part.null.is_some() && part.unpack(key).is_none());
        tuple.resize(TUPLE_HEADER + if has_null { BITMAP } else { 0 }, 0);
        let mut column_in_work = None;
        for part in kept() {
            let Some(number) = part.unpack(key) else { continue };
            if column_in_work != Some(part.column) {
                column_in_work = Some(part.column);
                tuple.resize(tuple.len().next_multiple_of(self.layouts[part.column].alignment), 0);
                if has_null {
                    tuple[TUPLE_HEADER + part.column / 8] |= 1 << (part.column % 8);
                }
            }
            tuple.extend_from_slice(&part.part.to_bytes(number)[..part.part.width]);
        }
        tuple.resize(tuple.len().next_multiple_of(8), 0);
        let info = tuple.len() as u16 | if has_null { HAS_NULL } else { 0 };
        tuple[6..8].copy_from_slice(&info.to_ne_bytes());
    }

    /// Bytes that no tuple of this index exceeds.
    pub(super) fn widest_tuple(&self) -> usize {
        let values: usize = self.layouts.iter().map(|layout| layout.length as usize + layout.alignment - 1).sum();
        TUPLE_HEADER + BITMAP + values.next_multiple_of(8)
    }

    fn has_null(&self, key: u128) -> bool {
        self.parts.iter().any(|part| part.null.is_some() && part.unpack(key).is_none())
    }

    /// The key's values as the server passes them, for a message.
    fn datums(&self, key: u128) -> (Vec<pg_sys::Datum>, Vec<bool>) {
        let count = self.layouts.len();
        let (mut datums, mut nulls) = (vec![pg_sys::Datum::from(0usize); count], vec![true; count]);
        for column in 0..count {
            let mut bytes = Vec::new();
            for part in self.parts.iter().filter(|part| part.column == column) {
                if let Some(number) = part.unpack(key) {
                    bytes.extend_from_slice(&part.part.to_bytes(number)[..part.part.width]);
                }
            }
            if bytes.is_empty() {
                continue;
            }
            nulls[column] = false;
            datums[column] = if self.layouts[column].by_value {
                match *bytes.as_slice() {
                    [byte] => pg_sys::Datum::from(i8::from_ne_bytes([byte])),
                    [a, b] => pg_sys::Datum::from(i16::from_ne_bytes([a, b])),
                    [a, b, c, d] => pg_sys::Datum::from(i32::from_ne_bytes([a, b, c, d])),
                    _ => pg_sys::Datum::from(i64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"))),
                }
            } else {
                // SAFETY: memory of the current context, of the value's size.
                unsafe {
                    let copy = pg_sys::palloc(bytes.len()).cast::<u8>();
                    copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                    pg_sys::Datum::from(copy)
                }
            };
        }
        (datums, nulls)
    }
}

/// The numbers of a part over all rows.
#[derive(Clone, Copy)]
struct Range {
    least: u64,
    greatest: u64,
    has_null: bool,
}

impl Range {
    const EMPTY: Self = Self { least: u64::MAX, greatest: 0, has_null: false };

    fn is_empty(self) -> bool {
        self.least > self.greatest
    }

    #[inline]
    fn include(&mut self, number: u64, is_null: bool) {
        if is_null {
            self.has_null = true;
        } else {
            self.least = self.least.min(number);
            self.greatest = self.greatest.max(number);
        }
    }
}

/// Builds the index and returns the number of rows.
///
/// # Safety
/// As for the access method's `ambuild`; the heap is a complete stage table.
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
            let result = compat::guarded(|| original(heap, index, std::ptr::from_ref(info).cast_mut()));
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

    /// As `comparetup_index_btree` in `tuplesort.c` words it.
    #[cold]
    fn duplicate(&self, key: u128) -> Error {
        let (mut datums, mut nulls) = self.packing.datums(key);
        // SAFETY: the index is open and the values are those of its columns; the text is palloc'd or null.
        let (name, description) = unsafe {
            let text = pg_sys::BuildIndexValueDescription(self.index, datums.as_mut_ptr(), nulls.as_mut_ptr());
            (
                compat::relation_name(self.index),
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
