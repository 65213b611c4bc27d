use super::Position;
use super::arena::Arena;
use super::decode::ColumnDecoder;
use super::expressions::{Expression, Expressions};
use crate::compat;
use crate::error::{Error, Result};
use crate::job::TableSpec;
use crate::local::interrupts;
use copystream::{BinaryRow, TextRow};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::Wire;

/// Collects rows in slots and writes them to a stage table, many at once, frozen.
///
/// Frozen is right although the writing transaction may still fail: nobody sees a stage table before the swap, and a
/// failed job's stage tables are dropped whole.
pub(super) struct BatchWriter<'a> {
    relation: pg_sys::Relation,
    bulk_insert: pg_sys::BulkInsertState,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
    filled_bytes: usize,
    written: u64,
    columns: Vec<Column>,
    /// Zero-based attributes that no column fills: dropped or generated.
    unfilled: Vec<usize>,
    not_null: Vec<usize>,
    generated: Vec<(usize, Expression)>,
    checks: Vec<(&'a str, Expression)>,
    expressions: Expressions,
    arena: Arena,
    scratch: Vec<u8>,
    table: &'a TableSpec,
    position: &'a Position,
}

struct Column {
    /// Zero-based.
    attribute: usize,
    decoder: ColumnDecoder,
}

/// A batch is written when it holds so many bytes, however few rows those are: memory stays bounded, and the rows are
/// still in the processor's cache.
const BATCH_BYTES: usize = 256 * 1024;

impl<'a> BatchWriter<'a> {
    /// Opens the stage table. It is closed, and its lock kept to the end of the transaction, by `finish`.
    pub(super) fn open(stage: u32, table: &'a TableSpec, batch_rows: usize, position: &'a Position) -> Result<Self> {
        // SAFETY: the stage table exists for as long as its job; an ERROR releases what was opened.
        let (relation, descriptor) = unsafe {
            let relation = pg_sys::table_open(stage.into(), pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            (relation, (*relation).rd_att)
        };
        let mut expressions = Expressions::new();
        let attributes = compat::attributes(descriptor);
        let mut columns = Vec::with_capacity(table.columns.len());
        let mut unfilled: Vec<usize> = (0..attributes.len()).collect();
        for column in &table.columns {
            let attribute = usize::try_from(column.number - 1).expect("attribute numbers start at 1");
            let description = &attributes[attribute];
            let decoder = match table.wire {
                Wire::Binary => ColumnDecoder::binary(description.type_oid, description.typmod),
                Wire::Text => ColumnDecoder::text(description.type_oid, description.typmod),
            };
            unfilled.retain(|&other| other != attribute);
            columns.push(Column { attribute, decoder });
        }
        let not_null = attributes
            .iter()
            .enumerate()
            .filter(|(_, description)| description.not_null && !description.dropped)
            .map(|(attribute, _)| attribute)
            .collect();
        let mut generated = Vec::new();
        for column in &table.generated {
            generated.push(((column.number - 1) as usize, expressions.prepare(&column.expression)?));
        }
        let mut checks = Vec::new();
        for check in &table.checks {
            checks.push((check.name.as_str(), expressions.prepare(&check.expression)?));
        }
        // SAFETY: slots and bulk insert state live in the current context, which outlives the load.
        let (slots, bulk_insert) = unsafe {
            let slots = (0..batch_rows).map(|_| pg_sys::table_slot_create(relation, std::ptr::null_mut())).collect();
            (slots, pg_sys::GetBulkInsertState())
        };
        Ok(Self {
            relation,
            bulk_insert,
            slots,
            filled: 0,
            filled_bytes: 0,
            written: 0,
            columns,
            unfilled,
            not_null,
            generated,
            checks,
            expressions,
            arena: Arena::new(),
            scratch: Vec::new(),
            table,
            position,
        })
    }

    #[inline]
    pub(super) fn add_binary(&mut self, mut row: BinaryRow<'_>) -> Result<()> {
        self.filled_bytes += row.as_bytes().len();
        let slot = self.slots[self.filled];
        // SAFETY: the slot's arrays have one element for each attribute, and no other reference to them exists.
        let (values, nulls) = unsafe { ((*slot).tts_values, (*slot).tts_isnull) };
        // SAFETY: the arena's context lives as long as the writer.
        let outer = unsafe { pg_sys::MemoryContextSwitchTo(self.arena.context()) };
        for (position, column) in self.columns.iter_mut().enumerate() {
            self.position.column.set(Some(position));
            let datum = column.decoder.decode_binary(row.next_field(), &mut self.arena, &mut self.scratch)?;
            // SAFETY: attribute numbers come from the same descriptor as the slot.
            unsafe {
                *values.add(column.attribute) = datum.unwrap_or(pg_sys::Datum::from(0usize));
                *nulls.add(column.attribute) = datum.is_none();
            }
        }
        self.complete_row(slot, outer)
    }

    pub(super) fn add_text(&mut self, mut row: TextRow<'_>) -> Result<()> {
        let slot = self.slots[self.filled];
        // SAFETY: as for `add_binary`.
        let (values, nulls) = unsafe { ((*slot).tts_values, (*slot).tts_isnull) };
        // SAFETY: as for `add_binary`.
        let outer = unsafe { pg_sys::MemoryContextSwitchTo(self.arena.context()) };
        for (position, column) in self.columns.iter_mut().enumerate() {
            self.position.column.set(Some(position));
            let present = row.next_field(&mut self.scratch)?;
            self.filled_bytes += self.scratch.len();
            let datum = column.decoder.decode_text(present.then_some(&mut self.scratch))?;
            // SAFETY: as for `add_binary`.
            unsafe {
                *values.add(column.attribute) = datum.unwrap_or(pg_sys::Datum::from(0usize));
                *nulls.add(column.attribute) = datum.is_none();
            }
        }
        self.complete_row(slot, outer)
    }

    #[inline]
    fn complete_row(&mut self, slot: *mut pg_sys::TupleTableSlot, outer: pg_sys::MemoryContext) -> Result<()> {
        self.position.column.set(None);
        // SAFETY: the slot is empty; after its arrays are filled it may be declared to hold a virtual tuple.
        unsafe {
            for &attribute in &self.unfilled {
                *(*slot).tts_values.add(attribute) = pg_sys::Datum::from(0usize);
                *(*slot).tts_isnull.add(attribute) = true;
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        for (attribute, expression) in &self.generated {
            let (value, is_null) = self.expressions.value(expression, slot);
            // SAFETY: as above.
            unsafe {
                *(*slot).tts_values.add(*attribute) = value;
                *(*slot).tts_isnull.add(*attribute) = is_null;
            }
        }
        for &attribute in &self.not_null {
            // SAFETY: as above.
            if unsafe { *(*slot).tts_isnull.add(attribute) } {
                return Err(self.null_violation(attribute, slot));
            }
        }
        for (name, check) in &self.checks {
            if !self.expressions.passes(check, slot) {
                return Err(self.check_violation(name, slot));
            }
        }
        // SAFETY: back to the context that was current before the row.
        unsafe { pg_sys::MemoryContextSwitchTo(outer) };
        self.filled += 1;
        if self.filled == self.slots.len() || self.filled_bytes >= BATCH_BYTES {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        if self.filled == 0 {
            return;
        }
        interrupts::check();
        // SAFETY: the first `filled` slots hold tuples of this relation's layout. Options and command id as in COPY
        // FREEZE; that nobody else can see the table is what the type's comment is about.
        unsafe {
            pg_sys::table_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.filled as i32,
                pg_sys::GetCurrentCommandId(true),
                (pg_sys::TABLE_INSERT_FROZEN | pg_sys::TABLE_INSERT_SKIP_FSM) as i32,
                self.bulk_insert,
            );
            for &slot in &self.slots[..self.filled] {
                pg_sys::ExecClearTuple(slot);
            }
        }
        self.written += self.filled as u64;
        self.filled = 0;
        self.filled_bytes = 0;
        self.arena.reset();
        self.expressions.reset();
    }

    /// Writes what is left and returns the number of rows written in all.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.flush();
        // SAFETY: everything was opened by `open`; the lock is kept.
        unsafe {
            pg_sys::FreeBulkInsertState(self.bulk_insert);
            for &slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
        Ok(self.written)
    }

    #[cold]
    fn null_violation(&self, attribute: usize, slot: *mut pg_sys::TupleTableSlot) -> Error {
        // SAFETY: the descriptor belongs to the open relation.
        let attributes = compat::attributes(unsafe { (*self.relation).rd_att });
        Error::new(
            PgSqlErrorCode::ERRCODE_NOT_NULL_VIOLATION,
            format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                attributes[attribute].name, self.table.name
            ),
        )
        .detail(self.describe_row(slot))
    }

    #[cold]
    fn check_violation(&self, constraint: &str, slot: *mut pg_sys::TupleTableSlot) -> Error {
        Error::new(
            PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
            format!("new row for relation \"{}\" violates check constraint \"{constraint}\"", self.table.name),
        )
        .detail(self.describe_row(slot))
    }

    /// As core words it.
    fn describe_row(&self, slot: *mut pg_sys::TupleTableSlot) -> String {
        const LONGEST_VALUE: usize = 64;
        // SAFETY: the descriptor belongs to the open relation.
        let attributes = compat::attributes(unsafe { (*self.relation).rd_att });
        let mut values = Vec::new();
        for (attribute, description) in attributes.iter().enumerate().filter(|(_, description)| !description.dropped) {
            // SAFETY: the slot holds a tuple of the relation's layout.
            let value = unsafe {
                if *(*slot).tts_isnull.add(attribute) { None } else { Some(*(*slot).tts_values.add(attribute)) }
            };
            values.push(match value {
                None => "null".to_owned(),
                Some(value) => {
                    let mut text = compat::output_text(description.type_oid, value);
                    if text.len() > LONGEST_VALUE {
                        text.truncate(text.floor_char_boundary(LONGEST_VALUE));
                        text.push_str("...");
                    }
                    text
                }
            });
        }
        format!("Failing row contains ({}).", values.join(", "))
    }
}
