//! The table that files go into.

use super::arguments::{Arguments, LoadRequest};
use super::found::FoundFiles;
use super::mapping::{self, Matching, TargetColumn};
use crate::error::{Error, Result, tell};
use crate::load::Target;
use crate::local::load_rights as rights;
use crate::local::locks::{self, Mode as LockMode};
use crate::local::rights as owners;
use crate::local::spi::{self, Param};
use crate::local::{catalog, names, rows, settings};
use crate::order::{ColumnSource, LeaderWork, Mode, TableSpec};
use crate::parquet::data_files::DataFile;
use crate::parquet::new_table::{self, InferredColumn, stem_of};
use crate::prepare::targets::reasons_to_load_in_place;
use pgrx::prelude::*;
use plan::ColumnPair;
use plan::catalog::Relation;
use serde::Deserialize;

/// A table that files are loaded into.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetTable {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    kind: char,
    pub owner: u32,
    is_owner: bool,
    pub columns: Vec<TargetColumn>,
}

impl TargetTable {
    pub fn is_partitioned(&self) -> bool {
        self.kind == 'p'
    }
}

/// The table of a load, under a lock that keeps it as it was read.
pub struct LockedTarget {
    pub table: TargetTable,
    pub pairs: Vec<(TargetColumn, ColumnSource)>,
    /// Whether the load has made it.
    pub is_new: bool,
    /// The lock that the load has taken, unless the transaction had changed or locked the table before: other processes
    /// do not see such changes.
    pub locked_by_load: Option<LockMode>,
}

/// Finds or makes the table, pairs its columns with those of the files, and locks it: nothing that is decided from here on
/// can be overtaken by another session.
pub fn lock_target(
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
        // The statements of a merge take rights and locks of their own, which its plan tells.
        let merges = arguments.mode.needs_key();
        let exchange = !merges && exchangeable(&table, arguments.mode, &pairs)?.is_some();
        if !exchange && !merges {
            let numbers: Vec<i16> = pairs.iter().map(|(column, _)| column.number).collect();
            rights::refuse_insert(table.oid, &numbers)?;
        }
        if arguments.mode.loses_rows() {
            // Before a lock is waited for; it is decided under the lock.
            refuse_unasked_overwrite(request, &table, &plan::qualified(&table.schema, &table.name))?;
        }
        let mode = match (exchange, arguments.mode) {
            (true, _) => LockMode::Exclusive,
            (false, Mode::Append | Mode::InsertMissing | Mode::Upsert | Mode::Sync) => LockMode::RowExclusive,
            (false, Mode::Replace) => {
                rights::refuse_truncate(table.oid)?;
                LockMode::AccessExclusive
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

/// The target as it is now, if new storage can take the place of its own: it holds nothing that must stay, and nothing
/// but the rows themselves would notice.
pub fn exchangeable(
    table: &TargetTable,
    mode: Mode,
    pairs: &[(TargetColumn, ColumnSource)],
) -> Result<Option<Relation>> {
    // Workers have no search path but the catalogs'.
    if pairs.iter().any(|(column, _)| Target::of(column.type_oid.into(), column.typmod).looks_up_names()) {
        return Ok(None);
    }
    if table.kind != 'r' || !table.is_owner || rights::fires_or_filters(table.oid)? {
        return Ok(None);
    }
    if mode == Mode::Append && rows::are_in(table.oid)? {
        return Ok(None);
    }
    settings::with_catalog_settings(|| {
        let local = catalog::read_relation(table.oid)?;
        let definitions = catalog::read_definitions(&[table.oid])?;
        let (Some(local), Some(definition)) = (local, definitions.first()) else { return Ok(None) };
        // An exchange was not asked for, and decoders of the changes that COPY writes would not see it.
        let is_decoded = local.persistence == 'p' && !catalog::read_slots_without_publications()?.is_empty();
        let swaps = local.persistence != 't' && !is_decoded && reasons_to_load_in_place(&local, definition).is_empty();
        Ok(swaps.then_some(local))
    })
}

/// Rows that are routed run the code of every partition as the owner of the table.
pub fn refuse_foreign_partitions(table: &TargetTable) -> Result<()> {
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

/// Tells of rows that those of the files come on top of. What others have locked is not waited for.
pub fn tell_of_rows_that_stay(table: &TargetTable, qualified: &str) -> Result<()> {
    let members = settings::with_catalog_settings(|| catalog::partition_members(&[table.oid]))?;
    if members.into_iter().any(|member| rows::are_in_now(member) == Some(true)) {
        tell(&format!("table {qualified} holds rows, which stay: those of the files are added to them"));
    }
    Ok(())
}

fn holds_rows(table: u32) -> Result<bool> {
    let members = settings::with_catalog_settings(|| catalog::partition_members(&[table]))?;
    for member in members {
        if rows::are_in(member)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub fn refuse_unasked_overwrite(request: &LoadRequest, table: &TargetTable, qualified: &str) -> Result<()> {
    if request.overwrite || !holds_rows(table.oid)? {
        return Ok(());
    }
    let (words, hint) = match request.mode()? {
        Mode::Sync => (
            "that the load would delete where the files do not have them",
            "To delete them, add overwrite => true; to keep them, mode => 'upsert'.",
        ),
        _ => ("that the load would replace", "To replace them, add overwrite => true; to keep them, mode => 'append'."),
    };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("table {qualified} holds rows {words}; nothing was touched"),
    )
    .hint(hint))
}

/// Returns the target's schema and name: as given, or after the only file.
pub fn target_name(request: &LoadRequest, data_files: &[DataFile]) -> Result<(String, String)> {
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

/// Returns the schema and name of a table as written, whether it exists or would be made.
pub fn resolve_name(text: &str) -> Result<(String, String)> {
    let parts: Vec<String> = spi::fixed::query_json("SELECT to_json(parse_ident($1))::text", &[Param::Text(text)])?;
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
    match names::relation_in(schema, name)? {
        Some(relation) => read_table(relation),
        None => Ok(None),
    }
}

/// `None` for a table that is not there.
pub fn read_table(relation: u32) -> Result<Option<TargetTable>> {
    settings::with_catalog_settings(|| {
        let query = include_str!("../../../sql/queries/target_table.sql");
        let found: Vec<TargetTable> = spi::fixed::query_json(query, &[Param::Oid(relation)])?;
        Ok(found.into_iter().next())
    })
}

fn create_table(schema: &str, name: &str, found: &FoundFiles, matching: &Matching) -> Result<TargetTable> {
    let wanted = matching.wanted(&found.outlines, &found.data_files);
    let columns = new_table::new_columns(&found.outlines, &found.data_files, &wanted)?;
    new_table::check_new_names(&columns, &found.outlines)?;
    let qualified = plan::qualified(schema, name);
    spi::execute_in_session(&new_table::create_table(&qualified, &columns, InferredColumn::qualified_type))?;
    // The first temporary table makes its schema.
    let (schema, name) = resolve_name(&qualified)?;
    find_table(&schema, &name)?.ok_or_else(|| Error::internal("a table that was just made is not there"))
}

pub fn table_spec(table: &TargetTable, pairs: &[(TargetColumn, ColumnSource)]) -> TableSpec {
    TableSpec {
        target: table.oid,
        owner: table.owner,
        schema: table.schema.clone(),
        name: table.name.clone(),
        columns: pairs
            .iter()
            .map(|(column, _)| ColumnPair { name: column.name.clone(), number: column.number, narrowed: false })
            .collect(),
        pages: 0,
        expects_long_rows: false,
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
        leader: LeaderWork::default(),
        digest: None,
        merges: false,
    }
}
