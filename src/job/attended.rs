//! Jobs with a steward, which records them however they end.

use super::history::{self, Outcome};
use super::processes::{self, Process, Status};
use super::quota;
use super::shared::{Phase, Segment, Shared};
use crate::error::{Error, Result, caution, telling};
use crate::local::identity::role_name;
use crate::local::locks;
use crate::local::{messages, transaction};
use crate::order::{JobSpec, Loaded};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::Schedule;
use std::time::Duration;

/// Loads the one table of a job in this session, as it stands. `load` gets a function that takes its progress.
pub(super) fn work_in_session<T>(
    spec: &JobSpec,
    called: i64,
    load: impl FnOnce(&dyn Fn(Loaded)) -> Result<T>,
) -> Result<T> {
    let schedule = spec.schedule();
    let mut load = Some(load);
    let attended = with_steward(spec, &schedule, 0, called, |shared, _, steward, _| {
        wait_until(shared, steward, &[], || shared.phase() >= Phase::Begun)?;
        let loaded = load_in_session(shared, load.take())?;
        if shared.has_failed() {
            return Err(shared.error().unwrap_or_else(ended_early));
        }
        history::mark_swapped(spec.job)?;
        Ok(loaded)
    })?;
    if let Some(loaded) = attended {
        return Ok(loaded);
    }
    let shared = Shared::in_memory(spec, &schedule, called);
    history::begin(spec, shared, None)?;
    let loaded = load_in_session(shared, load)?;
    shared.note_messages(&messages::kept());
    history::finish(spec, shared, Outcome::Completed)?;
    Ok(loaded)
}

fn load_in_session<T>(shared: Shared, load: Option<impl FnOnce(&dyn Fn(Loaded)) -> Result<T>>) -> Result<T> {
    let load = load.ok_or_else(|| Error::internal("a load that was begun before"))?;
    shared.enter_phase(Phase::Working);
    shared.enter_phase(Phase::InPlace);
    shared.table_begins(0);
    let loaded = load(&|loaded| {
        shared.add_progress(0, None, loaded);
        shared.measure_rate();
    })?;
    shared.table_done(0);
    Ok(loaded)
}

/// Runs a job with a steward, which records it however it ends. `workers` are wanted, and `lead` is told how many there
/// may be. Returns `None` when no background process is available, or none could see the extension; nothing has
/// happened then.
pub(super) fn with_steward<T>(
    spec: &JobSpec,
    schedule: &Schedule,
    workers: usize,
    called: i64,
    lead: impl FnOnce(Shared, &Segment, &Process, usize) -> Result<T>,
) -> Result<Option<T>> {
    // The steward would not find the extension.
    if transaction::has_written_extension() {
        return Ok(None);
    }
    let Some(workers) = quota::take_for_processes(workers)? else {
        caution(&format!(
            "role \"{}\" has as many jobs or background processes as it may have",
            role_name(spec.caller.current)
        ));
        return Ok(None);
    };
    let json = serde_json::to_vec(spec).map_err(|error| Error::internal(error.to_string()))?;
    let bytes = Shared::bytes(spec, &json, schedule, workers);
    let Some(segment) = Segment::create(bytes) else {
        return Ok(None);
    };
    // SAFETY: the segment has that many bytes and belongs to this session; it is detached only when the view is done with.
    let shared = unsafe { Shared::initialize(segment.address(), spec, &json, schedule, workers, called) };
    locks::lead_lock_group();
    abandon_when_unmapped(&segment);
    let name = format!("pgcopy job {} steward", spec.job);
    let Some(steward) = Process::start(&name, c"pgcopy_steward_main", segment.handle()) else {
        segment.detach();
        return Ok(None);
    };
    let note_failure = |error: &Error| {
        shared.note_messages(&messages::kept());
        shared.note_error(error);
    };
    let result = telling(note_failure, || lead(shared, &segment, &steward, workers))?;
    shared.note_messages(&messages::kept());
    shared.enter_phase(Phase::Swapped);
    segment.detach();
    Ok(Some(result))
}

/// Waits for the other processes; their error, or their end, is this session's error.
pub(super) fn wait_until(
    shared: Shared,
    steward: &Process,
    workers: &[Process],
    reached: impl Fn() -> bool,
) -> Result<()> {
    loop {
        if shared.has_failed() {
            stop_workers(shared);
            return Err(shared.error().unwrap_or_else(ended_early));
        }
        if reached() {
            return Ok(());
        }
        if steward.status() == Status::Ended && !shared.has_failed() {
            return Err(shared.error().unwrap_or_else(ended_early));
        }
        let workers_left = workers.iter().any(|worker| worker.status() != Status::Ended);
        if !workers.is_empty() && !workers_left && !reached() && !shared.has_failed() {
            return Err(shared.error().unwrap_or_else(ended_early));
        }
        processes::wait(Duration::from_millis(500));
    }
}

pub(super) fn ended_early() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, "a background process of the pull ended early")
        .detail("All targets keep their old rows.")
        .hint("The server's log may tell why.")
}

/// Tells the other processes when the mapping of this session ends, which it does however the session gives the pull
/// up.
fn abandon_when_unmapped(segment: &Segment) {
    // SAFETY: the segment is mapped; the callback runs before it is unmapped.
    unsafe { pg_sys::on_dsm_detach(segment.as_ptr(), Some(leader_unmaps), pg_sys::Datum::from(segment.address())) }
}

#[pg_guard]
unsafe extern "C-unwind" fn leader_unmaps(_segment: *mut pg_sys::dsm_segment, address: pg_sys::Datum) {
    // SAFETY: the segment is still mapped while its callbacks run.
    let shared = unsafe { Shared::attached(address.cast_mut_ptr()) };
    if shared.phase() < Phase::Swapped {
        // SAFETY: reads a backend-local variable.
        let (code, message) = if unsafe { pg_sys::proc_exit_inprogress } {
            (PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, "the calling session was terminated")
        } else {
            (PgSqlErrorCode::ERRCODE_QUERY_CANCELED, "the calling session gave the pull up")
        };
        // Unless the reason is known.
        shared.fail(&Error::new(code, message));
        stop_workers(shared);
    }
}

/// Ends what the workers are doing. They know that the job has failed, and end by themselves then: nothing of it is worth a line
/// in the server's log, as the end of a process that is terminated would be.
pub(super) fn stop_workers(shared: Shared) {
    shared.worker_pids().into_iter().for_each(processes::interrupt);
}
