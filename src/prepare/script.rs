//! Rows of a script that were held back: the tables that they go into were made by the caller's transaction, and are empty.

use super::targets::reasons_to_load_in_place;
use super::{From, Method, Prepared, Target, Terms};
use crate::error::{Error, Result};
use crate::local::{catalog, interrupts, settings};
use crate::order::{HeldTable, RowsOfTable, ScriptRows, ScriptText, TableSpec};
use pgrx::pg_sys;
use plan::ColumnPair;
use plan::catalog::Relation;
use std::collections::HashMap;

impl Prepared {
    /// A load of rows of a script into tables whose storage will be exchanged, or that are filled as they stand.
    pub fn for_script(
        held: &[HeldTable],
        name: &str,
        text: &ScriptText,
        terms: &Terms,
        workers: usize,
    ) -> Result<Self> {
        let prepared = Self::for_held_tables(held, name, text, terms, workers)?;
        if workers > 0 && settings::with_catalog_settings(|| prepared.refuse_too_many_locks()).is_err() {
            // Without stage tables there are no more locks than the transaction has already.
            return Self::for_held_tables(held, name, text, terms, 0);
        }
        Ok(prepared)
    }

    fn for_held_tables(
        held: &[HeldTable],
        name: &str,
        text: &ScriptText,
        terms: &Terms,
        workers: usize,
    ) -> Result<Self> {
        settings::with_catalog_settings(|| {
            let oids: Vec<u32> = held.iter().map(|table| table.relation).collect();
            let definitions = catalog::read_definitions(&oids)?;
            let mut relations: HashMap<u32, Relation> =
                catalog::read_some_relations(&oids)?.into_iter().map(|local| (local.oid, local)).collect();
            let bytes_of_part = bytes_of_part(held.iter().map(HeldTable::bytes).sum(), workers);
            let mut targets = Vec::with_capacity(held.len());
            let mut tables = Vec::with_capacity(held.len());
            for table in held {
                interrupts::check();
                let definition = definitions.iter().find(|definition| definition.oid == table.relation);
                let (Some(local), Some(definition)) = (relations.remove(&table.relation), definition) else {
                    return Err(Error::internal("a table with rows of the script is not there"));
                };
                if let Some(reason) = reasons_to_load_in_place(&local, definition).into_iter().next() {
                    let table = local.qualified_name();
                    return Err(Error::internal(format!("rows of table {table} cannot be stored later: {reason}")));
                }
                let rows = RowsOfTable::divide(table.blocks.clone(), bytes_of_part);
                let pages = u32::try_from(rows.bytes() / u64::from(pg_sys::BLCKSZ)).unwrap_or(u32::MAX);
                let (schema, name) = (local.schema.clone(), local.name.clone());
                let mut spec = TableSpec {
                    columns: table
                        .columns
                        .iter()
                        .map(|(name, number)| ColumnPair { name: name.clone(), number: *number, narrowed: false })
                        .collect(),
                    indexes: definition.indexes.clone(),
                    checks: definition.checks.clone(),
                    checks_bounds: definition.is_partition,
                    generated: definition.generated.clone(),
                    virtuals: definition.virtuals.clone(),
                    column_options: definition.column_options.clone(),
                    extended_statistics: definition.extended_statistics.clone(),
                    expects_long_rows: rows.parts.len() > 1,
                    ..TableSpec::read_in_place(table.relation, definition.owner, schema, name, pages)
                };
                spec.share_analyze(workers, held.len() == 1);
                tables.push(rows);
                targets.push(Target { local, spec, method: Method::Swap, warnings: Vec::new(), merge: None });
            }
            let rows = ScriptRows { name: name.to_owned(), text: text.clone(), tables };
            let mut prepared = Self {
                all_targets: oids.clone(),
                columns: catalog::read_columns(settings::version(), &oids)?,
                definitions,
                targets,
                ..Self::of(From::Script(rows), terms.clone(), workers, true)
            };
            let mut problems = Vec::new();
            prepared.plan_foreign_keys(&mut problems)?;
            super::problems::refuse_problems(&problems)?;
            prepared.plan_who_works(Some(true))?;
            Ok(prepared)
        })
    }
}

/// The size of the parts that big tables are divided into.
fn bytes_of_part(bytes: u64, workers: usize) -> u64 {
    const LEAST: u64 = 4 << 20;
    const MOST: u64 = 256 << 20;
    let parts = workers.max(1) * super::load::found::PARTS_PER_WORKER;
    (bytes / parts as u64).clamp(LEAST, MOST)
}
