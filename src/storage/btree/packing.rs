//! Keys of an index as integers: each column takes just the bits that its values in this table need.

use crate::local::relation::AttributeLayout;
use crate::storage::key_scan::{KeyPart, RowKey};
use pgrx::pg_sys;

/// A column of the key.
pub(super) struct KeyColumn {
    /// The parts of the column: more than one where a value is wider than a number.
    pub(super) parts: Vec<KeyPart>,
    pub(super) layout: AttributeLayout,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// `IndexTupleData`: a row's place and the size with flags (`access/itup.h`).
const TUPLE_HEADER: usize = 8;
/// The size of the bitmap and its padding, which follow the header of a tuple with NULLs.
const BITMAP: usize = 8;
const HAS_NULL: u16 = 0x8000;
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
    /// The number that is added to the code of every other value, because NULL may come first.
    first: u128,
}

impl PackedPart {
    #[inline]
    pub(super) fn pack(&self, number: u64, is_null: bool) -> u128 {
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
    pub(super) bits: u32,
}

impl Packing {
    /// Plans the packing from the least and greatest number of each part and whether its column has NULLs. Returns
    /// `None` if a key is too long.
    pub(super) fn new(columns: &[KeyColumn], ranges: &[Range]) -> Option<Self> {
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
    pub(super) fn pack(&self, row: &RowKey<'_>) -> u128 {
        let mut key = 0;
        for (position, part) in self.parts.iter().enumerate() {
            key |= part.pack(row.numbers[position], row.nulls >> position & 1 == 1);
        }
        key
    }

    pub(super) fn columns(&self) -> usize {
        self.layouts.len()
    }

    /// Returns the first column in which two different keys differ.
    pub(super) fn first_difference(&self, one: u128, other: u128) -> usize {
        let differ = |part: &&PackedPart| (one ^ other) >> part.shift & part.mask != 0;
        self.parts.iter().find(differ).map_or(self.layouts.len(), |part| part.column)
    }

    /// Forms the index tuple of a key, cut to its first `columns`, without a place.
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

    /// Returns a number of bytes that no tuple of this index exceeds.
    pub(super) fn widest_tuple(&self) -> usize {
        let values: usize = self.layouts.iter().map(|layout| layout.length as usize + layout.alignment - 1).sum();
        TUPLE_HEADER + BITMAP + values.next_multiple_of(8)
    }

    pub(super) fn has_null(&self, key: u128) -> bool {
        self.parts.iter().any(|part| part.null.is_some() && part.unpack(key).is_none())
    }

    /// Returns the key's values as the server passes them, for a message.
    pub(super) fn datums(&self, key: u128) -> (Vec<pg_sys::Datum>, Vec<bool>) {
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
pub(super) struct Range {
    least: u64,
    greatest: u64,
    has_null: bool,
}

impl Range {
    pub(super) const EMPTY: Self = Self { least: u64::MAX, greatest: 0, has_null: false };

    fn is_empty(self) -> bool {
        self.least > self.greatest
    }

    #[inline]
    pub(super) fn include(&mut self, number: u64, is_null: bool) {
        if is_null {
            self.has_null = true;
        } else {
            self.least = self.least.min(number);
            self.greatest = self.greatest.max(number);
        }
    }
}
