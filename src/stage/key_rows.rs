//! Keys of the tables at a foreign key's ends, read without a query over the tables: the planner would evaluate
//! expressions of their indexes, constraints and statistics with the rights of the query.

use crate::error::{Error, Result};
use crate::local::identity::{Role, run_as};
use crate::local::interrupts;
use crate::local::relation;
use crate::local::settings;
use crate::local::spi::Moment;
use crate::local::transient::{TransientColumn, TransientTable};
use crate::order::{KeyColumn, KeyEnd};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CStr;

/// The keys of one end, without those that the constraint does not concern: columns `k1`, `k2` and so on, and `v1`, `v2`
/// and so on for what converted columns were before.
pub(super) struct KeyRows {
    pub(super) table: TransientTable,
    /// Whether there was a row with only a part of its key.
    pub(super) any_partial: bool,
    converted: Vec<bool>,
}

/// The means to read the key columns of a table.
struct Reader {
    relation: pg_sys::Relation,
    /// Attribute numbers.
    numbers: Vec<i32>,
    /// The functions that convert columns to the compared types.
    conversions: Vec<Option<*mut pg_sys::ExprState>>,
}

impl KeyRows {
    /// Reads the rows that the relations have at the moment. With `stop_at_partial`, reading ends with the first row that has only a part
    /// of its key.
    pub(super) fn read(
        end: &KeyEnd,
        relations: &[u32],
        moment: &Moment,
        name: &'static CStr,
        stop_at_partial: bool,
        kilobytes: usize,
    ) -> Result<Self> {
        run_as(Role::TableOwner(end.converting_role), || {
            settings::use_catalog_search_path()?;
            // SAFETY: the state and all that is prepared with it live until it is freed here, or with the transaction.
            unsafe {
                let state = pg_sys::CreateExecutorState();
                let context = pg_sys::MakePerTupleExprContext(state);
                let converted = end.converted(state)?;
                let table = TransientTable::new(name, &end.transient_columns(&converted), kilobytes)?;
                let mut rows = Self { table, any_partial: false, converted };
                for &relation in relations {
                    rows.read_relation(end, relation, moment, state, context, stop_at_partial)?;
                    if rows.any_partial && stop_at_partial {
                        break;
                    }
                }
                pg_sys::FreeExecutorState(state);
                Ok(rows)
            }
        })
    }

    /// Returns the columns that show a key as its table has it.
    pub(super) fn shown_columns(&self) -> Vec<String> {
        let name = |(number, &converted): (usize, &bool)| format!("{}{number}", if converted { 'v' } else { 'k' });
        (1..).zip(&self.converted).map(name).collect()
    }

    /// # Safety
    /// The state and the context are of the current query.
    unsafe fn read_relation(
        &mut self,
        end: &KeyEnd,
        relation: u32,
        moment: &Moment,
        state: *mut pg_sys::EState,
        context: *mut pg_sys::ExprContext,
        stop_at_partial: bool,
    ) -> Result<()> {
        const ROWS_BETWEEN_INTERRUPTS: u64 = 10_000;
        let count = end.columns.len();
        let mut values = vec![pg_sys::Datum::from(0usize); count + self.converted.iter().filter(|&&is| is).count()];
        let mut nulls = vec![false; values.len()];
        // SAFETY: the relation stays locked until the end of the transaction; the slot is made for it and released with the
        // scan. A row is copied before the slot holds the next one. An ERROR releases everything with the transaction.
        unsafe {
            let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let relation = pg_sys::table_open(relation.into(), lock);
            let reader = Reader::new(end, relation, state)?;
            let last = reader.numbers.iter().copied().max().unwrap_or(1);
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            let scan = pg_sys::table_beginscan(relation, moment.snapshot(), 0, std::ptr::null_mut());
            let mut rows = 0u64;
            while pg_sys::table_scan_getnextslot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
                rows += 1;
                if rows.is_multiple_of(ROWS_BETWEEN_INTERRUPTS) {
                    interrupts::check();
                }
                if i32::from((*slot).tts_nvalid) < last {
                    pg_sys::slot_getsomeattrs_int(slot, last);
                }
                let missing = reader.numbers.iter().filter(|&&number| *(*slot).tts_isnull.add(number as usize - 1));
                match missing.count() {
                    0 => {}
                    missing => {
                        self.any_partial |= missing < count;
                        if self.any_partial && stop_at_partial {
                            break;
                        }
                        continue;
                    }
                }
                let mut original = count;
                for (position, &number) in reader.numbers.iter().enumerate() {
                    let value = *(*slot).tts_values.add(number as usize - 1);
                    values[position] = value;
                    if let Some(conversion) = reader.conversions[position] {
                        (*context).ecxt_scantuple = slot;
                        let previous = pg_sys::MemoryContextSwitchTo((*context).ecxt_per_tuple_memory);
                        values[position] = pg_sys::ExecEvalExpr(conversion, context, &mut nulls[position]);
                        pg_sys::MemoryContextSwitchTo(previous);
                        values[original] = value;
                        original += 1;
                    }
                }
                self.table.put(&mut values, &mut nulls);
                if original > count {
                    pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                }
            }
            pg_sys::table_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
        Ok(())
    }
}

impl Reader {
    /// # Safety
    /// The relation is open; the state is of the current query.
    unsafe fn new(end: &KeyEnd, relation: pg_sys::Relation, state: *mut pg_sys::EState) -> Result<Self> {
        // SAFETY: promised by the caller.
        unsafe {
            let attributes = relation::attributes((*relation).rd_att);
            let mut reader = Self { relation, numbers: Vec::new(), conversions: Vec::new() };
            for column in &end.columns {
                let position =
                    attributes.iter().position(|attribute| !attribute.dropped && attribute.name == column.name);
                let position = position.ok_or_else(|| {
                    let table = relation::relation_name(reader.relation);
                    Error::internal(format!("column \"{}\" of relation \"{table}\" does not exist", column.name))
                })?;
                // A value that was taken for one of another type could be an address.
                if attributes[position].type_oid != pg_sys::Oid::from(column.type_oid) {
                    let table = relation::relation_name(reader.relation);
                    return Err(Error::new(
                        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                        format!("column \"{}\" of table {table} has not the type that was planned", column.name),
                    ));
                }
                let number = position as i32 + 1;
                reader.numbers.push(number);
                reader.conversions.push(column.conversion(number, attributes[position].typmod, state)?);
            }
            Ok(reader)
        }
    }
}

impl KeyEnd {
    /// Returns the columns that a function must convert.
    ///
    /// # Safety
    /// The state is of the current query.
    unsafe fn converted(&self, state: *mut pg_sys::EState) -> Result<Vec<bool>> {
        // SAFETY: promised by the caller.
        let is_converted = |column: &KeyColumn| unsafe { Ok(column.conversion(1, -1, state)?.is_some()) };
        self.columns.iter().map(is_converted).collect()
    }

    fn transient_columns(&self, converted: &[bool]) -> Vec<TransientColumn> {
        let compared = (1..).zip(&self.columns).map(|(number, column)| TransientColumn {
            name: format!("k{number}"),
            type_oid: column.compared_type,
            collation: column.collation,
        });
        let original = (1..).zip(self.columns.iter().zip(converted)).filter(|(_, (_, converted))| **converted);
        let original = original.map(|(number, (column, _))| TransientColumn {
            name: format!("v{number}"),
            type_oid: column.type_oid,
            collation: 0,
        });
        compared.chain(original).collect()
    }
}

impl KeyColumn {
    /// Returns the function that converts the column to the compared type; `None` where the value stays as it is.
    ///
    /// # Safety
    /// The state is of the current query; what is prepared lives as long as it.
    unsafe fn conversion(
        &self,
        number: i32,
        typmod: i32,
        state: *mut pg_sys::EState,
    ) -> Result<Option<*mut pg_sys::ExprState>> {
        if self.type_oid == self.compared_type {
            return Ok(None);
        }
        // SAFETY: fresh nodes of ours over the columns of a scanned row.
        unsafe {
            let own_type = self.type_oid.into();
            let collation = pg_sys::get_typcollation(own_type);
            let column = pg_sys::makeVar(1, number as pg_sys::AttrNumber, own_type, typmod, collation, 0);
            let mut node = pg_sys::coerce_to_target_type(
                std::ptr::null_mut(),
                column.cast(),
                own_type,
                self.compared_type.into(),
                -1,
                pg_sys::CoercionContext::COERCION_EXPLICIT,
                pg_sys::CoercionForm::COERCE_EXPLICIT_CAST,
                -1,
            );
            if node.is_null() {
                return Err(Error::internal(format!("a key of type {} cannot be compared", self.type_oid)));
            }
            let whole = node;
            while (*node).type_ == pg_sys::NodeTag::T_RelabelType {
                node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
            }
            if (*node).type_ == pg_sys::NodeTag::T_Var {
                return Ok(None);
            }
            Ok(Some(pg_sys::ExecPrepareExpr(whole.cast(), state)))
        }
    }
}
