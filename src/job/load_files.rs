//! Loads of files into a table: carries out the prepared order.

use super::attended;
use super::leader::{self, exchange_for_files};
use super::{history, shared};
use crate::error::{Error, Result, tell};
use crate::load::{self, Filter, OpenFiles};
use crate::local::catalog::{self, Generated};
use crate::local::identity::{self, run_as};
use crate::local::locks::{self, Mode as LockMode, Until};
use crate::local::progress::CopyReport;
use crate::local::{client, messages, names, settings, spi, transaction};
use crate::order::{FilesSpec, InPlaceTable, Input, JobSpec, Loaded, Mode, TableSpec};
use crate::parquet::CopyFrom;
use crate::parquet::parquet_file::FileOutline;
use crate::prepare::load::arguments::{parse_on_invalid_text, parse_on_lossy};
use crate::prepare::load::found::{PARTS_PER_WORKER, divide};
use crate::prepare::load::mapping::{self, ColumnList, Matching};
use crate::prepare::load::target::{
    self, LockedTarget, TargetTable, exchangeable, lock_target, refuse_foreign_partitions, refuse_unasked_overwrite,
    table_spec, target_name, tell_of_rows_that_stay,
};
use crate::prepare::load::{Arguments, FoundFiles, LoadRequest};
use crate::prepare::{OwnState, Prepared, Terms};
use pgrx::prelude::*;
use plan::catalog::Relation;
use std::ffi::CStr;
use std::time::Instant;

/// The result of loading one file.
#[derive(Debug, Clone)]
pub struct LoadedFile {
    pub target: String,
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// Refuses a load where the session or its settings forbid it.
pub(super) fn refuse_where_forbidden(request: &LoadRequest, function: &CStr) -> Result<()> {
    match request.mode()? {
        Mode::Append => leader::refuse_where_nothing_is_written(function),
        Mode::Replace | Mode::InsertMissing | Mode::Upsert | Mode::Sync => leader::refuse_where_forbidden(function),
    }
}

/// Loads files into a table, in the caller's transaction.
pub fn load_parquet(request: &LoadRequest) -> Result<Vec<LoadedFile>> {
    client::while_there(|| load_as(request, None))
}

/// `job` is the number of a job that is recorded already.
pub(super) fn load_as(request: &LoadRequest, job: Option<i64>) -> Result<Vec<LoadedFile>> {
    let (started, called) = (Instant::now(), shared::now());
    messages::keep();
    let has_written = transaction::has_written();
    let arguments = Arguments::of(request)?;
    refuse_where_forbidden(request, c"pgcopy.load_parquet()")?;
    locks::keep_extension(Until::EndOfTransaction);
    let mut found = FoundFiles::find(&request.paths, request.server.as_deref())?;
    let (schema, name) = target_name(request, &found.data_files)?;
    let target = lock_target(&schema, &name, request, &arguments, &found)?;
    let LockedTarget { table, pairs, .. } = &target;
    let files = found.spec(pairs, arguments.on_lossy, arguments.on_invalid_text);
    let spec = table_spec(table, pairs);
    let qualified = plan::qualified(&table.schema, &table.name);
    if arguments.mode.loses_rows() {
        refuse_unasked_overwrite(request, table, &qualified)?;
    } else if !target.is_new && arguments.mode == Mode::Append {
        tell_of_rows_that_stay(table, &qualified)?;
    }
    let load = Load { job: job.map_or_else(history::next_job, Ok)?, called, has_written, request, target: &target };
    let swapped = if arguments.mode.needs_key() { None } else { exchangeable(table, arguments.mode, pairs)? };
    let rows = match swapped {
        _ if arguments.mode.needs_key() => load.merge(spec, files, &found.outlines, &arguments)?,
        Some(local) => load.exchange(local, spec, files, &found.outlines, &arguments)?,
        None => {
            if arguments.mode == Mode::Replace {
                truncate(table, &qualified)?;
            } else if target.locked_by_load == Some(LockMode::Exclusive) {
                // Another session has filled the table meanwhile: other writers need not wait for an addition to it.
                locks::weaken(table.oid, LockMode::Exclusive, LockMode::RowExclusive);
            }
            load.insert(&spec, files, &mut found.open)?
        }
    };
    // Not before: a load that fails leaves no table.
    if target.is_new {
        tell(&format!("created table {qualified}"));
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(found
        .data_files
        .into_iter()
        .zip(rows)
        .map(|(file, rows)| LoadedFile { target: qualified.clone(), file: file.name, rows, bytes: file.bytes, seconds })
        .collect())
}

/// Empties the table, which is locked already, as TRUNCATE does it, triggers included.
fn truncate(table: &TargetTable, qualified: &str) -> Result<()> {
    as_code_of(table.owner, || spi::execute_in_session(&plan::truncate(qualified, table.is_partitioned())))?;
    // The schema of a locked table can still be renamed, and another take its name.
    if names::relation_in(&table.schema, &table.name)? == Some(table.oid) && locks::is_held_exclusively(table.oid) {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, format!("table {qualified} was renamed meanwhile")))
}

/// Carries out a COPY FROM and returns the number of its rows.
pub fn copy_from(request: CopyFrom) -> Result<u64> {
    let on_lossy = parse_on_lossy(request.on_lossy.as_deref().unwrap_or("error"))?;
    let on_invalid_text = parse_on_invalid_text(request.on_invalid_text.as_deref().unwrap_or("error"))?;
    let mut found = FoundFiles::find(&request.paths, request.server.as_deref())?;
    let mut table =
        target::read_table(request.relation)?.ok_or_else(|| Error::internal("a locked table is not there"))?;
    if let Some(names) = &request.columns {
        let listed = |name: &String| table.columns.iter().find(|column| column.name == *name).cloned();
        table.columns = names.iter().filter_map(listed).collect();
    }
    let list = if request.columns.is_some() { ColumnList::Given } else { ColumnList::None };
    let matching = Matching { by_position: request.match_by_position, copy: Some(list), ..Matching::default() };
    let mut pairs = mapping::match_columns(&found.outlines, &found.data_files, &table.columns, &matching)?;
    pairs.sort_by_key(|(column, _)| column.number);
    let files = found.spec(&pairs, on_lossy, on_invalid_text);
    let filter = request.where_clause.map(Filter::of);
    let rows = insert(&files, &mut found.open, &table_spec(&table, &pairs), filter, &|_| ())?;
    Ok(rows.iter().sum())
}

/// Runs work that may call triggers, defaults and other code of a table.
fn as_code_of<T>(owner: u32, work: impl FnOnce() -> T) -> T {
    match identity::code_of_table(owner) {
        Some(role) => run_as(role, work),
        None => work(),
    }
}

/// Adds the rows as COPY FROM does, in this session, and reports progress like it.
fn insert(
    files: &FilesSpec,
    open: &mut OpenFiles,
    table: &TableSpec,
    filter: Option<Filter>,
    on_progress: &dyn Fn(Loaded),
) -> Result<Vec<u64>> {
    let report = CopyReport::of_files(table.target, files.bytes());
    let rows = load::insert_row_groups(files, open, table, filter, &|loaded| {
        report.add(loaded.rows, loaded.bytes);
        on_progress(loaded);
    })?;
    report.end();
    Ok(rows)
}

/// A load whose files and table are known.
struct Load<'a> {
    job: i64,
    /// Microseconds since PostgreSQL's epoch.
    called: i64,
    /// Whether the caller's transaction had written anything when it called.
    has_written: bool,
    request: &'a LoadRequest,
    target: &'a LockedTarget,
}

impl Load<'_> {
    /// Adds the rows to the table as it stands. Returns the rows of each file.
    fn insert(&self, spec: &TableSpec, files: FilesSpec, open: &mut OpenFiles) -> Result<Vec<u64>> {
        let in_place = InPlaceTable {
            schema: self.target.table.schema.clone(),
            name: self.target.table.name.clone(),
            pages: pages_of(files.bytes()),
        };
        let arguments = self.request.described();
        let job = JobSpec::of_session(self.job, Input::Files(files.clone()), in_place, arguments);
        if identity::code_of_table(spec.owner).is_some() {
            refuse_foreign_partitions(&self.target.table)?;
        }
        attended::work_in_session(&job, self.called, |on_progress| {
            as_code_of(spec.owner, || insert(&files, open, spec, None, on_progress))
        })
    }

    /// Loads into a stage table, with workers where there are some, and exchanges storage. Returns the rows of each file.
    fn exchange(
        &self,
        local: Relation,
        mut spec: TableSpec,
        mut files: FilesSpec,
        outlines: &[FileOutline],
        arguments: &Arguments,
    ) -> Result<Vec<u64>> {
        let table = &self.target.table;
        files.parts = divide(&files.parts, arguments.workers.max(1) * PARTS_PER_WORKER);
        spec.pages = pages_of(files.bytes() * GROWTH);
        spec.expects_long_rows = files.parts.len() > 1;
        let filled: Vec<i16> = spec.columns.iter().map(|column| column.number).collect();
        let others = table.columns.iter().filter(|column| {
            !column.generated && (!filled.contains(&column.number) || files.partial.contains(&column.number))
        });
        spec.defaults = others
            .filter_map(|column| {
                let expression = catalog::column_default(table.oid, column.number)?;
                Some(Generated { number: column.number, expression })
            })
            .collect();
        let rows_by_file: Vec<u64> = outlines.iter().map(FileOutline::rows).collect();
        let terms = Terms {
            overwrite: self.request.overwrite && arguments.mode == Mode::Replace,
            mode: Mode::Replace,
            ..self.terms(arguments)
        };
        let prepared = Prepared::for_files(local, spec, files, terms, arguments.workers, self.own_state(), None)?;
        let stored = exchange_for_files(&prepared, self.job, self.called)?;
        load::refuse_lost_rows(rows_by_file.iter().sum(), stored)?;
        Ok(rows_by_file)
    }

    /// Loads into a stage table, with workers where there are some, and merges its rows into those that are there. Returns the
    /// rows of each file.
    fn merge(
        &self,
        mut spec: TableSpec,
        mut files: FilesSpec,
        outlines: &[FileOutline],
        arguments: &Arguments,
    ) -> Result<Vec<u64>> {
        let table = &self.target.table;
        let qualified = plan::qualified(&table.schema, &table.name);
        let refuse = |column: &str, reason: &str| {
            let text =
                format!("cannot merge into column {} of table {qualified}: {reason}", plan::quote_identifier(column));
            Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, text).hint(
                "Leave the column out with skip, or load the files into another table and merge its rows by hand.",
            ))
        };
        for (column, _) in &self.target.pairs {
            if files.partial.contains(&column.number) {
                return refuse(&column.name, "not all of the files have it");
            }
            if load::Target::of(column.type_oid.into(), column.typmod).looks_up_names() {
                return refuse(&column.name, "its values are names, which workers do not look up");
            }
        }
        files.parts = divide(&files.parts, arguments.workers.max(1) * PARTS_PER_WORKER);
        spec.pages = pages_of(files.bytes() * GROWTH);
        spec.expects_long_rows = files.parts.len() > 1;
        let local = settings::with_catalog_settings(|| catalog::read_relation(table.oid))?
            .ok_or_else(|| Error::internal("a locked table is not there"))?;
        let rows_by_file: Vec<u64> = outlines.iter().map(FileOutline::rows).collect();
        let key = self.request.key.clone();
        let own = self.own_state();
        let prepared = Prepared::for_files(local, spec, files, self.terms(arguments), arguments.workers, own, key)?;
        let stored = exchange_for_files(&prepared, self.job, self.called)?;
        load::refuse_lost_rows(rows_by_file.iter().sum(), stored)?;
        Ok(rows_by_file)
    }

    fn terms(&self, arguments: &Arguments) -> Terms {
        Terms {
            overwrite: self.request.overwrite,
            wait: true,
            verbose: false,
            call_to_overwrite: "SELECT * FROM pgcopy.load_parquet(…, overwrite => true);".to_owned(),
            arguments: self.request.described(),
            mode: arguments.mode,
            triggers: true,
        }
    }

    fn own_state(&self) -> OwnState {
        OwnState { has_written: self.has_written, changed_here: self.target.locked_by_load.is_none() }
    }
}

/// Rows are wider in the heap than in a file.
const GROWTH: u64 = 3;

fn pages_of(bytes: u64) -> u32 {
    u32::try_from(bytes / u64::from(pgrx::pg_sys::BLCKSZ)).unwrap_or(u32::MAX)
}
