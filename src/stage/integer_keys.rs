//! A shortcut for foreign keys over integers, which most are: the referenced keys go into a set, and one scan of the
//! referencing table looks its own up, for all its foreign keys at once. Several times cheaper than a join in the
//! executor, and bounded in memory.

use crate::local::{interrupts, parameters, relation};
use crate::order::KeyColumns;
use crate::storage::key_scan::{KeyPart, KeyScan, Order};
use pgrx::pg_sys;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A foreign key to check.
pub(super) struct IntegerKey {
    pub(super) referencing: Rows,
    pub(super) referenced: Rows,
    pub(super) match_full: bool,
}

/// Key columns of a table's rows.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) columns: KeyColumns,
    pub(super) is_stage: bool,
}

/// Returns for each key whether every referencing row finds its own, or `None` where the shortcut does not apply. All
/// keys are of the same referencing table. The sets of referenced keys take at most `memory` bytes together.
pub(super) fn all_present(keys: &[IntegerKey], memory: usize) -> Vec<Option<bool>> {
    let mut results = vec![None; keys.len()];
    let mut left = memory;
    let mut lookups = Vec::new();
    let mut numbers = Vec::new();
    for (position, key) in keys.iter().enumerate() {
        if let Some(set) = KeySet::of(&key.referenced, &mut left) {
            let first = numbers.len();
            numbers.extend_from_slice(&key.referencing.columns.numbers);
            lookups.push(Lookup {
                set,
                columns: first..numbers.len(),
                match_full: key.match_full,
                position,
                all: true,
            });
        }
    }
    let Some(key) = keys.first().filter(|_| !lookups.is_empty()) else {
        return results;
    };
    let rows = Rows {
        columns: KeyColumns { relation: key.referencing.columns.relation, numbers },
        is_stage: key.referencing.is_stage,
    };
    rows.scan(|numbers, nulls| {
        let mut any_left = false;
        for lookup in &mut lookups {
            lookup.all = lookup.all && lookup.passes(numbers, nulls);
            any_left |= lookup.all;
        }
        any_left
    });
    for lookup in lookups {
        results[lookup.position] = Some(lookup.all);
    }
    results
}

struct Lookup {
    set: KeySet,
    /// The positions among the columns that are read.
    columns: std::ops::Range<usize>,
    match_full: bool,
    position: usize,
    /// Set while no row without its key was found.
    all: bool,
}

impl Lookup {
    #[inline]
    fn passes(&self, numbers: &[u64], nulls: u32) -> bool {
        let mask = (u32::MAX >> (u32::BITS - self.columns.len() as u32)) << self.columns.start;
        match nulls & mask {
            0 => self.set.contains(&numbers[self.columns.clone()]),
            nulls if nulls == mask => true,
            _ => !self.match_full,
        }
    }
}

impl Rows {
    /// Calls `on_row` with the numbers of each row's columns and a bit for each that is NULL, until it returns false.
    /// Numbers are the same for equal values of integer types of different widths.
    fn scan(&self, mut on_row: impl FnMut(&[u64], u32) -> bool) {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        // SAFETY: the relation stays open during the scan; attribute numbers are the relation's. An ERROR closes it with
        // the transaction.
        unsafe {
            let relation = pg_sys::table_open(self.columns.relation.into(), lock);
            let attributes = relation::attributes((*relation).rd_att);
            let parts: Vec<KeyPart> = self
                .columns
                .numbers
                .iter()
                .map(|&number| {
                    let attribute = number as usize - 1;
                    let width = attributes[attribute].layout.length as usize;
                    KeyPart { attribute, offset: 0, width, order: Order::Signed }
                })
                .collect();
            // Pages that the server has written may still be in shared buffers alone.
            if self.is_stage && parameters::own_storage() {
                KeyScan::new(relation, parts).scan(|row| on_row(row.numbers, row.nulls));
            } else {
                scan_visible(relation, &parts, on_row);
            }
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// As [`KeyScan::scan`], for a table that has other rows than those that are committed now, or of this transaction.
///
/// # Safety
/// The relation is open and the parts are columns of it, of integer types.
unsafe fn scan_visible(relation: pg_sys::Relation, parts: &[KeyPart], mut on_row: impl FnMut(&[u64], u32) -> bool) {
    const ROWS_BETWEEN_INTERRUPTS: u32 = 10_000;
    let last = parts.iter().map(|part| part.attribute as i32 + 1).max().unwrap_or(1);
    let mut numbers = vec![0; parts.len()];
    // SAFETY: the slot is made for the relation; an ERROR releases everything with the transaction.
    unsafe {
        let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::table_beginscan(relation, snapshot, 0, std::ptr::null_mut());
        let mut rows = 0u32;
        while pg_sys::table_scan_getnextslot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
            if i32::from((*slot).tts_nvalid) < last {
                pg_sys::slot_getsomeattrs(slot, last);
            }
            let mut nulls = 0;
            for (position, part) in parts.iter().enumerate() {
                if *(*slot).tts_isnull.add(part.attribute) {
                    nulls |= 1 << position;
                    continue;
                }
                let datum = (*(*slot).tts_values.add(part.attribute)).value();
                numbers[position] = part.number_of(datum as u64);
            }
            if !on_row(&numbers, nulls) {
                break;
            }
            rows = rows.wrapping_add(1);
            if rows.is_multiple_of(ROWS_BETWEEN_INTERRUPTS) {
                interrupts::check();
            }
        }
        pg_sys::table_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
    }
}

/// The referenced keys, each as its place among all combinations of values between the least and the greatest.
struct KeySet {
    columns: Vec<Span>,
    places: Places,
}

/// The values of one column.
#[derive(Clone, Copy)]
struct Span {
    least: u64,
    greatest: u64,
    /// The weight of a step in this column.
    stride: u64,
}

enum Places {
    /// One bit each: small enough to stay in the processor's cache where keys are dense.
    Bits(Vec<u64>),
    Table(Table),
}

impl KeySet {
    /// Takes what it needs from `memory`; `None` where that is too much.
    fn of(rows: &Rows, memory: &mut usize) -> Option<Self> {
        let count = rows.columns.numbers.len();
        let mut columns = vec![Span { least: u64::MAX, greatest: 0, stride: 0 }; count];
        let mut keys = 0usize;
        rows.scan(|numbers, nulls| {
            // A key that is partly NULL is nobody's.
            if nulls == 0 {
                keys += 1;
                for (span, &number) in columns.iter_mut().zip(numbers) {
                    span.least = span.least.min(number);
                    span.greatest = span.greatest.max(number);
                }
            }
            true
        });
        let mut combinations = 1u64;
        for span in &mut columns {
            span.stride = combinations;
            let values = span.greatest.saturating_sub(span.least).checked_add(1)?;
            combinations = combinations.checked_mul(values)?;
        }
        let bit_bytes = usize::try_from(combinations / 8 + 8).ok()?;
        let table_bytes = Table::bytes(keys)?;
        let as_bits = bit_bytes <= table_bytes.max(4096);
        let bytes = if as_bits { bit_bytes } else { table_bytes };
        *memory = memory.checked_sub(bytes)?;
        let mut places = if as_bits {
            let mut words = Vec::new();
            words.try_reserve_exact(bit_bytes / 8 + 1).ok()?;
            words.resize(bit_bytes / 8 + 1, 0);
            Places::Bits(words)
        } else {
            Places::Table(Table::new(keys)?)
        };
        let mut set = Self { columns, places: Places::Bits(Vec::new()) };
        rows.scan(|numbers, nulls| {
            if nulls == 0
                && let Some(place) = set.place(numbers)
            {
                match &mut places {
                    Places::Bits(words) => words[(place / 64) as usize] |= 1 << (place % 64),
                    Places::Table(table) => table.insert(place),
                }
            }
            true
        });
        set.places = places;
        Some(set)
    }

    /// `None` for a key that is beyond all that are in the set.
    #[inline]
    fn place(&self, numbers: &[u64]) -> Option<u64> {
        let mut place = 0;
        for (span, &number) in self.columns.iter().zip(numbers) {
            if number < span.least || number > span.greatest {
                return None;
            }
            place += (number - span.least) * span.stride;
        }
        Some(place)
    }

    #[inline]
    fn contains(&self, numbers: &[u64]) -> bool {
        self.place(numbers).is_some_and(|place| match &self.places {
            Places::Bits(words) => words[(place / 64) as usize] >> (place % 64) & 1 == 1,
            Places::Table(table) => table.contains(place),
        })
    }
}

/// Open addressing. A place is kept one higher, so that zero marks what is free.
struct Table {
    slots: Vec<u64>,
    mask: usize,
    /// Odd, and unknown to the source: keys that all fall into the same place would take as long as there are keys, each.
    multiplier: u64,
}

impl Table {
    fn capacity(keys: usize) -> Option<usize> {
        keys.checked_mul(2)?.checked_next_power_of_two().map(|capacity| capacity.max(16))
    }

    fn bytes(keys: usize) -> Option<usize> {
        Self::capacity(keys)?.checked_mul(size_of::<u64>())
    }

    fn new(keys: usize) -> Option<Self> {
        let capacity = Self::capacity(keys)?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(capacity).ok()?;
        slots.resize(capacity, 0);
        let multiplier = RandomState::new().build_hasher().finish() | 1;
        Some(Self { slots, mask: capacity - 1, multiplier })
    }

    /// Returns the slot of the key, or the free slot for it. There is always a free one.
    #[inline]
    fn find(&self, key: u64) -> usize {
        let mut slot = self.spread(key);
        while self.slots[slot] != key && self.slots[slot] != 0 {
            slot = (slot + 1) & self.mask;
        }
        slot
    }

    /// Returns a slot for the key. The high bits of a product depend on all bits of the key, so that neighbours spread
    /// over the whole table.
    #[inline]
    fn spread(&self, key: u64) -> usize {
        (key.wrapping_mul(self.multiplier) >> (self.mask as u64).leading_zeros()) as usize
    }

    fn insert(&mut self, place: u64) {
        let slot = self.find(place + 1);
        self.slots[slot] = place + 1;
    }

    #[inline]
    fn contains(&self, place: u64) -> bool {
        self.slots[self.find(place + 1)] != 0
    }
}
