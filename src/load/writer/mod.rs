//! Rows of any input into pages of a stage table.

mod checked_rows;
mod violation;

use super::arena::Arena;
use super::decode::ColumnDecoder;
use super::expressions::PartitionBounds;
use super::to_datum::to_datum;
use super::{LoadHelper, Position};
use crate::error::{Error, Result};
use crate::local::relation::{self, Attribute, AttributeLayout};
use crate::local::{bindings, interrupts, parameters};
use crate::order::TableSpec;
use crate::storage::heap_pages::{HeapPages, LONGEST_ROW};
use crate::storage::relation_file::WRITER_LOCK;
use crate::storage::server_rows::ServerRows;
use crate::storage::tuple::{Accept, LONGEST_FORMED_ROW, TupleBuilder, Value, too_big};
use checked_rows::CheckedRows;
use copystream::{BinaryRow, TextField, TextRow};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::Wire;

/// A writer of rows to a stage table. `D` is the decoder that makes a column's value from a field of a row.
pub(super) struct TableWriter<'a, D> {
    relation: pg_sys::Relation,
    pages: HeapPages,
    /// Set where the server is to form and store the rows.
    by_server: Option<ServerRows>,
    builder: TupleBuilder,
    /// One for each attribute of the table.
    attributes: Vec<WrittenAttribute<D>>,
    /// Whether the rows have a value for each attribute, in the order of the attributes.
    is_alike: bool,
    /// Set where expressions of the target must see the rows.
    checked: Option<CheckedRows<'a>>,
    arena: Arena,
    arena_used: bool,
    scratch: Vec<u8>,
    written: u64,
    table: &'a TableSpec,
    position: &'a Position,
    helper: &'a dyn LoadHelper,
    asked_for_toast: bool,
}

/// The values of one row.
pub(super) trait RowValues<D> {
    /// Hands the next column's value to `to`.
    fn next<R>(&mut self, decoder: &mut D, scratch: &mut Vec<u8>, to: impl Accept<R>) -> Result<R>;
}

impl RowValues<ColumnDecoder> for BinaryRow<'_> {
    #[inline(always)]
    fn next<R>(&mut self, decoder: &mut ColumnDecoder, scratch: &mut Vec<u8>, to: impl Accept<R>) -> Result<R> {
        decoder.decode_binary(self.next_field(), scratch, to)
    }
}

impl RowValues<ColumnDecoder> for TextRow<'_> {
    fn next<R>(&mut self, decoder: &mut ColumnDecoder, scratch: &mut Vec<u8>, to: impl Accept<R>) -> Result<R> {
        match self.next_field()? {
            TextField::Null => decoder.decode_text(None, to),
            TextField::Plain(bytes) => decoder.decode_text(Some(bytes), to),
            TextField::Escaped(field) => {
                if scratch.capacity() > LARGE && field.len() < LARGE {
                    *scratch = Vec::new();
                }
                self.unescape(field, scratch)?;
                decoder.decode_text(Some(scratch.as_slice()), to)
            }
        }
    }
}

/// An attribute's place in the row that is being built.
struct Place<'a> {
    builder: &'a mut TupleBuilder,
    number: usize,
    layout: AttributeLayout,
    not_null: bool,
    /// The first attribute that is NULL and must not be.
    missing: &'a mut Option<usize>,
    /// Set when there is a value in the memory context.
    by_function: &'a mut bool,
}

impl Accept<()> for Place<'_> {
    #[inline(always)]
    fn accept(self, value: Value<'_>) {
        if self.not_null && matches!(value, Value::Null) {
            self.missing.get_or_insert(self.number);
        }
        *self.by_function |= matches!(value, Value::Datum(_));
        self.builder.append(self.number, self.layout, value);
    }
}

struct WrittenAttribute<D> {
    layout: AttributeLayout,
    not_null: bool,
    /// `None` for an attribute that no column of the rows fills: it is dropped, generated or left to its default.
    decoder: Option<D>,
}

/// Longer rows are compressed and moved to the TOAST table until they are not: `TOAST_TUPLE_THRESHOLD`
/// (`access/heaptoast.h`).
const TOAST_THRESHOLD: usize = 2032;
/// A buffer of more bytes is freed after the value that needed it.
const LARGE: usize = 1 << 20;
/// The memory that values may take before it is freed: more than one chunk of the arena, or every row would allocate a
/// chunk anew.
const ARENA_BYTES: usize = 2 * super::arena::CHUNK_BYTES;

impl<'a> TableWriter<'a, ColumnDecoder> {
    /// Opens a stage table for the rows of a COPY stream.
    pub(super) fn for_copy(
        stage: u32,
        table: &'a TableSpec,
        wire: Wire,
        position: &'a Position,
        helper: &'a dyn LoadHelper,
    ) -> Result<Self> {
        Self::open(stage, table, position, helper, |column, attribute| {
            let decoder = match wire {
                // Rows as they are stored have values of another kind.
                Wire::Binary | Wire::Heap => ColumnDecoder::binary(attribute.type_oid, attribute.typmod),
                Wire::Text => ColumnDecoder::text(attribute.type_oid, attribute.typmod),
            };
            if table.columns[column].narrowed { decoder.watched(attribute.type_oid) } else { decoder }
        })
    }

    #[inline]
    pub(super) fn add_binary(&mut self, row: BinaryRow<'_>) -> Result<()> {
        const LENGTH_AND_PADDING: usize = 16;
        let bytes = row.as_bytes().len() + self.attributes.len() * LENGTH_AND_PADDING;
        self.add_row(bytes, row)
    }

    #[inline]
    pub(super) fn add_text(&mut self, row: TextRow<'_>) -> Result<()> {
        // The shortest text of eight bytes is one character.
        const LENGTH_AND_PADDING: usize = 24;
        let bytes = row.as_bytes().len() + self.attributes.len() * LENGTH_AND_PADDING;
        self.add_row(bytes, row)
    }
}

impl<'a, D> TableWriter<'a, D> {
    /// Opens the stage table. It is closed, and its lock kept to the end of the transaction, by `finish`.
    ///
    /// `decoder` makes the decoder of the column at a position among those of `table`.
    pub(super) fn open(
        stage: u32,
        table: &'a TableSpec,
        position: &'a Position,
        helper: &'a dyn LoadHelper,
        mut decoder: impl FnMut(usize, &Attribute) -> D,
    ) -> Result<Self> {
        // SAFETY: the stage table exists for as long as its job; an ERROR releases what was opened.
        let (relation, descriptor) = unsafe {
            let relation = pg_sys::table_open(stage.into(), WRITER_LOCK);
            (relation, (*relation).rd_att)
        };
        // SAFETY: the descriptor belongs to the open relation.
        let descriptions = unsafe { relation::attributes(descriptor) };
        let mut attributes: Vec<WrittenAttribute<D>> = descriptions
            .iter()
            .map(|description| WrittenAttribute {
                layout: description.layout,
                not_null: description.not_null && !description.dropped,
                decoder: None,
            })
            .collect();
        for (position, column) in table.columns.iter().enumerate() {
            let attribute = usize::try_from(column.number - 1).expect("attribute numbers start at 1");
            attributes[attribute].decoder = Some(decoder(position, &descriptions[attribute]));
        }
        let is_plain = table.generated.is_empty()
            && table.checks.is_empty()
            && !table.checks_bounds
            && table.defaults.is_empty()
            && !table.virtuals.iter().any(|column| column.not_null);
        let own_storage = parameters::own_storage();
        let checked = if is_plain && own_storage { None } else { Some(CheckedRows::prepare(relation, table)?) };
        // SAFETY: the relation stays open as long as the writer, and its pages never go through the buffer manager.
        let (pages, xid) = unsafe { (HeapPages::new(relation), pg_sys::GetCurrentTransactionId()) };
        // SAFETY: the same relation; pages of ours are never written while the server stores the rows.
        let by_server = (!own_storage).then(|| unsafe { ServerRows::new(relation) });
        let numbers = table.columns.iter().map(|column| i32::from(column.number));
        let is_alike = numbers.eq(1..=attributes.len() as i32);
        Ok(Self {
            relation,
            pages,
            by_server,
            is_alike,
            builder: TupleBuilder::new(attributes.len(), xid),
            attributes,
            checked,
            arena: Arena::new(),
            arena_used: false,
            scratch: Vec::new(),
            written: 0,
            table,
            position,
            helper,
            asked_for_toast: false,
        })
    }

    /// Tells for which columns, in the order of the table's, the rows to come have no values: these get their defaults.
    /// At first the rows have values for all columns.
    pub(super) fn leave_out(&mut self, columns: impl Iterator<Item = bool>) {
        if let Some(checked) = &mut self.checked {
            for (column, is_left_out) in self.table.columns.iter().zip(columns) {
                checked.supplied[(column.number - 1) as usize] = !is_left_out;
            }
        }
    }

    /// Adds a row. Its `values` are in the order of the attributes and take at most `bytes` with their lengths and
    /// padding, not counting values made by functions.
    #[inline(always)]
    pub(super) fn add_row(&mut self, bytes: usize, mut values: impl RowValues<D>) -> Result<()> {
        // SAFETY: the arena's context lives as long as the writer; back to the caller's at the end.
        let outer = unsafe { pg_sys::MemoryContextSwitchTo(self.arena.context()) };
        if self.checked.is_some() {
            self.fill_slot(&mut values)?;
        }
        if self.by_server.is_some() {
            self.store_by_server()?;
            // SAFETY: see above.
            unsafe { pg_sys::MemoryContextSwitchTo(outer) };
            self.written += 1;
            return Ok(());
        }
        self.builder.begin(bytes);
        let mut column = 0;
        let mut missing = None;
        for (number, attribute) in self.attributes.iter_mut().enumerate() {
            let place = Place {
                builder: &mut self.builder,
                number,
                layout: attribute.layout,
                not_null: attribute.not_null,
                missing: &mut missing,
                by_function: &mut self.arena_used,
            };
            if let Some(checked) = &self.checked {
                place.accept(checked.value(number));
            } else if let Some(decoder) = &mut attribute.decoder {
                self.position.column.set(Some(column));
                column += 1;
                values.next(decoder, &mut self.scratch, place)?;
            } else {
                place.accept(Value::Null);
            }
        }
        self.position.column.set(None);
        if let Some(number) = missing {
            return Err(self.null_violation(number));
        }
        self.refuse_violated_checks()?;
        self.store()?;
        // SAFETY: see above.
        unsafe { pg_sys::MemoryContextSwitchTo(outer) };
        self.written += 1;
        Ok(())
    }

    /// Returns whether rows that have exactly the columns of the table, in its order, may be stored without a look at their
    /// values.
    #[inline]
    pub(super) fn stores_rows_as_they_are(&self) -> bool {
        self.is_alike && self.checked.is_none()
    }

    /// Adds such a row. Its values are aligned as from their beginning; `is_null` tells of an attribute whether the row has no
    /// value for it, and is asked where there is a bitmap.
    #[inline]
    pub(super) fn add_stored(
        &mut self,
        bitmap: Option<&[u8]>,
        values: &[u8],
        has_varwidth: bool,
        is_null: impl Fn(usize) -> bool,
    ) -> Result<()> {
        // SAFETY: as for `add_row`.
        let outer = unsafe { pg_sys::MemoryContextSwitchTo(self.arena.context()) };
        self.builder.take_stored(bitmap, values, has_varwidth);
        if bitmap.is_some() {
            let attributes = self.attributes.iter().enumerate();
            let missing = attributes.filter(|(_, attribute)| attribute.not_null).find(|(number, _)| is_null(*number));
            if let Some((number, _)) = missing {
                // It describes the row that the builder holds.
                return Err(self.null_violation(number));
            }
        }
        self.store()?;
        // SAFETY: see above.
        unsafe { pg_sys::MemoryContextSwitchTo(outer) };
        self.written += 1;
        Ok(())
    }

    /// Puts the finished row into a page, through the toaster if it is long.
    #[inline]
    fn store(&mut self) -> Result<()> {
        let row = self.builder.finish();
        let written = if row.len() <= TOAST_THRESHOLD { self.pages.add(row) } else { self.store_long()? };
        if (written && self.arena_used) || self.arena.is_beyond(ARENA_BYTES) {
            self.arena.reset();
            self.arena_used = false;
            if let Some(checked) = &mut self.checked {
                checked.expressions.reset();
            }
        }
        Ok(())
    }

    /// Hands the row in the slot to the server.
    #[cold]
    fn store_by_server(&mut self) -> Result<()> {
        let Some(slot) = self.checked.as_ref().map(|checked| checked.slot) else { return Ok(()) };
        // SAFETY: the slot's arrays have one element for each attribute.
        let is_null = |number: usize| unsafe { *(*slot).tts_isnull.add(number) };
        let missing =
            self.attributes.iter().enumerate().find(|(number, attribute)| attribute.not_null && is_null(*number));
        if let Some((number, _)) = missing {
            return Err(self.null_violation(number));
        }
        self.refuse_violated_checks()?;
        let Some(rows) = &mut self.by_server else { return Ok(()) };
        // SAFETY: the slot holds a row of the relation.
        let bytes = unsafe { rows.add(slot) };
        if bytes > TOAST_THRESHOLD {
            self.have_toast_table()?;
        }
        if let Some(rows) = self.by_server.as_mut().filter(|rows| rows.is_full()) {
            rows.store();
        }
        // The row was copied.
        if self.arena.is_beyond(ARENA_BYTES) {
            self.arena.reset();
            if let Some(checked) = &mut self.checked {
                checked.expressions.reset();
            }
        }
        Ok(())
    }

    #[cold]
    fn store_long(&mut self) -> Result<bool> {
        interrupts::check();
        self.have_toast_table()?;
        let row = self.builder.finish();
        if row.len() > LONGEST_FORMED_ROW {
            return Err(too_big(row.len()));
        }
        let mut tuple = pg_sys::HeapTupleData {
            t_len: row.len() as u32,
            t_data: row.as_mut_ptr().cast(),
            // SAFETY: the relation is open.
            t_tableOid: unsafe { (*self.relation).rd_id },
            ..Default::default()
        };
        // SAFETY: a tuple of this relation's layout in memory of ours; the result is ours too, in the current context.
        let fitting = unsafe {
            let options = pg_sys::HEAP_INSERT_FROZEN | pg_sys::HEAP_INSERT_SKIP_FSM;
            let toasted = bindings::heap_toast_insert_or_update(
                self.relation,
                &mut tuple,
                std::ptr::null_mut(),
                options as std::ffi::c_int,
            );
            std::slice::from_raw_parts_mut((*toasted).t_data.cast::<u8>(), (*toasted).t_len as usize)
        };
        self.arena_used = true;
        if fitting.len() > LONGEST_ROW {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("row is too big: size {}, maximum size {LONGEST_ROW}", fitting.len()),
            ));
        }
        let written = self.pages.add(fitting);
        self.builder.forget_large();
        Ok(written)
    }

    /// Makes sure that the stage table has a TOAST table. It may have been made without one, because no row was
    /// expected to need it.
    fn have_toast_table(&mut self) -> Result<()> {
        // SAFETY: the relation is open.
        let has_one =
            |relation: pg_sys::Relation| unsafe { (*(*relation).rd_rel).reltoastrelid != pg_sys::Oid::INVALID };
        // A target without one has no column that could need it.
        let may_have_one = self.table.new_table.as_ref().is_none_or(|table| table.toast.is_some());
        if !self.asked_for_toast && may_have_one && !has_one(self.relation) {
            self.asked_for_toast = true;
            self.helper.make_toast_table(self.table)?;
        }
        Ok(())
    }

    fn fill_slot(&mut self, values: &mut impl RowValues<D>) -> Result<()> {
        let Some(checked) = &mut self.checked else { return Ok(()) };
        let slot = checked.slot;
        self.arena_used = true;
        let mut column = 0;
        for (number, attribute) in self.attributes.iter_mut().enumerate() {
            let value = match &mut attribute.decoder {
                Some(decoder) => {
                    self.position.column.set(Some(column));
                    column += 1;
                    let arena = &mut self.arena;
                    values.next(decoder, &mut self.scratch, |value: Value<'_>| {
                        to_datum(value, |bytes| arena.allocate(bytes))
                    })?
                }
                None => None,
            };
            // SAFETY: the slot's arrays have one element for each attribute, and no other reference to them exists.
            unsafe {
                *(*slot).tts_values.add(number) = value.unwrap_or(pg_sys::Datum::from(0usize));
                *(*slot).tts_isnull.add(number) = value.is_none();
            }
        }
        self.position.column.set(None);
        checked.complete();
        Ok(())
    }

    #[inline]
    fn refuse_violated_checks(&mut self) -> Result<()> {
        let Some(checked) = &mut self.checked else { return Ok(()) };
        let missing = checked.not_null.iter().find(|(_, column)| checked.expressions.value(column, checked.slot).1);
        if let Some(&(number, _)) = missing {
            return Err(self.null_violation(number));
        }
        if let Some(bounds) = &checked.bounds
            && !checked.expressions.is_within(bounds, checked.slot)
        {
            return Err(self.partition_violation());
        }
        if let Some(bounds) = &checked.told_bounds
            && !checked.expressions.passes(bounds, checked.slot)
        {
            return Err(self.partition_violation());
        }
        let violated = checked.checks.iter().find(|(_, check)| !checked.expressions.passes(check, checked.slot));
        violated.map(|(name, _)| *name).map_or(Ok(()), |name| Err(self.check_violation(name)))
    }

    /// Writes the remaining rows and returns the number of all rows written.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.pages.write();
        if let Some(rows) = self.by_server {
            rows.finish();
        }
        // SAFETY: everything was opened by `open`; the lock is kept.
        unsafe {
            if let Some(checked) = self.checked {
                pg_sys::ExecDropSingleTupleTableSlot(checked.slot);
                checked.bounds.into_iter().for_each(PartitionBounds::close);
            }
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
        Ok(self.written)
    }
}
