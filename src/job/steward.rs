use super::attended::stop_workers;
use super::history::{self, Outcome};
use super::processes;
use super::shared::{Phase, Shared};
use crate::compat;
use crate::error::{Error, Result, catch};
use crate::local::bindings::signal_handlers;
use crate::local::locks::{self, Until};
use crate::local::transaction;
use crate::order::{Input, JobSpec};
use crate::stage;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The main function of the steward. It records the job, and its outcome when the leader's transaction has ended; then
/// it removes the stage tables, which hold the old rows by then, or the new ones of a failed job.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pgcopy_steward_main(segment: pg_sys::Datum) {
    let Some(shared) = processes::join_job(segment) else {
        return;
    };
    shared.set_steward(processes::my_pid());
    locks::release_at_exit();
    // SAFETY: the segment stays mapped until after such callbacks have run.
    unsafe {
        ATTENDED = Some(shared);
        pg_sys::before_shmem_exit(Some(steward_exits), pg_sys::Datum::from(0usize));
    }
    processes::connect_as_member(shared.database(), None);
    // A steward that is told to end lets the job end first: without it nothing would be cleaned up. For the same reason
    // it ignores cancels.
    // SAFETY: the handler is the server's own and only sets a flag and the latch.
    unsafe {
        compat::handle_signal(libc::SIGTERM, signal_handlers::SignalHandlerForShutdownRequest);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
    }
    let segment = segment.value() as u32;
    if let Err(error) = catch(|| attend(shared, segment)) {
        shared.fail(&error);
        pgrx::log!("pgcopy job {}: {}", shared.job(), error.message);
    }
    // SAFETY: background processes have one thread; from here on the exit is a regular one.
    unsafe { ATTENDED = None };
}

/// The job of this process, for [`steward_exits`].
static mut ATTENDED: Option<Shared> = None;

/// Fails the job: it cannot go on without its steward.
#[pg_guard]
unsafe extern "C-unwind" fn steward_exits(_code: i32, _argument: pg_sys::Datum) {
    // SAFETY: background processes have one thread.
    if let Some(shared) = unsafe { ATTENDED } {
        shared.fail(&processes::reason_to_end("the steward of the pull"));
    }
}

fn attend(shared: Shared, segment: u32) -> Result<()> {
    let spec = shared.spec()?;
    processes::report_activity(&format!("pgcopy job {}: steward", spec.job));
    let begun = processes::in_transaction(|| {
        locks::keep_extension(Until::EndOfProcess);
        history::remove_dead_jobs()?;
        history::begin(&spec, shared, Some(segment))
    });
    if let Err(error) = begun {
        shared.fail(&error);
        return record(&spec, shared, Outcome::Failed);
    }
    shared.enter_phase(Phase::Begun);
    processes::in_transaction(|| {
        history::note_tables(&spec)?;
        if let Some(seconds) = history::predicted_seconds(&spec, shared)? {
            shared.predict(seconds);
        }
        Ok(())
    })?;
    let outcome = watch(&spec, shared)?;
    record(&spec, shared, outcome)
}

/// Waits until the outcome of the job is certain.
fn watch(spec: &JobSpec, shared: Shared) -> Result<Outcome> {
    /// How long the end of a prepared transaction is waited for when its session has ended.
    const LONGEST_PREPARED: Duration = Duration::from_secs(600);
    let mut prepared_since = None;
    loop {
        // SAFETY: reads a flag that only this process's signal handler sets.
        if unsafe { pg_sys::ShutdownRequestPending } != 0 && shared.phase() < Phase::Swapped {
            shared.fail(
                &Error::new(PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, "the steward of the pull was terminated")
                    .detail("All targets keep their old rows."),
            );
        }
        if let Some(table) = shared.toast_wanted().filter(|_| !shared.has_failed()) {
            let stage = shared.stage(table, 0, 0).heap;
            let made = processes::in_transaction(|| stage::give_toast_table(stage, &spec.tables[table]));
            if let Err(error) = made {
                shared.fail(&error);
            }
            shared.toast_made();
        }
        shared.measure_rate();
        let leader_ended = !transaction::is_in_progress(shared.leader_xid());
        if shared.has_failed() || (leader_ended && shared.phase() < Phase::Swapped) {
            shared.abandon();
            end_workers(shared);
            locks::leave_lock_group();
            return Ok(Outcome::Failed);
        }
        if shared.phase() == Phase::Swapped {
            // The leader's session may end now; the remaining work takes its time.
            locks::leave_lock_group();
        }
        if leader_ended {
            // A savepoint may have been rolled back although the transaction was committed: the mark tells which.
            let swapped = processes::in_transaction(|| history::was_swapped(spec.job))?;
            return Ok(if swapped { Outcome::Completed } else { Outcome::RolledBack });
        }
        if shared.phase() == Phase::Swapped && !processes::is_alive(shared.leader_pid()) {
            let since = match prepared_since {
                Some(since) => since,
                None => {
                    processes::in_transaction(|| history::note_state(spec.job, "prepared"))?;
                    *prepared_since.insert(Instant::now())
                }
            };
            // A prepared transaction may stay for days; a later clean-up decides by its outcome then.
            // SAFETY: reads a flag that only this process's signal handler sets.
            if since.elapsed() > LONGEST_PREPARED || unsafe { pg_sys::ShutdownRequestPending } != 0 {
                return Ok(Outcome::Undecided);
            }
        }
        processes::wait(Duration::from_millis(if shared.phase() == Phase::Swapped { 20 } else { 500 }));
    }
}

/// Sees to it that the workers of a job that has failed end.
fn end_workers(shared: Shared) {
    /// Code of users can catch a cancel, but not a termination.
    const PATIENCE: Duration = Duration::from_secs(2);
    const LONGEST: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    loop {
        let alive: Vec<i32> = shared.worker_pids().into_iter().filter(|&pid| processes::is_alive(pid)).collect();
        if alive.is_empty() || begun.elapsed() > LONGEST {
            return;
        }
        if begun.elapsed() < PATIENCE {
            stop_workers(shared);
        } else {
            alive.into_iter().for_each(processes::terminate);
        }
        processes::wait(Duration::from_millis(50));
    }
}

fn record(spec: &JobSpec, shared: Shared, outcome: Outcome) -> Result<()> {
    if outcome == Outcome::Undecided {
        return Ok(());
    }
    processes::in_transaction(|| history::finish(spec, shared, outcome))?;
    if !matches!(spec.input, Input::Local(_)) {
        let_older_readers_pass(spec, shared)?;
        drop_stage_tables(spec)?;
    }
    processes::in_transaction(history::forget_excess)
}

/// Removes the stage tables, with the new rows of a job that failed, or with the old rows of one that did not. Those that
/// others read go when their readers have, or with a later clean-up.
///
/// A session that drops a type or an operator class at the same moment may be faster than the search for what an index
/// needs.
fn drop_stage_tables(spec: &JobSpec) -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(600);
    const MOST_FAILURES: u32 = 10;
    let begun = Instant::now();
    let mut failures = 0;
    let mut busy = BTreeSet::new();
    loop {
        match processes::in_transaction(|| history::drop_stage_tables(spec.job, &mut busy)) {
            Ok(true) => continue,
            // SAFETY: reads a flag that only this process's signal handler sets.
            Ok(false) if busy.is_empty() || unsafe { pg_sys::ShutdownRequestPending } != 0 => return Ok(()),
            Ok(false) if begun.elapsed() > LONGEST => return Ok(()),
            Ok(false) => {}
            Err(error) if failures < MOST_FAILURES => {
                failures += 1;
                pgrx::log!("pgcopy job {}: dropping stage tables: {}", spec.job, error.message);
            }
            Err(error) => return Err(error),
        }
        busy.clear();
        processes::wait(Duration::from_millis(200));
    }
}

/// A pg_dump that has read the catalogs while the stage tables were there, and has waited for a target since, locks each
/// of them before it leaves it out, and fails where one is gone.
fn let_older_readers_pass(spec: &JobSpec, shared: Shared) -> Result<()> {
    /// The time is longer than a dump needs to lock the tables that it found, and shorter than a dump may take.
    const LONGEST: Duration = Duration::from_secs(10);
    let begun = Instant::now();
    let targets: Vec<u32> = spec.tables.iter().map(|table| table.target).collect();
    // SAFETY: reads a flag that only this process's signal handler sets.
    while begun.elapsed() < LONGEST && unsafe { pg_sys::ShutdownRequestPending } == 0 {
        if !processes::in_transaction(|| history::have_older_readers(&targets, shared.leader_xid()))? {
            break;
        }
        processes::wait(Duration::from_millis(100));
    }
    Ok(())
}
