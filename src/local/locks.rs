//! Locks on the targets and on tables that foreign keys tie to them.

use super::{interrupts, lock_holders, settings, transaction};
use crate::error::Result;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::sync::Once;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As a query has it: readers and writers go on, the definition stays as it is.
    AccessShare,
    /// As a writer has it: the same, and nobody builds an index.
    RowExclusive,
    /// Readers and writers go on, and nobody else has it.
    ShareUpdateExclusive,
    /// Readers go on, writers wait.
    Exclusive,
    /// Nobody writes, and no foreign key or trigger appears.
    ShareRowExclusive,
    AccessExclusive,
}

impl Mode {
    fn code(self) -> pg_sys::LOCKMODE {
        (match self {
            Self::AccessShare => pg_sys::AccessShareLock,
            Self::RowExclusive => pg_sys::RowExclusiveLock,
            Self::ShareUpdateExclusive => pg_sys::ShareUpdateExclusiveLock,
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

/// Locks until the end of the transaction, like [`lock_relation`], waiting for as long as `lock_timeout` allows.
///
/// # Errors
/// The time is over. The error names the relation and the sessions that hold it.
pub fn lock_or_tell(relation: u32, mode: Mode) -> Result<()> {
    if try_lock_relation(relation, mode) { Ok(()) } else { wait_for_lock(relation, mode) }
}

/// Runs `work` while the relation is locked as a query locks it.
///
/// # Errors
/// As for [`lock_or_tell`].
pub fn while_locked_for_reading<T>(relation: u32, work: impl FnOnce() -> T) -> Result<T> {
    with_owner_of_transaction(|| {
        lock_or_tell(relation, Mode::AccessShare)?;
        let value = work();
        unlock_relation(relation, Mode::AccessShare);
        Ok(value)
    })
}

/// Locks without waiting; returns false when another session holds a conflicting lock.
pub fn try_lock_relation(relation: u32, mode: Mode) -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::ConditionalLockRelationOid(relation.into(), mode.code()) }
}

/// Locks all of the relations until the end of the transaction, in the given order where that is possible.
///
/// This session does not hold some of the locks while it waits for another: a writer of a referencing table goes on to
/// lock the referenced one, a deletion in a referenced table the referencing one, and no order suits both. If a lock is
/// not granted soon, this session gives up the others and waits for that lock alone. `lock_timeout` holds for each
/// wait.
pub fn lock_together(wanted: &[(u32, Mode)]) -> Result<()> {
    /// The number of attempts after which the deadlock detector decides, lest a busy database keep this session out for
    /// ever.
    const MOST_ATTEMPTS: u32 = 30;
    let order: Vec<(u32, Mode)> = wanted.to_vec();
    with_owner_of_transaction(|| {
        let mut first = None;
        for attempt in 0..MOST_ATTEMPTS {
            let mut held = Vec::with_capacity(order.len());
            if let Some(position) = first {
                let (relation, mode) = order[position];
                wait_for_lock(relation, mode)?;
                held.push(position);
            }
            first = None;
            for position in (0..order.len()).filter(|position| !held.contains(position)).collect::<Vec<_>>() {
                let (relation, mode) = order[position];
                if try_lock_relation(relation, mode) || lock_soon(relation, mode, patience(attempt))? {
                    held.push(position);
                } else {
                    first = Some(position);
                    break;
                }
            }
            if first.is_none() {
                return Ok(());
            }
            held.into_iter().for_each(|position| unlock_relation(order[position].0, order[position].1));
        }
        order.iter().try_for_each(|&(relation, mode)| wait_for_lock(relation, mode))
    })
}

/// Waits for a lock, for as long as `lock_timeout` allows.
///
/// # Errors
/// The time is over. The error names the table and the sessions that hold it.
fn wait_for_lock(relation: u32, mode: Mode) -> Result<()> {
    let locked = transaction::attempt(|| {
        lock_relation(relation, mode);
        Ok(())
    });
    match locked {
        Err(error) if error.sqlstate == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE as i32 => {
            Err(lock_holders::waited_too_long(relation, mode == Mode::AccessExclusive)?)
        }
        other => other,
    }
}

/// Locks all of the relations in ACCESS EXCLUSIVE mode until the end of the transaction. When the time is over, it
/// returns a relation that another session holds, and keeps no lock.
///
/// A waiting request for such a lock makes all new readers wait behind it, for as long as the slowest of the present
/// readers takes. Therefore the locks are tried for a short time, all or none, and between the tries readers pass.
/// Readers that lock several of the relations, in any order, cannot deadlock with this either.
pub fn lock_in_short_tries(relations: &[u32], longest: Option<Duration>) -> Result<Option<u32>> {
    let begun = Instant::now();
    with_owner_of_transaction(|| {
        for attempt in 0.. {
            let mut held = Vec::with_capacity(relations.len());
            let mut missed = None;
            for &relation in relations {
                if try_lock_relation(relation, Mode::AccessExclusive)
                    || lock_soon(relation, Mode::AccessExclusive, patience(attempt))?
                {
                    held.push(relation);
                } else {
                    missed = Some(relation);
                    break;
                }
            }
            if missed.is_none() {
                break;
            }
            held.into_iter().for_each(|relation| unlock_relation(relation, Mode::AccessExclusive));
            if longest.is_some_and(|longest| begun.elapsed() >= longest) {
                return Ok(missed);
            }
            // The pause is as long as the try, so that readers get as much time as they lose.
            interrupts::wait(patience(attempt));
        }
        Ok(None)
    })
}

/// Returns the value of `lock_timeout`; `None` for no limit.
pub fn lock_timeout() -> Option<Duration> {
    // SAFETY: reads a backend-local variable.
    let milliseconds = unsafe { pg_sys::LockTimeout }.unsigned_abs();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

/// Returns the time for a try, which grows with each attempt and is shorter than other sessions wait before they look
/// for a deadlock.
fn patience(attempt: u32) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(400);
    (SHORTEST * 2_u32.pow(attempt.min(10))).min(LONGEST)
}

/// Waits for a lock for that long, or for as long as `lock_timeout` allows where that is shorter; returns false when it
/// was not granted by then.
fn lock_soon(relation: u32, mode: Mode, longest: Duration) -> Result<bool> {
    if lock_timeout().is_some_and(|timeout| timeout <= longest) {
        wait_for_lock(relation, mode)?;
        return Ok(true);
    }
    let locked = transaction::attempt(|| {
        settings::set_local(c"lock_timeout", &longest.as_millis().to_string())?;
        lock_relation(relation, mode);
        Ok(())
    });
    match locked {
        Ok(()) => Ok(true),
        Err(error) if error.sqlstate == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE as i32 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives up a lock that [`lock_together`] has just taken.
fn unlock_relation(relation: u32, mode: Mode) {
    // SAFETY: the lock belongs to the current resource owner; nothing was done yet that needs it.
    unsafe { pg_sys::UnlockRelationOid(relation.into(), mode.code()) }
}

/// Exchanges a lock that [`lock_together`] has taken for a weaker one.
pub fn weaken(relation: u32, from: Mode, to: Mode) {
    with_owner_of_transaction(|| {
        lock_relation(relation, to);
        unlock_relation(relation, from);
    });
}

/// Returns whether this transaction holds ACCESS EXCLUSIVE on the relation.
pub fn is_held_exclusively(relation: u32) -> bool {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: opened under a lock that the caller has, and closed again; a vanished relation gives null.
    unsafe {
        let opened = pg_sys::try_relation_open(relation.into(), no_lock);
        if opened.is_null() {
            return false;
        }
        let held = pg_sys::CheckRelationLockedByMe(opened, Mode::AccessExclusive.code(), false);
        pg_sys::relation_close(opened, no_lock);
        held
    }
}

/// Runs `work` with the transaction or subtransaction as the owner of its locks, and not the statement: the end of a
/// subtransaction would hand them over anyway, and only their owner can give them up.
fn with_owner_of_transaction<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the owner lives as long as the transaction; after an ERROR the server puts its own in place.
    unsafe {
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::CurrentResourceOwner = pg_sys::CurTransactionResourceOwner;
        let value = work();
        pg_sys::CurrentResourceOwner = owner;
        value
    }
}

/// How long a lock is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    EndOfTransaction,
    EndOfProcess,
}

/// Releases locks that are kept until the end of this process when it ends. It is called before the process connects to
/// its database, so that its last transaction is over by then.
pub fn release_at_exit() {
    // SAFETY: the callback needs nothing but the shared memory that it is called before the end of.
    unsafe { pg_sys::before_shmem_exit(Some(release_all), pg_sys::Datum::from(0usize)) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn release_all(_code: i32, _argument: pg_sys::Datum) {
    // SAFETY: this process's own locks, of which no transaction needs one any more.
    unsafe { pg_sys::LockReleaseAll(pg_sys::DEFAULT_LOCKMETHOD as pg_sys::LOCKMETHODID, true) }
}

/// A resource of which a role may have only a limited number at a time, on the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Advisory locks of users have 1 or 2 in the place of this number, and a database.
    Job = 3,
    Process = 4,
}

/// Takes up to `wanted` of the role's `most` shares and returns their number. Those that this process has already taken
/// count.
///
/// Locks do the counting: they are released however a process ends, and no database has its own. They are not among those
/// that users have functions to release.
pub fn take_shares(share: Share, role: u32, wanted: u32, most: u32, until: Until) -> u32 {
    let mut taken = 0;
    for number in 0..most {
        if taken == wanted {
            break;
        }
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::Oid::INVALID.to_u32(),
            locktag_field2: role,
            locktag_field3: number,
            locktag_field4: share as u16,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: as the functions for advisory locks do it, without waiting.
        let result = unsafe { pg_sys::LockAcquire(&tag, mode, until == Until::EndOfProcess, true) };
        taken += u32::from(result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL);
    }
    taken
}

/// Locks the extension, so that DROP EXTENSION waits before it has locked anything that a job needs.
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

/// An advisory lock with a random key, which cannot be mistaken for another. Only sessions of this server can see it,
/// while it lives.
pub struct MarkingLock {
    tag: pg_sys::LOCKTAG,
}

impl MarkingLock {
    const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

    pub fn take() -> Self {
        loop {
            let mut key = [0u32; 2];
            // SAFETY: fills as many bytes as the array has; the tag is that of `pg_advisory_lock(bigint)`.
            unsafe {
                if !pg_sys::pg_strong_random(key.as_mut_ptr().cast(), size_of_val(&key)) {
                    crate::error::Error::internal("there are no random numbers").raise();
                }
                let tag = pg_sys::LOCKTAG {
                    locktag_field1: pg_sys::MyDatabaseId.to_u32(),
                    locktag_field2: key[0],
                    locktag_field3: key[1],
                    locktag_field4: 1,
                    locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
                    locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
                };
                if pg_sys::LockAcquire(&tag, Self::MODE, false, true) == pg_sys::LockAcquireResult::LOCKACQUIRE_OK {
                    return Self { tag };
                }
            }
        }
    }

    /// Returns `classid` and `objid` of the lock in `pg_locks`.
    pub fn key(&self) -> [u32; 2] {
        [self.tag.locktag_field2, self.tag.locktag_field3]
    }
}

impl Drop for MarkingLock {
    fn drop(&mut self) {
        // After an ERROR the end of the (sub)transaction gives it up.
        if !std::thread::panicking() {
            // SAFETY: taken by `take` in this transaction.
            unsafe { pg_sys::LockRelease(&self.tag, Self::MODE, false) };
        }
    }
}

/// Returns whether this transaction has written to the relation, or holds a lock that writers or changes of definition
/// take.
pub fn is_written_or_locked_here(relation: u32) -> bool {
    let weak = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the relation is opened under a lock of its own and closed again; a vanished one gives null.
    unsafe {
        // A session that conflicts with this lock conflicts with any lock that this session could hold.
        if !pg_sys::ConditionalLockRelationOid(relation.into(), weak) {
            return false;
        }
        let opened = pg_sys::try_relation_open(relation.into(), pg_sys::NoLock as pg_sys::LOCKMODE);
        let locked = !opened.is_null()
            && pg_sys::CheckRelationLockedByMe(opened, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE, true);
        if !opened.is_null() {
            pg_sys::relation_close(opened, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
        // A weak lock kept from here on would deadlock two pulls of the same targets.
        pg_sys::UnlockRelationOid(relation.into(), weak);
        locked
    }
}

/// Makes this session the leader of a lock group that its workers join, so that a worker never waits for a lock
/// that the leader, or somebody queued behind the leader, holds, and deadlocks through either are detected.
pub fn lead_lock_group() {
    static WAITS_AT_EXIT: Once = Once::new();
    // SAFETY: idempotent; what parallel query calls for the same purpose. The callback needs nothing but shared memory.
    unsafe {
        pg_sys::BecomeLockGroupLeader();
        WAITS_AT_EXIT.call_once(|| pg_sys::on_shmem_exit(Some(wait_for_members), pg_sys::Datum::from(0usize)));
    }
}

/// Waits for the members of a leader that exits, as the leader of a parallel query does: the server loses the slot of a
/// member that stays behind alone (`ProcKill` in `proc.c`), and is out of background processes after a while.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn wait_for_members(_code: i32, _argument: pg_sys::Datum) {
    /// The longest wait: members that hang must not keep a session for ever.
    const LONGEST: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    while has_members() && begun.elapsed() < LONGEST && is_postmaster_alive() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_postmaster_alive() -> bool {
    // SAFETY: asks the operating system, and reads a variable that never changes.
    unsafe { libc::getppid() == pg_sys::PostmasterPid }
}

/// Returns whether the group that this process leads has other members.
fn has_members() -> bool {
    // SAFETY: the list is read under the lock that protects it; a leader is on its own list, which is circular.
    unsafe {
        let lock = lock_group_lock(pg_sys::MyProc);
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_SHARED);
        let own = &raw mut (*pg_sys::MyProc).lockGroupLink;
        let head = &raw mut (*pg_sys::MyProc).lockGroupMembers.head;
        let leads = (*pg_sys::MyProc).lockGroupLeader == pg_sys::MyProc;
        let alone = (*head).next == own && (*head).prev == own;
        pg_sys::LWLockRelease(lock);
        leads && !alone
    }
}

/// Leaves a lock group whose leader is still there, so that the leader need not wait any more. It is called outside of
/// a transaction. A lock that is kept for longer still belongs to the group, too, so that the leader's session gets
/// past it.
pub fn leave_lock_group() {
    // SAFETY: as `ProcKill` leaves a group that has other members.
    unsafe {
        let leader = (*pg_sys::MyProc).lockGroupLeader;
        if leader.is_null() || leader == pg_sys::MyProc {
            return;
        }
        let lock = lock_group_lock(leader);
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let link = &raw mut (*pg_sys::MyProc).lockGroupLink;
        let others = (*link).next != (*link).prev;
        if others {
            (*(*link).prev).next = (*link).next;
            (*(*link).next).prev = (*link).prev;
            (*pg_sys::MyProc).lockGroupLeader = std::ptr::null_mut();
        }
        pg_sys::LWLockRelease(lock);
    }
}

/// `LockHashPartitionLockByProc` (`storage/lock.h`).
unsafe fn lock_group_lock(leader: *mut pg_sys::PGPROC) -> *mut pg_sys::LWLock {
    // SAFETY: the process is one of the array of all; the array of locks is as long as its constants say.
    unsafe {
        let number = leader.offset_from((*pg_sys::ProcGlobal).allProcs) as u32;
        let offset = pg_sys::LOCK_MANAGER_LWLOCK_OFFSET + number % pg_sys::NUM_LOCK_PARTITIONS;
        &raw mut (*pg_sys::MainLWLockArray.add(offset as usize)).lock
    }
}

/// Joins the lock group of the process `leader`; returns false when it is gone.
pub fn join_lock_group(leader: i32) -> bool {
    // SAFETY: BackendPidGetProc returns a PGPROC in shared memory or null; the callee checks that it still is that
    // process's. Must happen before this process takes its first lock, which a worker's main function sees to.
    unsafe {
        let process = pg_sys::BackendPidGetProc(leader);
        !process.is_null() && pg_sys::BecomeLockGroupMember(process, leader)
    }
}
