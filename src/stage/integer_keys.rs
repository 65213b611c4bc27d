//! A shortcut for foreign keys over integers, which most are: the referenced keys go into a set, and one scan of the
//! referencing table looks its own up. Several times cheaper than a join in the executor, and bounded in memory.

use crate::compat;
use crate::local::interrupts;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// One end of a foreign key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyColumns {
    /// An ordinary table: a stage table, or one that the pull leaves alone.
    pub relation: u32,
    pub numbers: Vec<i16>,
}

/// Most keys that are held one by one; 16 bytes each at the worst.
const MOST_KEYS: usize = 2_000_000;
/// Widest range of values that is held as one bit each: 32 MB.
const WIDEST_RANGE: u64 = 256 * 1024 * 1024;

/// Whether every referencing key is in the referenced table, or `None` when this shortcut does not apply.
///
/// The columns must be integers compared by value, and two of them must fit into 64 bits together.
pub(super) fn all_present(referencing: &KeyColumns, referenced: &KeyColumns, match_full: bool) -> Option<bool> {
    let set = referenced_keys(referenced)?;
    Some(scan(referencing, |key| match key {
        Key::Value(value) => set.contains(value),
        Key::Null => true,
        Key::PartlyNull => !match_full,
    }))
}

/// `None` when they would take too much memory.
fn referenced_keys(referenced: &KeyColumns) -> Option<KeySet> {
    let single = referenced.numbers.len() == 1;
    let mut keys = Vec::new();
    let (mut count, mut first, mut last) = (0usize, i64::MAX, i64::MIN);
    scan(referenced, |key| {
        if let Key::Value(value) = key {
            count += 1;
            (first, last) = (first.min(value as i64), last.max(value as i64));
            if count <= MOST_KEYS {
                keys.push(value);
            }
        }
        single || count <= MOST_KEYS
    });
    let range = last.wrapping_sub(first) as u64;
    // Bits where they are not longer than the other form would be.
    if single && count > 0 && range < WIDEST_RANGE && range / 128 < count as u64 {
        let mut bits = Bits::new(first, range);
        if count <= MOST_KEYS {
            keys.into_iter().for_each(|key| bits.insert(key));
        } else {
            scan(referenced, |key| {
                if let Key::Value(value) = key {
                    bits.insert(value);
                }
                true
            });
        }
        return Some(KeySet::Bits(bits));
    }
    (count <= MOST_KEYS).then(|| KeySet::Table(Table::new(&keys)))
}

enum Key {
    Value(u64),
    Null,
    PartlyNull,
}

/// Calls `on_key` for each row until it returns false. Returns whether it never did.
fn scan(table: &KeyColumns, mut on_key: impl FnMut(Key) -> bool) -> bool {
    const ROWS_BETWEEN_INTERRUPTS: u32 = 10_000;
    // SAFETY: the relation stays open during the scan, whose slot is made for it; attribute numbers are the relation's.
    // An ERROR releases all of it with the transaction.
    unsafe {
        let relation = pg_sys::table_open(table.relation.into(), pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let types: Vec<pg_sys::Oid> = {
            let attributes = compat::attributes((*relation).rd_att);
            table.numbers.iter().map(|&number| attributes[number as usize - 1].type_oid).collect()
        };
        let last = i32::from(table.numbers.iter().copied().max().unwrap_or(1));
        let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        let scan = pg_sys::table_beginscan(relation, pg_sys::GetActiveSnapshot(), 0, std::ptr::null_mut());
        let mut all = true;
        let mut rows = 0u32;
        while pg_sys::table_scan_getnextslot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
            if i32::from((*slot).tts_nvalid) < last {
                pg_sys::slot_getsomeattrs(slot, last);
            }
            let mut key = 0u64;
            let mut nulls = 0;
            for (&number, &type_oid) in table.numbers.iter().zip(&types) {
                let attribute = number as usize - 1;
                if *(*slot).tts_isnull.add(attribute) {
                    nulls += 1;
                    continue;
                }
                let datum = (*(*slot).tts_values.add(attribute)).value();
                let value = match type_oid {
                    pg_sys::INT2OID => i64::from(datum as i16),
                    pg_sys::INT4OID => i64::from(datum as i32),
                    _ => datum as i64,
                };
                // Of two columns, each has at most 32 bits.
                key = if types.len() == 1 { value as u64 } else { key << 32 | u64::from(value as u32) };
            }
            let key = match nulls {
                0 => Key::Value(key),
                nulls if nulls == table.numbers.len() => Key::Null,
                _ => Key::PartlyNull,
            };
            if !on_key(key) {
                all = false;
                break;
            }
            rows += 1;
            if rows.is_multiple_of(ROWS_BETWEEN_INTERRUPTS) {
                interrupts::check();
            }
        }
        pg_sys::table_endscan(scan);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        all
    }
}

/// Keys in the form that is cheapest to look up.
enum KeySet {
    Bits(Bits),
    Table(Table),
}

impl KeySet {
    #[inline]
    fn contains(&self, key: u64) -> bool {
        match self {
            Self::Bits(bits) => bits.contains(key),
            Self::Table(table) => table.contains(key),
        }
    }
}

/// One bit for each value of a dense range: small enough to stay in the processor's cache.
struct Bits {
    first: i64,
    words: Vec<u64>,
}

impl Bits {
    fn new(first: i64, range: u64) -> Self {
        Self { first, words: vec![0; (range / 64 + 1) as usize] }
    }

    fn insert(&mut self, key: u64) {
        let position = (key as i64).wrapping_sub(self.first) as u64;
        self.words[(position / 64) as usize] |= 1 << (position % 64);
    }

    #[inline]
    fn contains(&self, key: u64) -> bool {
        let position = (key as i64).wrapping_sub(self.first) as u64;
        self.words.get((position / 64) as usize).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }
}

/// Open addressing; `EMPTY` marks a free place.
struct Table {
    places: Vec<u64>,
    mask: usize,
    has_empty: bool,
}

const EMPTY: u64 = u64::MAX;

impl Table {
    fn new(keys: &[u64]) -> Self {
        let capacity = (keys.len() * 2).next_power_of_two().max(16);
        let mut table = Self { places: vec![EMPTY; capacity], mask: capacity - 1, has_empty: false };
        for &key in keys {
            if key == EMPTY {
                table.has_empty = true;
            } else {
                let place = table.find(key);
                table.places[place] = key;
            }
        }
        table
    }

    /// Where the key is, or the free place where it would be. There always is a free one.
    #[inline]
    fn find(&self, key: u64) -> usize {
        let mut place = spread(key) & self.mask;
        while self.places[place] != key && self.places[place] != EMPTY {
            place = (place + 1) & self.mask;
        }
        place
    }

    #[inline]
    fn contains(&self, key: u64) -> bool {
        if key == EMPTY { self.has_empty } else { self.places[self.find(key)] == key }
    }
}

/// Fibonacci hashing: neighbours spread over the whole table.
#[inline]
fn spread(key: u64) -> usize {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 32) as usize
}
