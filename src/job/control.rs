//! Actions of other sessions on a job: waiting for it, cancelling it, forgetting it.

use super::processes;
use super::progress::{OpenJob, open_jobs};
use super::shared::Phase;
use crate::error::{Error, Result};
use crate::local::client;
use crate::local::identity::{Caller, role_name};
use crate::local::rights;
use crate::local::spi::{Param, extension};
use pgrx::prelude::*;
use std::time::{Duration, Instant};

/// Waits until a job is over, or until the time is over. Returns its state then.
///
/// # Errors
/// With `raise`, that of the job, or 57014 for one that has not completed without an error of its own.
pub fn wait(job: i64, timeout: Option<Duration>, raise: bool) -> Result<String> {
    rights::refuse_restricted_operation()?;
    let state = client::while_there(|| wait_for_end(job, timeout))?;
    match state.as_str() {
        // An open job raises nothing: the time is over, which is no failure of the job.
        "completed" | "running" | "prepared" => Ok(state),
        _ if raise => Err(error_of(job, &state)?),
        _ => Ok(state),
    }
}

/// Returns the error of a job that did not complete, as far as the caller may see it.
fn error_of(job: i64, state: &str) -> Result<Error> {
    #[derive(serde::Deserialize)]
    struct Told {
        sqlstate: Option<String>,
        error: Option<String>,
        detail: Option<String>,
        hint: Option<String>,
    }
    let told: Told = extension::query_json(
        "SELECT coalesce((
             SELECT json_build_object('sqlstate', j.sqlstate, 'error', CASE WHEN r.all THEN j.error END,
                                      'detail', CASE WHEN r.all THEN j.detail END, 'hint', CASE WHEN r.all THEN j.hint END)
             FROM pgcopy_internal.job j CROSS JOIN LATERAL (SELECT pg_has_role($2, j.role, 'USAGE')) r(\"all\")
             WHERE j.job = $1
         ), '{}')::text",
        &[Param::Int8(job), Param::Oid(Caller::of_this_session().current)],
    )?;
    let sqlstate = told.sqlstate.as_deref().and_then(Error::packed_sqlstate);
    let mut error = Error::new(
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        format!("job {job} {}", if state == "failed" { "has failed" } else { "was rolled back" }),
    );
    error.sqlstate = sqlstate.unwrap_or(error.sqlstate);
    if let Some(message) = told.error {
        error.message = format!("job {job} has failed: {message}");
    }
    error.detail = told.detail;
    error.hint = told.hint;
    Ok(error)
}

fn wait_for_end(job: i64, timeout: Option<Duration>) -> Result<String> {
    const INTERVAL: Duration = Duration::from_millis(100);
    const LOOKS_FOR_LOCKS: Duration = Duration::from_secs(1);
    let started = Instant::now();
    let mut looked_for_locks = started;
    loop {
        let open = open_jobs()?.into_iter().find(|open| open.job == job);
        let Some(open) = open.filter(|open| open.is_alive) else {
            return state_of(job)?.ok_or_else(|| unknown(job));
        };
        if open.leader_pid == processes::my_pid() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                format!("job {job} ends with the transaction of this session"),
            ));
        }
        let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(open.state);
        }
        if looked_for_locks.elapsed() >= LOOKS_FOR_LOCKS {
            looked_for_locks = Instant::now();
            refuse_to_block(&open)?;
        }
        processes::wait(left.unwrap_or(INTERVAL).min(INTERVAL));
    }
}

/// The deadlock detector cannot see that this session waits for the job.
fn refuse_to_block(job: &OpenJob) -> Result<()> {
    if !waits_for_this_session(job.leader_pid)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
        format!("job {} waits for a lock of this transaction, which waits for the job", job.job),
    )
    .hint("Commit before you wait."))
}

/// Refuses to wait any longer for a lock on the source while another job waits for the transaction of this session. A
/// change of definition that is in the way there may itself wait for the snapshot of that job, and no deadlock detector sees
/// both servers.
pub(super) fn refuse_circle_of_pulls() -> Result<()> {
    for job in open_jobs()?.iter().filter(|job| job.leader_pid != processes::my_pid()) {
        if waits_for_this_session(job.leader_pid)? {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
                "the pull waits for a lock on the source while another pull waits for this transaction",
            )
            .detail(format!("Job {} waits for a lock that this transaction holds.", job.job))
            .hint("Run the transaction again, or pull all tables in one call."));
        }
    }
    Ok(())
}

/// Returns whether a process waits for a lock of this session, directly or through others.
fn waits_for_this_session(pid: i32) -> Result<bool> {
    extension::query_json(
        "WITH RECURSIVE blocker(pid) AS (
             SELECT unnest(pg_blocking_pids($1))
             UNION SELECT unnest(pg_blocking_pids(b.pid)) FROM blocker b
         )
         SELECT EXISTS (SELECT FROM blocker WHERE pid = pg_backend_pid())::text",
        &[Param::Int4(pid)],
    )
}

fn unknown(job: i64) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, format!("job {job} does not exist"))
        .hint("pgcopy.jobs shows the jobs that you may see.")
}

/// Returns the state that the view `pgcopy.jobs` shows.
fn state_of(job: i64) -> Result<Option<String>> {
    if let Some(dead) = super::progress::live_jobs()?.into_iter().find(|other| other.job == job) {
        return Ok(Some(dead.state));
    }
    extension::query_json(
        "SELECT coalesce((
             SELECT to_json(j.state) FROM pgcopy_internal.job j
             WHERE j.job = $1
               AND (pg_has_role($2, 'pg_signal_backend', 'USAGE') OR pg_has_role($2, j.role, 'USAGE'))
         ), 'null')::text",
        &[Param::Int8(job), Param::Oid(Caller::of_this_session().current)],
    )
}

/// Whether the caller may cancel a job, as for backends: its role, members of it, superusers, and members of
/// `pg_signal_backend` if its role is not a superuser. For all others there is no such job.
fn refuse_strangers(job: i64) -> Result<()> {
    let allowed: Option<bool> = extension::query_json(
        include_str!("../../sql/queries/may_cancel_job.sql"),
        &[Param::Int8(job), Param::Oid(Caller::of_this_session().current)],
    )?;
    match allowed {
        None => Err(unknown(job)),
        Some(true) => Ok(()),
        Some(false) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to cancel job {job}"),
        )
        .detail("Only superusers may cancel the job of a superuser.")),
    }
}

/// Makes a running job fail. Returns false, with a WARNING, when there is nothing to cancel any more.
pub fn cancel(job: i64) -> Result<bool> {
    rights::refuse_restricted_operation()?;
    refuse_strangers(job)?;
    // A role that may cancel a job may see it.
    let Some(open) = open_jobs()?.into_iter().find(|open| open.job == job && open.is_running()) else {
        pgrx::warning!("job {job} is not running");
        return Ok(false);
    };
    let reason = Error::new(
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        format!("canceling job due to request of role {}", role_name(Caller::of_this_session().current)),
    );
    let cancelled = open.peek(|shared| {
        let in_time = shared.phase() < Phase::Swapped;
        if in_time {
            shared.fail(&reason);
        }
        in_time
    });
    match cancelled {
        Some(false) => {
            let pid = open.leader_pid;
            pgrx::warning!("job {job} has done its work and waits for the end of its transaction, in process {pid}");
            return Ok(false);
        }
        // Without shared memory only the process is known, and it must be the job's.
        None if !open.in_background => {
            pgrx::warning!("job {job} is not running");
            return Ok(false);
        }
        Some(true) | None => {}
    }
    // The process may be waiting for a lock or for the network.
    processes::interrupt(open.leader_pid);
    Ok(true)
}

/// Removes the records of jobs of the caller's roles that ended that long ago. Returns their number.
pub fn prune(older_than: Duration) -> Result<i64> {
    rights::refuse_restricted_operation()?;
    extension::query_json(
        include_str!("../../sql/queries/prune_jobs.sql"),
        &[
            Param::Oid(Caller::of_this_session().current),
            Param::Int8(i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX)),
        ],
    )
}
