use pgrx::pg_sys;

/// Drops stage tables that are still there, and whatever belongs to them. Not by DROP TABLE: an event trigger of the user's
/// could refuse that, and would be told of tables that are none of its business.
pub fn remove(stages: &[u32]) {
    let flags = pg_sys::PERFORM_DELETION_INTERNAL | pg_sys::PERFORM_DELETION_QUIETLY;
    // SAFETY: nobody but us knows the tables; the lock is taken before a look at whether another process was faster. A
    // deletion needs a snapshot (`performDeletion`).
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        for &stage in stages {
            let object_id = pg_sys::Oid::from(stage);
            pg_sys::LockRelationOid(object_id, pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE);
            if !pg_sys::get_rel_name(object_id).is_null() {
                let table =
                    pg_sys::ObjectAddress { classId: pg_sys::RelationRelationId, objectId: object_id, objectSubId: 0 };
                pg_sys::performDeletion(&table, pg_sys::DropBehavior::DROP_CASCADE, flags as i32);
            }
        }
        pg_sys::PopActiveSnapshot();
    }
}
