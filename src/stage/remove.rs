use crate::local::locks::{Mode, lock_relation};
use pgrx::pg_sys;

/// Drops stage tables that are still there, and whatever belongs to them. Not by DROP TABLE: an event trigger of the user's
/// could refuse that, and would be told of tables that are none of its business.
pub fn remove(stages: impl IntoIterator<Item = u32>) {
    let flags = pg_sys::PERFORM_DELETION_INTERNAL | pg_sys::PERFORM_DELETION_QUIETLY;
    for stage in stages {
        let table =
            pg_sys::ObjectAddress { classId: pg_sys::RelationRelationId, objectId: stage.into(), objectSubId: 0 };
        lock_relation(stage, Mode::AccessExclusive);
        // SAFETY: nobody but us knows the table, and it is locked before the look at whether another process was faster.
        unsafe {
            if !pg_sys::get_rel_name(table.objectId).is_null() {
                pg_sys::performDeletion(&table, pg_sys::DropBehavior::DROP_CASCADE, flags as i32);
            }
        }
    }
}
