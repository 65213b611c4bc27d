//! The session that called `pull`: all that it does is in the caller's own transaction.

use super::attended::{ended_early, wait_until, with_steward};
use super::control::refuse_circle_of_pulls;
use super::executor::Executor;
use super::history::{self, Outcome};
use super::processes::{Process, Status};
use super::shared::{self, Next, Phase, Segment, Shared, Taker};
use crate::error::{Result, caution, tell, warn};
use crate::local::locks::{self, Mode, Until};
use crate::local::sequences::{self, Continuation};
use crate::local::{client, interrupts, lock_holders, messages, rights, spi, transaction};
use crate::order::{Changes, ForeignKeyCheck, JobSpec, Loaded, Mode as RowMode, Stage, TableSpec};
use crate::prepare::{self, Method, PlannedRow, Prepared, Request, VerifyRequest};
use crate::source::Framed;
use crate::stage::{self, RowSum, SwapTable};
use crate::verify::{self, Verdict};
use frames::Codec;
use pgrx::pg_sys;
use plan::{Schedule, pretty_bytes};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// The result of a pull for one target.
#[derive(Debug, Clone)]
pub struct PulledTable {
    pub schema: String,
    pub name: String,
    pub rows: u64,
    /// The bytes of the COPY stream.
    pub bytes: u64,
    /// From the first task of the table to its last.
    pub seconds: f64,
    /// What became of the rows, where those that were there stay.
    pub changes: Option<Changes>,
    /// What has arrived in frames, where rows came in frames.
    pub framed: Option<Framed>,
}

/// Plans a pull and describes what it would do with each target.
pub fn plan_pull(request: &Request) -> Result<Vec<PlannedRow>> {
    client::while_there(|| prepare::plan_pull(request, &refuse_circle_of_pulls))
}

/// Compares tables with those of the source. Like a pull, it waits on the source for nobody who waits for the caller.
pub fn verify(request: &VerifyRequest) -> Result<Vec<Verdict>> {
    prepare::verify(request, &refuse_circle_of_pulls)
}

/// Replaces the rows of all targets, in the caller's transaction.
pub fn pull(request: &Request) -> Result<Vec<PulledTable>> {
    client::while_there(|| pull_as(request, None))
}

/// Refuses a replacement of rows where the session or its settings forbid it.
pub(super) fn refuse_where_forbidden(function: &CStr) -> Result<()> {
    rights::refuse_protected()?;
    refuse_where_nothing_is_written(function)
}

/// Refuses a job where the session or its settings forbid it.
pub(super) fn refuse_where_nothing_is_written(function: &CStr) -> Result<()> {
    rights::refuse_restricted_operation()?;
    // SAFETY: raises when the transaction may not write, as every writing command does.
    unsafe {
        // First: transactions of a standby are read-only, too, which says less.
        pg_sys::PreventCommandDuringRecovery(function.as_ptr());
        pg_sys::PreventCommandIfReadOnly(function.as_ptr());
    }
    Ok(())
}

/// `job` is the number of a job that is recorded already.
pub(super) fn pull_as(request: &Request, job: Option<i64>) -> Result<Vec<PulledTable>> {
    let (started, called) = (Instant::now(), shared::now());
    messages::keep();
    refuse_where_forbidden(c"pgcopy.pull()")?;
    locks::keep_extension(Until::EndOfTransaction);
    let prepared = prepare::prepare(request, &refuse_circle_of_pulls)?;
    pull_prepared(&prepared, job, started, called)
}

/// Carries out a pull. `started` and `called` both tell when it was called.
pub(super) fn pull_prepared(
    prepared: &Prepared,
    job: Option<i64>,
    started: Instant,
    called: i64,
) -> Result<Vec<PulledTable>> {
    prepared.refuse_unasked_overwrite()?;
    prepared.notices.iter().for_each(|notice| caution(notice));
    prepared.left_out.iter().for_each(|table| warn(&table.warning()));
    if prepared.targets.is_empty() {
        // A database that moves need not have tables.
        caution("there is no table to pull");
        return Ok(Vec::new());
    }
    let job = job.map_or_else(history::next_job, Ok)?;
    let spec = prepared.job_spec(job)?;
    let in_place_checks = prepared.in_place_checks()?;
    let checked = spec.foreign_keys.len() + in_place_checks.len();
    let schedule = spec.schedule();
    let told = RefCell::new(vec![false; prepared.targets.len()]);
    let swap_times = Cell::new(None);
    let pull =
        Pull { prepared, spec: &spec, schedule: &schedule, in_place_checks, called, told, swap_times, watcher: None };
    let report = pull.run()?;
    let (rows, bytes) = report.iter().fold((0, 0), |(rows, bytes), table| (rows + table.rows, bytes + table.bytes));
    let seconds = started.elapsed().as_secs_f64();
    tell(&format!(
        "pulled {}, {rows} rows, {} in {seconds:.1} s ({:.0} rows/s); {}{}{}",
        count_of(report.len(), "table"),
        pretty_bytes(bytes),
        rows as f64 / seconds.max(0.001),
        if prepared.terms.mode.merges() {
            described_changes(&report)
        } else {
            format!("{} checked", count_of(checked, "foreign key"))
        },
        match prepared.trusted_keys.len() {
            0 => String::new(),
            trusted => format!(", {trusted} guaranteed by the source"),
        } + &match prepared.left_out.len() {
            0 => String::new(),
            count => format!("; {} left out", count_of(count, "table")),
        },
        described_compression(&report) + &pull.swap_times.get().map(described_swap).unwrap_or_default()
    ));

    Ok(report)
}

/// Replaces the rows of a table by those of files, and returns their number.
pub(super) fn exchange_for_files(prepared: &Prepared, job: i64, called: i64) -> Result<u64> {
    Ok(exchange(prepared, job, called, None)?.iter().map(|table| table.rows).sum())
}

/// Fills tables of the caller's transaction with rows that a script has for them. `watcher` is told of all that is loaded so far.
pub(super) fn fill_from_script(
    prepared: &Prepared,
    job: i64,
    called: i64,
    watcher: &dyn Fn(Loaded),
) -> Result<Vec<PulledTable>> {
    exchange(prepared, job, called, Some(watcher))
}

fn exchange(prepared: &Prepared, job: i64, called: i64, watcher: Option<&dyn Fn(Loaded)>) -> Result<Vec<PulledTable>> {
    let spec = prepared.job_spec(job)?;
    let schedule = spec.schedule();
    let told = RefCell::new(vec![false; prepared.targets.len()]);
    let in_place_checks = Vec::new();
    let swap_times = Cell::new(None);
    let pull = Pull { prepared, spec: &spec, schedule: &schedule, in_place_checks, called, told, swap_times, watcher };
    let report = pull.run()?;
    if prepared.terms.mode.merges() {
        tell(&described_changes(&report));
    }
    Ok(report)
}

/// Does all tasks in this session. `tell` is called after each.
pub(super) fn work_here(spec: &JobSpec, schedule: &Schedule, shared: Shared, tell: impl Fn()) -> Result<()> {
    let mut executor = Executor::new(spec, schedule, shared, true);
    loop {
        match shared.next_tasks(schedule, Taker::LeaderAlone) {
            Next::Tasks(tasks) => {
                executor.run(&tasks)?;
                shared.tasks_done(schedule, &tasks);
                shared.measure_rate();
                tell();
            }
            Next::AllDone => return Ok(()),
            Next::Wait | Next::Failed => return Err(shared.error().unwrap_or_else(ended_early)),
        }
        interrupts::check();
    }
}

/// Starts as many workers as there are free processes for, in the order of their numbers.
pub(super) fn start_workers(shared: Shared, segment: &Segment, workers: usize) -> Vec<Process> {
    let mut processes = Vec::with_capacity(workers);
    for worker in 1..=workers {
        let name = format!("pgcopy job {} worker {worker}", shared.job());
        match Process::start(&name, c"pgcopy_worker_main", segment.handle()) {
            Some(process) => processes.push(process),
            None => break,
        }
    }
    processes
}

/// Says how many bytes have travelled in frames, and with which codec, if there were frames.
fn described_compression(report: &[PulledTable]) -> String {
    let mut sum = Framed::default();
    report.iter().filter_map(|table| table.framed).for_each(|framed| sum += framed);
    let rows = sum.by_codec.iter().sum::<u64>();
    let (wire, codec) = (pretty_bytes(sum.wire_bytes), sum.codec());
    match (sum.wire_bytes, codec) {
        (0, _) | (_, Codec::None) => String::new(),
        _ => format!("; {} travelled as {wire}, with {}", pretty_bytes(rows), codec.name()),
    }
}

/// Tells how long a swap waited for readers, and how long they waited for it.
fn described_swap([waited, took]: [Duration; 2]) -> String {
    const WORTH_TELLING: Duration = Duration::from_millis(100);
    let waiting = match waited {
        waited if waited < WORTH_TELLING => String::new(),
        waited => format!(" after {:.1} s of waiting for readers", waited.as_secs_f64()),
    };
    format!("; swapped in {} ms{waiting}", took.as_millis())
}

/// Tells what became of rows in tables that keep theirs.
fn described_changes(report: &[PulledTable]) -> String {
    let sum = report.iter().filter_map(|table| table.changes).fold(Changes::default(), |sum, changes| Changes {
        inserted: sum.inserted + changes.inserted,
        updated: sum.updated + changes.updated,
        deleted: sum.deleted + changes.deleted,
        unchanged: sum.unchanged + changes.unchanged,
    });
    let Changes { inserted, updated, deleted, unchanged } = sum;
    format!("inserted {inserted}, updated {updated}, deleted {deleted}, unchanged {unchanged}")
}

fn count_of(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

pub(super) struct Pull<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) spec: &'a JobSpec,
    schedule: &'a Schedule,
    /// The checks of foreign keys that need the rows of targets that are loaded in place.
    pub(super) in_place_checks: Vec<ForeignKeyCheck>,
    /// Microseconds since PostgreSQL's epoch.
    called: i64,
    /// The tables that the caller was told of.
    told: RefCell<Vec<bool>>,
    /// How long the swap waited for readers, and how long they waited for it then.
    swap_times: Cell<Option<[Duration; 2]>>,
    /// The function that is told now and then of all that is loaded so far.
    watcher: Option<&'a dyn Fn(Loaded)>,
}

impl Pull<'_> {
    fn run(&self) -> Result<Vec<PulledTable>> {
        let tasks_of_workers = self.schedule.tasks.iter().filter(|task| !task.by_leader).count();
        let workers =
            if transaction::has_written_extension() { 0 } else { self.prepared.workers.min(tasks_of_workers) };
        let attended =
            with_steward(self.spec, self.schedule, workers, self.called, |shared, segment, steward, workers| {
                self.lead(shared, segment, steward, workers)
            })?;
        if let Some(report) = attended {
            return Ok(report);
        }
        if workers > 0 {
            caution("no background process is free: the pull runs in this session alone");
        }
        self.alone()
    }

    /// Does all the work in this session and this transaction, so that others learn of the job only when it is
    /// committed.
    fn alone(&self) -> Result<Vec<PulledTable>> {
        let shared = Shared::in_memory(self.spec, self.schedule, self.called);
        history::begin(self.spec, shared, None)?;
        shared.enter_phase(Phase::Locking);
        self.lock_targets()?;
        shared.enter_phase(Phase::Working);
        self.work_here(shared)?;
        let report = self.swap_in(shared, &shared.stages(self.spec), true)?;
        shared.note_messages(&messages::kept());
        history::finish(self.spec, shared, Outcome::Completed)?;
        Ok(report)
    }

    fn work_here(&self, shared: Shared) -> Result<()> {
        work_here(self.spec, self.schedule, shared, || self.tell_finished_tables(shared))
    }

    /// Starts the workers; without any the work is done here.
    fn lead(&self, shared: Shared, segment: &Segment, steward: &Process, workers: usize) -> Result<Vec<PulledTable>> {
        // Until the steward has begun, giving up is free.
        self.wait_until(shared, steward, &[], || shared.phase() >= Phase::Begun)?;
        shared.enter_phase(Phase::Locking);
        self.lock_targets()?;
        let processes = start_workers(shared, segment, workers);
        shared.enter_phase(Phase::Working);
        let works_alone = processes.is_empty();
        if processes.is_empty() {
            if workers > 0 {
                caution("no background process is free for a worker: this session does the work");
            }
            self.work_here(shared)?;
        } else {
            if processes.len() < workers {
                caution(&format!("only {} of {workers} workers could be started", processes.len()));
            }
            self.work_beside(shared, steward, &processes)?;
            self.wait_until(shared, steward, &processes, || shared.all_done())?;
            self.wait_until(shared, steward, &[], || {
                processes.iter().all(|process| process.status() == Status::Ended)
            })?;
        }
        let stages = shared.stages(self.spec);
        let report = self.swap_in(shared, &stages, works_alone)?;
        history::mark_swapped(self.spec.job)?;
        Ok(report)
    }

    /// Does what workers cannot do, while they do the rest.
    fn work_beside(&self, shared: Shared, steward: &Process, workers: &[Process]) -> Result<()> {
        let mut left = self.schedule.tasks.iter().filter(|task| task.by_leader).count();
        let mut executor = Executor::new(self.spec, self.schedule, shared, true);
        let next = Cell::new(None);
        while left > 0 {
            self.wait_until(shared, steward, workers, || {
                if let Next::Tasks(tasks) = shared.next_tasks(self.schedule, Taker::LeaderBesideWorkers) {
                    next.set(Some(tasks));
                    return true;
                }
                false
            })?;
            let tasks = next.take().unwrap_or_default();
            executor.run(&tasks)?;
            shared.tasks_done(self.schedule, &tasks);
            shared.measure_rate();
            left -= tasks.len();
        }
        Ok(())
    }

    /// With `verbose`, sends one NOTICE for each finished table.
    pub(super) fn tell_finished_tables(&self, shared: Shared) {
        if let Some(watcher) = self.watcher {
            watcher(shared.total());
        }
        if !self.prepared.terms.verbose {
            return;
        }
        let mut told = self.told.borrow_mut();
        for (position, (schema, name)) in self.spec.table_names().enumerate() {
            let progress = shared.table_progress(position);
            if told[position] || !progress.is_done {
                continue;
            }
            told[position] = true;
            let (count, all) = (told.iter().filter(|&&told| told).count(), told.len());
            tell(&format!(
                "{}: {} rows, {} in {:.1} s ({count} of {all})",
                plan::qualified(schema, name),
                progress.loaded.rows,
                pretty_bytes(progress.loaded.bytes),
                shared.table_seconds(position)
            ));
        }
    }

    /// Waits like the function of the same name, and tells of tables meanwhile.
    fn wait_until(
        &self,
        shared: Shared,
        steward: &Process,
        workers: &[Process],
        reached: impl Fn() -> bool,
    ) -> Result<()> {
        wait_until(shared, steward, workers, || {
            self.tell_finished_tables(shared);
            reached()
        })
    }

    /// Locks the targets, which lets readers through, and the tables tied to them, which writers cannot pass. The order
    /// is that of OIDs, so that two pulls follow each other.
    fn lock_targets(&self) -> Result<()> {
        let mut modes: BTreeMap<u32, Mode> =
            self.prepared.tied_tables().into_iter().map(|oid| (oid, Mode::ShareRowExclusive)).collect();
        modes.extend(self.prepared.targets_by(Method::Swap).map(|target| (target.local.oid, Mode::Exclusive)));
        // Readers and writers of a table that keeps its rows go on. Two merges that update rows of one would get into each
        // other's way; of those that only add rows, the later one waits where keys meet.
        let merging = match self.prepared.terms.mode {
            RowMode::Upsert | RowMode::Sync => Mode::ShareUpdateExclusive,
            RowMode::Append | RowMode::InsertMissing | RowMode::Replace => Mode::RowExclusive,
        };
        // Which triggers fire is a part of the definition.
        let merging = if self.prepared.terms.triggers { merging } else { Mode::ShareRowExclusive };
        modes.extend(self.prepared.merged_members()?.into_iter().map(|oid| (oid, merging)));
        // A table that is loaded in place can hide intermediate states from readers only by keeping them out.
        modes.extend(self.prepared.in_place_members.iter().map(|&oid| (oid, Mode::AccessExclusive)));
        if self.prepared.terms.wait {
            locks::lock_together(&modes.into_iter().collect::<Vec<_>>())?;
        } else {
            for (oid, mode) in modes {
                if !locks::try_lock_relation(oid, mode) {
                    return Err(lock_holders::locked_by_others(oid)?);
                }
            }
        }
        self.prepared.refuse_changed_definitions()?;
        // Another session may have been faster than the locks.
        self.prepared.refuse_unasked_overwrite()?;
        let taken_over = self.prepared.targets.iter().filter(|target| target.method != Method::Merge);
        taken_over.for_each(|target| stage::refuse_table_in_use(target.local.oid));
        Ok(())
    }

    /// `all_made_here` tells whether the leader has done all the work.
    fn swap_in(&self, shared: Shared, stages: &[Stage], all_made_here: bool) -> Result<Vec<PulledTable>> {
        self.refuse_differing(shared)?;
        if !self.prepared.terms.mode.merges() {
            shared.enter_phase(Phase::Swapping);
        }
        // The source's answers come first: nothing must wait for the network once readers wait.
        let values = self.prepared.read_sequence_values()?;
        if self.prepared.in_place_members.is_empty() {
            self.prepared.end_snapshot()?;
        }
        self.merge(shared, stages, all_made_here)?;
        let (filled, mut order): (Vec<usize>, Vec<usize>) = (0..stages.len())
            .filter(|&position| !self.spec.tables[position].merges)
            .partition(|&position| self.spec.tables[position].leader.fills_target);
        for position in filled {
            stage::finish_filled(self.spec.tables[position].target, shared.progress(position).rows);
        }
        order.sort_by_key(|&position| self.spec.tables[position].target);
        let tables: Vec<SwapTable<'_>> = order
            .iter()
            .map(|&position| SwapTable {
                table: &self.spec.tables[position],
                stage: &stages[position],
                rows: shared.progress(position).rows,
                is_made_here: all_made_here || self.spec.tables[position].leader.does_all,
            })
            .collect();
        stage::take_over_statistics(self.spec.job, tables.iter().map(|table| (table.table, table.stage)))?;
        // Writers wait already, and no other session needs the sequences.
        let continuations = self
            .prepared
            .sequences
            .iter()
            .zip(values)
            .map(|(pair, value)| (pair.local.oid, Continuation { value, never_back: pair.used_elsewhere }));
        sequences::continue_at(&continuations.collect())?;
        let begun = Instant::now();
        self.keep_readers_out(&order)?;
        // From here on readers wait.
        let alone = Instant::now();
        stage::swap(&tables)?;
        if !tables.is_empty() {
            self.swap_times.set(Some([alone - begun, alone.elapsed()]));
        }
        transaction::make_changes_visible();
        let mut loaded_in_place = self.load_in_place(shared)?;
        for view in &self.prepared.refreshed {
            spi::execute_in_session(&format!("REFRESH MATERIALIZED VIEW {view}"))?;
        }
        let mut report: Vec<PulledTable> = self
            .spec
            .tables
            .iter()
            .enumerate()
            .map(|(position, table)| {
                let loaded = shared.progress(position);
                PulledTable {
                    schema: table.schema.clone(),
                    name: table.name.clone(),
                    rows: loaded.rows,
                    bytes: loaded.bytes,
                    seconds: shared.table_seconds(position),
                    changes: shared.changes(position),
                    framed: shared.framed(position),
                }
            })
            .collect();
        report.append(&mut loaded_in_place);
        report.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        Ok(report)
    }

    /// The rows that were stored must be those that the source's snapshot holds, if that was to be looked at.
    fn refuse_differing(&self, shared: Shared) -> Result<()> {
        let told = |(position, table): (usize, &TableSpec)| {
            table.digest.as_ref()?;
            let (beyond, sent) = (shared.sum_beyond(position), shared.progress(position).rows as i64);
            let stored = RowSum { rows: sent - beyond.rows, sum: -beyond.sum };
            let difference = verify::difference(RowSum { rows: sent, sum: 0 }, stored)?;
            Some(format!("{}: {difference}", table.qualified_name()))
        };
        let lines: Vec<String> = self.spec.tables.iter().enumerate().filter_map(told).collect();
        if lines.is_empty() { Ok(()) } else { Err(verify::differing(lines)) }
    }

    fn keep_readers_out(&self, order: &[usize]) -> Result<()> {
        let targets: Vec<u32> = order.iter().map(|&position| self.spec.tables[position].target).collect();
        let longest = [crate::local::parameters::swap_timeout(), locks::lock_timeout()].into_iter().flatten().min();
        match locks::lock_in_short_tries(&targets, longest)? {
            None => Ok(()),
            Some(relation) => Err(lock_holders::kept_by_readers(relation)?),
        }
    }
}
