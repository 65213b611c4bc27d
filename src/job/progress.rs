//! Running jobs as other sessions see them: from their records and from their shared memory.

use super::history;
use super::processes;
use super::shared::{self, Activity, Phase, Shared};
use crate::error::Result;
use crate::local::identity::Caller;
use crate::local::spi::{Param, extension};
use serde::Deserialize;

/// The record of a job that is not over.
#[derive(Debug, Deserialize)]
pub(super) struct OpenJob {
    pub(super) job: i64,
    pub(super) state: String,
    /// The number of its shared memory.
    pub(super) segment: Option<u32>,
    pub(super) leader_pid: i32,
    /// Whether a background process leads it.
    pub(super) in_background: bool,
    pub(super) is_attended: bool,
    /// Whether one of its processes lives or its transaction is open.
    pub(super) is_alive: bool,
    /// Whether its transaction was committed.
    pub(super) was_swapped: bool,
}

/// The progress of a job.
#[derive(Debug, Clone)]
pub struct LiveJob {
    pub job: i64,
    pub state: String,
    pub phase: Option<&'static str>,
    pub tables: i32,
    /// With all their rows.
    pub tables_copied: i32,
    /// Ready to take their places.
    pub tables_done: i32,
    pub rows: i64,
    pub bytes: i64,
    pub bytes_per_second: i64,
    /// From 0 to 1.
    pub fraction: f64,
    pub seconds_left: Option<f64>,
}

/// The progress of one table of a job.
#[derive(Debug, Clone)]
pub struct LiveTable {
    pub job: i64,
    pub position: i32,
    pub state: &'static str,
    pub rows: i64,
    pub bytes: i64,
    pub seconds: f64,
    /// The bytes that have travelled, and the codec of most of them, where rows come in frames.
    pub wire_bytes: Option<i64>,
    pub codec: Option<&'static str>,
}

/// Work that a process of a running job has done, or is doing.
#[derive(Debug, Clone)]
pub struct LiveTask {
    pub job: i64,
    pub worker: i32,
    pub task: String,
    /// Microseconds since PostgreSQL's epoch.
    pub started: i64,
    pub finished: i64,
}

/// A line of the view `progress`.
#[derive(Debug, Clone)]
pub struct ProgressLine {
    pub job: i64,
    pub phase: String,
    pub copied: String,
    pub done: i32,
    pub rows: String,
    pub bytes: String,
    pub rate: String,
    pub left: Option<String>,
    pub bar: String,
}

/// Returns the jobs that are not over and that the current user may see: those of roles that it is a member of, or all
/// for a user who may signal every backend.
pub(super) fn open_jobs() -> Result<Vec<OpenJob>> {
    let mut jobs = read_open_jobs(None)?;
    // A process that has ended since the snapshot was taken has recorded the end of its job before.
    let dead: Vec<i64> = jobs.iter().filter(|job| !job.is_alive).map(|job| job.job).collect();
    if !dead.is_empty() {
        let still_open = read_open_jobs(Some(&dead))?;
        jobs.retain_mut(|job| {
            if job.is_alive {
                return true;
            }
            match still_open.iter().find(|other| other.job == job.job) {
                Some(other) => job.was_swapped = other.was_swapped,
                None => return false,
            }
            true
        });
    }
    Ok(jobs)
}

/// `only` names the jobs to look at, where not all are wanted.
fn read_open_jobs(only: Option<&[i64]>) -> Result<Vec<OpenJob>> {
    processes::forget_activity();
    extension::query_json(
        include_str!("../../sql/queries/open_jobs.sql"),
        &[
            Param::Oid(Caller::of_this_session().current),
            Param::Bool(only.is_none()),
            Param::Int8Array(only.unwrap_or_default()),
        ],
    )
}

impl OpenJob {
    /// Returns the recorded state, or the one that the next clean-up would record.
    fn state(&self) -> &str {
        match (self.is_alive, self.was_swapped, self.state.as_str()) {
            (true, _, state) => state,
            (false, true, _) => "completed",
            (false, false, "prepared") => "rolled back",
            (false, false, _) => "failed",
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_alive && self.state == "running"
    }

    pub(super) fn peek<T>(&self, read: impl FnOnce(Shared) -> T) -> Option<T> {
        Shared::peek(self.segment?, self.job, read)
    }
}

pub fn live_jobs() -> Result<Vec<LiveJob>> {
    Ok(open_jobs()?.iter().map(live_job).collect())
}

fn live_job(job: &OpenJob) -> LiveJob {
    let unknown = LiveJob {
        job: job.job,
        state: job.state().to_owned(),
        phase: (job.is_running() && !job.is_attended).then_some("planning"),
        tables: 0,
        tables_copied: 0,
        tables_done: 0,
        rows: 0,
        bytes: 0,
        bytes_per_second: 0,
        fraction: 0.0,
        seconds_left: None,
    };
    if !job.is_running() {
        return unknown;
    }
    let live = job.peek(|shared| {
        let total = shared.total();
        let fraction = shared.fraction_done();
        let working_since = shared.entered(Phase::Working);
        let worked = (shared::now() - working_since).max(0) as f64 / 1e6;
        let is_working = working_since != 0 && shared.phase() < Phase::Swapped;
        let tables: Vec<_> = (0..shared.tables()).map(|table| shared.table_progress(table)).collect();
        LiveJob {
            phase: Some(phase_name(shared)),
            tables: shared.tables() as i32,
            tables_copied: tables.iter().filter(|table| table.is_copied).count() as i32,
            tables_done: tables.iter().filter(|table| table.is_done).count() as i32,
            rows: total.rows as i64,
            bytes: total.bytes as i64,
            bytes_per_second: shared.bytes_per_second() as i64,
            fraction,
            seconds_left: is_working.then(|| shared.seconds_left(worked, fraction)).flatten(),
            ..unknown.clone()
        }
    });
    live.unwrap_or(unknown)
}

fn phase_name(shared: Shared) -> &'static str {
    if shared.has_failed() {
        return "stopping";
    }
    match shared.phase() {
        Phase::Starting | Phase::Begun => "starting",
        Phase::Locking => "locking",
        Phase::Working => match shared.activity() {
            Activity::Copying => "copying",
            Activity::Indexing => "indexing",
            Activity::Checking => "checking",
        },
        Phase::Swapping => "swapping",
        Phase::Merging => "merging",
        Phase::InPlace => "in place",
        Phase::Swapped => "swapped",
    }
}

pub fn live_tables() -> Result<Vec<LiveTable>> {
    let mut tables = Vec::new();
    for job in open_jobs()?.iter().filter(|job| job.is_running()) {
        let of_job = job.peek(|shared| {
            let now = shared::now();
            let table = |position: usize| {
                let progress = shared.table_progress(position);
                let framed = shared.framed(position);
                let ends = if progress.is_done { progress.finished } else { now };
                LiveTable {
                    job: job.job,
                    position: position as i32,
                    state: match (progress.started, progress.is_done) {
                        (0, _) => "waiting",
                        (_, false) => "running",
                        (_, true) => "done",
                    },
                    rows: progress.loaded.rows as i64,
                    bytes: progress.loaded.bytes as i64,
                    seconds: if progress.started == 0 { 0.0 } else { (ends - progress.started).max(0) as f64 / 1e6 },
                    wire_bytes: framed.map(|framed| framed.wire_bytes as i64),
                    codec: framed.map(|framed| framed.codec().name()),
                }
            };
            (0..shared.tables()).map(table).collect::<Vec<_>>()
        });
        tables.extend(of_job.unwrap_or_default());
    }
    Ok(tables)
}

pub fn live_tasks() -> Result<Vec<LiveTask>> {
    let mut tasks = Vec::new();
    for job in open_jobs()?.iter().filter(|job| job.is_running()) {
        let of_job = job.peek(|shared| -> Result<_> { Ok(history::timeline(&shared.spec()?, shared)) });
        for task in of_job.unwrap_or_else(|| Ok(Vec::new()))? {
            tasks.push(LiveTask {
                job: job.job,
                worker: task.worker as i32,
                task: task.what,
                started: task.started,
                finished: task.finished,
            });
        }
    }
    Ok(tasks)
}

/// Narrow enough for a terminal of 80 columns.
pub fn progress_lines() -> Result<Vec<ProgressLine>> {
    let lines = live_jobs()?.into_iter().filter(|job| job.phase.is_some()).map(|job| ProgressLine {
        job: job.job,
        phase: job.phase.unwrap_or_default().to_owned(),
        copied: format!("{}/{}", job.tables_copied, job.tables),
        done: job.tables_done,
        rows: plan::short_count(job.rows as u64),
        bytes: plan::short_bytes(job.bytes as u64),
        rate: format!("{}/s", plan::short_bytes(job.bytes_per_second as u64)),
        left: job.seconds_left.map(plan::short_time),
        bar: plan::bar(job.fraction),
    });
    Ok(lines.collect())
}
