//! The changes of the caller's own transaction, which other processes do not see: what is left to the leader for them, and
//! what workers must be told.

use super::{From, Method, Prepared};
use crate::error::Result;
use crate::local::catalog::{self, ForeignKey, OwnChanges};
use crate::local::new_tables::{NewTable, is_made_here, partition_bounds, read_new_tables};
use crate::local::{expressions, load_rights, locks};
use crate::order::TableSpec;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The state of the caller's transaction when it called.
#[derive(Debug, Clone, Copy)]
pub struct OwnState {
    /// Whether it had written anything.
    pub has_written: bool,
    /// Whether it had written to the table, locked it, or made it.
    pub changed_here: bool,
}

/// The changes of the caller's transaction that concern the targets.
#[derive(Debug, Default)]
pub(super) struct OwnWork {
    changes: OwnChanges,
    /// Targets, and tables that foreign keys tie to them, that the transaction has written to, locked or made.
    tables: BTreeSet<u32>,
}

impl Prepared {
    /// Decides which work the leader must do, and describes the tables that workers do not see.
    pub(super) fn plan_who_works(&mut self, changed_here: Option<bool>) -> Result<()> {
        let swapped = self.oids_by(Method::Swap);
        let merged = self.oids_by(Method::Merge);
        if !self.has_written && changed_here.is_none() {
            return Ok(());
        }
        let involved = swapped.iter().copied().chain(self.tied_tables());
        let is_changed = |oid: &u32| {
            changed_here.filter(|_| swapped.contains(oid)).unwrap_or_else(|| locks::is_written_or_locked_here(*oid))
        };
        let tables: BTreeSet<u32> = involved.filter(is_changed).collect();
        let changes = if self.has_written {
            catalog::depend_on_own_changes(&[swapped.as_slice(), &merged].concat())?
        } else {
            OwnChanges::default()
        };
        let changed: Vec<u32> = swapped.iter().copied().filter(|oid| tables.contains(oid)).collect();
        let mut definitions: HashMap<u32, NewTable> =
            read_new_tables(&changed)?.into_iter().map(|table| (table.oid, table)).collect();
        // The commit syncs unlogged changes of tables that it has made, and only to files that it has made, too.
        let files_of_others = load_rights::logs_new_relations();
        // Thousands of tables must not take thousands of stage tables.
        const MOST_STAGE_TABLES: usize = 100;
        let keeps_small = match &self.from {
            From::Server(_) => true,
            From::Files(_) => false,
            From::Script(_) => self.targets.len() > MOST_STAGE_TABLES,
        };
        let no_workers = self.workers == 0;
        for target in self.targets.iter_mut().filter(|target| target.method == Method::Swap) {
            let spec = &mut target.spec;
            let definition = definitions.remove(&spec.target);
            let calls_functions = spec
                .indexes
                .iter()
                .map(|index| index.oid)
                .chain([spec.target])
                .any(|oid| changes.calling.contains(&oid));
            let leader = &mut spec.leader;
            leader.does_all = changes.tables.contains(&spec.target);
            leader.indexes = positions(&spec.indexes, |index| changes.indexes.contains(&index.oid));
            leader.analyzes = changes.statistics.contains(&spec.target);
            if let Some(mut definition) = definition {
                let computes = self.definitions.iter().any(|it| it.oid == spec.target && it.computes_partition_key);
                if spec.checks_bounds && !computes {
                    definition.bounds = partition_bounds(spec.target);
                }
                let told = is_told(spec, &definition);
                let leader = &mut spec.leader;
                leader.does_all |= !told || !files_of_others;
                leader.analyzes |= !spec.column_options.is_empty() || !spec.extended_statistics.is_empty();
                let excludes = definition.indexes.iter().enumerate().filter(|(_, index)| index.excludes);
                leader.indexes.extend(excludes.map(|(position, _)| position));
                // A stage table and its exchange would take longer than the rows.
                let is_better_here = leader.does_all || no_workers || keeps_small && plan::is_small(spec.pages);
                let is_decoded = load_rights::logs_for_decoding();
                if is_better_here && !calls_functions && !is_decoded && is_made_here(spec.target) {
                    leader.does_all = true;
                    leader.fills_target = true;
                }
                if !leader.does_all {
                    spec.new_table = Some(definition);
                }
            }
            let leader = &mut spec.leader;
            leader.indexes.sort_unstable();
            leader.indexes.dedup();
            leader.analyzes |= leader.indexes.iter().any(|&index| spec.indexes[index].has_expressions);
            if leader.analyzes {
                spec.analyze_slices = 1;
            }
        }
        for target in self.targets.iter_mut().filter(|target| target.method == Method::Merge) {
            // The stage table is made from the order, and nothing of the target is needed but its types and the key.
            let spec = &mut target.spec;
            spec.leader.does_all = changes.tables.contains(&spec.target)
                || spec.indexes.iter().any(|index| changes.indexes.contains(&index.oid));
        }
        self.own = OwnWork { changes, tables };
        Ok(())
    }

    /// Leaves tables to the leader whose defaults only the caller's session knows.
    pub(super) fn leave_session_defaults_to_leader(&self, tables: &mut [TableSpec]) -> Result<()> {
        for table in tables {
            for default in &table.defaults {
                if expressions::asks_the_session(&default.expression)? {
                    table.leader.does_all = true;
                    table.new_table = None;
                }
            }
        }
        Ok(())
    }

    /// Returns whether the leader alone can check a foreign key, with the tables as they will be loaded.
    pub(super) fn is_key_of_leader(
        &self,
        key: &ForeignKey,
        by_leader: &HashSet<u32>,
        targets: &HashMap<u32, usize>,
    ) -> bool {
        let is_hidden =
            |oid: &u32| by_leader.contains(oid) || self.own.tables.contains(oid) && !targets.contains_key(oid);
        self.own.changes.keys.contains(&key.oid)
            || is_hidden(&key.referencing)
            || key.referenced_leaves.iter().any(is_hidden)
    }
}

fn positions<T>(items: &[T], is_meant: impl Fn(&T) -> bool) -> Vec<usize> {
    items.iter().enumerate().filter(|(_, item)| is_meant(item)).map(|(position, _)| position).collect()
}

/// Returns whether the definition tells all that workers need to make and fill the stage table.
fn is_told(spec: &TableSpec, definition: &NewTable) -> bool {
    let same_indexes = definition.indexes.len() == spec.indexes.len();
    // The values of such expressions are of the target's own row type.
    let takes_whole_rows = |expression: &str| expression.contains(":varattno 0 ");
    let checks = spec.checks.iter().map(|check| check.expression.as_str());
    let generated = spec.generated.iter().map(|column| column.expression.as_str());
    same_indexes
        && (!spec.checks_bounds || definition.bounds.is_some())
        && spec.virtuals.is_empty()
        // A sequence of a default may be new, too.
        && spec.defaults.is_empty()
        && !checks.chain(generated).any(takes_whole_rows)
}
