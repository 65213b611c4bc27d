//! The session that called `pull`: all that it does is in the caller's own transaction.

use super::control::refuse_circle_of_pulls;
use super::enforcement::Suspended;
use super::executor::Executor;
use super::history::{self, Outcome};
use super::processes::{self, Process, Status};
use super::quota;
use super::shared::{self, Next, Phase, Segment, Shared};
use crate::error::{Error, Result, tell, telling};
use crate::load;
use crate::local::identity::{Role, role_name, run_as};
use crate::local::locks::{self, Mode, Until};
use crate::local::sequences::{self, Continuation};
use crate::local::{catalog, interrupts, lock_holders, rights, settings, spi, transaction};
use crate::order::{ForeignKeyCheck, JobSpec, Loaded, Stage, group_foreign_keys};
use crate::prepare::{self, From, Method, PlannedTable, Prepared, Request};
use crate::stage::{self, Storage, SwapTable};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::{Schedule, pretty_bytes};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// What a pull did with one target.
#[derive(Debug, Clone)]
pub struct PulledTable {
    pub schema: String,
    pub name: String,
    pub rows: u64,
    /// Of the COPY stream.
    pub bytes: u64,
    /// From the first task of the table to its last.
    pub seconds: f64,
}

/// Plans a pull and describes what it would do with each target.
pub fn plan_pull(request: &Request) -> Result<Vec<PlannedTable>> {
    prepare::plan_pull(request, &refuse_circle_of_pulls)
}

/// Replaces the rows of all targets, in the caller's transaction.
pub fn pull(request: &Request) -> Result<Vec<PulledTable>> {
    pull_as(request, None)
}

/// What forbids every replacement of rows here and now.
pub(super) fn refuse_where_forbidden(function: &CStr) -> Result<()> {
    rights::refuse_protected()?;
    refuse_where_nothing_is_written(function)
}

/// What forbids every job here and now.
pub(super) fn refuse_where_nothing_is_written(function: &CStr) -> Result<()> {
    rights::refuse_restricted_operation()?;
    // SAFETY: raises when the transaction may not write, as every writing command does.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(function.as_ptr());
        pg_sys::PreventCommandDuringRecovery(function.as_ptr());
    }
    Ok(())
}

/// `job` is the number of a job that is written down already.
pub(super) fn pull_as(request: &Request, job: Option<i64>) -> Result<Vec<PulledTable>> {
    let (started, called) = (Instant::now(), shared::now());
    refuse_where_forbidden(c"pgcopy.pull()")?;
    locks::keep_extension(Until::EndOfTransaction);
    let prepared = prepare::prepare(request, &refuse_circle_of_pulls)?;
    prepared.refuse_unasked_overwrite()?;
    prepared.notices.iter().for_each(|notice| tell(notice));
    if prepared.targets.is_empty() {
        pgrx::notice!("there is no table to pull");
        return Ok(Vec::new());
    }
    let job = job.map_or_else(history::next_job, Ok)?;
    let spec = prepared.job_spec(job)?;
    let in_place_checks = prepared.in_place_checks()?;
    let checked = spec.foreign_keys.len() + in_place_checks.len();
    let schedule = spec.schedule();
    let told = RefCell::new(vec![false; prepared.targets.len()]);
    let pull = Pull {
        prepared: &prepared,
        spec: &spec,
        schedule: &schedule,
        in_place_checks,
        called,
        locked_here: None,
        told,
    };
    let report = pull.run()?;
    let (rows, bytes) = report.iter().fold((0, 0), |(rows, bytes), table| (rows + table.rows, bytes + table.bytes));
    let seconds = started.elapsed().as_secs_f64();
    tell(&format!(
        "pulled {}, {rows} rows, {} in {seconds:.1} s ({:.0} rows/s); {} checked{}",
        count_of(report.len(), "table"),
        pretty_bytes(bytes),
        rows as f64 / seconds.max(0.001),
        count_of(checked, "foreign key"),
        match prepared.trusted_keys.len() {
            0 => String::new(),
            trusted => format!(", {trusted} guaranteed by the source"),
        }
    ));
    Ok(report)
}

/// Puts the rows of files into the place of a table's own, and returns their number. `locked_here` is the table if the
/// load itself has locked it, and nothing else in this transaction.
pub(super) fn exchange_for_files(prepared: &Prepared, job: i64, called: i64, locked_here: Option<u32>) -> Result<u64> {
    let spec = prepared.job_spec(job)?;
    let schedule = spec.schedule();
    let told = RefCell::new(vec![false; prepared.targets.len()]);
    let in_place_checks = Vec::new();
    let pull = Pull { prepared, spec: &spec, schedule: &schedule, in_place_checks, called, locked_here, told };
    let report = pull.run()?;
    Ok(report.iter().map(|table| table.rows).sum())
}

/// Loads the one table of a job in this session, as it stands. `load` is given what it must tell of its progress.
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

/// Does a job that its steward sees to: it is known, however it ends. `workers` are wanted, and `lead` is told how many
/// there may be. `None` when there is no background process to have, or none that could see the extension; nothing has
/// happened then.
fn with_steward<T>(
    spec: &JobSpec,
    schedule: &Schedule,
    workers: usize,
    called: i64,
    lead: impl FnOnce(Shared, &Segment, &Process, usize) -> Result<T>,
) -> Result<Option<T>> {
    // It would not find the extension.
    if transaction::has_written_extension() {
        return Ok(None);
    }
    let Some(workers) = quota::take_for_processes(workers)? else {
        tell(&format!(
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
    let shared = Shared::initialize(segment.address(), spec, &json, schedule, workers, called);
    locks::lead_lock_group();
    abandon_when_unmapped(&segment);
    let name = format!("pgcopy job {} steward", spec.job);
    let Some(steward) = Process::start(&name, c"pgcopy_steward_main", segment.handle()) else {
        segment.detach();
        return Ok(None);
    };
    let result = telling(|error| shared.note_error(error), || lead(shared, &segment, &steward, workers))?;
    shared.enter_phase(Phase::Swapped);
    segment.detach();
    Ok(Some(result))
}

/// Waits for the other processes; their error, or their end, is this session's error.
fn wait_until(shared: Shared, steward: &Process, workers: &[Process], reached: impl Fn() -> bool) -> Result<()> {
    loop {
        if shared.has_failed() {
            workers.iter().for_each(Process::terminate);
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

fn count_of(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

struct Pull<'a> {
    prepared: &'a Prepared,
    spec: &'a JobSpec,
    schedule: &'a Schedule,
    /// Of foreign keys that need the rows of the targets that are loaded in place.
    in_place_checks: Vec<ForeignKeyCheck>,
    /// Microseconds since PostgreSQL's epoch.
    called: i64,
    /// A target that only this call has locked so far. Workers get past that lock, as members of this session's group.
    locked_here: Option<u32>,
    /// Which tables the caller was told of.
    told: RefCell<Vec<bool>>,
}

impl Pull<'_> {
    fn run(&self) -> Result<Vec<PulledTable>> {
        let tied = self.prepared.tied_tables();
        let involved: Vec<u32> =
            self.prepared.targets.iter().map(|target| target.local.oid).chain(tied.iter().copied()).collect();
        // Other processes neither see what this transaction did to a table, nor get past its locks.
        let is_new = self.spec.tables.iter().all(|table| table.new_table.is_some());
        let touched = |&oid: &u32| self.locked_here != Some(oid) && locks::is_written_or_locked_here(oid);
        let touched_here = !is_new && involved.iter().any(touched);
        let works_here = touched_here || self.spec.works_in_session || transaction::has_written_extension();
        let workers = if works_here || self.spec.tables.is_empty() {
            0
        } else {
            self.prepared.workers.min(self.schedule.tasks.len())
        };
        let attended =
            with_steward(self.spec, self.schedule, workers, self.called, |shared, segment, steward, workers| {
                self.lead(shared, segment, steward, workers)
            })?;
        if let Some(report) = attended {
            return Ok(report);
        }
        if workers > 0 {
            pgrx::notice!("no background process is free: the pull runs in this session alone");
        }
        self.alone()
    }

    /// All in this session and this transaction, so that others learn of the job only when it is committed.
    fn alone(&self) -> Result<Vec<PulledTable>> {
        let shared = Shared::in_memory(self.spec, self.schedule, self.called);
        history::begin(self.spec, shared, None)?;
        shared.enter_phase(Phase::Locking);
        self.lock_targets()?;
        shared.enter_phase(Phase::Working);
        self.work_here(shared)?;
        let report = self.swap_in(shared, &shared.stages(self.spec), Storage::MadeHere)?;
        history::finish(self.spec, shared, Outcome::Completed)?;
        Ok(report)
    }

    fn work_here(&self, shared: Shared) -> Result<()> {
        let mut executor = Executor::new(self.spec, self.schedule, shared, true);
        loop {
            match shared.next_tasks(self.schedule, 0) {
                Next::Tasks(tasks) => {
                    executor.run(&tasks)?;
                    shared.tasks_done(self.schedule, &tasks);
                    shared.measure_rate();
                    self.tell_finished_tables(shared);
                }
                Next::AllDone => return Ok(()),
                Next::Wait | Next::Failed => {
                    return Err(shared.error().unwrap_or_else(ended_early));
                }
            }
            interrupts::check();
        }
    }

    /// Without workers the work is done here.
    fn lead(&self, shared: Shared, segment: &Segment, steward: &Process, workers: usize) -> Result<Vec<PulledTable>> {
        // Until the steward has begun, giving up is free.
        self.wait_until(shared, steward, &[], || shared.phase() >= Phase::Begun)?;
        shared.enter_phase(Phase::Locking);
        self.lock_targets()?;
        let processes = self.start_workers(shared, segment, workers);
        shared.enter_phase(Phase::Working);
        let mut storage = Storage::MadeBefore;
        if processes.is_empty() {
            if workers > 0 {
                pgrx::notice!("no background process is free for a worker: this session does the work");
            }
            self.work_here(shared)?;
            storage = Storage::MadeHere;
        } else {
            if processes.len() < workers {
                pgrx::notice!("only {} of {workers} workers could be started", processes.len());
            }
            self.wait_until(shared, steward, &processes, || shared.all_done())?;
            self.wait_until(shared, steward, &[], || {
                processes.iter().all(|process| process.status() == Status::Ended)
            })?;
        }
        let stages = shared.stages(self.spec);
        let report = self.swap_in(shared, &stages, storage)?;
        history::mark_swapped(self.spec.job)?;
        Ok(report)
    }

    /// With `verbose`, one NOTICE for each table.
    fn tell_finished_tables(&self, shared: Shared) {
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

    fn start_workers(&self, shared: Shared, segment: &Segment, workers: usize) -> Vec<Process> {
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

    /// As the function of the same name, and tells of tables meanwhile.
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

    /// Targets let readers through, tied tables nobody who writes. In OID order, so that two pulls follow each other.
    fn lock_targets(&self) -> Result<()> {
        let mut modes: BTreeMap<u32, Mode> =
            self.prepared.tied_tables().into_iter().map(|oid| (oid, Mode::ShareRowExclusive)).collect();
        modes.extend(self.prepared.targets_by(Method::Swap).map(|target| (target.local.oid, Mode::Exclusive)));
        // What is loaded in place shows its readers nothing in between only by keeping them out.
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
        // Somebody may have been quicker than the locks.
        self.prepared.refuse_unasked_overwrite()?;
        self.prepared.targets.iter().for_each(|target| stage::refuse_table_in_use(target.local.oid));
        Ok(())
    }

    fn swap_in(&self, shared: Shared, stages: &[Stage], storage: Storage) -> Result<Vec<PulledTable>> {
        shared.enter_phase(Phase::Swapping);
        // The source's answers come first: nothing must wait for the network once readers wait.
        let values = self.prepared.read_sequence_values()?;
        if self.prepared.in_place_members.is_empty() {
            self.prepared.end_snapshot()?;
        }
        let mut order: Vec<usize> = (0..stages.len()).collect();
        order.sort_by_key(|&position| self.spec.tables[position].target);
        let tables: Vec<SwapTable<'_>> = order
            .iter()
            .map(|&position| SwapTable {
                table: &self.spec.tables[position],
                stage: &stages[position],
                rows: shared.progress(position).rows,
            })
            .collect();
        stage::take_over_statistics(self.spec.job, tables.iter().map(|table| (table.table, table.stage)))?;
        // Writers wait already, and nobody else has a use for them.
        let continuations = self
            .prepared
            .sequences
            .iter()
            .zip(values)
            .map(|(pair, value)| (pair.local.oid, Continuation { value, never_back: pair.used_elsewhere }));
        sequences::continue_at(&continuations.collect())?;
        // From here on readers wait.
        self.keep_readers_out(&order)?;
        stage::swap(&tables, storage)?;
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
                }
            })
            .collect();
        report.append(&mut loaded_in_place);
        report.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        Ok(report)
    }

    fn keep_readers_out(&self, order: &[usize]) -> Result<()> {
        let targets: Vec<u32> = order.iter().map(|&position| self.spec.tables[position].target).collect();
        let longest = [crate::local::parameters::swap_timeout(), locks::lock_timeout()].into_iter().flatten().min();
        match locks::lock_in_short_tries(&targets, longest)? {
            None => Ok(()),
            Some(relation) => Err(lock_holders::kept_by_readers(relation)?),
        }
    }

    /// Replaces the rows of the targets whose storage cannot be exchanged.
    ///
    /// Triggers do not fire, those of foreign keys included: the keys are checked when all rows are there.
    fn load_in_place(&self, shared: Shared) -> Result<Vec<PulledTable>> {
        let From::Server(side) = &self.prepared.from else { return Ok(Vec::new()) };
        let pairs = self.prepared.targets.iter().zip(&side.counterparts);
        let pairs: Vec<_> = pairs.filter(|(target, _)| target.method == Method::InPlace).collect();
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        shared.enter_phase(Phase::InPlace);
        settings::with_catalog_settings(|| {
            // Code of the owners must not run while other tables' triggers and foreign keys are off.
            settings::set_local(c"session_replication_role", "origin")?;
            let suspended = Suspended::in_tables(&self.prepared.in_place_members)?;
            // Restricted code cannot leave checks for the end of the transaction.
            let deferred = catalog::read_deferred_keys(&self.prepared.in_place_members)?;
            set_constraints(&deferred, "IMMEDIATE")?;
            for root in self.prepared.published_roots() {
                truncate_as_owner(root)?;
            }
            let mut report = Vec::with_capacity(pairs.len());
            for (position, (target, counterpart)) in (self.spec.tables.len()..).zip(pairs) {
                let name = target.spec.qualified_name();
                shared.table_begins(position);
                // Expressions of indexes and constraints are the owner's code.
                let loaded = run_as(Role::TableOwner(target.spec.owner), || {
                    spi::execute(&format!("TRUNCATE {name}"))?;
                    settings::read_values_alike()?;
                    load::load_in_place(&side.session, &counterpart.table, &target.spec, move |bytes| {
                        shared.add_progress(position, None, Loaded { rows: 0, bytes });
                        shared.measure_rate();
                    })
                })?;
                shared.add_progress(position, None, Loaded { rows: loaded.rows, bytes: 0 });
                transaction::make_changes_visible();
                spi::execute(&format!("ANALYZE {name}"))?;
                shared.table_done(position);
                self.tell_finished_tables(shared);
                report.push(PulledTable {
                    schema: target.spec.schema.clone(),
                    name: target.spec.name.clone(),
                    rows: loaded.rows,
                    bytes: loaded.bytes,
                    seconds: shared.table_seconds(position),
                });
            }
            set_constraints(&deferred, "DEFERRED")?;
            suspended.resume()?;
            self.check_keys_in_place()?;
            side.session.rollback()?;
            Ok(report)
        })
    }

    fn check_keys_in_place(&self) -> Result<()> {
        let memory = self.spec.maintenance_memory as usize * 1024;
        for group in group_foreign_keys(&self.in_place_checks) {
            let checks: Vec<&ForeignKeyCheck> = group.iter().map(|&position| &self.in_place_checks[position]).collect();
            // All targets have their new rows.
            settings::scoped(|| stage::check_foreign_keys(&checks, |_| None, memory))?;
        }
        Ok(())
    }
}

fn set_constraints(names: &[String], when: &str) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    spi::execute(&format!("SET CONSTRAINTS {} {when}", names.join(", ")))
}

/// Triggers of the table are its owner's code; whether the table may be emptied is up to the caller.
fn truncate_as_owner(table: &str) -> Result<()> {
    let truncate = format!("TRUNCATE {table}");
    let owner = spi::query_text(&format!(
        "SELECT c.relowner::text FROM pg_class c WHERE c.oid = {}::regclass AND has_table_privilege(c.oid, 'TRUNCATE')",
        plan::quote_literal(table)
    ))?;
    match owner.and_then(|owner| owner.parse().ok()) {
        Some(owner) => run_as(Role::TableOwner(owner), || spi::execute(&truncate)),
        None => spi::execute(&truncate),
    }
}

fn ended_early() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, "a background process of the pull ended early")
        .detail("All targets keep their old rows.")
        .hint("The server's log may tell why.")
}

/// However this session gives the pull up, the other processes learn of it when its mapping ends.
fn abandon_when_unmapped(segment: &Segment) {
    // SAFETY: the segment is mapped; the callback runs before it is unmapped.
    unsafe { pg_sys::on_dsm_detach(segment.as_ptr(), Some(leader_unmaps), pg_sys::Datum::from(segment.address())) }
}

#[pg_guard]
unsafe extern "C-unwind" fn leader_unmaps(_segment: *mut pg_sys::dsm_segment, address: pg_sys::Datum) {
    let shared = Shared::attached(address.cast_mut_ptr());
    if shared.phase() < Phase::Swapped {
        // SAFETY: reads a backend-local variable.
        let (code, message) = if unsafe { pg_sys::proc_exit_inprogress } {
            (PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, "the calling session was terminated")
        } else {
            (PgSqlErrorCode::ERRCODE_QUERY_CANCELED, "the calling session gave the pull up")
        };
        // Unless the reason is known.
        shared.fail(&Error::new(code, message));
        shared.worker_pids().into_iter().for_each(processes::terminate);
    }
}
