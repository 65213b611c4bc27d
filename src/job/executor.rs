use super::shared::Shared;
use super::spec::JobSpec;
use crate::error::{Error, Result};
use crate::load;
use crate::local::identity::{Role, run_as};
use crate::local::settings;
use crate::source::Session;
use crate::stage::{self, Stage};
use plan::{Schedule, TaskKind};

/// Carries out tasks. A worker has one in its own transactions, a leader that works alone has one in the caller's:
/// the code is the same.
pub(super) struct Executor<'a> {
    pub(super) spec: &'a JobSpec,
    pub(super) schedule: &'a Schedule,
    pub(super) shared: Shared,
    pub(super) stages: Vec<Stage>,
    /// Opened with the first task that reads from the source.
    source: Option<Session>,
}

impl<'a> Executor<'a> {
    pub(super) fn new(spec: &'a JobSpec, schedule: &'a Schedule, shared: Shared) -> Self {
        Self { spec, schedule, shared, stages: shared.stages(spec), source: None }
    }

    /// Runs one task. The transaction must be given up when it fails.
    pub(super) fn run(&mut self, task: usize) -> Result<()> {
        match self.schedule.tasks[task].kind {
            TaskKind::Load { table, part } => self.load(table, part),
            TaskKind::BuildIndex { table, index } => self.build_index(table, index),
            TaskKind::CheckForeignKeys { group } => self.check_foreign_keys(group),
            TaskKind::Analyze { table } => self.analyze(table),
        }
    }

    fn load(&mut self, table: usize, part: usize) -> Result<()> {
        self.connect()?;
        let session = self.source.as_ref().ok_or_else(|| Error::internal("the source is not connected"))?;
        let spec = &self.spec.tables[table];
        let shared = self.shared;
        let stage = self.stages[table].heap;
        // Input functions, CHECK constraints and generated columns are the table owner's code.
        let loaded = run_as(Role::TableOwner(spec.owner), || {
            settings::set_local(c"search_path", "pg_catalog, pg_temp")?;
            settings::set_local(c"datestyle", "ISO, YMD")?;
            settings::set_local(c"intervalstyle", "postgres")?;
            settings::set_local(c"timezone", "UTC")?;
            load::load_part(session, spec, spec.parts[part], stage, &|loaded| shared.add_progress(table, loaded))
        });
        loaded.map(drop).map_err(|error| self.with_user_names(error, table))
    }

    fn connect(&mut self) -> Result<()> {
        if self.source.is_none() {
            let session = Session::open(&self.spec.source, self.spec.trust())?;
            session.execute(&format!(
                "SET client_encoding = {}",
                plan::quote_literal(&crate::compat::database_encoding_name())
            ))?;
            session.join_snapshot(&self.spec.snapshot)?;
            self.source = Some(session);
        }
        Ok(())
    }

    fn build_index(&self, table: usize, index: usize) -> Result<()> {
        let spec = &self.spec.tables[table];
        let stage = &self.stages[table];
        settings::scoped(|| {
            settings::set_local(c"maintenance_work_mem", &self.spec.maintenance_memory.to_string())?;
            crate::error::catch(|| stage::build_index(stage.heap, spec.owner, stage.indexes[index]))
        })
        .map_err(|error| self.with_user_names(error, table))
    }

    fn check_foreign_keys(&self, group: usize) -> Result<()> {
        settings::scoped(|| self.check_foreign_keys_with_settings(group))
    }

    fn check_foreign_keys_with_settings(&self, group: usize) -> Result<()> {
        settings::set_local(c"work_mem", &self.spec.maintenance_memory.to_string())?;
        // Every row must be looked at; without statistics yet the planner might think that there are few.
        settings::set_local(c"enable_nestloop", "off")?;
        settings::set_local(c"jit", "off")?;
        let stage_of = |target| {
            let position = self.spec.tables.iter().position(|table| table.target == target)?;
            Some(self.stages[position].heap)
        };
        let checks: Vec<_> =
            self.spec.foreign_key_groups[group].iter().map(|&key| &self.spec.foreign_keys[key]).collect();
        stage::check_foreign_keys(&checks, stage_of, self.spec.maintenance_memory as usize * 1024)
    }

    fn analyze(&self, table: usize) -> Result<()> {
        crate::error::catch(|| {
            stage::write_visibility_map(self.stages[table].heap);
            stage::analyze(self.spec.job, self.spec.tables[table].target)
        })
        .map_err(|error| self.with_user_names(error, table))
    }

    /// An error speaks of the target and its indexes, not of what stands in for them.
    fn with_user_names(&self, error: Error, table: usize) -> Error {
        let spec = &self.spec.tables[table];
        let error = spec.indexes.iter().fold(error, |error, index| {
            error.rename(&JobSpec::stage_index_name(self.spec.job, index.oid), &index.name)
        });
        error.rename(&JobSpec::stage_name(self.spec.job, spec.target), &spec.name)
    }
}
