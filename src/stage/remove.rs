use crate::error::Result;
use crate::local::identity::{Role, run_as};
use crate::local::locks::{Mode, lock_relation, try_lock_relation};
use crate::local::spi::{Param, extension};
use pgrx::pg_sys;

/// Drops stage tables that this transaction has used or made.
pub fn remove(stages: impl IntoIterator<Item = u32>) -> Result<()> {
    let stages: Vec<u32> = stages.into_iter().collect();
    stages.iter().for_each(|&stage| lock_relation(stage, Mode::AccessExclusive));
    remove_locked(&stages)
}

/// Drops stage tables, and returns those that another session has locked, such as a dump that reads them.
pub fn try_remove(stages: Vec<u32>) -> Result<Vec<u32>> {
    let (locked, busy): (Vec<u32>, Vec<u32>) =
        stages.into_iter().partition(|&stage| try_lock_relation(stage, Mode::AccessExclusive));
    remove_locked(&locked)?;
    Ok(busy)
}

/// Drops stage tables that still exist, with all that belongs to them. It does not use DROP TABLE: an event trigger of
/// a user could refuse that, and would be told of internal tables.
fn remove_locked(stages: &[u32]) -> Result<()> {
    let flags =
        pg_sys::PERFORM_DELETION_INTERNAL | pg_sys::PERFORM_DELETION_QUIETLY | pg_sys::PERFORM_DELETION_SKIP_EXTENSIONS;
    give_indexes_existing_classes(stages)?;
    run_as(Role::Extension, || {
        for &stage in stages {
            let table =
                pg_sys::ObjectAddress { classId: pg_sys::RelationRelationId, objectId: stage.into(), objectSubId: 0 };
            // SAFETY: nobody but us knows the table, and it is locked before the look at whether another process was faster.
            unsafe {
                if !pg_sys::get_rel_name(table.objectId).is_null() {
                    pg_sys::performDeletion(&table, pg_sys::DropBehavior::DROP_CASCADE, flags as i32);
                }
            }
        }
    });
    Ok(())
}

/// Stage tables keep nobody from dropping an operator class, but an index cannot even be dropped without its own.
fn give_indexes_existing_classes(stages: &[u32]) -> Result<()> {
    // B-trees over integers: an index that is only dropped is not looked into.
    extension::execute(include_str!("../../sql/queries/give_indexes_existing_classes.sql"), &[Param::OidArray(stages)])
}
