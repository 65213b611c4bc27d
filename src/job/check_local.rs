//! Checks of this database's own tables: the leader shares them out and reads what was found.

use super::attended::{wait_until, with_steward};
use super::history::{self, FoundFault, Outcome};
use super::leader::{refuse_where_nothing_is_written, start_workers, work_here};
use super::processes::{Process, Status};
use super::shared::{self, Phase, Segment, Shared};
use crate::error::{Error, Result, caution, tell};
use crate::local::locks::{self, Until};
use crate::local::{client, messages, transaction};
use crate::order::JobSpec;
use crate::prepare::{self, CheckRequest};
use pgrx::PgSqlErrorCode;
use plan::Schedule;
use std::time::Instant;

/// Checks tables, and returns what is wrong with them.
pub fn check_local(request: &CheckRequest) -> Result<Vec<FoundFault>> {
    client::while_there(|| check_as(request, None))
}

/// `job` is the number of a job that is recorded already.
pub(super) fn check_as(request: &CheckRequest, job: Option<i64>) -> Result<Vec<FoundFault>> {
    let (started, called) = (Instant::now(), shared::now());
    messages::keep();
    request.check()?;
    refuse_where_nothing_is_written(c"pgcopy.check_local()")?;
    locks::keep_extension(Until::EndOfTransaction);
    let job = job.map_or_else(history::next_job, Ok)?;
    let prepared = prepare::local_checks(request, job)?;
    let schedule = prepared.spec.schedule();
    let check = Check { spec: &prepared.spec, schedule: &schedule, called };
    let found = check.run(prepared.workers)?;
    let (tables, indexes) = (prepared.spec.tables.len(), prepared.indexes);
    let count = |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    tell(&format!(
        "checked {} and {} in {:.1} s: {}",
        count(tables, "table", "tables"),
        count(indexes, "index", "indexes"),
        started.elapsed().as_secs_f64(),
        count(found.len(), "finding", "findings")
    ));
    if request.fail && !found.is_empty() {
        return Err(refusal(&found));
    }
    Ok(found)
}

/// The error of a check that found something, where that is to be one.
fn refusal(found: &[FoundFault]) -> Error {
    /// The job keeps them all.
    const MOST_LINES: usize = 100;
    let line = |fault: &FoundFault| {
        let parts = [fault.object.as_deref(), Some(fault.finding.as_str()), fault.place.as_deref()];
        let told: Vec<&str> = parts.into_iter().flatten().collect();
        format!("{}: {}", plan::qualified(&fault.schema, &fault.table), told.join(": "))
    };
    let count = if found.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", found.len()) };
    Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("{count} found in local tables"))
        .details(found.iter().take(MOST_LINES).map(line))
}

struct Check<'a> {
    spec: &'a JobSpec,
    schedule: &'a Schedule,
    /// Microseconds since PostgreSQL's epoch.
    called: i64,
}

impl Check<'_> {
    fn run(&self, workers: usize) -> Result<Vec<FoundFault>> {
        // Other processes do not see what this transaction did to a table.
        let is_touched = |table: &crate::order::TableSpec| locks::is_written_or_locked_here(table.target);
        let works_here = transaction::has_written_extension() || self.spec.tables.iter().any(is_touched);
        let workers = if works_here { 0 } else { workers.min(self.schedule.tasks.len()) };
        let attended =
            with_steward(self.spec, self.schedule, workers, self.called, |shared, segment, steward, workers| {
                self.lead(shared, segment, steward, workers)
            })?;
        if let Some(found) = attended {
            return Ok(found);
        }
        if workers > 0 {
            caution("no background process is free: the check runs in this session alone");
        }
        let shared = Shared::in_memory(self.spec, self.schedule, self.called);
        history::begin(self.spec, shared, None)?;
        shared.enter_phase(Phase::Working);
        work_here(self.spec, self.schedule, shared, || {})?;
        shared.note_messages(&messages::kept());
        history::finish(self.spec, shared, Outcome::Completed)?;
        history::findings(self.spec.job)
    }

    fn lead(&self, shared: Shared, segment: &Segment, steward: &Process, workers: usize) -> Result<Vec<FoundFault>> {
        wait_until(shared, steward, &[], || shared.phase() >= Phase::Begun)?;
        let processes = start_workers(shared, segment, workers);
        shared.enter_phase(Phase::Working);
        if processes.is_empty() {
            if workers > 0 {
                caution("no background process is free for a worker: this session does the work");
            }
            work_here(self.spec, self.schedule, shared, || {})?;
        } else {
            if processes.len() < workers {
                caution(&format!("only {} of {workers} workers could be started", processes.len()));
            }
            wait_until(shared, steward, &processes, || shared.all_done())?;
            wait_until(shared, steward, &[], || processes.iter().all(|process| process.status() == Status::Ended))?;
        }
        history::mark_swapped(self.spec.job)?;
        history::findings(self.spec.job)
    }
}
