//! What is written down about jobs, and the removal of what dead jobs left.

use super::shared::{Phase, Shared};
use super::spec::JobSpec;
use crate::error::{Error, Result};
use crate::local::identity::{Role, role_name, run_as};
use crate::local::{settings, spi, transaction};
use crate::stage;
use pgrx::prelude::*;
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
pub(super) fn as_extension<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    run_as(Role::Extension, || {
        settings::use_catalog_search_path()?;
        work()
    })
}

/// The next job's number.
pub(super) fn next_job() -> Result<i64> {
    let text = as_extension(|| spi::query_text("SELECT nextval('pgcopy.job_id')::text"))?;
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Error::internal("there is no job number"))
}

/// Writes a job down before anything is known of its tables, with the background process that will lead it.
pub(super) fn announce(job: i64, role: u32, source: &str, called: i64) -> Result<()> {
    as_extension(|| {
        spi::execute(&format!(
            "INSERT INTO pgcopy.job (job, role, source, state, tables, started, leader_pid, leader_started)
             SELECT {job}, {}, {}, 'running', 0, {}, a.pid, a.backend_start
             FROM pg_stat_get_activity(pg_backend_pid()) a",
            quote_literal(&role_name(role)),
            quote_literal(source),
            instant(called),
        ))
    })
}

/// Writes down how a job ended that no steward attended.
pub(super) fn note_end(job: i64, error: Option<&Error>) -> Result<()> {
    let outcome = if error.is_some() { Outcome::Failed } else { Outcome::Completed };
    as_extension(|| {
        spi::execute(&format!(
            "UPDATE pgcopy.job SET state = {}, finished = clock_timestamp(), {}
             WHERE job = {job} AND state = 'running' AND steward_pid IS NULL",
            quote_literal(outcome.name()),
            assignments(error)
        ))
    })
}

fn assignments(error: Option<&Error>) -> String {
    let value = |text: Option<&str>| text.map_or_else(|| "NULL".to_owned(), quote_literal);
    format!(
        "error = {}, detail = {}, hint = {}",
        value(error.map(|error| error.message.as_str())),
        value(error.and_then(|error| error.detail.as_deref())),
        value(error.and_then(|error| error.hint.as_deref()))
    )
}

/// SQL for PostgreSQL's epoch.
const EPOCH: &str = "timestamptz '2000-01-01 00:00+00'";

/// SQL for an instant in microseconds since then.
fn instant(microseconds: i64) -> String {
    format!("{EPOCH} + {microseconds} * interval '1 microsecond'")
}

/// Writes the job down as running, with the process that will finish it, which is this one. `segment` is the number of
/// the shared memory that tells how far it is.
pub(super) fn begin(spec: &JobSpec, shared: Shared, segment: Option<u32>) -> Result<()> {
    as_extension(|| {
        // As the extension's script does; what upgrades a cluster makes its tables without.
        spi::execute(
            "UPDATE pg_class SET relrewrite = oid
             WHERE relrewrite = 0
               AND oid = ANY ('{pgcopy.job, pgcopy.job_table, pgcopy.job_task, pgcopy.job_swap}'::regclass[])",
        )?;
        spi::execute(&format!(
            "INSERT INTO pgcopy.job (job, role, source, state, tables, started, leader_pid, leader_xid, segment,
                                     steward_pid, steward_started)
             SELECT {}, {}, {}, 'running', {}, {}, {}, '{}'::xid8, {}, a.pid, a.backend_start
             FROM pg_stat_get_activity(pg_backend_pid()) a
             ON CONFLICT (job) DO UPDATE
             SET source = excluded.source, tables = excluded.tables, leader_xid = excluded.leader_xid, segment = excluded.segment,
                 steward_pid = excluded.steward_pid, steward_started = excluded.steward_started",
            spec.job,
            quote_literal(&role_name(spec.caller.current)),
            quote_literal(&spec.describe_source()),
            shared.tables(),
            instant(shared.called()),
            shared.leader_pid(),
            shared.leader_xid(),
            segment.map_or_else(|| "NULL".to_owned(), |segment| segment.to_string()),
        ))
    })
}

/// Writes down the tables of a job whose work has begun.
pub(super) fn note_tables(spec: &JobSpec) -> Result<()> {
    let (schemas, names): (Vec<_>, Vec<_>) = spec.table_names().unzip();
    if names.is_empty() {
        return Ok(());
    }
    // Arrays, because thousands of rows as VALUES take the parser more memory than all else that a steward does.
    as_extension(|| {
        spi::execute(&format!(
            "INSERT INTO pgcopy.job_table (job, position, schema, \"table\", rows, bytes, seconds)
             SELECT {}, t.position - 1, t.schema, t.name, 0, 0, 0
             FROM ROWS FROM (unnest({}), unnest({})) WITH ORDINALITY t(schema, name, position)",
            spec.job,
            plan::text_array(schemas),
            plan::text_array(names),
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
        Outcome::Failed => Some(shared.error().unwrap_or_else(|| {
            Error::new(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, "the calling session gave the pull up")
        })),
        Outcome::RolledBack => Some(Error::new(
            PgSqlErrorCode::ERRCODE_TRANSACTION_ROLLBACK,
            if super::processes::is_alive(shared.leader_pid()) {
                "the transaction of the pull was rolled back"
            } else {
                "the calling session ended before its transaction was committed"
            },
        )),
        Outcome::Completed | Outcome::Undecided => None,
    };
    let total = shared.total();
    let tasks = timeline(spec, shared);
    as_extension(|| {
        spi::execute(&format!(
            "UPDATE pgcopy.job SET state = {}, finished = clock_timestamp(), rows = {}, bytes = {}, segment = NULL, {}
             WHERE job = {}",
            quote_literal(outcome.name()),
            total.rows,
            total.bytes,
            assignments(error.as_ref()),
            spec.job
        ))?;
        spi::execute(&format!("DELETE FROM pgcopy.job_swap WHERE job = {}", spec.job))?;
        spi::execute(&format!(
            "INSERT INTO pgcopy.job_task (job, worker, task, started, finished)
             SELECT {}, t.worker, t.task, {EPOCH} + t.started * interval '1 microsecond',
                    {EPOCH} + t.finished * interval '1 microsecond'
             FROM ROWS FROM (unnest({}), unnest({}), unnest({}), unnest({})) t(worker, task, started, finished)",
            spec.job,
            plan::number_array(tasks.iter().map(|task| task.worker), "int4"),
            plan::text_array(tasks.iter().map(|task| task.what.as_str())),
            plan::number_array(tasks.iter().map(|task| task.started), "int8"),
            plan::number_array(tasks.iter().map(|task| task.finished), "int8"),
        ))?;
        let (schemas, names): (Vec<_>, Vec<_>) = spec.table_names().unzip();
        let loaded = || (0..names.len()).map(|position| shared.progress(position));
        spi::execute(&format!(
            "INSERT INTO pgcopy.job_table (job, position, schema, \"table\", rows, bytes, seconds)
             SELECT {}, t.position - 1, t.schema, t.name, t.rows, t.bytes, t.seconds
             FROM ROWS FROM (unnest({}), unnest({}), unnest({}), unnest({}), unnest({})) WITH ORDINALITY
                  t(schema, name, rows, bytes, seconds, position)
             ON CONFLICT (job, schema, \"table\") DO UPDATE
             SET rows = excluded.rows, bytes = excluded.bytes, seconds = excluded.seconds",
            spec.job,
            plan::text_array(schemas.iter().copied()),
            plan::text_array(names.iter().copied()),
            plan::number_array(loaded().map(|loaded| loaded.rows), "int8"),
            plan::number_array(loaded().map(|loaded| loaded.bytes), "int8"),
            plan::number_array((0..names.len()).map(|position| shared.table_seconds(position)), "float8"),
        ))
    })
}

/// Something that a process of the job did. Times are microseconds since PostgreSQL's epoch.
pub(super) struct TimelineTask {
    /// 0 is the leader.
    pub(super) worker: u32,
    pub(super) what: String,
    pub(super) started: i64,
    /// Now for what is not finished.
    pub(super) finished: i64,
}

/// What each process did, and when.
pub(super) fn timeline(spec: &JobSpec, shared: Shared) -> Vec<TimelineTask> {
    let now = super::shared::now();
    let task = |worker: u32, what: String, started: i64, finished: i64| {
        let finished = if finished < started { now } else { finished };
        (started != 0).then_some(TimelineTask { worker, what, started, finished })
    };
    let phase = |what: &str, from: i64, next: &[Phase]| {
        let ends = next.iter().map(|&phase| shared.entered(phase)).find(|&time| time != 0);
        task(0, what.to_owned(), from, ends.unwrap_or(now))
    };
    let mut tasks: Vec<TimelineTask> = [
        phase("planning", shared.called(), &[Phase::Starting]),
        phase("starting the steward", shared.entered(Phase::Starting), &[Phase::Locking]),
        phase("locking the targets", shared.entered(Phase::Locking), &[Phase::Working]),
        phase("swapping", shared.entered(Phase::Swapping), &[Phase::InPlace, Phase::Swapped]),
        phase("waiting for the end of the transaction", shared.entered(Phase::Swapped), &[]),
    ]
    .into_iter()
    .flatten()
    .collect();
    let times = spec.schedule().tasks.into_iter().zip(shared.task_times());
    tasks.extend(
        times.filter_map(|(kind, times)| {
            task(times.worker, spec.describe_task(kind.kind), times.started, times.finished)
        }),
    );
    let in_place = spec.in_place.iter().enumerate().filter_map(|(position, table)| {
        let progress = shared.table_progress(spec.tables.len() + position);
        let what = format!("loading {} in place", plan::qualified(&table.schema, &table.name));
        task(0, what, progress.started, progress.finished)
    });
    tasks.extend(in_place);
    tasks
}

/// The stage tables of a job that still exist.
fn stage_tables_of(job: i64) -> Result<Vec<u32>> {
    as_extension(|| {
        spi::query_json(&format!(
            "SELECT coalesce(json_agg(c.oid::bigint), '[]'::json)::text
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
        stage::remove(tables);
        Ok(())
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
               AND NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL) a
                               WHERE a.pid = j.leader_pid AND a.backend_start = j.leader_started)
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
                                  THEN 'the processes of the job ended before it did' END,
                     finished = clock_timestamp(), segment = NULL
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

/// The error of a pull that should not wait for a lock.
pub(super) fn locked_by_others(relation: u32) -> Result<Error> {
    #[derive(serde::Deserialize)]
    struct Holders {
        table: String,
        holders: Option<String>,
    }
    let found: Holders = as_extension(|| {
        spi::read_json(&format!(
            "SELECT json_build_object('table', {relation}::regclass::text, 'holders', (
                 SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                                                 WHEN j.job IS NULL THEN format('process %s', l.pid)
                                                 ELSE format('job %s, process %s', j.job, l.pid) END, '; ')
                 FROM pg_locks l LEFT JOIN pgcopy.job j ON j.leader_pid = l.pid AND j.state = 'running'
                 WHERE l.locktype = 'relation' AND l.relation = {relation} AND l.granted
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.mode <> 'AccessShareLock'))::text"
        ))
    })?;
    let error = Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("could not obtain the lock on table {}; nothing was touched", found.table),
    );
    let error = match found.holders {
        Some(holders) => error.detail(format!("It is locked by {holders}.")),
        None => error,
    };
    Ok(error.hint("With wait => true the pull waits, for as long as lock_timeout allows."))
}
