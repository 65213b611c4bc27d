//! Locks on the targets and on tables that foreign keys tie to them.

use pgrx::pg_sys;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Readers go on, writers wait.
    Exclusive,
    /// Nobody writes, and no foreign key or trigger appears.
    ShareRowExclusive,
    AccessExclusive,
}

impl Mode {
    fn code(self) -> pg_sys::LOCKMODE {
        (match self {
            Self::Exclusive => pg_sys::ExclusiveLock,
            Self::ShareRowExclusive => pg_sys::ShareRowExclusiveLock,
            Self::AccessExclusive => pg_sys::AccessExclusiveLock,
        }) as pg_sys::LOCKMODE
    }
}

/// Locks until the end of the transaction. The relation may have been dropped meanwhile.
pub fn lock_relation(relation: u32, mode: Mode) {
    // SAFETY: takes a heavyweight lock by OID; needs no open relation.
    unsafe { pg_sys::LockRelationOid(relation.into(), mode.code()) }
}

/// The same without waiting; false when somebody else is in the way.
pub fn try_lock_relation(relation: u32, mode: Mode) -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::ConditionalLockRelationOid(relation.into(), mode.code()) }
}

/// How long a lock is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    EndOfTransaction,
    EndOfProcess,
}

/// Gives up at the end of this process what is kept until then. To be called before the process connects to its database,
/// so that its last transaction is over when that happens.
pub fn release_at_exit() {
    // SAFETY: the callback needs nothing but the shared memory that it is called before the end of.
    unsafe { pg_sys::before_shmem_exit(Some(release_all), pg_sys::Datum::from(0usize)) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn release_all(_code: i32, _argument: pg_sys::Datum) {
    // SAFETY: this process's own locks, of which no transaction needs one any more.
    unsafe { pg_sys::LockReleaseAll(pg_sys::DEFAULT_LOCKMETHOD as pg_sys::LOCKMETHODID, true) }
}

/// Makes DROP EXTENSION wait before it has locked anything that a job needs.
pub fn keep_extension(until: Until) {
    // SAFETY: a lock on the extension as an object, as LockDatabaseObject takes it; that function has no lasting form.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"pgcopy".as_ptr(), false);
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::MyDatabaseId.to_u32(),
            locktag_field2: pg_sys::ExtensionRelationId.to_u32(),
            locktag_field3: extension.to_u32(),
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        pg_sys::LockAcquire(&tag, mode, until == Until::EndOfProcess, false);
    }
}

/// Whether this transaction has written, or holds a lock that writers or changes of definition take.
pub fn is_written_or_locked_here(relation: u32) -> bool {
    // SAFETY: the relation is opened with a lock of its own and closed again; a vanished one gives null.
    unsafe {
        let opened = pg_sys::try_relation_open(relation.into(), pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        if opened.is_null() {
            return false;
        }
        let locked = pg_sys::CheckRelationLockedByMe(opened, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE, true);
        // A weak lock kept from here on would deadlock two pulls of the same targets.
        pg_sys::relation_close(opened, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        locked
    }
}

/// Makes this session the leader of a lock group that its workers join, so that a worker never waits for a lock
/// that the leader, or somebody queued behind the leader, holds, and deadlocks through either are detected.
pub fn lead_lock_group() {
    // SAFETY: idempotent; what parallel query calls for the same purpose.
    unsafe { pg_sys::BecomeLockGroupLeader() }
}

/// Joins the lock group of the process `leader`. False when it is gone.
pub fn join_lock_group(leader: i32) -> bool {
    // SAFETY: BackendPidGetProc returns a PGPROC in shared memory or null; the callee checks that it still is that
    // process's. Must happen before this process takes its first lock, which a worker's main function sees to.
    unsafe {
        let process = pg_sys::BackendPidGetProc(leader);
        !process.is_null() && pg_sys::BecomeLockGroupMember(process, leader)
    }
}
