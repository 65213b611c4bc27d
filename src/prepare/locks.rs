//! Decisions under the locks on the targets, and the room for locks.

use super::{Prepared, Target};
use crate::error::{Error, Result};
use crate::local::catalog::Definition;
use crate::local::{catalog, lock_holders, rights, rows, settings};
use crate::order::Mode;
use pgrx::prelude::*;
use plan::catalog::{LockTable, Relation, RelationColumn};
use plan::pretty_bytes;
use std::collections::BTreeSet;

impl Prepared {
    /// Refuses a pull for which there are too few locks. A target and its indexes are locked together with the stage
    /// table and its indexes.
    pub(super) fn refuse_too_many_locks(&self) -> Result<()> {
        let of_target = |target: &Target| {
            let toasts = target.spec.expects_long_rows || target.local.toast_pages > 0;
            let relations = 1 + target.spec.indexes.len() + if toasts { 2 } else { 0 };
            if target.method.stages() { 2 * relations } else { relations }
        };
        const OTHERS: usize = 50;
        let locks = self.targets.iter().map(of_target).sum::<usize>()
            + self.in_place_members.len()
            + self.tied_tables().len()
            + self.sequences.len()
            + self.refreshed.len()
            + OTHERS;
        refuse_full_lock_table("destination", catalog::read_lock_table()?, locks as u64)
    }

    fn have_same_defaults(&self) -> bool {
        self.targets.iter().all(|target| {
            target.spec.defaults.iter().all(|default| {
                catalog::column_default(target.local.oid, default.number).as_ref() == Some(&default.expression)
            })
        })
    }

    /// Refuses to replace rows that the caller has not given up with `overwrite`.
    pub fn refuse_unasked_overwrite(&self) -> Result<()> {
        if self.terms.overwrite || !self.terms.mode.loses_rows() {
            return Ok(());
        }
        let mut full = BTreeSet::new();
        for local in self.targets.iter().map(|target| &target.local) {
            let members = match local.kind {
                'p' => settings::with_catalog_settings(|| catalog::partition_members(&[local.oid]))?,
                _ => vec![local.oid],
            };
            // The size in the plan does not count: rows may have been added since.
            for member in members {
                let holds_rows = if self.terms.wait { Some(rows::are_in(member)?) } else { rows::are_in_now(member) };
                match holds_rows {
                    Some(true) => {
                        full.insert(local.oid);
                        break;
                    }
                    Some(false) => {}
                    None => return Err(lock_holders::locked_by_others(member)?),
                }
            }
        }
        let full: Vec<&Relation> =
            self.targets.iter().map(|target| &target.local).filter(|local| full.contains(&local.oid)).collect();
        if full.is_empty() {
            return Ok(());
        }
        const MOST_LINES: usize = 50;
        let mut lines: Vec<String> = full
            .iter()
            .take(MOST_LINES)
            .map(|table| format!("{} ({})", table.qualified_name(), pretty_bytes(table.bytes as u64)))
            .collect();
        if full.len() > MOST_LINES {
            lines.push(format!("and {} more", full.len() - MOST_LINES));
        }
        let what =
            if full.len() == 1 { "1 table holds rows".to_owned() } else { format!("{} tables hold rows", full.len()) };
        let (words, verb) = match self.terms.mode {
            Mode::Sync => ("that the pull would delete where the source does not have them", "delete"),
            _ => ("that the pull would replace", "replace"),
        };
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{what} {words}; nothing was touched"),
        )
        .details(lines)
        .hint(format!("To {verb} them: {}", self.terms.call_to_overwrite)))
    }

    /// Returns whether each target still has the name, the place among partitions and the kind of storage by which it
    /// was paired with a table of the source. All other definitions are read later, after the waits for the source.
    fn are_still_the_counterparts(&self) -> Result<bool> {
        let mut planned: Vec<Relation> = self.targets.iter().map(|target| target.local.identity()).collect();
        let oids: Vec<u32> = planned.iter().map(|local| local.oid).collect();
        let mut found: Vec<Relation> = catalog::read_some_relations(&oids)?.iter().map(Relation::identity).collect();
        planned.sort_by_key(|local| local.oid);
        found.sort_by_key(|local| local.oid);
        Ok(found == planned)
    }

    /// Refuses to go on where the locked tables are not those any more that the plan was made for.
    pub fn refuse_changed_definitions(&self) -> Result<()> {
        settings::with_catalog_settings(|| {
            let oids = self.target_oids();
            self.refuse_missing_merge_rights()?;
            let foreign = if self.terms.take_ownership() { rights::not_owned(&oids)? } else { Vec::new() };
            if !foreign.is_empty() {
                let names: Vec<String> = foreign.iter().map(ToString::to_string).collect();
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                    format!("must be owner of table {}", names.join("; ")),
                ));
            }
            let (definitions, columns) =
                (catalog::read_definitions(&oids)?, catalog::read_columns(self.source_version(), &oids)?);
            let same = self.are_still_the_counterparts()?
                && definitions == self.definitions
                && columns == self.columns
                && self.have_same_defaults()
                && self.read_foreign_keys_to_check()? == self.foreign_keys;
            if same {
                return Ok(());
            }
            let changed = self.targets.iter().map(|target| &target.local).find(|local| {
                let definition = |all: &[Definition]| all.iter().find(|each| each.oid == local.oid).cloned();
                let columns_of = |all: &[RelationColumn]| -> Vec<RelationColumn> {
                    all.iter().filter(|column| column.relation == local.oid).cloned().collect()
                };
                definition(&definitions) != definition(&self.definitions)
                    || columns_of(&columns) != columns_of(&self.columns)
            });
            let table =
                changed.map_or_else(|| "a target".to_owned(), |local| format!("table {}", local.qualified_name()));
            Err(Error::new(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                format!("the definition of {table} was changed while the pull was starting; nothing was touched"),
            )
            .hint("Call pgcopy.pull again."))
        })
    }
}

/// Locks that do not fit would be an error in the middle of the pull, and of others' transactions.
pub(super) fn refuse_full_lock_table(server: &str, table: LockTable, more: u64) -> Result<()> {
    let Some(setting) = table.wanted_setting(more) else {
        return Ok(());
    };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        format!("the lock table of the {server} is too small for this pull; nothing was touched"),
    )
    .detail(format!(
        "The pull takes about {more} locks; there is room for {}, of which {} are in use.",
        table.room(),
        table.used
    ))
    .hint(format!(
        "Set max_locks_per_transaction to {setting} or more on the {server} and restart it, or pull fewer tables at a time."
    )))
}
