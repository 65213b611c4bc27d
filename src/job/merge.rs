//! The targets that keep their storage: statements of the caller's transaction merge the staged rows into them.

use super::enforcement::Suspended;
use super::leader::Pull;
use super::shared::{Phase, Shared};
use crate::error::{Error, Result};
use crate::local::identity::{Role, run_as, with_definitions_kept};
use crate::local::spi::{self, Moment, Param, extension};
use crate::local::{catalog, rights, settings, transaction};
use crate::order::{Changes, Mode, Stage, TableSpec, stage_name};
use crate::prepare::{Merge, Target};
use crate::stage;
use pgrx::prelude::*;
use plan::MergeTable;

/// A target, and what is to be merged into it.
struct Merging<'a> {
    target: &'a Target,
    merge: &'a Merge,
    table: &'a TableSpec,
    /// Qualified names.
    names: [String; 2],
    /// The number of staged rows.
    rows: u64,
}

impl Merging<'_> {
    fn statements(&self) -> MergeTable<'_> {
        let [target, stage] = &self.names;
        MergeTable {
            target,
            stage,
            is_partitioned: self.target.local.kind == 'p',
            columns: &self.merge.columns,
            key: &self.merge.key,
            can_be_arbiter: self.merge.can_be_arbiter,
            filter: self.merge.filter.as_deref(),
        }
    }
}

impl Pull<'_> {
    /// Merges the staged rows into the targets, where the mode is one that keeps the rows that are there. `all_made_here` tells
    /// whether the leader has done all the work.
    pub(super) fn merge(&self, shared: Shared, stages: &[Stage], all_made_here: bool) -> Result<()> {
        if !self.prepared.terms.mode.merges() {
            return Ok(());
        }
        shared.enter_phase(Phase::Merging);
        let heaps: Vec<u32> = stages.iter().map(|stage| stage.heap).collect();
        // Roles that own stage tables have no USAGE on their schema, so that nobody changes what is in them on the way. The names
        // are within reach in this transaction alone, and only as long as its statements need them.
        move_between_schemas(&heaps, ["pgcopy_stage", "pgcopy"])?;
        if self.prepared.terms.triggers {
            self.merge_named(shared)?;
        } else {
            let suspended = Suspended::triggers_of(&self.prepared.merged_members()?)?;
            self.merge_named(shared)?;
            suspended.resume()?;
        }
        move_between_schemas(&heaps, ["pgcopy", "pgcopy_stage"])?;
        let made_here = (0..stages.len())
            .filter(|&position| all_made_here || self.spec.tables[position].leader.does_all)
            .map(|position| stages[position].heap);
        stage::remove(made_here)
    }

    fn merge_named(&self, shared: Shared) -> Result<()> {
        let mode = self.prepared.terms.mode;
        let plans = &self.prepared.merges;
        let all: Vec<Merging<'_>> = self
            .spec
            .tables
            .iter()
            .zip(self.prepared.staged_targets())
            .enumerate()
            .map(|(position, (table, target))| {
                let merge = target.merge.as_ref().ok_or_else(|| Error::internal("a merge without a plan"))?;
                let names =
                    [table.qualified_name(), plan::qualified("pgcopy", &stage_name(self.spec.job, table.target))];
                Ok(Merging { target, merge, table, names, rows: shared.progress(position).rows })
            })
            .collect::<Result<_>>()?;
        all.iter().try_for_each(|merging| self.refuse_null_keys(merging))?;
        // Code that runs with rights of its own cannot leave checks for later.
        catalog::check_now(plans.of_restricted.iter().map(|constraint| constraint.name.as_str()))?;
        catalog::let_wait(plans.deferred.iter().map(String::as_str))?;
        let mut changes = vec![Changes::default(); all.len()];
        let delete = |position: usize, changes: &mut [Changes]| -> Result<()> {
            changes[position].deleted = self.delete_rows(&all[position])?;
            Ok(())
        };
        // Rows of a table that nobody references can go first: what replaces them may have their values in other unique keys.
        let goes_first = |position: usize| mode == Mode::Sync && all[position].merge.is_unreferenced;
        for &position in &plans.order {
            if goes_first(position) {
                delete(position, &mut changes)?;
            }
            self.bring(&all[position], mode, &mut changes[position])?;
        }
        if mode == Mode::Sync {
            for &position in plans.order.iter().rev().filter(|&&position| !goes_first(position)) {
                delete(position, &mut changes)?;
            }
        }
        let checked = plans.deferred.iter().chain(plans.waiting.iter().map(|constraint| &constraint.name));
        catalog::check_now(checked.map(String::as_str))?;
        catalog::let_wait_again(&plans.waiting)?;
        catalog::let_wait_again(&plans.of_restricted)?;
        for (position, (merging, mut changes)) in all.iter().zip(changes).enumerate() {
            changes.unchanged = merging.rows.saturating_sub(changes.inserted + changes.updated);
            shared.note_changes(position, changes);
        }
        Ok(())
    }

    /// Rows without a key would come again with every call.
    fn refuse_null_keys(&self, merging: &Merging<'_>) -> Result<()> {
        let Some(query) = merging.statements().find_null_key() else { return Ok(()) };
        let found = self.in_role(merging, || Moment::newest().query_text(&query))?;
        if found.is_none() {
            return Ok(());
        }
        let columns: Vec<String> =
            merging.merge.key.iter().map(|column| plan::quote_identifier(&column.name)).collect();
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_NOT_NULL_VIOLATION,
            format!("rows for table {} have no value for their key ({})", merging.names[0], columns.join(", ")),
        )
        .detail("Such rows would be new ones each time.")
        .hint("Leave them out with where in tables, or name another unique index there as the key.")
        .of_table(&merging.table.schema, &merging.table.name))
    }

    /// Adds and updates rows.
    fn bring(&self, merging: &Merging<'_>, mode: Mode, changes: &mut Changes) -> Result<()> {
        let statements = merging.statements();
        match mode {
            Mode::Replace => {}
            Mode::Append => changes.inserted = self.change_rows(merging, &statements.append())?,
            Mode::InsertMissing => changes.inserted = self.insert_missing(merging)?,
            Mode::Upsert | Mode::Sync => {
                let members = match merging.target.local.kind {
                    'p' => catalog::partition_members(&[merging.table.target])?,
                    _ => vec![merging.table.target],
                };
                let missing = match settings::value(c"track_counts").as_deref() {
                    Some("on") => None,
                    _ => self.in_role(merging, || Moment::newest().query_text(&statements.count_missing()))?,
                };
                let sql = statements.upsert();
                let merge = || {
                    // What was rolled back counts, too.
                    let before = inserted_into(&members)?;
                    let changed = self.change_rows(merging, &sql)?;
                    Ok((changed, inserted_into(&members)?.saturating_sub(before)))
                };
                let index = merging.merge.index.as_deref();
                // Others may go on inserting such rows: they are let through then, and updated.
                let Some((changed, counted)) = try_where_others_insert(index, merge)? else {
                    changes.inserted = self.insert_missing(merging)?;
                    changes.updated = match statements.update() {
                        Some(update) => self.change_rows(merging, &update)?,
                        None => 0,
                    };
                    return Ok(());
                };
                // The answer to the statement is the sum of both.
                let inserted = missing.and_then(|count| count.parse().ok()).unwrap_or(counted);
                changes.inserted = inserted.min(changed);
                changes.updated = changed - changes.inserted;
            }
        }
        Ok(())
    }

    /// Adds the rows whose keys the target does not have, and returns their number.
    fn insert_missing(&self, merging: &Merging<'_>) -> Result<u64> {
        let sql = merging.statements().insert_missing();
        let insert = || self.change_rows(merging, &sql);
        if merging.merge.can_be_arbiter {
            return insert();
        }
        let inserted = try_where_others_insert(merging.merge.index.as_deref(), insert)?;
        inserted.map_or_else(insert, Ok)
    }

    /// Removes the rows that the source does not have, and returns their number. A condition is read as the source has read it.
    fn delete_rows(&self, merging: &Merging<'_>) -> Result<u64> {
        let statement = merging.statements().delete();
        match &merging.merge.filter {
            Some(filter) => self.in_role(merging, || {
                // Somebody may have made a function since the plan that the condition would call.
                if let Some(of_others) = rights::called_code_of_others(filter)? {
                    let text = format!("rows of table {} cannot be deleted by a condition", merging.names[0]);
                    return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, text).detail(of_others));
                }
                settings::with_settings_of_source(|| spi::execute_counting(&statement))
            }),
            None => self.change_rows(merging, &statement),
        }
    }

    /// Runs a statement with the code of the table, and returns the number of rows that it changed.
    fn change_rows(&self, merging: &Merging<'_>, sql: &str) -> Result<u64> {
        self.in_role(merging, || spi::execute_counting(sql))
    }

    /// Runs work as the role that may write to the target, with memory to join two tables.
    fn in_role<T>(&self, merging: &Merging<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let memory = self.spec.maintenance_memory.max(settings::work_mem());
        let with_memory = || {
            settings::scoped(|| {
                settings::set_local(c"work_mem", &memory.to_string())?;
                work()
            })
        };
        let done = crate::error::catch(|| match merging.merge.role {
            Some(role) => as_owner(role, with_memory),
            None => with_memory(),
        });
        done.map_err(|error| {
            let table = merging.table;
            let error = error.rename(&stage_name(self.spec.job, table.target), &table.name);
            match &crate::error::sqlstate_class(error.sqlstate) {
                b"22" | b"23" | b"42" => error.detail(format!("Table {}.", merging.names[0])),
                _ => error,
            }
        })
    }
}

/// Runs a statement, and again where another session has inserted a row with the same key at the same moment: the next try finds
/// it. Returns `None` where others have done so every time.
fn try_where_others_insert<T>(index: Option<&str>, statement: impl Fn() -> Result<T>) -> Result<Option<T>> {
    const MOST_TRIES: usize = 3;
    for _ in 0..MOST_TRIES {
        match transaction::attempt(&statement) {
            Err(error) if is_violation_of(&error, index) => {}
            done => return done.map(Some),
        }
    }
    Ok(None)
}

/// Has tables be found in the second of two schemas, where they are in the first.
fn move_between_schemas(tables: &[u32], [from, to]: [&str; 2]) -> Result<()> {
    extension::execute(
        "UPDATE pg_class SET relnamespace = $3::regnamespace WHERE oid = ANY ($1) AND relnamespace = $2::regnamespace",
        &[Param::OidArray(tables), Param::Text(from), Param::Text(to)],
    )?;
    transaction::make_changes_visible();
    Ok(())
}

/// The owner's code must not change the definitions of tables that the statements are about.
fn as_owner<T>(role: Role, work: impl FnOnce() -> T) -> T {
    with_definitions_kept(|| run_as(role, work))
}

fn is_violation_of(error: &Error, index: Option<&str>) -> bool {
    let constraint = error.objects.as_ref().and_then(|objects| objects.constraint.as_deref());
    error.sqlstate == PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION as i32 && constraint.is_some() && constraint == index
}

/// Returns how many rows this transaction has inserted into the tables so far.
fn inserted_into(tables: &[u32]) -> Result<u64> {
    let count = spi::fixed::query_text(
        "SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(t)), 0)::bigint::text FROM unnest($1) t",
        &[Param::OidArray(tables)],
    )?;
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or_default())
}
