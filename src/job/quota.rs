//! Limits on the background processes that the jobs of one role may take.
//!
//! Superusers may take all. Any other role that may call the extension can start jobs that never end, with a source
//! that never ends, and must not keep other roles from starting any.

use crate::error::{Error, Result};
use crate::local::identity::{Caller, is_superuser, role_name};
use crate::local::locks::{Share, Until, take_shares};
use crate::local::parameters;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Set where this process is the leader of a background job, which has its shares already.
static LEADS_IN_BACKGROUND: AtomicBool = AtomicBool::new(false);

/// Notes that this process is the leader of a job of the role, until it ends.
///
/// # Errors
/// The role has as many jobs, or background processes, as it may have.
pub(super) fn take_for_background_job(role: u32) -> Result<()> {
    LEADS_IN_BACKGROUND.store(true, Relaxed);
    if is_superuser(role) {
        return Ok(());
    }
    if let Some(most) = parameters::max_jobs_per_role()?
        && take_shares(Share::Job, role, 1, most, Until::EndOfProcess) == 0
    {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            format!("too many jobs of role \"{}\"", role_name(role)),
        )
        .detail(format!("The role may have {most} at a time, by pgcopy.max_jobs_per_role."))
        .hint("Wait until one of them has ended, or let a superuser raise the limit."));
    }
    let most = most_processes();
    if take_shares(Share::Process, role, 1, most, Until::EndOfProcess) == 0 {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            format!("too many background processes of jobs of role \"{}\"", role_name(role)),
        )
        .detail(format!(
            "The jobs of a role may have {most} at a time, and leave the rest of max_worker_processes to others."
        ))
        .hint("Wait until one of the jobs has ended, or call the function without \"start_\", which can do without."));
    }
    Ok(())
}

/// Notes that the current transaction leads a job of the caller's that wants a steward and that many workers. Returns
/// how many workers it may have; `None` where not even a steward is allowed.
pub(super) fn take_for_processes(workers: usize) -> Result<Option<usize>> {
    let role = Caller::of_this_session().current;
    let in_background = LEADS_IN_BACKGROUND.load(Relaxed);
    if is_superuser(role) {
        return Ok(Some(workers));
    }
    let until = Until::EndOfTransaction;
    if let Some(most) = parameters::max_jobs_per_role()?
        && !in_background
        && take_shares(Share::Job, role, 1, most, until) == 0
    {
        return Ok(None);
    }
    // The leader's own process counts where it is a background process, and the steward.
    let others = usize::from(in_background) + 1;
    let taken = take_shares(Share::Process, role, (others + workers) as u32, most_processes(), until) as usize;
    Ok(taken.checked_sub(others))
}

/// The number of background processes that the server may have.
pub(super) fn max_worker_processes() -> u32 {
    // SAFETY: reads a variable that never changes after the server's start.
    unsafe { pg_sys::max_worker_processes }.unsigned_abs()
}

/// A quarter of the server's background processes, one at least, is left to other roles.
fn most_processes() -> u32 {
    let all = max_worker_processes();
    all.saturating_sub((all / 4).max(1))
}
