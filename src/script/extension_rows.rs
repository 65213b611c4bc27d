//! Rows that users have put into the tables of the source's extensions. They are added to those that the extensions have here.

use super::definitions::as_script;
use super::selection::Filter;
use crate::error::{Error, Result, catch};
use crate::local::extension_tables::{self, AddedRows, ExtensionTarget};
use crate::local::{catalog, interrupts, settings};
use crate::source::{self, ExtensionTable, NamedSequence, Session};
use pgrx::prelude::*;
use plan::Pattern;
use std::collections::HashSet;
use std::time::Instant;

/// The tables and sequences whose rows and values are moved, and those that are left out.
#[derive(Default)]
pub(super) struct ExtensionRows {
    moved: Vec<ExtensionTable>,
    /// With the reasons.
    left_out: Vec<(ExtensionTable, String)>,
    /// Tables in which rows with the keys of others stay as they are, for people.
    kept: Vec<String>,
}

/// A table of an extension that has got rows.
pub struct FilledExtensionTable {
    pub schema: String,
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// What extensions here have got.
#[derive(Default)]
pub struct AddedToExtensions {
    pub tables: Vec<FilledExtensionTable>,
    /// The sequences here, by their OIDs, with those of the source.
    pub sequences: Vec<(u32, NamedSequence)>,
}

/// Rows or the value of a sequence, as a plan shows them.
pub struct PlannedRows {
    pub schema: String,
    pub name: String,
    pub is_sequence: bool,
    pub is_left_out: bool,
}

impl ExtensionRows {
    /// Reads which there are. `is_moved` tells whether an extension is among what is moved.
    pub(super) fn choose(session: &Session, filter: Option<&Filter>, is_moved: &dyn Fn(&str) -> bool) -> Result<Self> {
        let mut chosen = Self::default();
        for mut table in source::read_extension_tables(session)? {
            let (schema, name) = (table.schema.as_str(), table.name.as_str());
            // A table that is named by itself is pulled, with all of its rows.
            let is_elsewhere = |filter: &Filter| {
                filter.excludes(schema, name) || !table.is_sequence && filter.names_alone(schema, name)
            };
            if !is_moved(&table.extension) || filter.is_some_and(is_elsewhere) {
                continue;
            }
            if filter.is_some_and(|filter| !filter.takes(schema, name)) {
                chosen.left_out.push((table, "no pattern names it".to_owned()));
            } else if let Some(authors) = table.runs_code_of.take() {
                chosen.left_out.push((table, format!("to read it would run functions of {authors}")));
            } else {
                chosen.moved.push(table);
            }
        }
        Ok(chosen)
    }

    /// Returns the patterns that name one of the tables.
    pub(super) fn naming(&self, filter: &Filter) -> Vec<Pattern> {
        let is_named = |pattern: &Pattern| {
            self.moved.iter().any(|table| {
                interrupts::check();
                pattern.matches(&table.schema, &table.name)
            })
        };
        filter.include.iter().flatten().filter(|pattern| is_named(pattern)).cloned().collect()
    }

    pub(super) fn planned(self) -> Vec<PlannedRows> {
        let planned = |table: ExtensionTable, is_left_out: bool| PlannedRows {
            schema: table.schema,
            name: table.name,
            is_sequence: table.is_sequence,
            is_left_out,
        };
        let left_out = self.left_out.into_iter().map(|(table, _)| planned(table, true));
        self.moved.into_iter().map(|table| planned(table, false)).chain(left_out).collect()
    }

    /// Adds the rows, when the extensions are here.
    ///
    /// # Errors
    /// Other rows here have their keys, unless what is here is kept.
    pub(super) fn add(&mut self, session: &Session, keeps_existing: bool) -> Result<AddedToExtensions> {
        let mut added = AddedToExtensions::default();
        let pairs = self.pair()?;
        for (table, target) in in_order_of_keys(pairs)? {
            interrupts::check();
            if table.is_sequence {
                let there = NamedSequence { oid: table.oid, name: table.qualified_name() };
                added.sequences.push((target.relation, there));
                continue;
            }
            let started = Instant::now();
            let columns: Vec<Option<&str>> = target
                .columns
                .iter()
                .map(|(name, is_generated)| (!is_generated && table.columns.contains(name)).then_some(name.as_str()))
                .collect();
            let rows = source::read_extension_rows(session, &table, &columns)?;
            let filled: Vec<&str> = columns.into_iter().flatten().collect();
            let AddedRows { given, added: count, others } = as_script(|| catch(|| target.add_rows(&filled, &rows)))
                .map_err(|error| of_table(error, &table, &target))?;
            if others > 0 {
                let name = target.qualified_name();
                if !keeps_existing {
                    let error = Error::new(
                        PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
                        format!("rows of table {name} have the keys of other rows of the source"),
                    );
                    let error = error.detail(format!("{others} of {given} rows."));
                    return Err(of_table(error, &table, &target).hint(
                        "With existing => 'keep' the rows that are here stay as they are, and those that are missing are added.",
                    ));
                }
                self.kept.push(format!("{name} ({others} of {given} rows)"));
            }
            added.tables.push(FilledExtensionTable {
                schema: target.schema,
                name: target.name,
                rows: count,
                bytes: rows.len() as u64,
                seconds: started.elapsed().as_secs_f64(),
            });
        }
        Ok(added)
    }

    /// Finds the counterparts of the tables here. Those that have none which takes their rows are left out.
    fn pair(&mut self) -> Result<Vec<(ExtensionTable, ExtensionTarget)>> {
        let moved = std::mem::take(&mut self.moved);
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let extensions: Vec<&str> = moved.iter().map(|table| table.extension.as_str()).collect();
        let schemas: Vec<&str> = moved.iter().map(|table| table.schema.as_str()).collect();
        let names: Vec<&str> = moved.iter().map(|table| table.name.as_str()).collect();
        let places: Vec<bool> = moved.iter().map(|table| table.is_in_its_schema).collect();
        let mut targets =
            settings::with_catalog_settings(|| extension_tables::find(&extensions, &schemas, &names, &places))?;
        let mut pairs = Vec::with_capacity(moved.len());
        for (position, table) in moved.into_iter().enumerate() {
            let is_counterpart =
                |target: &ExtensionTarget| target.position == position && target.is_sequence == table.is_sequence;
            let Some(at) = targets.iter().position(is_counterpart) else {
                let kind = if table.is_sequence { "sequence" } else { "table" };
                let reason = format!("extension {} has no such {kind} here", plan::quote_identifier(&table.extension));
                self.left_out.push((table, reason));
                continue;
            };
            let target = targets.swap_remove(at);
            match unfit(&table, &target) {
                Some(reason) => self.left_out.push((table, reason)),
                None => pairs.push((table, target)),
            }
        }
        Ok(pairs)
    }

    /// What people are told of, in words that end in names.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        for (is_sequence, words) in [
            (false, "rows of tables that belong to extensions are left out"),
            (true, "sequences that belong to extensions are left as they are"),
        ] {
            let of_kind = self.left_out.iter().filter(|(table, _)| table.is_sequence == is_sequence);
            let names: Vec<String> =
                of_kind.map(|(table, reason)| format!("{} ({reason})", table.qualified_name())).collect();
            if !names.is_empty() {
                notices.push(format!("{words}: {}", plan::list(&names)));
            }
        }
        if !self.kept.is_empty() {
            let names = plan::list(&self.kept);
            notices.push(format!("rows of tables that belong to extensions stay where the source has others: {names}"));
        }
        notices
    }
}

/// Returns the reason why a table here cannot take the rows.
fn unfit(table: &ExtensionTable, target: &ExtensionTarget) -> Option<String> {
    if !target.may_write {
        return Some("the caller may not write it".to_owned());
    }
    let takes = |name: &String| target.columns.iter().any(|(column, is_generated)| column == name && !is_generated);
    if let Some(missing) = table.columns.iter().find(|name| !takes(name)) {
        return Some(format!("it has no column {} here", plan::quote_identifier(missing)));
    }
    (!table.is_sequence && table.columns.is_empty()).then(|| "it has no columns".to_owned())
}

fn of_table(error: Error, table: &ExtensionTable, target: &ExtensionTarget) -> Error {
    let (name, extension) = (target.qualified_name(), plan::quote_identifier(&table.extension));
    let error = error.detail(format!("Rows that users have put into table {name} of extension {extension}."));
    error.of_table(&target.schema, &target.name)
}

/// Orders tables so that rows come before those that refer to them, where no circle of keys keeps them from it.
fn in_order_of_keys(
    mut pairs: Vec<(ExtensionTable, ExtensionTarget)>,
) -> Result<Vec<(ExtensionTable, ExtensionTarget)>> {
    if pairs.len() < 2 {
        return Ok(pairs);
    }
    let mut waiting: HashSet<u32> = pairs.iter().map(|(_, target)| target.relation).collect();
    let oids: Vec<u32> = waiting.iter().copied().collect();
    let keys = settings::with_catalog_settings(|| catalog::read_foreign_keys(&oids))?;
    let mut ordered = Vec::with_capacity(pairs.len());
    while !pairs.is_empty() {
        let is_free = |(_, target): &(ExtensionTable, ExtensionTarget)| {
            let own = target.relation;
            let mut others = keys.iter().filter(|key| key.referencing == own && key.referenced != own);
            others.all(|key| !waiting.contains(&key.referenced))
        };
        let next = pairs.remove(pairs.iter().position(is_free).unwrap_or_default());
        waiting.remove(&next.1.relation);
        ordered.push(next);
    }
    Ok(ordered)
}
