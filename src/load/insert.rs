//! Rows into a table as it stands, as COPY FROM stores them: defaults, generated columns, constraints, triggers, indexes,
//! partitions. The order of events is that of `CopyFrom` in `copyfrom.c`.

use super::arrow::Target;
use super::expressions::Filter;
use crate::compat;
use crate::error::{Error, Result};
use crate::local::bindings;
use crate::local::catalog;
use crate::local::identity;
use crate::local::relation;
use pgrx::PgList;
use pgrx::pg_sys;
use pgrx::prelude::*;

/// An open table that takes rows, within the caller's command.
pub(super) struct Inserter {
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    root: *mut pg_sys::ResultRelInfo,
    table_state: *mut pg_sys::ModifyTableState,
    routing: *mut bindings::PartitionTupleRouting,
    transition_capture: *mut pg_sys::TransitionCaptureState,
    defaults: Vec<(usize, *mut pg_sys::ExprState)>,
    /// Tells for each attribute whether the rows have a value for it.
    supplied: Vec<bool>,
    filter: Option<Filter>,
    command: pg_sys::CommandId,
    bulk_insert: pg_sys::BulkInsertState,
    /// Rows that are not stored yet, where rows may be stored together.
    batch: Vec<*mut pg_sys::TupleTableSlot>,
    batched: usize,
    batched_bytes: usize,
    may_batch: bool,
    stored: u64,
}

const MOST_BATCHED_ROWS: usize = 1000;
const MOST_BATCHED_BYTES: usize = 64 * 1024;

impl Inserter {
    /// Opens the table for rows that all fill the given attributes (from 0); the others get their defaults, unless
    /// [`Inserter::supply`] says that they are filled. The caller has checked the rights.
    pub(super) fn open(relation: u32, filled: &[usize], filter: Option<Filter>) -> Result<Self> {
        // SAFETY: everything is allocated in the current context, which outlives the load, and belongs to this command.
        unsafe {
            let relation = pg_sys::table_open(relation.into(), pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            refuse_relation(relation)?;
            let state = pg_sys::CreateExecutorState();
            let root = compat::init_result_relation(state, relation);
            compat::refuse_invalid_insert_target(root);
            pg_sys::ExecOpenIndices(root, false);
            let table_state = pg_sys::palloc0(size_of::<pg_sys::ModifyTableState>()).cast::<pg_sys::ModifyTableState>();
            (*table_state).ps.type_ = pg_sys::NodeTag::T_ModifyTableState;
            (*table_state).ps.state = state;
            (*table_state).operation = pg_sys::CmdType::CMD_INSERT;
            (*table_state).mt_nrels = 1;
            (*table_state).resultRelInfo = root;
            (*table_state).rootResultRelInfo = root;
            pg_sys::AfterTriggerBeginQuery();
            let transition_capture = pg_sys::MakeTransitionCaptureState(
                (*relation).trigdesc,
                (*relation).rd_id,
                pg_sys::CmdType::CMD_INSERT,
            );
            (*table_state).mt_transition_capture = transition_capture;
            let is_partitioned = (*(*relation).rd_rel).relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE;
            let routing = if is_partitioned {
                bindings::ExecSetupPartitionTupleRouting(state, relation)
            } else {
                std::ptr::null_mut()
            };
            let (defaults, volatile) = defaults_of(relation, filled);
            let triggers = (*root).ri_TrigDesc;
            let looks_at_rows =
                !triggers.is_null() && ((*triggers).trig_insert_before_row || (*triggers).trig_insert_instead_row);
            // A trigger or a volatile function may look for rows that are not stored yet.
            let may_batch = !is_partitioned
                && !looks_at_rows
                && !volatile
                && filter.as_ref().is_none_or(|filter| !filter.is_volatile())
                && relation::is_heap(relation);
            pg_sys::ExecBSInsertTriggers(state, root);
            Ok(Self {
                relation,
                state,
                root,
                table_state,
                routing,
                transition_capture,
                defaults,
                supplied: vec![false; (*(*relation).rd_att).natts as usize],
                filter,
                command: pg_sys::GetCurrentCommandId(true),
                bulk_insert: pg_sys::GetBulkInsertState(),
                batch: Vec::new(),
                batched: 0,
                batched_bytes: 0,
                may_batch,
                stored: 0,
            })
        }
    }

    /// Says which attributes (from 0) the rows to come fill; the others get their defaults.
    pub(super) fn supply(&mut self, attributes: impl Iterator<Item = usize>) {
        self.supplied.fill(false);
        attributes.for_each(|attribute| self.supplied[attribute] = true);
    }

    /// Returns the targets of the given attributes.
    pub(super) fn targets(&self, filled: &[usize]) -> Vec<Target> {
        // SAFETY: the relation is open.
        let attributes = unsafe { relation::attributes((*self.relation).rd_att) };
        let target = |&attribute: &usize| Target::of(attributes[attribute].type_oid, attributes[attribute].typmod);
        filled.iter().map(target).collect()
    }

    /// Returns the number of rows that were stored, those in the batch not counted.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Returns the context in which a row's values may live until the row is added.
    pub(super) fn row_context(&self) -> pg_sys::MemoryContext {
        // SAFETY: as the macro `GetPerTupleMemoryContext`.
        unsafe {
            if (*self.state).es_per_tuple_exprcontext.is_null() {
                pg_sys::MakePerTupleExprContext(self.state);
            }
            (*(*self.state).es_per_tuple_exprcontext).ecxt_per_tuple_memory
        }
    }

    /// Adds a row; `fill` is given the arrays of values and NULL flags, which are NULL at first.
    pub(super) fn add(&mut self, fill: impl FnOnce(&mut [pg_sys::Datum], &mut [bool]) -> Result<()>) -> Result<()> {
        let context = self.row_context();
        // SAFETY: the slot belongs to the table and nobody else uses it; its arrays have an element for each attribute.
        unsafe {
            pg_sys::MemoryContextReset(context);
            let slot = self.free_slot();
            pg_sys::ExecClearTuple(slot);
            let natts = (*(*slot).tts_tupleDescriptor).natts as usize;
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, natts);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, natts);
            values.fill(pg_sys::Datum::from(0usize));
            nulls.fill(true);
            let outer = pg_sys::MemoryContextSwitchTo(context);
            fill(values, nulls)?;
            let expressions = (*self.state).es_per_tuple_exprcontext;
            for &(attribute, default) in self.defaults.iter().filter(|(attribute, _)| !self.supplied[*attribute]) {
                let mut is_null = false;
                values[attribute] = pg_sys::ExecEvalExpr(default, expressions, &mut is_null);
                nulls[attribute] = is_null;
            }
            pg_sys::ExecStoreVirtualTuple(slot);
            // The condition and constraints may ask for it.
            (*slot).tts_tableOid = (*self.relation).rd_id;
            let passes = match &self.filter {
                Some(filter) => {
                    (*expressions).ecxt_scantuple = slot;
                    filter.passes(expressions)
                }
                None => true,
            };
            let stored = if passes { self.store(slot) } else { Ok(()) };
            pg_sys::MemoryContextSwitchTo(outer);
            stored
        }
    }

    unsafe fn free_slot(&mut self) -> *mut pg_sys::TupleTableSlot {
        // SAFETY: slots go with the executor's state.
        unsafe {
            if self.batched == self.batch.len() {
                let outer = pg_sys::MemoryContextSwitchTo((*self.state).es_query_cxt);
                let slot = pg_sys::table_slot_create(self.relation, &mut (*self.state).es_tupleTable);
                pg_sys::MemoryContextSwitchTo(outer);
                self.batch.push(slot);
            }
            self.batch[self.batched]
        }
    }

    unsafe fn store(&mut self, slot: *mut pg_sys::TupleTableSlot) -> Result<()> {
        // SAFETY: promised by the caller: the slot holds a virtual row of the table.
        unsafe {
            if self.may_batch {
                self.check(self.root, slot, false);
                pg_sys::ExecMaterializeSlot(slot);
                self.batched_bytes += materialized_bytes(slot);
                self.batched += 1;
                if self.batched == MOST_BATCHED_ROWS || self.batched_bytes >= MOST_BATCHED_BYTES {
                    self.flush();
                }
                return Ok(());
            }
            self.store_one(slot)
        }
    }

    /// Computes generated columns and checks constraints.
    unsafe fn check(
        &self,
        target: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        was_routed_by_these_values: bool,
    ) {
        // SAFETY: promised by the caller: the slot holds a row of the target.
        unsafe {
            let relation = (*target).ri_RelationDesc;
            let constraints = (*(*relation).rd_att).constr;
            if !constraints.is_null() {
                if (*constraints).has_generated_stored {
                    bindings::ExecComputeStoredGenerated(target, self.state, slot, pg_sys::CmdType::CMD_INSERT);
                }
                pg_sys::ExecConstraints(target, slot, self.state);
            }
            if (*(*relation).rd_rel).relispartition && !was_routed_by_these_values {
                pg_sys::ExecPartitionCheck(target, slot, self.state, true);
            }
        }
    }

    unsafe fn store_one(&mut self, mut slot: *mut pg_sys::TupleTableSlot) -> Result<()> {
        // SAFETY: as in CopyFrom, for a single row.
        unsafe {
            let mut target = self.root;
            if !self.routing.is_null() {
                target = bindings::ExecFindPartition(self.table_state, self.root, self.routing, slot, self.state);
            }
            if !(*target).ri_FdwRoutine.is_null() {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    format!(
                        "cannot load into foreign table \"{}\"",
                        relation::relation_name((*target).ri_RelationDesc)
                    ),
                ));
            }
            let triggers = (*target).ri_TrigDesc;
            let has_before_row = !triggers.is_null() && (*triggers).trig_insert_before_row;
            if !self.transition_capture.is_null() && !self.routing.is_null() {
                // A BEFORE trigger may change the row, so that the root's form must be made anew.
                (*self.transition_capture).tcs_original_insert_tuple =
                    if has_before_row { std::ptr::null_mut() } else { slot };
            }
            if !self.routing.is_null() {
                let map = compat::root_to_child_map(target, self.state);
                if !map.is_null() {
                    slot = pg_sys::execute_attr_map_slot((*map).attrMap, slot, (*target).ri_PartitionTupleSlot);
                }
            }
            (*slot).tts_tableOid = (*(*target).ri_RelationDesc).rd_id;
            if has_before_row && !pg_sys::ExecBRInsertTriggers(self.state, target, slot) {
                return Ok(());
            }
            self.check(target, slot, !self.routing.is_null() && !has_before_row);
            pg_sys::simple_table_tuple_insert((*target).ri_RelationDesc, slot);
            self.after_insert(target, slot);
            self.stored += 1;
        }
        Ok(())
    }

    unsafe fn after_insert(&self, target: *mut pg_sys::ResultRelInfo, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: promised by the caller: the slot holds a row that was just stored.
        unsafe {
            let recheck = if (*target).ri_NumIndices > 0 {
                compat::insert_index_tuples(target, slot, self.state)
            } else {
                std::ptr::null_mut()
            };
            pg_sys::ExecARInsertTriggers(self.state, target, slot, recheck, self.transition_capture);
            pg_sys::list_free(recheck);
        }
    }

    /// Stores the rows of the batch.
    pub(super) fn flush(&mut self) {
        if self.batched == 0 {
            return;
        }
        // SAFETY: the first slots hold materialized rows of the table.
        unsafe {
            pg_sys::heap_multi_insert(
                self.relation,
                self.batch.as_mut_ptr(),
                self.batched as i32,
                self.command,
                0,
                self.bulk_insert,
            );
            let triggers = (*self.root).ri_TrigDesc;
            let has_after =
                !triggers.is_null() && ((*triggers).trig_insert_after_row || (*triggers).trig_insert_new_table);
            for position in 0..self.batched {
                let slot = self.batch[position];
                (*slot).tts_tableOid = (*self.relation).rd_id;
                if has_after || (*self.root).ri_NumIndices > 0 {
                    self.after_insert(self.root, slot);
                }
                pg_sys::ExecClearTuple(slot);
            }
        }
        self.stored += self.batched as u64;
        self.batched = 0;
        self.batched_bytes = 0;
    }

    /// Ends the command: statement triggers, foreign keys. Returns the number of rows that were stored.
    pub(super) fn finish(mut self) -> u64 {
        // SAFETY: as at the end of CopyFrom; everything was opened by `open`.
        unsafe {
            self.flush();
            pg_sys::FreeBulkInsertState(self.bulk_insert);
            pg_sys::ExecASInsertTriggers(self.state, self.root, self.transition_capture);
            // Restricted code cannot leave checks for the end of the transaction; the server's own checks may be left.
            if self.defers_nothing_but_checks() {
                identity::without_restrictions(|| pg_sys::AfterTriggerEndQuery(self.state));
            } else {
                pg_sys::AfterTriggerEndQuery(self.state);
            }
            pg_sys::ExecResetTupleTable((*self.state).es_tupleTable, false);
            if !self.routing.is_null() {
                bindings::ExecCleanupTupleRouting(self.table_state, self.routing);
            }
            pg_sys::ExecCloseResultRelations(self.state);
            pg_sys::ExecCloseRangeTableRelations(self.state);
            pg_sys::FreeExecutorState(self.state);
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
        self.stored
    }
}

impl Inserter {
    /// Returns whether foreign keys or other constraints of the table, or of the partitions that got rows, may be
    /// deferred: no trigger of a user's own fires when the command ends.
    fn defers_nothing_but_checks(&self) -> bool {
        // SAFETY: the lists hold what the state has opened, which is open until the command has ended.
        unsafe {
            let opened = [(*self.state).es_opened_result_relations, (*self.state).es_tuple_routing_result_relations];
            let mut defers = false;
            for list in opened {
                for target in PgList::<pg_sys::ResultRelInfo>::from_pg(list).iter_ptr() {
                    let triggers = (*target).ri_TrigDesc;
                    if triggers.is_null() {
                        continue;
                    }
                    let count = (*triggers).numtriggers as usize;
                    for trigger in std::slice::from_raw_parts((*triggers).triggers, count) {
                        if !trigger.tgisinternal && i32::from(trigger.tgtype) & FIRES_BEFORE == 0 {
                            return false;
                        }
                        defers |= trigger.tgisinternal && trigger.tgdeferrable;
                    }
                }
            }
            defers
        }
    }
}

/// `TRIGGER_TYPE_BEFORE` and `TRIGGER_TYPE_INSTEAD` (`catalog/pg_trigger.h`).
const FIRES_BEFORE: i32 = 2 | 64;

unsafe fn refuse_relation(relation: pg_sys::Relation) -> Result<()> {
    // SAFETY: promised by the caller: the relation is open.
    let (kind, name) = unsafe { ((*(*relation).rd_rel).relkind as u8, relation::relation_name(relation)) };
    let what = match kind {
        pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE => return Ok(()),
        pg_sys::RELKIND_VIEW => "view",
        pg_sys::RELKIND_MATVIEW => "materialized view",
        pg_sys::RELKIND_FOREIGN_TABLE => "foreign table",
        pg_sys::RELKIND_SEQUENCE => "sequence",
        _ => "relation",
    };
    Err(Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, format!("cannot load into {what} \"{name}\"")))
}

/// Returns prepared defaults of the attributes that are not filled, and whether one of them is volatile.
unsafe fn defaults_of(relation: pg_sys::Relation, filled: &[usize]) -> (Vec<(usize, *mut pg_sys::ExprState)>, bool) {
    let mut defaults = Vec::new();
    let mut volatile = false;
    // SAFETY: promised by the caller: the relation is open.
    let attributes = unsafe { relation::attributes((*relation).rd_att) };
    for (position, attribute) in attributes.iter().enumerate() {
        if attribute.dropped || attribute.generated || filled.contains(&position) {
            continue;
        }
        // SAFETY: the expression is planned as COPY FROM does it, and lives in the current context.
        unsafe {
            let expression = catalog::default_expression(relation, position as i16 + 1);
            if !expression.is_null() {
                let planned = pg_sys::expression_planner(expression.cast());
                volatile |= pg_sys::contain_volatile_functions(planned.cast());
                defaults.push((position, pg_sys::ExecInitExpr(planned, std::ptr::null_mut())));
            }
        }
    }
    (defaults, volatile)
}

/// Returns the size of a materialized row of a heap.
///
/// # Safety
/// The slot is a heap's, or a buffer heap's, and materialized.
unsafe fn materialized_bytes(slot: *mut pg_sys::TupleTableSlot) -> usize {
    // SAFETY: promised by the caller; both kinds begin with the same structure.
    unsafe {
        let tuple = (*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple;
        if tuple.is_null() { 0 } else { (*tuple).t_len as usize }
    }
}
