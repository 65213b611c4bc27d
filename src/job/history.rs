//! What is written down about jobs, and the removal of what dead jobs left.

use super::shared::Shared;
use super::spec::JobSpec;
use crate::error::Result;
use crate::local::identity::{Role, role_name, run_as};
use crate::local::{settings, spi, transaction};
use plan::quote_literal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    Failed,
    /// The pull succeeded, but the caller's transaction, or a savepoint in it, did not last.
    RolledBack,
    /// The caller's transaction is prepared.
    Undecided,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back",
            Self::Undecided => "prepared",
        }
    }
}

/// Runs `work` with the rights to our own tables and with no function of the user's in reach.
fn as_extension<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    run_as(Role::Extension, || {
        settings::use_catalog_search_path()?;
        work()
    })
}

/// The next job's number.
pub(super) fn next_job() -> Result<i64> {
    let text = as_extension(|| spi::query_text("SELECT nextval('pgcopy.job_id')::text"))?;
    text.and_then(|text| text.parse().ok()).ok_or_else(|| crate::error::Error::internal("there is no job number"))
}

/// Writes the job down as running, with the process that will finish it.
pub(super) fn begin(spec: &JobSpec, leader_pid: i32, leader_xid: u64) -> Result<()> {
    as_extension(|| {
        spi::execute(&format!(
            "INSERT INTO pgcopy.job (job, role, source, state, tables, started, leader_pid, leader_xid,
                                     steward_pid, steward_started)
             SELECT {}, {}, {}, 'running', {}, clock_timestamp(), {leader_pid}, '{leader_xid}'::xid8,
                    a.pid, a.backend_start
             FROM pg_stat_get_activity(pg_backend_pid()) a",
            spec.job,
            quote_literal(&role_name(spec.caller.current)),
            quote_literal(&spec.source.to_string()),
            spec.tables.len(),
        ))
    })
}

pub(super) fn note_state(job: i64, state: &str) -> Result<()> {
    as_extension(|| spi::execute(&format!("UPDATE pgcopy.job SET state = {} WHERE job = {job}", quote_literal(state))))
}

/// Notes, as part of the leader's transaction and its savepoints, that the targets have their new rows.
pub(super) fn mark_swapped(job: i64) -> Result<()> {
    as_extension(|| spi::execute(&format!("INSERT INTO pgcopy.job_swap (job) VALUES ({job})")))
}

pub(super) fn was_swapped(job: i64) -> Result<bool> {
    let text = as_extension(|| {
        spi::query_text(&format!("SELECT EXISTS (SELECT FROM pgcopy.job_swap WHERE job = {job})::text"))
    })?;
    Ok(text.as_deref() == Some("true"))
}

/// Writes down how the job ended, table by table.
pub(super) fn finish(spec: &JobSpec, shared: Shared, outcome: Outcome) -> Result<()> {
    let error = match outcome {
        Outcome::Failed => {
            shared.error().map_or_else(|| "the leader's transaction failed".to_owned(), |error| error.message)
        }
        _ => String::new(),
    };
    let (mut rows, mut bytes) = (0, 0);
    let schedule = spec.schedule();
    let seconds = shared.table_seconds(&schedule);
    let tasks: Vec<String> = schedule
        .tasks
        .iter()
        .zip(shared.task_times())
        .filter(|(_, times)| times.finished != 0)
        .map(|(task, times)| {
            // Microseconds since PostgreSQL's epoch.
            let instant = |microseconds: i64| {
                format!("timestamptz '2000-01-01 00:00+00' + {microseconds} * interval '1 microsecond'")
            };
            format!(
                "({}, {}, {}, {}, {})",
                spec.job,
                times.worker + 1,
                quote_literal(&spec.describe_task(task.kind)),
                instant(times.started),
                instant(times.finished)
            )
        })
        .collect();
    let mut values = Vec::with_capacity(spec.tables.len());
    for (position, table) in spec.tables.iter().enumerate() {
        let loaded = shared.progress(position);
        rows += loaded.rows;
        bytes += loaded.bytes;
        values.push(format!(
            "({}, {}, {}, {}, {}, {})",
            spec.job,
            quote_literal(&table.schema),
            quote_literal(&table.name),
            loaded.rows,
            loaded.bytes,
            seconds[position]
        ));
    }
    as_extension(|| {
        spi::execute(&format!(
            "UPDATE pgcopy.job SET state = {}, finished = clock_timestamp(), rows = {rows}, bytes = {bytes},
                    error = nullif({}, '') WHERE job = {}",
            quote_literal(outcome.name()),
            quote_literal(&error),
            spec.job
        ))?;
        spi::execute(&format!("DELETE FROM pgcopy.job_swap WHERE job = {}", spec.job))?;
        if values.is_empty() {
            return Ok(());
        }
        if !tasks.is_empty() {
            spi::execute(&format!(
                "INSERT INTO pgcopy.job_task (job, worker, task, started, finished) VALUES {}",
                tasks.join(", ")
            ))?;
        }
        spi::execute(&format!(
            "INSERT INTO pgcopy.job_table (job, schema, \"table\", rows, bytes, seconds) VALUES {}",
            values.join(", ")
        ))
    })
}

/// The stage tables of a job that still exist.
pub(super) fn stage_tables_of(job: i64) -> Result<Vec<String>> {
    as_extension(|| {
        spi::query_json(&format!(
            "SELECT coalesce(json_agg(format('%I.%I', n.nspname, c.relname)), '[]'::json)::text
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'pgcopy_stage' AND c.relkind = 'r' AND c.relname LIKE 'job\\_{job}\\_%'"
        ))
    })
}

/// Drops some of a job's stage tables; false when there is none left. Not all at once: locks are a limited resource.
pub(super) fn drop_stage_tables(job: i64) -> Result<bool> {
    const TABLES_AT_ONCE: usize = 500;
    let mut tables = stage_tables_of(job)?;
    if tables.is_empty() {
        return Ok(false);
    }
    tables.truncate(TABLES_AT_ONCE);
    as_extension(|| {
        settings::set_local(c"client_min_messages", "warning")?;
        spi::execute(&format!("DROP TABLE {} CASCADE", tables.join(", ")))
    })?;
    Ok(true)
}

/// Removes the stage tables of jobs that nobody works on any more, and writes down that they ended. Returns the number
/// of jobs.
///
/// A job is alive while its steward runs or its transaction is open, prepared included.
pub(super) fn remove_dead_jobs() -> Result<usize> {
    let dead: Vec<i64> = as_extension(|| {
        spi::query_json(
            "SELECT coalesce(json_agg(DISTINCT d.job), '[]'::json)::text
             FROM (
                 SELECT j.job FROM pgcopy.job j WHERE j.state IN ('running', 'prepared')
                 UNION
                 SELECT split_part(c.relname, '_', 2)::bigint
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'pgcopy_stage' AND c.relkind = 'r' AND c.relname ~ '^job_[0-9]+_[0-9]+$'
             ) d
             LEFT JOIN pgcopy.job j ON j.job = d.job
             WHERE NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL) a
                               WHERE a.pid = j.steward_pid AND a.backend_start = j.steward_started)
               AND pg_xact_status(j.leader_xid) IS DISTINCT FROM 'in progress'",
        )
    })?;
    for &job in &dead {
        let swapped = was_swapped(job)?;
        while drop_stage_tables(job)? {
            transaction::make_changes_visible();
        }
        as_extension(|| {
            spi::execute(&format!(
                "UPDATE pgcopy.job
                 SET state = CASE WHEN {swapped} THEN 'completed' WHEN state = 'prepared' THEN 'rolled back'
                                  ELSE 'failed' END,
                     error = CASE WHEN state = 'running' AND NOT {swapped}
                                  THEN 'the server or the steward ended before the job did' END,
                     finished = clock_timestamp()
                 WHERE job = {job} AND state IN ('running', 'prepared')"
            ))?;
            spi::execute(&format!("DELETE FROM pgcopy.job_swap WHERE job = {job}"))
        })?;
    }
    Ok(dead.len())
}

/// Removes what dead jobs left. Returns the number of jobs.
pub fn cleanup() -> Result<usize> {
    remove_dead_jobs()
}
