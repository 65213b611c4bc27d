//! Rows as the target's own expressions see them: defaults and generated columns are computed, constraints are evaluated.

use super::super::expressions::{Expression, Expressions, PartitionBounds};
use crate::error::Result;
use crate::order::TableSpec;
use crate::storage::tuple::Value;
use pgrx::pg_sys;

/// What the target's own expressions need.
pub(super) struct CheckedRows<'a> {
    pub(super) slot: *mut pg_sys::TupleTableSlot,
    pub(super) expressions: Expressions,
    /// Defaults, then generated columns, which may depend on defaults.
    computed: Vec<(usize, Expression)>,
    /// Tells for each attribute whether the rows have a value for it, so that it is not computed.
    pub(super) supplied: Vec<bool>,
    pub(super) checks: Vec<(&'a str, Expression)>,
    /// Generated columns that no row holds, and that must not be NULL when they are read.
    pub(super) not_null: Vec<(usize, Expression)>,
    pub(super) bounds: Option<PartitionBounds>,
    /// The bounds of a target that this process does not see.
    pub(super) told_bounds: Option<Expression>,
}

impl<'a> CheckedRows<'a> {
    /// Prepares the expressions of the table for the rows of `relation`, which is its stage table.
    pub(super) fn prepare(relation: pg_sys::Relation, table: &'a TableSpec) -> Result<Self> {
        let mut expressions = Expressions::new();
        let mut computed = Vec::new();
        for column in table.defaults.iter().chain(&table.generated) {
            computed.push(((column.number - 1) as usize, expressions.prepare(&column.expression)?));
        }
        let mut checks = Vec::new();
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        if table.new_table.is_some() {
            // A target that this process does not see has no columns that are computed when they are read.
            for check in &table.checks {
                checks.push((check.name.as_str(), expressions.prepare(&check.expression)?));
            }
        } else if !table.checks.is_empty() {
            // SAFETY: the job's lock on the target keeps it in place; closed again below.
            let target = unsafe { pg_sys::table_open(table.target.into(), lock) };
            for check in &table.checks {
                // SAFETY: the check is the target's own.
                let prepared = unsafe { expressions.prepare_expanded(&check.expression, target)? };
                checks.push((check.name.as_str(), prepared));
            }
            // SAFETY: opened above.
            unsafe { pg_sys::table_close(target, lock) };
        }
        let told = table.new_table.as_ref().and_then(|new_table| new_table.bounds.as_ref());
        let told_bounds = told.map(|bounds| expressions.prepare(bounds)).transpose()?;
        let sees_bounds = table.checks_bounds && table.new_table.is_none();
        let bounds = sees_bounds.then(|| PartitionBounds::of(table.target));
        let mut not_null = Vec::new();
        for column in table.virtuals.iter().filter(|column| column.not_null) {
            not_null.push(((column.number - 1) as usize, expressions.prepare(&column.expression)?));
        }
        // SAFETY: the relation is open; the slot lives in the current context, which outlives the load.
        let slot = unsafe { pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsVirtual) };
        // The row belongs to the target, although it lies in another table for now.
        // SAFETY: made above.
        unsafe { (*slot).tts_tableOid = table.target.into() };
        // SAFETY: the relation is open.
        let mut supplied = vec![false; unsafe { (*(*relation).rd_att).natts } as usize];
        table.columns.iter().for_each(|column| supplied[(column.number - 1) as usize] = true);
        Ok(Self { slot, expressions, computed, supplied, checks, not_null, bounds, told_bounds })
    }

    /// Declares the slot's arrays filled, and computes the columns that the rows do not supply.
    pub(super) fn complete(&mut self) {
        // SAFETY: the arrays are filled, so that the slot may be declared to hold a virtual tuple.
        unsafe {
            pg_sys::ExecClearTuple(self.slot);
            pg_sys::ExecStoreVirtualTuple(self.slot);
        }
        for (number, expression) in self.computed.iter().filter(|(number, _)| !self.supplied[*number]) {
            let (value, is_null) = self.expressions.value(expression, self.slot);
            // SAFETY: attribute numbers come from the descriptor that the slot was made for.
            unsafe {
                *(*self.slot).tts_values.add(*number) = value;
                *(*self.slot).tts_isnull.add(*number) = is_null;
            }
        }
    }

    /// Returns the value of the attribute at that position in the slot.
    #[inline]
    pub(super) fn value(&self, number: usize) -> Value<'static> {
        // SAFETY: as for `complete`.
        unsafe {
            if *(*self.slot).tts_isnull.add(number) {
                Value::Null
            } else {
                Value::Datum(*(*self.slot).tts_values.add(number))
            }
        }
    }
}
