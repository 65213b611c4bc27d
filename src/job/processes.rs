//! Background processes: starting, waking, waiting, ending.

use super::shared::{Segment, Shared};
use crate::compat;
use crate::error::Error;
use crate::local::bindings::signal_handlers;
use crate::local::identity::{self, Caller};
pub(super) use crate::local::interrupts::{wait, wake};
use crate::local::{locks, messages, parallel_workers, settings};
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A background process that this session started.
pub(super) struct Process(*mut pg_sys::BackgroundWorkerHandle);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Starting,
    Running,
    Ended,
}

impl Process {
    /// Starts a background process; `None` when the server has no free slot. `function` is the process's main function
    /// in this library.
    pub(super) fn start(name: &str, function: &CStr, segment: u32) -> Option<Self> {
        let mut worker = pg_sys::BackgroundWorker::default();
        copy_text(&mut worker.bgw_name, name.as_bytes());
        copy_text(&mut worker.bgw_type, b"pgcopy");
        copy_text(&mut worker.bgw_library_name, b"$libdir/pgcopy");
        copy_text(&mut worker.bgw_function_name, function.to_bytes());
        worker.bgw_flags = (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
        worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_ConsistentState;
        worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
        worker.bgw_main_arg = pg_sys::Datum::from(segment);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the callee copies the structure; the handle is palloc'd in the current context.
        unsafe {
            worker.bgw_notify_pid = pg_sys::MyProcPid;
            pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle).then_some(Self(handle))
        }
    }

    pub(super) fn status(&self) -> Status {
        let mut pid = 0;
        // SAFETY: the handle came from a successful registration.
        match unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) } {
            pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED => Status::Starting,
            pg_sys::BgwHandleStatus::BGWH_STARTED => Status::Running,
            _ => Status::Ended,
        }
    }

    pub(super) fn terminate(&self) {
        // SAFETY: as for `status`.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) }
    }
}

fn copy_text<const N: usize>(target: &mut [std::ffi::c_char; N], text: &[u8]) {
    for (to, from) in target[..N - 1].iter_mut().zip(text) {
        *to = *from as std::ffi::c_char;
    }
}

pub(super) fn is_alive(pid: i32) -> bool {
    // SAFETY: looks the process up in shared memory.
    pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
}

/// Asks a worker of ours to end, as `pg_terminate_backend` would.
pub(super) fn terminate(pid: i32) {
    if is_alive(pid) {
        // SAFETY: sends a signal; the process was ours a moment ago and its slot still says so.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// Cancels what a process is doing, as `pg_cancel_backend` would.
pub(super) fn interrupt(pid: i32) {
    if is_alive(pid) {
        // SAFETY: sends a signal; the process was the job's a moment ago and its slot still says so.
        unsafe { libc::kill(pid, libc::SIGINT) };
    }
}

pub(super) fn my_pid() -> i32 {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::MyProcPid }
}

/// Begins a background process of ours. Returns `None` when its job is over already.
///
/// The lock group is joined before anything that takes a lock, as ParallelWorkerMain does.
pub(super) fn join_job(segment: pg_sys::Datum) -> Option<Shared> {
    accept_signals();
    let segment = Segment::attach(segment.value() as u32)?;
    // SAFETY: the leader has initialized the segment, which stays mapped until this process ends.
    let shared = unsafe { Shared::attached(segment.address()) };
    (!shared.has_failed() && locks::join_lock_group(shared.leader_pid())).then_some(shared)
}

/// Takes the signals that backends take.
pub(super) fn accept_signals() {
    // SAFETY: the handlers are the server's own, made for every kind of process with a latch.
    unsafe {
        compat::handle_signal(libc::SIGTERM, signal_handlers::die);
        compat::handle_signal(libc::SIGINT, signal_handlers::StatementCancelHandler);
        compat::handle_signal(libc::SIGHUP, signal_handlers::SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Ignores cancels from here on: this process must finish its remaining work.
pub(super) fn refuse_cancels() {
    // SAFETY: the process was asked for one thing, which is over; nothing of it is left to cancel.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        pg_sys::QueryCancelPending = 0;
    }
}

/// Drops this transaction's copy of the activity of other processes, so that it is read again.
pub(super) fn forget_activity() {
    // SAFETY: drops a copy that belongs to this process, and that the next reader makes again.
    unsafe { pg_sys::pgstat_clear_backend_activity_snapshot() }
}

/// Connects this process to the database, as the given role or as the bootstrap superuser, and makes it independent of
/// the settings that the database and the role have for sessions.
pub(super) fn connect(database: u32, role: Option<u32>) {
    let role = role.map_or(pg_sys::Oid::INVALID, pg_sys::Oid::from);
    messages::watch();
    // SAFETY: called once, before the first transaction.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(database.into(), role, 0) }
    CONNECTED.store(true, SeqCst);
    settings::pin_for_own_process();
}

/// Connects a process that has joined the lock group of a job's leader.
pub(super) fn connect_as_member(database: u32, role: Option<u32>) {
    connect(database, role);
    parallel_workers::forbid();
}

/// Runs `work` as the caller in a transaction of its own, including work that is deferred to its end. On an error the
/// transaction is rolled back.
pub(super) fn in_transaction_of<T>(
    caller: Caller,
    work: impl FnOnce() -> crate::error::Result<T>,
) -> crate::error::Result<T> {
    in_reported_transaction_of(caller, work, |_| ())
}

/// Does the same, and calls `report` with an error before the transaction is rolled back.
pub(super) fn in_reported_transaction_of<T>(
    caller: Caller,
    work: impl FnOnce() -> crate::error::Result<T>,
    report: impl FnOnce(&Error),
) -> crate::error::Result<T> {
    let work = || {
        identity::become_caller(caller);
        work()
    };
    let outcome = in_reported_transaction(work, report);
    identity::leave_caller();
    outcome
}

static CONNECTED: AtomicBool = AtomicBool::new(false);

/// Returns the error of this process, which is called `process`, when it exits before its work is done.
pub(super) fn reason_to_end(process: &str) -> Error {
    let fatal = messages::last_fatal().filter(|fatal| fatal.sqlstate != ADMIN_SHUTDOWN);
    let error = match fatal {
        None => Error::new(PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, format!("{process} was terminated")),
        Some(fatal) if CONNECTED.load(SeqCst) => {
            Error::new(fatal.sqlstate.into(), format!("{process} could not go on: {}", fatal.message))
        }
        Some(fatal) => {
            Error::new(fatal.sqlstate.into(), format!("{process} could not connect to the database: {}", fatal.message))
                .hint("The server admits a background process like a new session of the role that has logged in.")
        }
    };
    error.detail("All targets keep their old rows.")
}

const ADMIN_SHUTDOWN: i32 = PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN as i32;

/// Runs `work` in a transaction of its own. On an error the transaction is rolled back.
pub(super) fn in_transaction<T>(work: impl FnOnce() -> crate::error::Result<T>) -> crate::error::Result<T> {
    in_reported_transaction(work, |_| ())
}

fn in_reported_transaction<T>(
    work: impl FnOnce() -> crate::error::Result<T>,
    report: impl FnOnce(&Error),
) -> crate::error::Result<T> {
    // SAFETY: called outside of a transaction, in a background process. After an ERROR the abort cleans up all that
    // the work left open.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    let result = crate::error::catch(|| {
        let value = work()?;
        // SAFETY: ends what was begun above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        Ok(value)
    });
    if let Err(error) = &result {
        report(error);
        // SAFETY: as above.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    result
}

/// Shows the work of the process in `pg_stat_activity`.
pub(super) fn report_activity(text: &str) {
    let text = crate::local::encoding::to_database_roughly(text);
    // SAFETY: the text is copied.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr()) }
}
