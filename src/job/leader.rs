//! The session that called `pull`: all that it does is in the caller's own transaction.

use super::executor::Executor;
use super::history::{self, Outcome};
use super::prepare::{self, Method, Prepared, pretty_bytes};
use super::processes::{self, Process, Status};
use super::shared::{Next, Phase, Segment, Shared};
use super::spec::JobSpec;
use crate::error::{Error, Result};
use crate::load;
use crate::local::locks::{self, Mode};
use crate::local::{interrupts, sequences, settings, spi, transaction};
use crate::source;
use crate::stage::{self, Stage, Storage, SwapTable};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::Schedule;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use super::prepare::Request;

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

/// What a pull would do with one target.
#[derive(Debug, Clone)]
pub struct PlannedTable {
    pub schema: String,
    pub name: String,
    /// The planner's estimate; `None` for a table that was never analyzed.
    pub source_rows: Option<i64>,
    pub source_bytes: i64,
    pub local_bytes: i64,
    pub method: &'static str,
    pub wire: &'static str,
    pub parts: usize,
    pub indexes: usize,
    pub foreign_keys: usize,
    pub warnings: Vec<String>,
}

/// A table of the source.
#[derive(Debug, Clone)]
pub struct ListedTable {
    pub schema: String,
    pub name: String,
    pub kind: &'static str,
    pub rows: Option<i64>,
    pub bytes: i64,
}

/// The source's tables; `exact` counts their rows.
pub fn list_source(source: &str, schema: Option<&str>, exact: bool) -> Result<Vec<ListedTable>> {
    let (_, _, session) = prepare::connect(source)?;
    let relations: Vec<_> = source::read_relations(&session)?
        .into_iter()
        .filter(|relation| relation.is_table() && schema.is_none_or(|schema| relation.schema == schema))
        .collect();
    let counts = if exact { source::count_rows(&session, &relations)? } else { Vec::new() };
    Ok(relations
        .into_iter()
        .enumerate()
        .map(|(position, relation)| ListedTable {
            rows: counts.get(position).copied().or_else(|| estimate(relation.tuples)),
            kind: relation.kind_name(),
            bytes: relation.bytes,
            schema: relation.schema,
            name: relation.name,
        })
        .collect())
}

/// Servers before 14 say 0 for "unknown" too; what is never analyzed says -1 since then.
fn estimate(tuples: f64) -> Option<i64> {
    (tuples >= 0.0).then_some(tuples as i64)
}

pub fn plan_pull(request: &Request) -> Result<Vec<PlannedTable>> {
    let prepared = prepare::prepare(request)?;
    tell(&prepared.notices);
    Ok(prepared
        .targets
        .iter()
        .map(|target| PlannedTable {
            schema: target.local.schema.clone(),
            name: target.local.name.clone(),
            source_rows: estimate(target.source.tuples),
            source_bytes: target.source.bytes,
            local_bytes: target.local.bytes,
            method: target.method.name(),
            wire: target.spec.wire.name(),
            parts: target.spec.parts.len(),
            indexes: target.spec.indexes.len(),
            foreign_keys: prepared
                .foreign_keys
                .iter()
                .filter(|key| [key.referencing, key.referenced].contains(&target.local.oid))
                .count(),
            warnings: target.warnings.clone(),
        })
        .collect())
}

/// Replaces the rows of all targets, in the caller's transaction.
pub fn pull(request: &Request) -> Result<Vec<PulledTable>> {
    let started = Instant::now();
    if crate::settings::is_protected() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "pgcopy.protected is on: this database's rows are not to be replaced",
        )
        .hint("A superuser can change the setting of the database or the role."));
    }
    refuse_read_only()?;
    let prepared = prepare::prepare(request)?;
    prepared.refuse_unasked_overwrite(request)?;
    tell(&prepared.notices);
    if prepared.targets.is_empty() {
        pgrx::notice!("there is no table to pull");
        return Ok(Vec::new());
    }
    let job = history::next_job()?;
    let spec = prepared.job_spec(job)?;
    let schedule = spec.schedule();
    let report = Pull { prepared: &prepared, spec: &spec, schedule: &schedule }.run()?;
    let (rows, bytes) = report.iter().fold((0, 0), |(rows, bytes), table| (rows + table.rows, bytes + table.bytes));
    let seconds = started.elapsed().as_secs_f64();
    pgrx::notice!(
        "pulled {}, {rows} rows, {} in {seconds:.1} s ({:.0} rows/s); {} checked{}",
        count_of(report.len(), "table"),
        pretty_bytes(bytes),
        rows as f64 / seconds.max(0.001),
        count_of(spec.foreign_keys.len() + prepared.replaced_keys.len(), "foreign key"),
        match prepared.trusted_keys.len() {
            0 => String::new(),
            trusted => format!(", {trusted} guaranteed by the source"),
        }
    );
    Ok(report)
}

fn count_of(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn tell(notices: &[String]) {
    for notice in notices {
        pgrx::notice!("{notice}");
    }
}

fn refuse_read_only() -> Result<()> {
    // SAFETY: raises when the transaction may not write, as every writing command does.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"pgcopy.pull()".as_ptr());
        pg_sys::PreventCommandDuringRecovery(c"pgcopy.pull()".as_ptr());
    }
    Ok(())
}

struct Pull<'a> {
    prepared: &'a Prepared,
    spec: &'a JobSpec,
    schedule: &'a Schedule,
}

impl Pull<'_> {
    fn run(&self) -> Result<Vec<PulledTable>> {
        if self.spec.tables.is_empty() {
            return self.alone();
        }
        let tied = self.prepared.tied_tables();
        let involved: Vec<u32> =
            self.prepared.targets.iter().map(|target| target.local.oid).chain(tied.iter().copied()).collect();
        // Other processes neither see what this transaction did to a table, nor get past its locks.
        let touched_here = involved.iter().any(|&oid| locks::is_written_or_locked_here(oid));
        if self.prepared.workers > 0 && !touched_here {
            if let Some(report) = self.with_workers()? {
                return Ok(report);
            }
            pgrx::notice!("no background process is free: the pull runs in this session alone");
        }
        self.alone()
    }

    /// All in this session and this transaction.
    fn alone(&self) -> Result<Vec<PulledTable>> {
        let shared = Shared::in_memory(self.spec, self.schedule);
        history::begin(self.spec, processes::my_pid(), shared.leader_xid())?;
        self.lock_targets()?;
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
                    shared.tasks_done(&tasks);
                }
                Next::AllDone => return Ok(()),
                Next::Wait | Next::Failed => {
                    return Err(shared.error().unwrap_or_else(ended_early));
                }
            }
            interrupts::check();
        }
    }

    /// `None` when the server has no background process to give; nothing has happened then.
    fn with_workers(&self) -> Result<Option<Vec<PulledTable>>> {
        let workers = self.prepared.workers.min(self.schedule.tasks.len()).max(1);
        let json = serde_json::to_vec(self.spec).map_err(|error| Error::internal(error.to_string()))?;
        let bytes = Shared::bytes(self.spec, &json, self.schedule, workers);
        let Some(segment) = Segment::create(bytes) else {
            return Ok(None);
        };
        let shared = Shared::initialize(segment.address(), self.spec, &json, self.schedule, workers);
        locks::lead_lock_group();
        abandon_when_unmapped(&segment);
        let name = format!("pgcopy job {} steward", self.spec.job);
        let Some(steward) = Process::start(&name, c"pgcopy_steward_main", segment.handle()) else {
            segment.detach();
            return Ok(None);
        };
        // Until the steward has begun, giving up is free.
        self.wait_until(shared, &steward, &[], || shared.phase() >= Phase::Begun)?;
        self.lock_targets()?;
        let processes = self.start_workers(shared, &segment, workers);
        shared.enter_phase(Phase::Working);
        let mut storage = Storage::MadeBefore;
        if processes.is_empty() {
            pgrx::notice!("no background process is free for a worker: this session does the work");
            self.work_here(shared)?;
            storage = Storage::MadeHere;
        } else {
            if processes.len() < workers {
                pgrx::notice!("only {} of {workers} workers could be started", processes.len());
            }
            self.wait_until(shared, &steward, &processes, || shared.all_done())?;
            self.wait_until(shared, &steward, &[], || {
                processes.iter().all(|process| process.status() == Status::Ended)
            })?;
        }
        let stages = shared.stages(self.spec);
        let report = self.swap_in(shared, &stages, storage)?;
        history::mark_swapped(self.spec.job)?;
        shared.enter_phase(Phase::Swapped);
        segment.detach();
        Ok(Some(report))
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

    /// Waits for the other processes; their error, or their end, is this session's error.
    fn wait_until(
        &self,
        shared: Shared,
        steward: &Process,
        workers: &[Process],
        reached: impl Fn() -> bool,
    ) -> Result<()> {
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

    /// Targets let readers through, tied tables nobody who writes. In OID order, so that two pulls do not deadlock.
    fn lock_targets(&self) -> Result<()> {
        let mut modes: BTreeMap<u32, Mode> =
            self.prepared.tied_tables().into_iter().map(|oid| (oid, Mode::ShareRowExclusive)).collect();
        modes.extend(self.prepared.targets_by(Method::Swap).map(|target| (target.local.oid, Mode::Exclusive)));
        // What is loaded in place shows its readers nothing in between only by keeping them out.
        modes.extend(self.prepared.in_place_members.iter().map(|&oid| (oid, Mode::AccessExclusive)));
        for key in &self.prepared.replaced_keys {
            for oid in [key.referencing, key.referenced] {
                modes.entry(oid).or_insert(Mode::AccessExclusive);
            }
        }
        for (oid, mode) in modes {
            locks::lock_relation(oid, mode);
        }
        self.prepared.refuse_changed_definitions()?;
        self.prepared.targets.iter().for_each(|target| stage::refuse_table_in_use(target.local.oid));
        Ok(())
    }

    fn swap_in(&self, shared: Shared, stages: &[Stage], storage: Storage) -> Result<Vec<PulledTable>> {
        // The source's answers come first: nothing must wait for the network once readers wait.
        let names: Vec<String> = self.prepared.sequences.iter().map(|pair| pair.source.clone()).collect();
        let values = source::read_sequence_values(&self.prepared.session, &names)?;
        if self.prepared.in_place_members.is_empty() {
            self.prepared.session.rollback()?;
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
        stage::take_over_statistics(&tables);
        // From here on readers wait.
        for &position in &order {
            locks::lock_relation(self.spec.tables[position].target, Mode::AccessExclusive);
        }
        stage::swap(&tables, storage)?;
        transaction::make_changes_visible();
        let mut loaded_in_place = self.load_in_place()?;
        for (pair, value) in self.prepared.sequences.iter().zip(values) {
            sequences::continue_at(&plan::qualified(&pair.local.schema, &pair.local.name), value)?;
        }
        let seconds = shared.table_seconds(self.schedule);
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
                    seconds: seconds[position],
                }
            })
            .collect();
        report.append(&mut loaded_in_place);
        report.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        Ok(report)
    }

    /// Replaces the rows of the targets whose storage cannot be exchanged.
    ///
    /// Foreign keys there are dropped, because TRUNCATE does not go with them, and come back as they were, validated.
    fn load_in_place(&self) -> Result<Vec<PulledTable>> {
        let targets: Vec<_> = self.prepared.targets_by(Method::InPlace).collect();
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let session = &self.prepared.session;
        session.execute(&format!(
            "SET client_encoding = {}",
            plan::quote_literal(&crate::compat::database_encoding_name())
        ))?;
        settings::with_catalog_search_path(|| {
            // Triggers and rules of the targets do not fire.
            settings::set_local(c"session_replication_role", "replica")?;
            for key in &self.prepared.replaced_keys {
                let name = plan::quote_identifier(&key.name);
                spi::execute(&format!("ALTER TABLE {} DROP CONSTRAINT {name}", key.table))?;
            }
            let mut report = Vec::with_capacity(targets.len());
            for target in targets {
                let started = Instant::now();
                let name = target.spec.qualified_name();
                spi::execute(&format!("TRUNCATE {name}"))?;
                let loaded = load::load_in_place(session, &target.spec)?;
                transaction::make_changes_visible();
                spi::execute(&format!("ANALYZE {name}"))?;
                report.push(PulledTable {
                    schema: target.spec.schema.clone(),
                    name: target.spec.name.clone(),
                    rows: loaded.rows,
                    bytes: loaded.bytes,
                    seconds: started.elapsed().as_secs_f64(),
                });
            }
            settings::set_local(c"session_replication_role", "origin")?;
            for key in &self.prepared.replaced_keys {
                let name = plan::quote_identifier(&key.name);
                spi::execute(&format!("ALTER TABLE {} ADD CONSTRAINT {name} {}", key.table, key.definition))?;
                if let Some(comment) = &key.comment {
                    let comment = plan::quote_literal(comment);
                    spi::execute(&format!("COMMENT ON CONSTRAINT {name} ON {} IS {comment}", key.table))?;
                }
            }
            session.rollback()?;
            Ok(report)
        })
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
        // Unless another process has failed first.
        shared.fail(&Error::new(
            PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
            "the calling session gave the pull up: it was cancelled, failed or ended",
        ));
        shared.worker_pids().into_iter().for_each(processes::terminate);
    }
}
