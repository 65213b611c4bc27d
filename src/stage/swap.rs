//! The exchange of storage between targets and their stage tables, in the leader's transaction.
//!
//! Only catalog rows change. The rules are those of `swap_relation_files` and `finish_heap_swap` in `cluster.c`, with
//! one difference: the indexes are not rebuilt, their files are exchanged too.

use crate::compat;
use crate::error::{Error, Result};
use crate::local::{bindings, cumulative_statistics, relation};
use crate::order::{Stage, TableSpec};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::BTreeSet;
use std::ffi::CString;

/// A target and what replaces it. The caller holds ACCESS EXCLUSIVE on the target.
pub struct SwapTable<'a> {
    pub table: &'a TableSpec,
    pub stage: &'a Stage,
    pub rows: u64,
    /// Whether the transaction that swaps has made the stage table: the relation cache must know that the target's files
    /// are new, as after CLUSTER. Files of an earlier transaction are like any others, and later writes to them are logged.
    pub is_made_here: bool,
}

impl SwapTable<'_> {
    /// The leader can have made an index of a stage table that a worker has made.
    fn is_index_made_here(&self, index: usize) -> bool {
        self.is_made_here || self.table.leader.builds(index)
    }
}

/// Exchanges the storage of all targets. The stage tables hold the old rows then. Those of this transaction are dropped
/// here, the others when it has ended: readers of the targets need not wait for that.
pub fn swap(tables: &[SwapTable<'_>]) -> Result<()> {
    let mut exchanged_toasts = Vec::new();
    for table in tables {
        let toasts = swap_table(table)?;
        if toasts.exchanged && toasts.of_target != pg_sys::Oid::INVALID {
            exchanged_toasts.push((table, toasts));
        }
    }
    // One command counter step serves all tables: what follows must see the new catalog rows.
    // SAFETY: between commands of our own transaction.
    unsafe { pg_sys::CommandCounterIncrement() };
    super::remove(tables.iter().filter(|table| table.is_made_here).map(|table| table.stage.heap))?;
    let is_left =
        |(table, toasts): &&(&SwapTable<'_>, Toasts)| !table.is_made_here && toasts.of_stage != pg_sys::Oid::INVALID;
    for (_, toasts) in exchanged_toasts.iter().filter(is_left) {
        let name = format!("pgcopy_old_{}", toasts.of_stage.to_u32());
        rename_toast(toasts.of_stage, &name);
    }
    // SAFETY: as above.
    unsafe { pg_sys::CommandCounterIncrement() };
    for (table, toasts) in &exchanged_toasts {
        rename_toast(toasts.of_target, &format!("pg_toast_{}", table.table.target));
        // SAFETY: the next step updates the row that the renaming has just updated.
        unsafe {
            pg_sys::CommandCounterIncrement();
            pg_sys::ResetRelRewrite(toasts.of_target);
        }
    }
    tables.iter().for_each(|table| finish(table.table.target, table.rows));
    Ok(())
}

/// Refuses a target that this session has open in a cursor or with pending trigger events, before work is done for it.
/// The caller holds a lock on it.
pub fn refuse_table_in_use(target: u32) {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the relation is locked, and closed again; an ERROR closes it with the transaction.
    unsafe {
        let relation = pg_sys::table_open(target.into(), no_lock);
        pg_sys::CheckTableNotInUse(relation, c"replace the rows of".as_ptr());
        pg_sys::table_close(relation, no_lock);
    }
}

fn swap_table(swap: &SwapTable<'_>) -> Result<Toasts> {
    let (target, stage) = (swap.table.target, swap.stage.heap);
    let exclusive = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: both relations exist and are held under ACCESS EXCLUSIVE until the end of the transaction.
    unsafe {
        let relation = pg_sys::table_open(target.into(), exclusive);
        pg_sys::CheckTableNotInUse(relation, c"replace the rows of".as_ptr());
        refuse_other_indexes(relation, swap.table)?;
        let stage_relation = pg_sys::table_open(stage.into(), exclusive);
        refuse_other_columns(relation, stage_relation, swap.table)?;
        pg_sys::table_close(stage_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        bindings::TransferPredicateLocksToHeapRelation(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        for (index, stage_index) in swap.table.indexes.iter().zip(&swap.stage.indexes) {
            pg_sys::LockRelationOid(index.oid.into(), exclusive);
            pg_sys::LockRelationOid((*stage_index).into(), exclusive);
        }
        let toasts = swap_storage(target, stage, true, swap.is_made_here)?;
        if toasts.exchanged {
            exchange_toast_dependencies(target, stage, toasts)?;
        }
        for (position, (index, stage_index)) in swap.table.indexes.iter().zip(&swap.stage.indexes).enumerate() {
            swap_storage(index.oid, *stage_index, false, swap.is_index_made_here(position))?;
        }
        super::dependencies::leave_owner(stage);
        Ok(toasts)
    }
}

/// Makes sure that every index of the target gets new storage together with the table: one that kept its own would point
/// to rows that are no longer there.
///
/// # Safety
/// The relation is open and locked.
unsafe fn refuse_other_indexes(relation: pg_sys::Relation, table: &TableSpec) -> Result<()> {
    // SAFETY: promised by the caller; the list is a copy.
    let found: BTreeSet<u32> = unsafe {
        let list = pgrx::PgList::<()>::from_pg(pg_sys::RelationGetIndexList(relation));
        list.iter_oid().map(pg_sys::Oid::to_u32).collect()
    };
    if found == table.indexes.iter().map(|index| index.oid).collect() {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("the indexes of table {} are not those that were planned", table.qualified_name()),
    ))
}

/// Makes sure that the target reads the stage table's rows as they were written: a value that was taken for one of another
/// type could be an address.
///
/// # Safety
/// Both relations are open and locked.
unsafe fn refuse_other_columns(target: pg_sys::Relation, stage: pg_sys::Relation, table: &TableSpec) -> Result<()> {
    // SAFETY: promised by the caller.
    let shape = |relation: pg_sys::Relation| unsafe {
        let columns = relation::attributes((*relation).rd_att).into_iter();
        let columns: Vec<_> = columns.map(|column| (column.type_oid, column.dropped, column.layout)).collect();
        (columns, (*(*relation).rd_rel).relam, (*(*relation).rd_rel).relpersistence)
    };
    if shape(target) == shape(stage) {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("the columns of table {} are not those that were planned", table.qualified_name()),
    ))
}

/// TOAST tables after the exchange; invalid OIDs where there is none.
#[derive(Clone, Copy)]
struct Toasts {
    of_target: pg_sys::Oid,
    of_stage: pg_sys::Oid,
    /// False where the stage table needed none and the target's own is empty.
    exchanged: bool,
}

/// Exchanges the storage of two relations in `pg_class`.
unsafe fn swap_storage(target: u32, stage: u32, is_table: bool, is_made_here: bool) -> Result<Toasts> {
    // SAFETY: the tuples are copies of our own; their fixed part is what the catalog's structure describes.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::RelationRelationId, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let target_tuple = class_tuple(target)?;
        let stage_tuple = class_tuple(stage)?;
        let target_form = pg_sys::GETSTRUCT(target_tuple).cast::<pg_sys::FormData_pg_class>();
        let stage_form = pg_sys::GETSTRUCT(stage_tuple).cast::<pg_sys::FormData_pg_class>();
        std::mem::swap(&mut (*target_form).relfilenode, &mut (*stage_form).relfilenode);
        std::mem::swap(&mut (*target_form).reltablespace, &mut (*stage_form).reltablespace);
        compat::exchange_page_counts(target_form, stage_form);
        let exchanged = is_table && (*stage_form).reltoastrelid != pg_sys::Oid::INVALID;
        if exchanged {
            std::mem::swap(&mut (*target_form).reltoastrelid, &mut (*stage_form).reltoastrelid);
        }
        if is_table {
            // Until it is dropped, VACUUM may come across the old rows in the stage table.
            std::mem::swap(&mut (*target_form).relfrozenxid, &mut (*stage_form).relfrozenxid);
            std::mem::swap(&mut (*target_form).relminmxid, &mut (*stage_form).relminmxid);
        }
        let toasts =
            Toasts { of_target: (*target_form).reltoastrelid, of_stage: (*stage_form).reltoastrelid, exchanged };
        if is_made_here {
            compat::assume_exchanged_storage(target, stage);
        }
        let indexes = pg_sys::CatalogOpenIndexes(catalog);
        pg_sys::CatalogTupleUpdateWithInfo(catalog, &mut (*target_tuple).t_self, target_tuple, indexes);
        pg_sys::CatalogTupleUpdateWithInfo(catalog, &mut (*stage_tuple).t_self, stage_tuple, indexes);
        pg_sys::CatalogCloseIndexes(indexes);
        pg_sys::table_close(catalog, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        compat::close_storage(target);
        compat::close_storage(stage);
        Ok(toasts)
    }
}

unsafe fn class_tuple(relation: u32) -> Result<pg_sys::HeapTuple> {
    // SAFETY: returns a palloc'd copy or null.
    let tuple = unsafe {
        pg_sys::SearchSysCacheCopy(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(pg_sys::Oid::from(relation)),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
        )
    };
    if tuple.is_null() {
        return Err(Error::internal(format!("cache lookup failed for relation {relation}")));
    }
    Ok(tuple)
}

/// Makes each TOAST table depend on its new main table, and on nothing else.
unsafe fn exchange_toast_dependencies(target: u32, stage: u32, toasts: Toasts) -> Result<()> {
    for (owner, toast) in [(target, toasts.of_target), (stage, toasts.of_stage)] {
        if toast == pg_sys::Oid::INVALID {
            continue;
        }
        // SAFETY: plain catalog changes on objects that this transaction holds exclusively.
        unsafe {
            let count = pg_sys::deleteDependencyRecordsFor(pg_sys::RelationRelationId, toast, false);
            if count != 1 {
                return Err(Error::internal(format!("expected one dependency record for TOAST table, found {count}")));
            }
            let address =
                |oid| pg_sys::ObjectAddress { classId: pg_sys::RelationRelationId, objectId: oid, objectSubId: 0 };
            pg_sys::recordDependencyOn(
                &address(toast),
                &address(owner.into()),
                pg_sys::DependencyType::DEPENDENCY_INTERNAL,
            );
        }
    }
    Ok(())
}

/// Renames TOAST tables after their new main tables, so that no name is in the way of a later one.
fn rename_toast(toast: pg_sys::Oid, name: &str) {
    // SAFETY: the owner is held exclusively, and only it refers to its TOAST table.
    unsafe {
        let index = bindings::toast_get_valid_index(toast, pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE);
        let name = |suffix: &str| CString::new(format!("{name}{suffix}")).expect("no NUL in it");
        pg_sys::RenameRelationInternal(toast, name("").as_ptr(), true, false);
        pg_sys::RenameRelationInternal(index, name("_index").as_ptr(), true, true);
    }
}

/// Completes a target that was filled without an exchange.
pub fn finish_filled(target: u32, rows: u64) {
    finish(target, rows);
}

fn finish(target: u32, rows: u64) {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the target is held exclusively.
    unsafe {
        let relation = pg_sys::table_open(target.into(), no_lock);
        pg_sys::RelationClearMissing(relation);
        cumulative_statistics::count_replacement(relation, rows);
        pg_sys::table_close(relation, no_lock);
    }
}
