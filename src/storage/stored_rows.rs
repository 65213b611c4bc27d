//! Rows of a table as its heap stores them, for a pgcopy elsewhere that stores them as they are.
//!
//! What travels is a plain row of the columns that are asked for, in their order, as a heap of that definition would store
//! it: dropped columns are left out, columns that were added later have their values, and values that lie in the TOAST
//! table are put in, compressed as they are. Most rows are such rows already.

use super::tuple::{TupleBuilder, Value};
use crate::error::{Error, Result};
use crate::local::relation::{self, Attribute, AttributeLayout};
use crate::local::types::{self, Shape};
use crate::local::{interrupts, memory, rights};
use heapform::Column;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ops::Range;

/// The rows of a range of a table's pages, as the statement's snapshot sees them.
///
/// Between two calls nothing is open: the next one begins where the last one has ended. The lock keeps others from changing the
/// table meanwhile, but not the transaction that reads it.
pub struct StoredRows {
    relation: pg_sys::Oid,
    /// The file and the columns for which all of this was made.
    definition: Definition,
    /// Zero-based positions of the columns in the table, in the order in which they travel.
    columns: Vec<usize>,
    layouts: Vec<AttributeLayout>,
    /// Whether these are all columns of the table, in its own order.
    is_whole: bool,
    next: Place,
    /// The page behind the last one.
    end: u32,
    builder: TupleBuilder,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

/// What the rows of a table are read by.
#[derive(PartialEq, Eq)]
struct Definition {
    file: pg_sys::Oid,
    /// The type of each column, whether it was dropped, and its layout.
    columns: Vec<(pg_sys::Oid, i32, bool, AttributeLayout)>,
}

impl Definition {
    /// # Safety
    /// The relation is open, and these are its attributes.
    unsafe fn of(relation: pg_sys::Relation, attributes: &[Attribute]) -> Self {
        let column =
            |attribute: &Attribute| (attribute.type_oid, attribute.typmod, attribute.dropped, attribute.layout);
        // SAFETY: promised by the caller.
        let file = unsafe { (*(*relation).rd_rel).relfilenode };
        Self { file, columns: attributes.iter().map(column).collect() }
    }
}

/// Returns what the stored values of a column are like, where another server can make something of them.
pub fn stored_column(attribute: &Attribute) -> Option<Column> {
    let base = types::base_type(attribute.type_oid, attribute.typmod, attribute.dimensions);
    let is_enum = base.shape == Shape::Enum && base.oid == attribute.type_oid;
    let column =
        if is_enum { Some(Column::of_labels()) } else { Column::of(attribute.type_oid.to_u32(), attribute.typmod) };
    let layout = attribute.layout;
    column.filter(|column| (column.length, usize::from(column.alignment)) == (layout.length, layout.alignment))
}

/// The place of the next row: that of the first one on or behind it.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    /// The line pointer, counted from 1.
    item: u16,
}

/// Pages that one call looks at: they hold more rows than a call is asked for, unless few of the rows are visible.
const MOST_PAGES: u32 = 256;

const ACCESS_SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
const NATTS: u16 = pg_sys::HEAP_NATTS_MASK as u16;
const HAS_NULL: u16 = pg_sys::HEAP_HASNULL as u16;
const HAS_EXTERNAL: u16 = pg_sys::HEAP_HASEXTERNAL as u16;

impl StoredRows {
    /// Prepares to read the named columns of a table, in a range of its pages. Its lock is kept to the end of
    /// the transaction.
    ///
    /// # Errors
    /// The current user may not SELECT all of that, or the rows of the table cannot travel as they are stored.
    pub fn open(table: &str, columns: &[String], pages: Range<u32>) -> Result<Self> {
        let oid = relation::named(table)?;
        // SAFETY: opened, and closed below with the lock kept; raises where there is no such relation any more.
        unsafe {
            let relation = pg_sys::table_open(oid, ACCESS_SHARE);
            let opened = Self::of(relation, columns, pages);
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            opened
        }
    }

    /// # Safety
    /// The relation is open.
    unsafe fn of(relation: pg_sys::Relation, wanted: &[String], pages: Range<u32>) -> Result<Self> {
        // SAFETY: promised by the caller.
        let (oid, name, kind, is_heap, attributes) = unsafe {
            let kind = (*(*relation).rd_rel).relkind as u8;
            let attributes = relation::attributes((*relation).rd_att);
            let is_heap = kind == pg_sys::RELKIND_RELATION && relation::is_heap(relation);
            ((*relation).rd_id, relation::relation_name(relation), kind, is_heap, attributes)
        };
        let unfit = |reason: String| {
            let message = format!("rows of \"{name}\" are not sent as they are stored");
            Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message).detail(reason)
        };
        let mut columns = Vec::with_capacity(wanted.len());
        for column in wanted {
            let found = attributes.iter().position(|attribute| !attribute.dropped && attribute.name == *column);
            columns.push(found.ok_or_else(|| {
                let message = format!("column \"{column}\" of relation \"{name}\" does not exist");
                Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN, message)
            })?);
        }
        // What somebody may not read is not described to them either.
        let numbers: Vec<i16> = columns.iter().map(|position| *position as i16 + 1).collect();
        if numbers.is_empty() || !rights::may_select(oid, &numbers) {
            let message = format!("permission denied for table {name}");
            return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message));
        }
        if rights::row_security_applies(oid.to_u32()) {
            return Err(unfit("Policies decide which of them may be seen.".to_owned()));
        }
        if !is_heap {
            return Err(unfit(format!(
                "It is no table with the access method heap, but of kind \"{}\".",
                kind as char
            )));
        }
        let fits = |position: &usize| {
            let attribute = &attributes[*position];
            !attribute.generated && stored_column(attribute).is_some()
        };
        if let Some(odd) = columns.iter().find(|position| !fits(position)) {
            return Err(unfit(format!("Column \"{}\" is of another kind.", attributes[*odd].name)));
        }
        // SAFETY: promised by the caller; asks a backend-local variable, or shared memory.
        let (is_of_others, is_absent) = unsafe {
            let persistence = (*(*relation).rd_rel).relpersistence as u8;
            (
                persistence == pg_sys::RELPERSISTENCE_TEMP && !(*relation).rd_islocaltemp,
                persistence != pg_sys::RELPERSISTENCE_PERMANENT && pg_sys::RecoveryInProgress(),
            )
        };
        if is_of_others {
            return Err(unfit("They are in the memory of another session.".to_owned()));
        }
        if is_absent {
            return Err(unfit("A standby has no rows of tables that are not logged.".to_owned()));
        }
        let is_whole = columns.iter().copied().eq(0..attributes.len());
        Ok(Self {
            relation: oid,
            // SAFETY: promised by the caller.
            definition: unsafe { Definition::of(relation, &attributes) },
            layouts: columns.iter().map(|position| attributes[*position].layout).collect(),
            builder: TupleBuilder::new(columns.len(), pg_sys::InvalidTransactionId),
            columns,
            is_whole,
            next: Place { block: pages.start, item: 1 },
            end: pages.end,
            values: vec![pg_sys::Datum::from(0usize); attributes.len()],
            nulls: vec![false; attributes.len()],
        })
    }

    /// Appends records until there are `enough` bytes, or no more rows. Returns the number of rows, and whether there may be
    /// more.
    pub fn read(&mut self, enough: usize, to: &mut Vec<u8>) -> (u64, bool) {
        let mut rows = 0;
        while to.len() < enough {
            interrupts::check();
            // SAFETY: the table's lock is held since `open`, whose definition it keeps; an ERROR releases the rest.
            let has_more = unsafe { self.read_pages(enough, to, &mut rows) };
            if !has_more {
                return (rows, false);
            }
        }
        (rows, true)
    }

    /// # Safety
    /// The table is locked, and a snapshot is active.
    unsafe fn read_pages(&mut self, enough: usize, to: &mut Vec<u8>, rows: &mut u64) -> bool {
        /// A page can hold pointers to far longer values: its rows need not leave together.
        const MOST_OF_A_PAGE: usize = 4;
        let keep = pg_sys::NoLock as pg_sys::LOCKMODE;
        // SAFETY: promised by the caller; the scan and the relation are closed again below, and rows are used before the next
        // one is asked for.
        unsafe {
            let relation = pg_sys::table_open(self.relation, keep);
            if Definition::of(relation, &relation::attributes((*relation).rd_att)) != self.definition {
                changed(&relation::relation_name(relation)).raise();
            }
            let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            let end = self.end.min(blocks);
            if self.next.block >= end {
                pg_sys::table_close(relation, keep);
                return false;
            }
            let count = (end - self.next.block).min(MOST_PAGES);
            let scan = pg_sys::heap_beginscan(
                relation,
                pg_sys::GetActiveSnapshot(),
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                pg_sys::ScanOptions::SO_TYPE_SEQSCAN
                    | pg_sys::ScanOptions::SO_ALLOW_STRAT
                    | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE,
            );
            pg_sys::heap_setscanlimits(scan, self.next.block, count);
            let begun = self.next;
            self.next = Place { block: begun.block + count, item: 1 };
            let mut block = begun.block;
            loop {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                let id = (*tuple).t_self;
                let place = Place {
                    block: u32::from(id.ip_blkid.bi_hi) << 16 | u32::from(id.ip_blkid.bi_lo),
                    item: id.ip_posid,
                };
                if place.block == begun.block && place.item < begun.item {
                    continue;
                }
                let begins_page = place.block != block;
                if (begins_page && to.len() >= enough) || to.len() >= enough.saturating_mul(MOST_OF_A_PAGE) {
                    self.next = place;
                    break;
                }
                block = place.block;
                self.append(tuple, (*relation).rd_att, to);
                *rows += 1;
            }
            pg_sys::heap_endscan(scan);
            pg_sys::table_close(relation, keep);
        }
        true
    }

    /// # Safety
    /// The row is one of the table's, and the descriptor that of the table.
    #[inline]
    unsafe fn append(&mut self, tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc, to: &mut Vec<u8>) {
        // SAFETY: promised by the caller; a row has `t_len` bytes, whose header says where values begin.
        unsafe {
            let header = (*tuple).t_data;
            let infomask = (*header).t_infomask;
            let stored = usize::from((*header).t_infomask2 & NATTS);
            if !self.is_whole || stored != self.columns.len() || infomask & HAS_EXTERNAL != 0 {
                self.append_formed(tuple, descriptor, to);
                return;
            }
            let start = usize::from((*header).t_hoff);
            let length = ((*tuple).t_len as usize).saturating_sub(start);
            let data = std::slice::from_raw_parts(header.cast::<u8>().add(start), length);
            let bitmap = (infomask & HAS_NULL != 0)
                .then(|| std::slice::from_raw_parts((&raw const (*header).t_bits).cast::<u8>(), stored.div_ceil(8)));
            write(stored, bitmap, data, to);
        }
    }

    /// Appends a row that is put together anew.
    ///
    /// # Safety
    /// As for `append`.
    #[cold]
    unsafe fn append_formed(&mut self, tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc, to: &mut Vec<u8>) {
        // SAFETY: the arrays have an element for each column of the table; values point into the row, into the descriptor or
        // into a context of ours, which all stay until the row is formed.
        unsafe {
            pg_sys::heap_deform_tuple(tuple, descriptor, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            self.builder.begin(0);
            let mut fetched = FetchedValues::default();
            for (number, (&position, &layout)) in self.columns.iter().zip(&self.layouts).enumerate() {
                let value = if self.nulls[position] {
                    Value::Null
                } else {
                    let mut datum = self.values[position];
                    if layout.length == -1 && pgrx::varatt_is_1b_e(datum.cast_mut_ptr()) {
                        datum = fetched.fetch(datum);
                    }
                    Value::Datum(datum)
                };
                self.builder.append(number, layout, value);
            }
        }
        let (bitmap, data) = self.builder.values();
        write(self.columns.len(), bitmap, data, to);
        self.builder.forget_large();
    }
}

/// Returns the error of a transaction that changes what it reads.
#[cold]
fn changed(name: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("rows of \"{name}\" are not sent on: this transaction has changed the table"),
    )
}

#[inline]
fn write(columns: usize, bitmap: Option<&[u8]>, data: &[u8], to: &mut Vec<u8>) {
    memory::reserve(to, heapform::LONGEST_HEADER + data.len());
    heapform::write_header(columns, bitmap, data.len(), to);
    to.extend_from_slice(data);
}

/// Values of a row that were fetched from the TOAST table, still compressed.
struct FetchedValues(pg_sys::MemoryContext);

impl Default for FetchedValues {
    fn default() -> Self {
        Self(std::ptr::null_mut())
    }
}

impl FetchedValues {
    /// # Safety
    /// The datum is a varlena that points to a TOAST table. The result lives as long as `self`.
    unsafe fn fetch(&mut self, datum: pg_sys::Datum) -> pg_sys::Datum {
        // SAFETY: promised by the caller; the context is a child of the current one, and goes with it after an ERROR.
        unsafe {
            if self.0.is_null() {
                self.0 = pg_sys::AllocSetContextCreateInternal(
                    pg_sys::CurrentMemoryContext,
                    c"pgcopy values".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                );
            }
            let outer = pg_sys::MemoryContextSwitchTo(self.0);
            let whole = pg_sys::detoast_external_attr(datum.cast_mut_ptr());
            pg_sys::MemoryContextSwitchTo(outer);
            pg_sys::Datum::from(whole)
        }
    }
}

impl Drop for FetchedValues {
    fn drop(&mut self) {
        // After an ERROR the context goes with the one that it is a child of.
        if !self.0.is_null() && !std::thread::panicking() {
            // SAFETY: made by `fetch`; its values were copied.
            unsafe { pg_sys::MemoryContextDelete(self.0) };
        }
    }
}
