use super::history;
use super::processes;
use super::shared::Shared;
use crate::error::{Error, Result, sqlstate_class};
use crate::load::{self, LoadHelper, OpenFiles};
use crate::local::identity::{Role, run_as, with_definitions_kept};
use crate::local::progress::{CopyReport, IndexReport};
use crate::local::{encoding, interrupts, settings, transaction};
use crate::order::{
    FilesSpec, Input, JobSpec, Loaded, ScriptRows, ServerInput, Stage, TableSpec, stage_index_name, stage_name,
};
use crate::source::{self, RunningCopies, Session};
use crate::stage;
use crate::storage::visibility_map;
use crate::verify;
use pgrx::PgSqlErrorCode;
use plan::{Schedule, TaskKind};
use std::rc::Rc;
use std::time::Duration;

/// Carries out tasks. A worker has an executor in its own transactions, a leader that works alone has one in the
/// caller's transaction: the code is the same.
pub(super) struct Executor<'a> {
    pub(super) spec: &'a JobSpec,
    pub(super) schedule: &'a Schedule,
    pub(super) shared: Shared,
    /// For each table, the number of indexes of the tables before it.
    first_indexes: Vec<usize>,
    /// Set where the stage tables are of the leader's own transaction.
    works_in_leader: bool,
    /// The session on the source, opened with the first task that reads from it.
    source: Option<Rc<Session>>,
    open_files: OpenFiles,
}

impl<'a> Executor<'a> {
    pub(super) fn new(spec: &'a JobSpec, schedule: &'a Schedule, shared: Shared, works_in_leader: bool) -> Self {
        let first_indexes = spec
            .tables
            .iter()
            .scan(0, |next, table| {
                let first = *next;
                *next += table.indexes.len();
                Some(first)
            })
            .collect();
        Self { spec, schedule, shared, first_indexes, works_in_leader, source: None, open_files: OpenFiles::default() }
    }

    /// Runs tasks that were taken together. The transaction must be given up when one fails.
    pub(super) fn run(&mut self, tasks: &[usize]) -> Result<()> {
        with_definitions_kept(|| self.run_each(tasks))
    }

    fn run_each(&mut self, tasks: &[usize]) -> Result<()> {
        let loads: Vec<Load> = tasks
            .iter()
            .filter_map(|&task| match self.schedule.tasks[task].kind {
                TaskKind::Load { table, part } => Some(Load { task, table, part }),
                _ => None,
            })
            .collect();
        match &self.spec.input {
            Input::Server(_) if loads.is_empty() => {}
            Input::Server(server) => self.copy(server, &loads)?,
            Input::Local(_) => {}
            Input::Script(_) => {}
            Input::ScriptRows(rows) => {
                for load in loads {
                    self.begin(load.task);
                    self.load_script_rows(rows, load)?;
                    self.end(load.task);
                }
            }
            Input::Files(files) => {
                for load in loads {
                    self.begin(load.task);
                    self.load_files(files, load)?;
                    self.end(load.task);
                }
            }
        }
        for &task in tasks {
            let kind = self.schedule.tasks[task].kind;
            if matches!(kind, TaskKind::Load { .. }) {
                continue;
            }
            self.begin(task);
            match kind {
                TaskKind::Load { .. } => {}
                TaskKind::Create { table } => self.create(table)?,
                TaskKind::BuildIndex { table, index } => self.build_index(table, index)?,
                TaskKind::CheckForeignKeys { group } => self.check_foreign_keys(group)?,
                TaskKind::Analyze { table, slice } => self.analyze(table, slice)?,
                TaskKind::Verify { table, part } => self.verify(table, part)?,
                TaskKind::CheckLocal { check, .. } => self.check_local(task, check)?,
            }
            self.end(task);
        }
        Ok(())
    }

    fn begin(&self, task: usize) {
        interrupts::check();
        self.shared.task_begins(task, self.schedule.tasks[task].kind);
    }

    fn end(&self, task: usize) {
        self.shared.task_ends(task, self.schedule.tasks[task].kind);
        transaction::make_changes_visible();
    }

    /// Asks the source for the rows of all loads at once and stores them one load after the other.
    fn copy(&mut self, server: &ServerInput, loads: &[Load]) -> Result<()> {
        let session = self.connect(server)?;
        let copies: Vec<_> = loads
            .iter()
            .map(|load| {
                let source = &server.tables[load.table];
                load::copy_of(source, &self.spec.tables[load.table], load.part)
            })
            .collect();
        let mut copies = source::start_copies(&session, &copies)?;
        let mut stored = Vec::with_capacity(loads.len());
        for (stream, load) in loads.iter().enumerate() {
            self.begin(load.task);
            stored.push(self.load(server, &mut copies, load)?.rows);
            if let Some(framed) = copies.framed(stream) {
                self.shared.note_framed(load.table, framed);
            }
            self.end(load.task);
        }
        for (sent, stored) in copies.finish()?.into_iter().zip(stored) {
            load::refuse_lost_rows(sent, stored)?;
        }
        Ok(())
    }

    fn create(&self, table: usize) -> Result<()> {
        let spec = &self.spec.tables[table];
        if spec.leader.fills_target {
            let indexes = spec.indexes.iter().map(|index| index.oid).collect();
            self.shared.set_stage(table, self.first_indexes[table], &Stage { heap: spec.target, indexes });
            return Ok(());
        }
        let stage = run_as(Role::TableOwner(spec.owner), || stage::create(self.spec.job, spec))
            .map_err(|error| self.with_user_names(error, table))?;
        self.shared.set_stage(table, self.first_indexes[table], &stage);
        Ok(())
    }

    fn stage(&self, table: usize) -> Stage {
        self.shared.stage(table, self.first_indexes[table], self.spec.tables[table].indexes.len())
    }

    fn load(&self, server: &ServerInput, copies: &mut RunningCopies, load: &Load) -> Result<Loaded> {
        let &Load { task, table, part } = load;
        let source = &server.tables[table];
        let spec = &self.spec.tables[table];
        let stage = self.stage(table).heap;
        let report = CopyReport::begin(spec.target);
        // Input functions, CHECK constraints and generated columns are the table owner's code.
        let loaded = run_as(Role::TableOwner(spec.owner), || {
            settings::use_catalog_search_path()?;
            settings::read_values_alike()?;
            let helper =
                Helper { shared: self.shared, task, table, stage, makes_toast_here: self.works_in_leader, report };
            let loaded = load::load_part(copies, source, spec, part, stage, &helper);
            helper.report.end();
            loaded
        });
        loaded.map_err(|error| self.with_user_names(error, table))
    }

    /// Loads parts from files.
    fn load_files(&mut self, files: &FilesSpec, load: Load) -> Result<()> {
        let Load { task, table, part } = load;
        let (spec, stage) = (&self.spec.tables[table], self.stage(table).heap);
        let report = CopyReport::of_files(spec.target, files.part_bytes(part));
        let open_files = &mut self.open_files;
        let (shared, makes_toast_here) = (self.shared, self.works_in_leader);
        let loaded = run_as(Role::TableOwner(spec.owner), || {
            settings::set_local(c"search_path", "pg_catalog, pg_temp")?;
            files.settings.adopt();
            let helper = Helper { shared, task, table, stage, makes_toast_here, report };
            let loaded = load::load_row_groups(files, part, open_files, spec, stage, &helper);
            helper.report.end();
            loaded
        });
        loaded.map(|_| ()).map_err(|error| self.with_user_names(error, table))
    }

    /// Loads a part of the rows that a script has for a table.
    fn load_script_rows(&self, rows: &ScriptRows, load: Load) -> Result<()> {
        let Load { task, table, part } = load;
        let (spec, stage) = (&self.spec.tables[table], self.stage(table).heap);
        let report = CopyReport::of_files(spec.target, rows.tables[table].part_bytes(part));
        let loaded = run_as(Role::TableOwner(spec.owner), || {
            settings::set_local(c"search_path", "pg_catalog, pg_temp")?;
            self.spec.settings.adopt();
            let helper =
                Helper { shared: self.shared, task, table, stage, makes_toast_here: self.works_in_leader, report };
            let loaded = load::load_script_rows(rows, table, part, spec, stage, &helper);
            helper.report.end();
            loaded
        });
        loaded.map(|_| ()).map_err(|error| self.with_user_names(error, table))
    }

    fn connect(&mut self, server: &ServerInput) -> Result<Rc<Session>> {
        if let Some(session) = &self.source {
            return Ok(Rc::clone(session));
        }
        let mut session = Session::open(&server.origin)?;
        session.set_copy_encoding(&encoding::database_name())?;
        session.join_snapshot(&server.snapshot)?;
        Ok(Rc::clone(self.source.insert(Rc::new(session))))
    }

    fn build_index(&self, table: usize, index: usize) -> Result<()> {
        let spec = &self.spec.tables[table];
        let mut stage = self.stage(table);
        settings::scoped(|| {
            let share = self.spec.maintenance_memory / self.shared.index_builders(self.schedule) as i64;
            settings::set_local(c"maintenance_work_mem", &share.max(LEAST_MEMORY).to_string())?;
            crate::error::catch(|| {
                if stage.indexes[index] == 0 {
                    // Workers could not make it.
                    let job = self.spec.job;
                    stage.indexes[index] =
                        run_as(Role::TableOwner(spec.owner), || stage::create_own_index(job, stage.heap, spec, index))?;
                    self.shared.set_stage_index(self.first_indexes[table] + index, stage.indexes[index]);
                    transaction::make_changes_visible();
                }
                let report = IndexReport::begin(spec.target, spec.indexes[index].oid, stage.indexes[index]);
                if spec.leader.fills_target {
                    stage::fill_index(stage.heap, spec.owner, stage.indexes[index])?;
                } else {
                    stage::build_index(stage.heap, spec.owner, stage.indexes[index])?;
                }
                report.end();
                Ok(())
            })
        })
        .map_err(|error| self.with_user_names(error, table))
        .map_err(|error| match &sqlstate_class(error.sqlstate) {
            // The message names the index alone.
            b"23" if spec.merges => error
                .detail(format!("Table {}: rows of the source have the same key.", spec.qualified_name()))
                .hint("Leave rows out with where in tables, or name another unique index there as the key."),
            b"22" | b"23" => error.detail(format!("Table {}.", spec.qualified_name())),
            _ => error,
        })
    }

    fn check_foreign_keys(&self, group: usize) -> Result<()> {
        let stage_of = |target| {
            let position = self.spec.tables.iter().position(|table| table.target == target)?;
            Some(self.stage(position).heap)
        };
        let checks: Vec<_> =
            self.spec.foreign_key_groups[group].iter().map(|&key| &self.spec.foreign_keys[key]).collect();
        stage::check_foreign_keys(&checks, stage_of, self.spec.maintenance_memory as usize * 1024)
    }

    /// Both sides add up at the same time.
    fn verify(&mut self, table: usize, part: usize) -> Result<()> {
        let spec = &self.spec.tables[table];
        let (Input::Server(server), Some(digest)) = (&self.spec.input, &spec.digest) else {
            return Err(Error::internal("a comparison without a source"));
        };
        let session = self.connect(server)?;
        session.end_queries_with_client();
        let source = &server.tables[table];
        let rows = source.rows_as_from_names_them(Some(part), &spec.columns);
        let running = verify::start_sum(&session, &rows, digest)?;
        let stored = stage::digest(self.stage(table).heap, spec.owner, digest, part, source.parts.len())?;
        self.shared.note_sums(table, verify::finish_sum(&session, running, source.chosen.is_some())?, stored);
        Ok(())
    }

    /// What is found is recorded with the job, by the transaction that the check is part of.
    fn check_local(&self, task: usize, check: usize) -> Result<()> {
        let Input::Local(local) = &self.spec.input else {
            return Err(Error::internal("a check of a job without checks"));
        };
        let check = &local.checks[check];
        let table = &self.spec.tables[check.table];
        let workers = i64::try_from(self.shared.worker_pids().len().max(1)).unwrap_or(1);
        let memory = (self.spec.maintenance_memory / workers).max(LEAST_MEMORY);
        let checked = verify::check(local, table, check, memory)?;
        let bytes = u64::from(check.pages) * u64::from(pgrx::pg_sys::BLCKSZ);
        self.shared.add_progress(check.table, Some(task), Loaded { rows: checked.rows, bytes });
        history::note_findings(self.spec.job, table, &checked.findings)
    }

    fn analyze(&self, table: usize, slice: usize) -> Result<()> {
        crate::error::catch(|| {
            let (spec, stage) = (&self.spec.tables[table], self.stage(table).heap);
            if self.spec.own_storage {
                visibility_map::write(stage);
            }
            if spec.new_table.is_some() && spec.leader.analyzes {
                let indexes = self.stage(table).indexes;
                run_as(Role::TableOwner(spec.owner), || {
                    stage::take_statistics_targets(self.spec.job, stage, spec, &indexes)
                })?;
            }
            let columns: Vec<&str> = spec.analyzed_columns(slice).iter().map(|column| column.name.as_str()).collect();
            stage::analyze(stage, spec.owner, &columns)
        })
        .map_err(|error| self.with_user_names(error, table))
    }

    /// Replaces the names of stage tables and their indexes in an error by those of the target.
    fn with_user_names(&self, error: Error, table: usize) -> Error {
        let spec = &self.spec.tables[table];
        let error = spec
            .indexes
            .iter()
            .fold(error, |error, index| error.rename(&stage_index_name(self.spec.job, index.oid), &index.name));
        let error = error.rename(&stage_name(self.spec.job, spec.target), &spec.name).of_table_instead_of(
            "pgcopy_stage",
            &spec.schema,
            &spec.name,
        );
        if error.sqlstate == PgSqlErrorCode::ERRCODE_DISK_FULL as i32 {
            // The message names a file, which is gone when somebody looks for it.
            return error.of_table(&spec.schema, &spec.name).detail(format!("Table {}.", spec.qualified_name()));
        }
        error
    }
}

/// The load of one part of a table, by positions.
#[derive(Clone, Copy)]
struct Load {
    task: usize,
    table: usize,
    part: usize,
}

/// The job's services for a load.
struct Helper {
    shared: Shared,
    task: usize,
    table: usize,
    stage: u32,
    makes_toast_here: bool,
    report: CopyReport,
}

impl LoadHelper for Helper {
    fn add_progress(&self, loaded: Loaded) {
        if self.makes_toast_here && self.shared.has_failed() {
            // Workers are interrupted, the leader is not.
            self.shared.error().unwrap_or_else(super::attended::ended_early).raise();
        }
        self.shared.add_progress(self.table, Some(self.task), loaded);
        self.report.add(loaded.rows, loaded.bytes);
    }

    /// Has the steward make the TOAST table, in a transaction that has ended before a row is stored there: a crash
    /// leaves no file that is missing from the catalogs.
    fn make_toast_table(&self, table: &TableSpec) -> Result<()> {
        if self.makes_toast_here {
            return stage::give_toast_table(self.stage, table);
        }
        while !self.shared.ask_for_toast(self.table) {
            processes::wait(SHORT_WAIT);
        }
        while self.shared.toast_wanted() == Some(self.table) {
            if self.shared.has_failed() {
                return Err(self.shared.error().unwrap_or_else(|| Error::internal("the job has failed")));
            }
            processes::wait(SHORT_WAIT);
        }
        transaction::accept_changes_of_others();
        Ok(())
    }
}

/// The least value of the setting, in kilobytes.
const LEAST_MEMORY: i64 = 1024;

/// The time between two looks, long enough to cost nothing; the process that is waited for wakes the waiter.
const SHORT_WAIT: Duration = Duration::from_millis(100);
