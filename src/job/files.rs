//! Files into a table: which files, which table, which way.

use super::leader::{self, Request, exchange_for_files};
use super::prepare::{self, Prepared};
use super::spec::{InPlaceTable, JobSpec, NewColumn, NewTable, TableSpec};
use super::{history, shared};
use crate::error::{Error, Result, tell};
use crate::load::{self, Filter, Loaded, OnInvalidText, OnLossy, OpenFiles, Target};
use crate::local::catalog::{self, Generated};
use crate::local::copy_statement::WhereClause;
use crate::local::identity::{self, run_as};
use crate::local::locks::{self, Until};
use crate::local::progress::CopyReport;
use crate::local::settings::{self, ValueSettings};
use crate::local::{files as rights, names, rights as owners, rows, spi, transaction};
use crate::parquet::file::{FileOutline, ParquetFile};
use crate::parquet::files::DataFile;
use crate::parquet::plan::{self as mapping, ColumnList, FilesSpec, Matching, RowGroup, TargetColumn};
use crate::parquet::store::Store;
use pgrx::prelude::*;
use plan::catalog::Relation;
use plan::{ColumnPair, Part, Wire, quote_literal};
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::time::Instant;

/// The arguments of a load, as given. Paths may hold signatures.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoadRequest {
    pub paths: Vec<String>,
    pub target: Option<String>,
    pub mode: Option<String>,
    pub create: String,
    pub match_by: String,
    /// Pairs of a column of the target and one of the files.
    pub columns: Vec<(String, String)>,
    pub skip: Vec<String>,
    pub overwrite: bool,
    pub parallel: Option<i32>,
    pub on_lossy: String,
    pub on_invalid_text: String,
    pub server: Option<String>,
}

/// What came of one file.
#[derive(Debug, Clone)]
pub struct LoadedFile {
    pub target: String,
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// A table as files go into it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TargetTable {
    oid: u32,
    schema: String,
    name: String,
    kind: char,
    owner: u32,
    is_owner: bool,
    tablespace: u32,
    access_method: u32,
    columns: Vec<TargetColumn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Append,
    Replace,
}

impl LoadRequest {
    fn mode(&self) -> Result<Mode> {
        match self.mode.as_deref() {
            None | Some("append") => Ok(Mode::Append),
            Some("replace") => Ok(Mode::Replace),
            Some(other) => Err(not_among("mode", other, "append and replace")),
        }
    }

    fn matching(&self) -> Result<Matching> {
        let by_position = match self.match_by.as_str() {
            "name" => false,
            "position" => true,
            other => return Err(not_among("match_by", other, "name and position")),
        };
        if by_position && !self.columns.is_empty() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                "columns pairs names, which match_by => 'position' does not look at",
            ));
        }
        let map =
            self.columns.iter().map(|(target, file)| (mapping::clipped(target).to_owned(), file.clone())).collect();
        Ok(Matching { by_position, map, skip: self.skip.clone(), copy: None })
    }

    fn may_create(&self) -> Result<bool> {
        match self.create.as_str() {
            "if_missing" => Ok(true),
            "never" => Ok(false),
            other => Err(not_among("create_table", other, "if_missing and never")),
        }
    }
}

/// What `on_lossy` may be.
pub fn parse_on_lossy(text: &str) -> Result<OnLossy> {
    match text {
        "error" => Ok(OnLossy::Error),
        "truncate" => Ok(OnLossy::Truncate),
        other => Err(not_among("on_lossy", other, "error and truncate")),
    }
}

/// What `on_invalid_text` may be.
fn parse_on_invalid_text(text: &str) -> Result<OnInvalidText> {
    match text {
        "error" => Ok(OnInvalidText::Error),
        "replace" => Ok(OnInvalidText::Replace),
        other => Err(not_among("on_invalid_text", other, "error and replace")),
    }
}

fn not_among(parameter: &str, value: &str, known: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{parameter}\": \"{value}\""),
    )
    .hint(format!("Available values: {known}."))
}

/// Files that were found and looked at.
struct FoundFiles {
    store: Store,
    data_files: Vec<DataFile>,
    outlines: Vec<FileOutline>,
    /// Still open for who reads them here.
    open: OpenFiles,
}

impl FoundFiles {
    fn find(paths: &[String], server: Option<&str>) -> Result<Self> {
        let store = Store::resolve(paths, server)?;
        let data_files = store.find(paths)?;
        let mut outlines: Vec<FileOutline> = Vec::with_capacity(data_files.len());
        let mut open = OpenFiles::default();
        for (position, data_file) in data_files.iter().enumerate() {
            let file = ParquetFile::open(&data_file.name, store.open(data_file)?)?;
            outlines.push(file.outline(outlines.last()));
            open.keep(position, file);
        }
        Ok(Self { store, data_files, outlines, open })
    }

    /// One part for each file.
    fn spec(
        &self,
        pairs: &[(TargetColumn, mapping::ColumnSource)],
        on_lossy: OnLossy,
        on_invalid_text: OnInvalidText,
    ) -> FilesSpec {
        let row_groups = |(file, outline): (usize, &FileOutline)| {
            let groups = outline.row_groups.iter().enumerate();
            groups.map(|(number, group)| RowGroup { file, number, bytes: group.bytes }).collect()
        };
        FilesSpec {
            store: self.store.clone(),
            files: self.data_files.clone(),
            parts: self.outlines.iter().enumerate().map(row_groups).collect(),
            columns: pairs.iter().map(|(_, source)| source.clone()).collect(),
            partial: mapping::partial_columns(&self.outlines, &self.data_files, pairs),
            on_lossy,
            on_invalid_text,
            settings: ValueSettings::of_this_session(),
        }
    }
}

/// What forbids a load here and now.
pub(super) fn refuse_where_forbidden(request: &LoadRequest, function: &CStr) -> Result<()> {
    match request.mode()? {
        Mode::Append => leader::refuse_where_nothing_is_written(function),
        Mode::Replace => leader::refuse_where_forbidden(function),
    }
}

/// Refuses arguments that are wrong whatever is in the files. Returns where the rows come from, without secrets.
pub(super) fn check_arguments(request: &LoadRequest) -> Result<String> {
    Arguments::of(request)?;
    Store::resolve(&request.paths, request.server.as_deref())?;
    let names = request.paths.iter().map(|path| Store::name_of(path)).collect::<Result<Vec<_>>>()?;
    refuse_temporary_target(request, &names)?;
    Ok(match names.as_slice() {
        [name] => name.clone(),
        names => format!("{} paths, {} first", names.len(), names.first().map_or("", String::as_str)),
    })
}

/// Another session would not find the table, and would make one of its name.
fn refuse_temporary_target(request: &LoadRequest, names: &[String]) -> Result<()> {
    let text = match (&request.target, names) {
        (Some(target), _) => target.clone(),
        // A folder does not name the table; the file in it does.
        (None, [name]) if last_of(name).contains('.') => stem_of(name),
        _ => return Ok(()),
    };
    let (schema, name) = resolve_name(&text)?;
    if !schema.starts_with("pg_temp") {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!("cannot load into temporary table {} in the background", plan::quote_identifier(&name)),
    )
    .hint("Use load_parquet, or write the schema of another table into target."))
}

struct Arguments {
    mode: Mode,
    matching: Matching,
    may_create: bool,
    on_lossy: OnLossy,
    on_invalid_text: OnInvalidText,
    workers: usize,
}

impl Arguments {
    fn of(request: &LoadRequest) -> Result<Self> {
        Ok(Self {
            mode: request.mode()?,
            matching: request.matching()?,
            may_create: request.may_create()?,
            on_lossy: parse_on_lossy(&request.on_lossy)?,
            on_invalid_text: parse_on_invalid_text(&request.on_invalid_text)?,
            workers: prepare::worker_count(request.parallel)?,
        })
    }
}

/// Loads files into a table, in the caller's transaction.
pub fn load_parquet(request: &LoadRequest) -> Result<Vec<LoadedFile>> {
    load_as(request, None)
}

/// `job` is the number of a job that is written down already.
pub(super) fn load_as(request: &LoadRequest, job: Option<i64>) -> Result<Vec<LoadedFile>> {
    let (started, called) = (Instant::now(), shared::now());
    let has_written = transaction::has_written();
    let arguments = Arguments::of(request)?;
    refuse_where_forbidden(request, c"pgcopy.load_parquet()")?;
    locks::keep_extension(Until::EndOfTransaction);
    let mut found = FoundFiles::find(&request.paths, request.server.as_deref())?;
    let (schema, name) = target_name(request, &found.data_files)?;
    let target = lock_target(&schema, &name, request, &arguments, &found)?;
    let LockedTarget { table, pairs, .. } = &target;
    let files = found.spec(pairs, arguments.on_lossy, arguments.on_invalid_text);
    let mut spec = table_spec(table, pairs);
    if target.is_new && rights::logs_new_relations() {
        spec.new_table = Some(new_table(table));
    }
    let qualified = plan::qualified(&table.schema, &table.name);
    if arguments.mode == Mode::Replace {
        refuse_unasked_overwrite(request, table, &qualified)?;
    }
    let load = Load { job: job.map_or_else(history::next_job, Ok)?, called, has_written, request, target: &target };
    let rows = match exchangeable(table, arguments.mode, pairs)? {
        Some(local) => load.exchange(local, spec, files, &found.outlines, &arguments)?,
        None => {
            if arguments.mode == Mode::Replace {
                truncate(table, &qualified)?;
            } else if target.locked_by_load == Some(locks::Mode::Exclusive) {
                // Somebody has filled the table meanwhile: other writers need not wait for an addition to it.
                locks::weaken(table.oid, locks::Mode::Exclusive, locks::Mode::RowExclusive);
            }
            load.insert(&spec, files, &mut found.open)?
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    Ok(found
        .data_files
        .into_iter()
        .zip(rows)
        .map(|(file, rows)| LoadedFile { target: qualified.clone(), file: file.name, rows, bytes: file.bytes, seconds })
        .collect())
}

/// The table of a load, under a lock that keeps it as it was read.
struct LockedTarget {
    table: TargetTable,
    pairs: Vec<(TargetColumn, mapping::ColumnSource)>,
    /// Whether the load has made it.
    is_new: bool,
    /// The lock that the load has taken, unless the transaction had changed or locked the table before: other processes
    /// do not see such changes.
    locked_by_load: Option<locks::Mode>,
}

/// Finds or makes the table, pairs its columns with those of the files, and locks it: nothing that is decided from here on
/// can be overtaken by another session.
fn lock_target(
    schema: &str,
    name: &str,
    request: &LoadRequest,
    arguments: &Arguments,
    found: &FoundFiles,
) -> Result<LockedTarget> {
    const ATTEMPTS: usize = 10;
    let pair = |table: &TargetTable| {
        mapping::match_columns(&found.outlines, &found.data_files, &table.columns, &arguments.matching)
    };
    for _ in 0..ATTEMPTS {
        let Some(table) = find_table(schema, name)? else {
            if !arguments.may_create {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                    format!("relation \"{}\" does not exist", plan::qualified(schema, name)),
                )
                .hint("With create_table => 'if_missing' it is made after the files."));
            }
            let table = create_table(schema, name, found, &arguments.matching)?;
            return Ok(LockedTarget { pairs: pair(&table)?, table, is_new: true, locked_by_load: None });
        };
        let pairs = pair(&table)?;
        let exchange = exchangeable(&table, arguments.mode, &pairs)?.is_some();
        if !exchange {
            let numbers: Vec<i16> = pairs.iter().map(|(column, _)| column.number).collect();
            rights::refuse_insert(table.oid, &numbers)?;
        }
        if arguments.mode == Mode::Replace {
            // Before a lock is waited for; it is decided under the lock.
            refuse_unasked_overwrite(request, &table, &plan::qualified(&table.schema, &table.name))?;
        }
        let mode = match (exchange, arguments.mode) {
            (true, _) => locks::Mode::Exclusive,
            (false, Mode::Append) => locks::Mode::RowExclusive,
            (false, Mode::Replace) => {
                rights::refuse_truncate(table.oid)?;
                locks::Mode::AccessExclusive
            }
        };
        let touched = locks::is_written_or_locked_here(table.oid);
        locks::lock_together(&[(table.oid, mode)])?;
        if find_table(schema, name)?.as_ref() == Some(&table) {
            return Ok(LockedTarget { table, pairs, is_new: false, locked_by_load: (!touched).then_some(mode) });
        }
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("the definition of table {} keeps changing", plan::qualified(schema, name)),
    ))
}

/// Empties the table, which is locked already, as TRUNCATE does it, triggers included.
fn truncate(table: &TargetTable, qualified: &str) -> Result<()> {
    as_code_of(table.owner, || spi::execute_in_session(&format!("TRUNCATE {qualified}")))?;
    // The schema of a locked table can still be renamed, and another take its name.
    if names::relation_in(&table.schema, &table.name)? == Some(table.oid) && locks::is_held_exclusively(table.oid) {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, format!("table {qualified} was renamed meanwhile")))
}

/// A COPY FROM whose table is locked and whose rights were checked.
pub struct CopyFrom {
    pub relation: u32,
    /// In the order of the statement; `None` for all but generated ones.
    pub columns: Option<Vec<String>>,
    pub paths: Vec<String>,
    pub match_by_position: bool,
    pub where_clause: Option<WhereClause>,
    /// A foreign server whose user mapping has the credentials.
    pub server: Option<String>,
    /// `error` or `truncate`.
    pub on_lossy: Option<String>,
    /// `error` or `replace`.
    pub on_invalid_text: Option<String>,
}

/// Returns the number of rows.
pub fn copy_from(request: CopyFrom) -> Result<u64> {
    let on_lossy = parse_on_lossy(request.on_lossy.as_deref().unwrap_or("error"))?;
    let on_invalid_text = parse_on_invalid_text(request.on_invalid_text.as_deref().unwrap_or("error"))?;
    let mut found = FoundFiles::find(&request.paths, request.server.as_deref())?;
    let mut table = read_tables(&format!("c.oid = {}", request.relation))?
        .pop()
        .ok_or_else(|| Error::internal("a locked table is not there"))?;
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

/// Runs what triggers, defaults and other code of a table may be part of.
fn as_code_of<T>(owner: u32, work: impl FnOnce() -> T) -> T {
    match identity::code_of_table(owner) {
        Some(role) => run_as(role, work),
        None => work(),
    }
}

/// As COPY FROM does it, in this session, and seen as such.
fn insert(
    files: &FilesSpec,
    open: &mut OpenFiles,
    table: &TableSpec,
    filter: Option<Filter>,
    on_progress: &dyn Fn(Loaded),
) -> Result<Vec<u64>> {
    let report = CopyReport::of_files(table.target, files.bytes());
    let rows = load::insert_row_groups(files, open, table, filter, &|loaded| {
        report.add(loaded);
        on_progress(loaded);
    })?;
    report.end();
    Ok(rows)
}

/// The target as it is now, if new storage can take the place of its own: it holds nothing that must stay, and nothing
/// but the rows themselves would notice.
fn exchangeable(
    table: &TargetTable,
    mode: Mode,
    pairs: &[(TargetColumn, mapping::ColumnSource)],
) -> Result<Option<Relation>> {
    // Workers have no search path but the catalogs'.
    if pairs.iter().any(|(column, _)| Target::of(column.type_oid.into(), column.typmod).looks_up_names()) {
        return Ok(None);
    }
    if table.kind != 'r' || !table.is_owner || rights::fires_or_filters(table.oid)? {
        return Ok(None);
    }
    if mode == Mode::Append && rows::are_in(table.oid) {
        return Ok(None);
    }
    settings::with_catalog_settings(|| {
        let local = catalog::read_relation(table.oid)?;
        let definitions = catalog::read_definitions(&[table.oid])?;
        let (Some(local), Some(definition)) = (local, definitions.first()) else { return Ok(None) };
        // Nobody has asked for an exchange, and those who decode what COPY writes would not see it.
        let is_decoded = local.persistence == 'p' && !catalog::read_slots_without_publications()?.is_empty();
        let swaps =
            local.persistence != 't' && !is_decoded && prepare::reasons_to_load_in_place(&local, definition).is_empty();
        Ok(swaps.then_some(local))
    })
}

/// A load whose files and table are known.
struct Load<'a> {
    job: i64,
    /// Microseconds since PostgreSQL's epoch.
    called: i64,
    /// Whether the caller's transaction had written anything then.
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
        let job = JobSpec::of_session(self.job, files, in_place);
        let files = job.files.as_ref().ok_or_else(|| Error::internal("a load without files"))?;
        if identity::code_of_table(spec.owner).is_some() {
            refuse_foreign_partitions(&self.target.table)?;
        }
        leader::work_in_session(&job, self.called, |on_progress| {
            as_code_of(spec.owner, || insert(files, open, spec, None, on_progress))
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
        // Rows are wider in the heap than in a file.
        const GROWTH: u64 = 3;
        spec.pages = pages_of(files.bytes() * GROWTH);
        let count = files.parts.len() as u64;
        let page = |part: u64| (u64::from(spec.pages) * part / count) as u32;
        spec.parts = (0..count)
            .map(|part| Part { first_page: page(part), end_page: (part + 1 < count).then(|| page(part + 1)) })
            .collect();
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
        let pull = Request {
            source: String::new(),
            include: None,
            exclude: None,
            overwrite: self.request.overwrite && arguments.mode == Mode::Replace,
            parallel: self.request.parallel,
            batch_size: 1000,
            validate: true,
            wait: true,
            verbose: false,
            refresh: false,
            in_place: false,
        };
        let prepared = Prepared::for_files(local, spec, files, arguments.workers, self.has_written)?;
        let locked_here = self.target.locked_by_load.map(|_| table.oid);
        let stored = exchange_for_files(&prepared, &pull, self.job, self.called, locked_here)?;
        load::refuse_lost_rows(rows_by_file.iter().sum(), stored)?;
        Ok(rows_by_file)
    }
}

/// Rows that are routed run the code of every partition as the owner of the table.
fn refuse_foreign_partitions(table: &TargetTable) -> Result<()> {
    let partitions = owners::foreign_partition_code(&[table.oid], &[])?;
    if partitions.is_empty() {
        return Ok(());
    }
    let name = plan::qualified(&table.schema, &table.name);
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("cannot load into table {name} with partitions of other owners"),
    )
    .detail(partitions.join("\n"))
    .hint("Load into the partitions, or give them the owner of the table."))
}

fn pages_of(bytes: u64) -> u32 {
    u32::try_from(bytes / u64::from(pgrx::pg_sys::BLCKSZ)).unwrap_or(u32::MAX)
}

const PARTS_PER_WORKER: usize = 4;

/// Puts the row groups together into at most so many parts of about the same size.
fn divide(parts: &[Vec<RowGroup>], most: usize) -> Vec<Vec<RowGroup>> {
    let groups: Vec<RowGroup> = parts.iter().flatten().copied().collect();
    let bytes = |group: &RowGroup| group.bytes.max(1);
    let wanted = groups.iter().map(bytes).sum::<u64>() / most as u64;
    let mut divided: Vec<Vec<RowGroup>> = Vec::new();
    let mut filled = u64::MAX;
    for group in groups {
        if filled >= wanted.max(1) {
            divided.push(Vec::new());
            filled = 0;
        }
        filled += bytes(&group);
        if let Some(part) = divided.last_mut() {
            part.push(group);
        }
    }
    if divided.is_empty() {
        divided.push(Vec::new());
    }
    divided
}

fn holds_rows(table: u32) -> Result<bool> {
    let members = settings::with_catalog_settings(|| catalog::partition_members(&[table]))?;
    Ok(members.into_iter().any(rows::are_in))
}

fn refuse_unasked_overwrite(request: &LoadRequest, table: &TargetTable, qualified: &str) -> Result<()> {
    if request.overwrite || !holds_rows(table.oid)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("table {qualified} holds rows that the load would replace; nothing was touched"),
    )
    .hint("To replace them, add overwrite => true; to keep them, mode => 'append'."))
}

/// The target's schema and name: as given, or after the only file.
fn target_name(request: &LoadRequest, data_files: &[DataFile]) -> Result<(String, String)> {
    let text = match &request.target {
        Some(target) => target.clone(),
        None => {
            let ([_], [file]) = (request.paths.as_slice(), data_files) else {
                return Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "several files need a target")
                    .hint("Name the table with target => '…'."));
            };
            stem_of(&file.name)
        }
    };
    resolve_name(&text)
}

/// The last name of a path or URL.
fn last_of(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split('?').next().unwrap_or(name)
}

/// What a table is called after a file, quoted where it must be.
fn stem_of(name: &str) -> String {
    let name = last_of(name);
    plan::quote_identifier(name.split_once('.').map_or(name, |(stem, _)| stem))
}

/// The schema and name of a table as written, whether it is there or would be made.
fn resolve_name(text: &str) -> Result<(String, String)> {
    let parts: Vec<String> = spi::query_json(&format!("SELECT to_json(parse_ident({}))::text", quote_literal(text)))?;
    match parts.as_slice() {
        [name] => {
            let found = names::visible_relation(name)?.and_then(names::schema_of);
            let schema = found.or_else(names::creation_schema).ok_or_else(|| {
                Error::new(PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME, "no schema has been selected to create in")
            })?;
            Ok((schema, name.clone()))
        }
        [schema, name] if schema == "pg_temp" => {
            Ok((names::temporary_schema().unwrap_or_else(|| schema.clone()), name.clone()))
        }
        [schema, name] => Ok((schema.clone(), name.clone())),
        _ => Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_NAME, format!("invalid name of a table: {text}"))),
    }
}

fn find_table(schema: &str, name: &str) -> Result<Option<TargetTable>> {
    let condition = format!("n.nspname = {} AND c.relname = {}", quote_literal(schema), quote_literal(name));
    let found: Vec<TargetTable> = read_tables(&condition)?;
    Ok(found.into_iter().next())
}

fn read_tables(condition: &str) -> Result<Vec<TargetTable>> {
    settings::with_catalog_settings(|| {
        spi::query_json(&format!(
            "SELECT coalesce(json_agg(json_build_object(
                        'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
                        'owner', c.relowner::bigint, 'tablespace', c.reltablespace::bigint,
                        'access_method', c.relam::bigint, 'is_owner', pg_has_role(c.relowner, 'USAGE'),
                        'columns', (SELECT coalesce(json_agg(json_build_object(
                                               'number', a.attnum, 'name', a.attname, 'type_oid', a.atttypid::bigint,
                                               'typmod', a.atttypmod, 'generated', a.attgenerated <> '',
                                               'type_name', format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum),
                                            '[]'::json)
                                    FROM pg_attribute a
                                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))), '[]'::json)::text
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE {condition}"
        ))
    })
}

fn create_table(schema: &str, name: &str, found: &FoundFiles, matching: &Matching) -> Result<TargetTable> {
    let columns = mapping::new_columns(&found.outlines, &found.data_files, matching)?;
    mapping::check_new_names(&columns, &found.outlines)?;
    let qualified = plan::qualified(schema, name);
    spi::execute_in_session(&mapping::create_table(&qualified, &columns, mapping::NewColumn::qualified_type))?;
    tell(&format!("created table {qualified}"));
    // The first temporary table makes its schema.
    let (schema, name) = resolve_name(&qualified)?;
    find_table(&schema, &name)?.ok_or_else(|| Error::internal("a table that was just made is not there"))
}

fn new_table(table: &TargetTable) -> NewTable {
    NewTable {
        columns: table
            .columns
            .iter()
            .map(|column| NewColumn { name: column.name.clone(), type_oid: column.type_oid, typmod: column.typmod })
            .collect(),
        tablespace: table.tablespace,
        access_method: table.access_method,
    }
}

fn table_spec(table: &TargetTable, pairs: &[(TargetColumn, mapping::ColumnSource)]) -> TableSpec {
    TableSpec {
        source_name: String::new(),
        source_partitioned: false,
        source_generates: false,
        target: table.oid,
        owner: table.owner,
        schema: table.schema.clone(),
        name: table.name.clone(),
        columns: pairs
            .iter()
            .map(|(column, _)| ColumnPair { name: column.name.clone(), number: column.number, narrowed: false })
            .collect(),
        wire: Wire::Binary,
        parts: vec![Part::WHOLE],
        pages: 0,
        source_toasts: false,
        indexes: Vec::new(),
        checks: Vec::new(),
        checks_bounds: false,
        generated: Vec::new(),
        virtuals: Vec::new(),
        column_options: Vec::new(),
        extended_statistics: Vec::new(),
        defaults: Vec::new(),
        analyze_slices: 1,
        new_table: None,
    }
}

/// A column of a Parquet file, with what is known of the file.
#[derive(Debug, Clone)]
pub struct DescribedColumn {
    pub file: String,
    /// From 1.
    pub position: i32,
    pub name: String,
    pub parquet_type: String,
    pub arrow_type: String,
    pub postgres_type: String,
    pub nullable: bool,
    pub codec: String,
    pub compressed_bytes: i64,
    pub uncompressed_bytes: i64,
    pub rows: i64,
    pub row_groups: i32,
    pub create_table: String,
}

/// Without a level, which files do not hold.
fn codec_name(text: &str) -> String {
    text.split('(').next().unwrap_or_default().to_lowercase()
}

/// A text as the server can hold it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\\x00")
}

/// What the first of the files holds.
pub fn parquet_schema(path: &str, server: Option<&str>) -> Result<Vec<DescribedColumn>> {
    let store = Store::resolve(&[path.to_owned()], server)?;
    let data_files = store.find(&[path.to_owned()])?;
    let data_files = &data_files[..1];
    let file = ParquetFile::open(&data_files[0].name, store.open(&data_files[0])?)?;
    let columns = mapping::new_columns(&[file.outline(None)], data_files, &Matching::default())?;
    let statement = mapping::create_table(&stem_of(&data_files[0].name), &columns, |column| column.type_name.clone());
    let statement = without_nul(&statement);
    let groups = file.metadata.row_groups();
    Ok(file
        .schema
        .columns
        .iter()
        .enumerate()
        .map(|(position, column)| {
            let chunks = || groups.iter().flat_map(|group| &group.columns()[column.leaves.clone()]);
            let mut codecs: Vec<String> = chunks().map(|chunk| codec_name(&chunk.compression().to_string())).collect();
            codecs.sort();
            codecs.dedup();
            DescribedColumn {
                file: file.name.clone(),
                position: position as i32 + 1,
                name: without_nul(&column.name),
                parquet_type: without_nul(&column.parquet_type),
                arrow_type: without_nul(&column.arrow_type),
                postgres_type: column.shape.default_type(),
                nullable: column.nullable,
                codec: codecs.join(", "),
                compressed_bytes: chunks().map(|chunk| chunk.compressed_size()).sum(),
                uncompressed_bytes: chunks().map(|chunk| chunk.uncompressed_size()).sum(),
                rows: file.metadata.file_metadata().num_rows(),
                row_groups: groups.len() as i32,
                create_table: statement.clone(),
            }
        })
        .collect())
}
