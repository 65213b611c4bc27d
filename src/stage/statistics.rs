//! Statistics: targets and definitions for ANALYZE of a stage table, and the transfer of its results.

use crate::compat;
use crate::error::Result;
use crate::local::catalog::Index;
use crate::local::spi::{Param, extension};
use crate::order::{Stage, TableSpec};
use pgrx::pg_sys;

/// Gives a stage table, and its `indexes`, the statistics targets and extended statistics of its target.
///
/// Catalog rows are copied: a statement made of their text would be parsed again, which evaluates constants of types that
/// are the table's owner's, and tells event triggers.
pub(super) fn prepare(job: i64, heap: u32, table: &TableSpec, indexes: &[u32]) -> Result<()> {
    prepare_columns(table, table.target, heap)?;
    for (index, &copy) in table.indexes.iter().zip(indexes).filter(|&(_, &copy)| copy != 0) {
        prepare_index(table, index, copy)?;
    }
    if table.extended_statistics.is_empty() {
        return Ok(());
    }
    let statistics: Vec<u32> = table.extended_statistics.iter().map(|statistics| statistics.oid).collect();
    extension::execute(
        include_str!("../../sql/queries/copy_extended_statistics.sql"),
        &[Param::Int8(job), Param::Oid(heap), Param::OidArray(&statistics)],
    )?;
    // SAFETY: changes backend-local state and notes a message for others, inside a transaction.
    unsafe {
        pg_sys::CacheInvalidateRelcacheByRelid(heap.into());
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Gives a new index of a stage table the statistics targets of its original.
pub(super) fn prepare_index(table: &TableSpec, original: &Index, copy: u32) -> Result<()> {
    prepare_columns(table, original.oid, copy)?;
    for column in table.column_options.iter().filter(|column| column.relation == original.oid) {
        if let Some(target) = column.statistics {
            // SAFETY: the stage table is locked by this transaction.
            unsafe { compat::note_statistics_target(copy.into(), column.number, target) };
        }
    }
    Ok(())
}

fn prepare_columns(table: &TableSpec, original: u32, copy: u32) -> Result<()> {
    if !table.column_options.iter().any(|column| column.relation == original) {
        return Ok(());
    }
    // Some minor versions keep a number of their own among the options.
    extension::execute(
        include_str!("../../sql/queries/copy_column_statistics.sql"),
        &[Param::Oid(original), Param::Oid(copy), Param::Bool(original == table.target)],
    )
}

/// Gives a stage table that workers have made the statistics targets and extended statistics of a target that only this
/// transaction sees.
pub fn take_statistics_targets(job: i64, heap: u32, table: &TableSpec, indexes: &[u32]) -> Result<()> {
    prepare(job, heap, table, indexes)?;
    // SAFETY: this transaction has just made them.
    unsafe { super::dependencies::give_statistics_to_extension(heap.into()) }
}

/// Gives the targets the column statistics of their stage tables. It comes before the locks that the swap takes, so
/// that no reader waits for it.
pub fn take_over_statistics<'a>(job: i64, tables: impl Iterator<Item = (&'a TableSpec, &'a Stage)>) -> Result<()> {
    let (mut extended, mut virtuals) = (Vec::new(), Vec::new());
    for (table, stage) in tables {
        if table.leader.fills_target {
            continue;
        }
        let expressions = table.indexes.iter().zip(&stage.indexes).filter(|(index, _)| index.has_expressions);
        let indexes = expressions.map(|(index, &stage_index)| (index.oid, stage_index));
        for (old, new) in [(table.target, stage.heap)].into_iter().chain(indexes) {
            // SAFETY: changes of catalog rows whose relations this transaction, or its job, has locked against others.
            unsafe {
                // The target's own describe the old rows.
                remove_own_statistics(old, None);
                pg_sys::CopyStatistics(new.into(), old.into());
            }
        }
        extended.extend(table.extended_statistics.iter().map(|statistics| statistics.oid));
        virtuals.extend(table.virtuals.iter().map(|column| (table.target, column.number)));
    }
    // SAFETY: between commands of our own transaction.
    unsafe { pg_sys::CommandCounterIncrement() };
    for (target, number) in virtuals {
        // SAFETY: as above. The stage table's columns are ordinary ones, of NULLs.
        unsafe { remove_own_statistics(target, Some(number)) };
    }
    if extended.is_empty() {
        return Ok(());
    }
    extension::execute(
        "DELETE FROM pg_statistic_ext_data WHERE stxoid = ANY ($1) AND NOT stxdinherit",
        &[Param::OidArray(&extended)],
    )?;
    extension::execute(
        "UPDATE pg_statistic_ext_data d SET stxoid = t.oid
         FROM unnest($2) t(oid)
         JOIN pg_statistic_ext s ON s.stxname = format('job_%s_statistics_%s', $1, t.oid)
                                AND s.stxnamespace = 'pgcopy_stage'::regnamespace
         WHERE d.stxoid = s.oid",
        &[Param::Int8(job), Param::OidArray(&extended)],
    )
}

/// Removes the statistics of a relation's own rows, of one column or of all. Statistics of the relation together with
/// those that inherit from it stay, until the next ANALYZE of them all.
///
/// # Safety
/// The relation is locked against other changes of its statistics.
unsafe fn remove_own_statistics(relation: u32, column: Option<i16>) {
    let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
    // SAFETY: promised by the caller. Keys and scan are those of the catalog's own index; a tuple stays until the scan goes on.
    unsafe {
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let catalog = pg_sys::table_open(pg_sys::StatisticRelationId, lock);
        let mut keys: [pg_sys::ScanKeyData; 2] = std::mem::zeroed();
        let oid = pg_sys::Oid::from(relation);
        pg_sys::ScanKeyInit(&mut keys[0], 1, equal, pg_sys::F_OIDEQ.into(), oid.into());
        if let Some(number) = column {
            pg_sys::ScanKeyInit(&mut keys[1], 2, equal, pg_sys::F_INT2EQ.into(), number.into());
        }
        let scan = pg_sys::systable_beginscan(
            catalog,
            pg_sys::StatisticRelidAttnumInhIndexId.into(),
            true,
            std::ptr::null_mut(),
            1 + i32::from(column.is_some()),
            keys.as_mut_ptr(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_statistic>();
            if !(*form).stainherit {
                pg_sys::CatalogTupleDelete(catalog, &mut (*tuple).t_self);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
    }
}
