//! The records of jobs, and the removal of storage that dead jobs left.

use super::shared::{Phase, Shared};
use crate::error::{Error, Result, capped, tell};
use crate::local::identity::role_name;
use crate::local::spi::{Param, extension};
use crate::local::{interrupts, rights, transaction};
use crate::order::{Changes, JobSpec, TableSpec};
use crate::stage;
use crate::verify::Finding;
use pgrx::prelude::*;
use serde::Deserialize;
use std::collections::BTreeSet;

/// A fault of a table, as it is recorded.
#[derive(Debug, Clone, Deserialize)]
pub struct FoundFault {
    pub schema: String,
    pub table: String,
    pub kind: String,
    pub object: Option<String>,
    pub finding: String,
    pub place: Option<String>,
}

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

/// Returns the next job's number.
pub(super) fn next_job() -> Result<i64> {
    let text = extension::query_text("SELECT nextval('pgcopy_internal.job_id')::text", &[])?;
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Error::internal("there is no job number"))
}

/// Records a job before its tables are known, with the background process that will lead it.
pub(super) fn announce(job: i64, role: u32, source: &str, called: i64, arguments: &str) -> Result<()> {
    extension::execute(
        include_str!("../../sql/queries/announce_job.sql"),
        &[
            Param::Int8(job),
            Param::Oid(role),
            Param::Text(&role_name(role)),
            Param::Text(&printable(source)),
            Param::Int8(called),
            Param::Text(arguments),
        ],
    )
}

/// Records the end of a job that no steward attended.
pub(super) fn note_end(job: i64, error: Option<&Error>, messages: &[String]) -> Result<()> {
    let outcome = if error.is_some() { Outcome::Failed } else { Outcome::Completed };
    let error = error.map(|error| error.capped(MOST_BYTES));
    let (sqlstate, [message, detail, hint]) = texts_of(error.as_ref());
    extension::execute(
        "UPDATE pgcopy_internal.job
         SET state = $2, finished = clock_timestamp(), sqlstate = $3, error = $4, detail = $5, hint = $6,
             warnings = nullif($7, '{}')
         WHERE job = $1 AND state = 'running' AND steward_pid IS NULL",
        &[
            Param::Int8(job),
            Param::Text(outcome.name()),
            Param::OptionalText(sqlstate.as_deref()),
            Param::OptionalText(message),
            Param::OptionalText(detail),
            Param::OptionalText(hint),
            Param::TextArray(&texts(messages)),
        ],
    )
}

fn texts(messages: &[String]) -> Vec<&str> {
    messages.iter().map(String::as_str).collect()
}

/// The most bytes of a text. Longer texts are cut off: a source or a file must not fill the history.
const MOST_BYTES: usize = 8192;

/// Returns a text of a user in the form that others are shown.
fn printable(text: &str) -> String {
    capped(&plan::one_line(text), MOST_BYTES).into_owned()
}

/// Returns SQLSTATE, message, DETAIL and HINT.
fn texts_of(error: Option<&Error>) -> (Option<String>, [Option<&str>; 3]) {
    let texts = error.map(|error| [Some(error.message.as_str()), error.detail.as_deref(), error.hint.as_deref()]);
    (error.map(Error::sqlstate_text), texts.unwrap_or_default())
}

/// Records the job as running, with this process as the one that will finish it. `segment` is the number of the shared
/// memory with its progress.
pub(super) fn begin(spec: &JobSpec, shared: Shared, segment: Option<u32>) -> Result<()> {
    // The extension's script does the same; pg_upgrade makes tables without it.
    extension::execute(
        "UPDATE pg_class SET relrewrite = oid
         WHERE relrewrite = 0
           AND oid = ANY ('{pgcopy_internal.job, pgcopy_internal.job_table, pgcopy_internal.job_task, pgcopy_internal.job_finding, pgcopy_internal.job_swap}'::regclass[])",
        &[],
    )?;
    extension::execute(
        include_str!("../../sql/queries/begin_job.sql"),
        &[
            Param::Int8(spec.job),
            Param::Oid(spec.caller.current),
            Param::Text(&role_name(spec.caller.current)),
            Param::Text(&printable(&spec.describe_source())),
            Param::Int4(shared.tables() as i32),
            Param::Int8(shared.called()),
            Param::Int4(shared.leader_pid()),
            Param::Text(&shared.leader_xid().to_string()),
            Param::OptionalInt8(segment.map(i64::from)),
            Param::Text(&spec.arguments),
            Param::TextArray(&texts(&spec.messages)),
            Param::Int8(shared.expected_bytes() as i64),
        ],
    )
}

/// Records the tables of a job whose work has begun.
pub(super) fn note_tables(spec: &JobSpec) -> Result<()> {
    let (schemas, names): (Vec<_>, Vec<_>) = spec.table_names().unzip();
    if names.is_empty() {
        return Ok(());
    }
    // The values are arrays, because thousands of rows as VALUES take the parser more memory than all other work of a
    // steward.
    extension::execute(
        "INSERT INTO pgcopy_internal.job_table (job, position, schema, \"table\", rows, bytes, seconds)
         SELECT $1, t.position - 1, t.schema, t.name, 0, 0, 0
         FROM unnest($2, $3) WITH ORDINALITY t(schema, name, position)",
        &[Param::Int8(spec.job), Param::TextArray(&schemas), Param::TextArray(&names)],
    )
}

/// How long the work of a job will take, going by the last one that completed with the same tables of the same source.
pub(super) fn predicted_seconds(spec: &JobSpec, shared: Shared) -> Result<Option<f64>> {
    let (schemas, names): (Vec<_>, Vec<_>) = spec.table_names().unzip();
    extension::query_json(
        include_str!("../../sql/queries/predict_job.sql"),
        &[
            Param::Int8(spec.job),
            Param::Oid(spec.caller.current),
            Param::Text(&printable(&spec.describe_source())),
            Param::Int8(shared.expected_bytes() as i64),
            Param::TextArray(&schemas),
            Param::TextArray(&names),
        ],
    )
}

/// Records what a check of a table has found.
pub(super) fn note_findings(job: i64, table: &TableSpec, findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let column = |text: fn(&Finding) -> Option<&str>| -> Vec<String> {
        findings.iter().map(|finding| text(finding).map(printable).unwrap_or_default()).collect()
    };
    let (objects, places) = (column(|it| it.object.as_deref()), column(|it| it.place.as_deref()));
    let told = column(|it| Some(&it.finding));
    extension::execute(
        "INSERT INTO pgcopy_internal.job_finding (job, schema, \"table\", kind, object, finding, place)
         SELECT $1, $2, $3, t.kind, nullif(t.object, ''), t.finding, nullif(t.place, '') FROM unnest($4, $5, $6, $7) t(kind, object, finding, place)",
        &[
            Param::Int8(job),
            Param::Text(&table.schema),
            Param::Text(&table.name),
            Param::TextArray(&findings.iter().map(|finding| finding.kind).collect::<Vec<_>>()),
            Param::TextArray(&texts(&objects)),
            Param::TextArray(&texts(&told)),
            Param::TextArray(&texts(&places)),
        ],
    )
}

/// What the checks of a job have found.
pub(super) fn findings(job: i64) -> Result<Vec<FoundFault>> {
    extension::query_json(
        "SELECT coalesce(json_agg(f ORDER BY f.schema, f.\"table\", f.kind, f.object, f.place), '[]'::json)::text
         FROM pgcopy_internal.job_finding f WHERE f.job = $1",
        &[Param::Int8(job)],
    )
}

pub(super) fn note_state(job: i64, state: &str) -> Result<()> {
    extension::execute(
        "UPDATE pgcopy_internal.job SET state = $2 WHERE job = $1",
        &[Param::Int8(job), Param::Text(state)],
    )
}

/// Notes, as part of the leader's transaction and its savepoints, that the targets have their new rows.
pub(super) fn mark_swapped(job: i64) -> Result<()> {
    extension::execute("INSERT INTO pgcopy_internal.job_swap (job) VALUES ($1)", &[Param::Int8(job)])
}

pub(super) fn was_swapped(job: i64) -> Result<bool> {
    extension::query_json(
        "SELECT EXISTS (SELECT FROM pgcopy_internal.job_swap WHERE job = $1)::text",
        &[Param::Int8(job)],
    )
}

/// Records the end of the job, table by table.
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
    let error = error.map(|error| error.capped(MOST_BYTES));
    let (sqlstate, [message, detail, hint]) = texts_of(error.as_ref());
    let job = Param::Int8(spec.job);
    extension::execute(
        "UPDATE pgcopy_internal.job SET state = $2, finished = clock_timestamp(), rows = $3, bytes = $4, segment = NULL,
                               sqlstate = $5, error = $6, detail = $7, hint = $8, warnings = nullif($9, '{}')
         WHERE job = $1",
        &[
            job,
            Param::Text(outcome.name()),
            Param::Int8(total.rows as i64),
            Param::Int8(total.bytes as i64),
            Param::OptionalText(sqlstate.as_deref()),
            Param::OptionalText(message),
            Param::OptionalText(detail),
            Param::OptionalText(hint),
            Param::TextArray(&texts(&shared.all_messages(&spec.messages))),
        ],
    )?;
    extension::execute("DELETE FROM pgcopy_internal.job_swap WHERE job = $1", &[job])?;
    // The values are arrays, because thousands of rows as VALUES take the parser more memory than all other work of a
    // steward.
    extension::execute(
        include_str!("../../sql/queries/note_job_tasks.sql"),
        &[
            job,
            Param::Int4Array(&tasks.iter().map(|task| task.worker as i32).collect::<Vec<_>>()),
            Param::TextArray(&tasks.iter().map(|task| task.what.as_str()).collect::<Vec<_>>()),
            Param::Int8Array(&tasks.iter().map(|task| task.started).collect::<Vec<_>>()),
            Param::Int8Array(&tasks.iter().map(|task| task.finished).collect::<Vec<_>>()),
        ],
    )?;
    let (schemas, names): (Vec<_>, Vec<_>) = spec.table_names().unzip();
    let loaded: Vec<_> = (0..names.len()).map(|position| shared.progress(position)).collect();
    let changes: Vec<_> = (0..names.len()).map(|position| shared.changes(position)).collect();
    // -1 stands for what is not known.
    let counts = |count: fn(&Changes) -> u64| -> Vec<i64> {
        changes.iter().map(|changes| changes.as_ref().map_or(-1, |changes| count(changes) as i64)).collect()
    };
    let framed: Vec<_> = (0..names.len()).map(|position| shared.framed(position)).collect();
    let wire_bytes: Vec<i64> =
        framed.iter().map(|framed| framed.as_ref().map_or(-1, |framed| framed.wire_bytes as i64)).collect();
    let codecs: Vec<&str> =
        framed.iter().map(|framed| framed.as_ref().map_or("", |framed| framed.codec().name())).collect();
    extension::execute(
        include_str!("../../sql/queries/note_job_tables.sql"),
        &[
            job,
            Param::TextArray(&schemas),
            Param::TextArray(&names),
            Param::Int8Array(&loaded.iter().map(|loaded| loaded.rows as i64).collect::<Vec<_>>()),
            Param::Int8Array(&loaded.iter().map(|loaded| loaded.bytes as i64).collect::<Vec<_>>()),
            Param::Float8Array(&(0..names.len()).map(|position| shared.table_seconds(position)).collect::<Vec<_>>()),
            Param::Int8Array(&counts(|changes| changes.inserted)),
            Param::Int8Array(&counts(|changes| changes.updated)),
            Param::Int8Array(&counts(|changes| changes.deleted)),
            Param::Int8Array(&counts(|changes| changes.unchanged)),
            Param::Int8Array(&wire_bytes),
            Param::TextArray(&codecs),
        ],
    )
}

/// A piece of work of one process of the job. Times are microseconds since PostgreSQL's epoch.
pub(super) struct TimelineTask {
    /// 0 is the leader.
    pub(super) worker: u32,
    pub(super) what: String,
    pub(super) started: i64,
    /// The end; the present time for unfinished work.
    pub(super) finished: i64,
}

/// Returns the work of each process, with its times.
pub(super) fn timeline(spec: &JobSpec, shared: Shared) -> Vec<TimelineTask> {
    let now = super::shared::now();
    let task = |worker: u32, what: String, started: i64, finished: i64| {
        let finished = if finished < started { now } else { finished };
        (started != 0).then(|| TimelineTask { worker, what: printable(&what), started, finished })
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
        phase("merging", shared.entered(Phase::Merging), &[Phase::Swapped]),
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

/// Returns whether a transaction uses one of the tables, or waits for one, and sees the catalogs in their state before
/// the end of the transaction `xid`.
pub(super) fn have_older_readers(tables: &[u32], xid: u64) -> Result<bool> {
    extension::query_json(
        include_str!("../../sql/queries/have_older_readers.sql"),
        &[Param::OidArray(tables), Param::Text(&xid.to_string())],
    )
}

/// Returns the stage tables of a job that still exist.
fn stage_tables_of(job: i64) -> Result<Vec<u32>> {
    extension::query_json(
        "SELECT coalesce(json_agg(c.oid::bigint), '[]'::json)::text
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'pgcopy_stage' AND c.relkind = 'r' AND starts_with(c.relname, format('job_%s_', $1))",
        &[Param::Int8(job)],
    )
}

/// Drops some of a job's stage tables; returns false when only those that are `busy` are left. It does not drop all at
/// once, because locks are a limited resource. A table that another session has locked becomes one of the busy: a
/// reader, such as a dump, may take its time, and no session is to wait for it, or behind a lock that waits for it.
pub(super) fn drop_stage_tables(job: i64, busy: &mut BTreeSet<u32>) -> Result<bool> {
    const TABLES_AT_ONCE: usize = 500;
    let mut tables = stage_tables_of(job)?;
    tables.retain(|table| !busy.contains(table));
    if tables.is_empty() {
        return Ok(false);
    }
    tables.truncate(TABLES_AT_ONCE);
    busy.extend(stage::try_remove(tables)?);
    Ok(true)
}

/// The results of a clean-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removed {
    /// The number of jobs of which nothing is left.
    jobs: usize,
    /// The number of stage tables that others have locked.
    busy_tables: usize,
}

/// Removes the stage tables of dead jobs, and records their end. It does not wait: tables that others have locked are
/// left to the next clean-up.
///
/// A job is alive while its steward runs or its transaction is open, prepared included.
pub(super) fn remove_dead_jobs() -> Result<Removed> {
    let dead: Vec<i64> = extension::query_json(include_str!("../../sql/queries/dead_jobs.sql"), &[])?;
    if dead.is_empty() {
        return Ok(Removed { jobs: 0, busy_tables: 0 });
    }
    // Another clean-up may be working on some of them, in a transaction that stays open.
    let dead: Vec<i64> =
        extension::query_json(include_str!("../../sql/queries/claim_dead_jobs.sql"), &[Param::Int8Array(&dead)])?;
    let mut removed = Removed { jobs: 0, busy_tables: 0 };
    for &job in &dead {
        let swapped = was_swapped(job)?;
        let mut busy = BTreeSet::new();
        while drop_stage_tables(job, &mut busy)? {
            transaction::make_changes_visible();
            interrupts::check();
        }
        extension::execute(
            include_str!("../../sql/queries/end_dead_job.sql"),
            &[Param::Int8(job), Param::Bool(swapped)],
        )?;
        extension::execute("DELETE FROM pgcopy_internal.job_swap WHERE job = $1", &[Param::Int8(job)])?;
        removed.jobs += usize::from(busy.is_empty());
        removed.busy_tables += busy.len();
    }
    Ok(removed)
}

/// Removes the oldest jobs of each role that has more than it may keep. Jobs of a dropped role must never be shown to
/// another role that gets its OID.
pub(super) fn forget_excess() -> Result<()> {
    extension::execute(include_str!("../../sql/queries/forget_gone_roles.sql"), &[])?;
    let Some(limit) = crate::local::parameters::history_limit() else { return Ok(()) };
    // It does not wait: another session that removes jobs at this moment removes the same ones.
    extension::execute(include_str!("../../sql/queries/forget_excess_jobs.sql"), &[Param::Int8(limit)])
}

/// Removes the storage that dead jobs left. Returns the number of jobs of which nothing is left.
pub fn cleanup() -> Result<usize> {
    rights::refuse_restricted_operation()?;
    let removed = remove_dead_jobs()?;
    if removed.busy_tables > 0 {
        tell(&format!("stage tables that others have locked, left to the next clean-up: {}", removed.busy_tables));
    }
    forget_excess()?;
    Ok(removed.jobs)
}
