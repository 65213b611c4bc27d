//! Stage tables depend on nothing but the extension: all that they would depend on, their targets depend on.
//!
//! A pull holds locks on its targets, which keep types, functions and operator classes in place while it needs them. A stage
//! table that counted as their user, too, would be in the way of ALTER DOMAIN and DROP TYPE when the target's rows are not.

use crate::error::{Error, Result};
use pgrx::pg_sys;

/// `pg_constraint` (`catalog/pg_constraint.h`).
const CONSTRAINTS: u32 = 2606;
/// `pg_statistic_ext` (`catalog/pg_statistic_ext.h`).
const STATISTICS_OBJECTS: u32 = 3381;

/// Makes a new stage table, with its indexes, constraints and extended statistics, a member of the extension alone. Members
/// are not dumped, and DROP EXTENSION takes them along.
///
/// # Safety
/// The stage table and its indexes were made by this transaction.
pub(super) unsafe fn belong_to_extension(heap: pg_sys::Oid, indexes: &[u32]) -> Result<()> {
    // SAFETY: promised by the caller; plain catalog changes. The list is palloc'd and holds OIDs.
    unsafe {
        pg_sys::CommandCounterIncrement();
        let table = address(pg_sys::RelationRelationId, heap);
        forget_objects_used_by(table);
        pg_sys::recordDependencyOn(&table, &extension()?, pg_sys::DependencyType::DEPENDENCY_EXTENSION);
        // 0 stands for those that the leader makes.
        for &index in indexes.iter().filter(|&&index| index != 0) {
            forget_objects_used_by_index(index.into());
        }
        give_statistics_to_extension(heap)?;
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Makes the extended statistics of a stage table members of the extension alone.
///
/// # Safety
/// The statistics were made by this transaction, and the stage table is locked.
pub(super) unsafe fn give_statistics_to_extension(heap: pg_sys::Oid) -> Result<()> {
    // SAFETY: promised by the caller; plain catalog changes. The list is palloc'd and holds OIDs.
    unsafe {
        let extension = extension()?;
        let relation = pg_sys::table_open(heap, pg_sys::NoLock as pg_sys::LOCKMODE);
        let statistics = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetStatExtList(relation));
        for object in statistics.iter_oid() {
            let object = address(STATISTICS_OBJECTS.into(), object);
            forget_objects_used_by(object);
            pg_sys::recordDependencyOn(&object, &extension, pg_sys::DependencyType::DEPENDENCY_EXTENSION);
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    Ok(())
}

/// Makes an index that this transaction has given a stage table depend on nothing but the table.
///
/// # Safety
/// The index was made by this transaction.
pub(super) unsafe fn forget_objects_used_by_index(index: pg_sys::Oid) {
    // SAFETY: promised by the caller.
    unsafe {
        forget_objects_used_by(address(pg_sys::RelationRelationId, index));
        let constraint = pg_sys::get_index_constraint(index);
        if constraint != pg_sys::Oid::INVALID {
            forget_objects_used_by(address(CONSTRAINTS.into(), constraint));
        }
    }
}

fn extension() -> Result<pg_sys::ObjectAddress> {
    // SAFETY: a catalog lookup.
    let extension = unsafe { pg_sys::get_extension_oid(c"pgcopy".as_ptr(), true) };
    if extension == pg_sys::Oid::INVALID {
        return Err(Error::internal("extension \"pgcopy\" does not exist"));
    }
    Ok(address(pg_sys::ExtensionRelationId, extension))
}

/// Removes the owner's dependency of a stage table that has the old rows after the swap, so that the target's owner can
/// be dropped in the same transaction.
///
/// # Safety
/// The relation exists and is locked exclusively.
pub(super) unsafe fn leave_owner(stage: u32) {
    // SAFETY: promised by the caller; the extension's clean-up drops the table without its owner.
    unsafe { pg_sys::deleteSharedDependencyRecordsFor(pg_sys::RelationRelationId, stage.into(), 0) }
}

/// A row of `pg_depend`.
#[repr(C)]
struct Dependency {
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    column: i32,
    used_class: pg_sys::Oid,
    used_object: pg_sys::Oid,
    used_column: i32,
    kind: std::ffi::c_char,
}

fn address(class: pg_sys::Oid, object: pg_sys::Oid) -> pg_sys::ObjectAddress {
    pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 }
}

/// Deletes the ordinary dependencies of an object and its columns; those that make it go with its table stay.
unsafe fn forget_objects_used_by(object: pg_sys::ObjectAddress) {
    /// `pg_depend` and `pg_depend_depender_index` (`catalog/pg_depend.h`).
    const DEPENDENCIES: u32 = 2608;
    const DEPENDER_INDEX: u32 = 2673;
    let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
    // SAFETY: keys and scan are those of the catalog's own index; a tuple stays until the scan goes on.
    unsafe {
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let catalog = pg_sys::table_open(DEPENDENCIES.into(), lock);
        let mut keys: [pg_sys::ScanKeyData; 2] = std::mem::zeroed();
        for (key, (column, oid)) in keys.iter_mut().zip([(1, object.classId), (2, object.objectId)]) {
            pg_sys::ScanKeyInit(key, column, equal, pg_sys::F_OIDEQ.into(), oid.into());
        }
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(catalog, DEPENDER_INDEX.into(), true, none, 2, keys.as_mut_ptr());
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form = pg_sys::GETSTRUCT(tuple).cast::<Dependency>();
            if (*form).kind as u32 == pg_sys::DependencyType::DEPENDENCY_NORMAL {
                pg_sys::CatalogTupleDelete(catalog, &mut (*tuple).t_self);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
    }
}
