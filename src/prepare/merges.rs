//! Targets that keep their storage: the keys that tell their rows apart, rights, stage tables, and the order of the statements.

use super::{From, Method, Prepared, ServerSide, Target, sync_filter};
use crate::error::{Error, Result};
use crate::local::catalog::{self, DeferredConstraint, Definition};
use crate::local::identity::{self, Role};
use crate::local::new_tables::{NewTable, NewToast, read_new_tables};
use crate::local::spi::{self, Param};
use crate::local::{rights, settings};
use crate::order::{Mode, TableSpec};
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::{ColumnPair, MergeColumn, MergeKeyColumn, MergeOrder, MergeReference, Problem, ProblemKind};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The way that staged rows get into a target that keeps its storage.
pub struct Merge {
    /// The role that the statements run as; `None` for the caller.
    pub role: Option<Role>,
    pub columns: Vec<MergeColumn>,
    pub key: Vec<MergeKeyColumn>,
    /// The index over the key.
    pub index: Option<String>,
    /// Whether `ON CONFLICT` can go by the key.
    pub can_be_arbiter: bool,
    /// Whether nobody references the table, so that rows can go before others come.
    pub is_unreferenced: bool,
    /// The condition of the rows that are taken, which those that go must satisfy, too.
    pub filter: Option<String>,
}

/// What holds for all targets that keep their storage.
#[derive(Default)]
pub struct Merges {
    /// Positions of the targets, referenced ones first.
    pub order: Vec<usize>,
    /// Foreign keys, schema-qualified, whose checks must wait for the rows of all targets.
    pub deferred: Vec<String>,
    /// Constraints of the targets that wait for the end of the transaction unless somebody says otherwise.
    pub waiting: Vec<DeferredConstraint>,
    /// Constraints, and constraint triggers, that would wait for rows of the targets that are merged as their owners.
    pub of_restricted: Vec<DeferredConstraint>,
}

/// What is asked of a target.
#[derive(Default)]
struct Asked {
    /// The name of its key.
    key: Option<String>,
    /// The condition of the rows that are taken.
    condition: Option<String>,
    /// Columns here that do not hold the source's values.
    changed: BTreeSet<String>,
    /// Columns of the source by which a fraction of the rows is chosen.
    sampled_by: BTreeSet<String>,
}

/// The facts about a target that a merge depends on.
#[derive(Deserialize)]
struct Facts {
    relation: u32,
    has_rules: bool,
    /// Numbers of columns that are GENERATED ALWAYS AS IDENTITY.
    always_identity: Vec<i16>,
    keys: Vec<Key>,
}

/// A unique index.
#[derive(Deserialize)]
struct Key {
    oid: u32,
    name: String,
    /// The names that it goes by.
    names: Vec<String>,
    is_primary: bool,
    /// The reason why it cannot tell rows apart.
    unfit: Option<String>,
    /// Whether another unique index over the same columns is deferrable.
    has_deferrable_twin: bool,
    /// `None` for one over expressions alone.
    columns: Option<Vec<KeyColumn>>,
}

#[derive(Clone, Deserialize)]
struct KeyColumn {
    number: i16,
    name: String,
    is_nullable: bool,
    operator: String,
    collation: Option<String>,
    is_exact: bool,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    referencing: u32,
    referenced: u32,
    referencing_name: String,
    deferrable: bool,
    changes_on_delete: bool,
}

#[derive(Deserialize)]
struct MissingRights {
    relation: u32,
    name: String,
    schema: String,
    user: String,
    privileges: Vec<String>,
    lacks_schema: bool,
}

impl MissingRights {
    fn text(&self) -> String {
        if self.privileges.is_empty() {
            return format!("permission denied for schema {}", self.schema);
        }
        format!("permission denied for table {}: {} is missing", self.name, self.privileges.join(", "))
    }

    fn mend(&self) -> String {
        let table = match self.privileges.as_slice() {
            [] => None,
            privileges => Some(format!("GRANT {} ON {} TO {};", privileges.join(", "), self.name, self.user)),
        };
        let schema = self.lacks_schema.then(|| format!("GRANT USAGE ON SCHEMA {} TO {};", self.schema, self.user));
        table.into_iter().chain(schema).collect::<Vec<_>>().join(" ")
    }
}

impl Merge {
    /// Describes it for people.
    pub fn described(&self, mode: Mode) -> String {
        match &self.index {
            Some(index) => format!("{} by {}", mode.name(), plan::quote_identifier(index)),
            None => mode.name().to_owned(),
        }
    }
}

impl Prepared {
    /// The targets that rows are merged into. Where their triggers do not fire, also all partitions: these have triggers, too.
    pub fn merged_members(&self) -> Result<Vec<u32>> {
        let targets: Vec<u32> = self.targets_by(Method::Merge).map(|target| target.local.oid).collect();
        if targets.is_empty() || self.terms.triggers {
            return Ok(targets);
        }
        let members = settings::with_catalog_settings(|| catalog::partition_members(&targets))?;
        let others = members.into_iter().filter(|member| !targets.contains(member));
        Ok(targets.iter().copied().chain(others).collect())
    }

    /// Plans how staged rows get into the targets, where the mode keeps those that are there.
    /// `key` names the unique index of the one target of files; `follows_keys` tells whether conditions are about sets of keys.
    pub(super) fn plan_merges(
        &mut self,
        key: Option<String>,
        follows_keys: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        let mode = self.terms.mode;
        if !mode.merges() {
            return Ok(());
        }
        let oids = self.target_oids();
        let facts: Vec<Facts> =
            spi::fixed::query_json(include_str!("../../sql/queries/merge_targets.sql"), &[Param::OidArray(&oids)])?;
        let facts: HashMap<u32, Facts> = facts.into_iter().map(|facts| (facts.relation, facts)).collect();
        let mut stages: HashMap<u32, NewTable> =
            read_new_tables(&oids)?.into_iter().map(|table| (table.oid, table)).collect();
        let caller = self.caller.current;
        let Self { targets, from, definitions, .. } = self;
        let asked: Vec<Asked> = match from {
            From::Server(ServerSide { counterparts, .. }) => counterparts
                .iter()
                .map(|it| Asked {
                    key: it.key.clone(),
                    condition: it.table.chosen.as_ref().and_then(|chosen| chosen.condition.clone()),
                    changed: it.changed.clone(),
                    sampled_by: it.sampled_by.clone(),
                })
                .collect(),
            From::Files(_) | From::Script(_) => vec![Asked { key, ..Asked::default() }],
        };
        for (target, asked) in targets.iter_mut().zip(asked) {
            let oid = target.local.oid;
            let (Some(facts), Some(stage)) = (facts.get(&oid), stages.remove(&oid)) else {
                problems.push(Problem::of(ProblemKind::MissingTable, &target.local, "was dropped meanwhile"));
                continue;
            };
            if facts.has_rules && mode.needs_key() {
                let reason = format!("has rules, which mode '{}' would pass over", mode.name());
                problems.push(Problem::of(ProblemKind::Storage, &target.local, reason));
            }
            let key = match choose_key(mode, facts, asked.key.as_deref(), &target.spec.columns) {
                Ok(key) => key,
                Err(reason) => {
                    let mend = no_key(mode, target, reason, facts, matches!(from, From::Files(_)));
                    problems.push(mend);
                    None
                }
            };
            let role = identity::code_of_table(target.spec.owner);
            let filter = asked.condition.filter(|_| mode == Mode::Sync);
            let in_key = |name: &String| {
                key.and_then(|key| key.columns.as_ref()).is_some_and(|of| of.iter().any(|it| it.name == *name))
            };
            let not_updated: Vec<&str> = not_updated(mode, facts, key, &target.spec.columns);
            let computed_here = target.local.columns.iter().filter(|column| column.generated);
            let mut changed = asked.changed;
            changed.extend(computed_here.map(|column| column.name.clone()));
            changed.extend(not_updated.iter().map(|name| (*name).to_owned()));
            let unfit = match &filter {
                None => None,
                Some(_) if follows_keys => Some("the rows that are taken depend on other tables".to_owned()),
                // A row that has changed would be another one.
                Some(_) if !asked.sampled_by.iter().all(in_key) => {
                    Some("the sample goes by other columns than those of the key".to_owned())
                }
                Some(filter) => sync_filter::unfit(&target.local, role, filter, &changed)?,
            };
            if let Some(reason) = unfit {
                let reason =
                    format!("only some of its rows are taken, so that mode 'sync' would delete the others: {reason}");
                problems.push(
                    Problem::of(ProblemKind::Selection, &target.local, reason)
                        .mended_by("mode => 'upsert', which deletes nothing"),
                );
            }
            target.merge = Some(Merge { filter, ..merge_of(role, facts, key, &target.spec.columns) });
            if !not_updated.is_empty() {
                let names: Vec<String> = not_updated.into_iter().map(plan::quote_identifier).collect();
                target.warnings.push(format!("GENERATED ALWAYS AS IDENTITY, and not updated: {}", names.join(", ")));
            }
            let owner = role.map_or(caller, |_| target.spec.owner);
            let definition = definitions.iter().find(|definition| definition.oid == oid);
            stage_for_merge(&mut target.spec, owner, definition, key.map(|key| key.oid), stage);
        }
        problems.extend(self.missing_merge_rights()?.iter().map(|missing| {
            let problem = Problem::new(ProblemKind::Rights, missing.text()).mended_by(missing.mend());
            let targets = self.targets.iter().filter(|target| target.local.oid == missing.relation);
            targets.fold(problem, |problem, target| problem.at(&target.local))
        }));
        let routed: Vec<u32> = self
            .targets_by(Method::Merge)
            .filter(|target| {
                target.local.kind == 'p' && target.merge.as_ref().is_some_and(|merge| merge.role.is_some())
            })
            .map(|target| target.local.oid)
            .collect();
        let foreign = rights::foreign_partition_code(&routed, &[])?;
        problems.extend(foreign.into_iter().map(|text| Problem::new(ProblemKind::Rights, text)));
        self.order_merges(problems)
    }

    /// Puts referenced targets before those that reference them.
    fn order_merges(&mut self, problems: &mut Vec<Problem>) -> Result<()> {
        // A key can be one of a table above a target, or of a partition of one.
        let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
        for (position, target) in self.targets.iter().enumerate() {
            let mut relations: BTreeSet<u32> = target.local.ancestors().collect();
            if target.local.kind == 'p' {
                relations.extend(catalog::partition_members(&[target.local.oid])?);
            }
            relations.into_iter().for_each(|relation| places.entry(relation).or_default().push(position));
        }
        let involved: Vec<u32> = places.keys().copied().collect();
        let references: Vec<Reference> = spi::fixed::query_json(
            include_str!("../../sql/queries/merge_references.sql"),
            &[Param::OidArray(&involved)],
        )?;
        let nowhere = Vec::new();
        let mut edges = Vec::new();
        let mut named = Vec::new();
        let mut referenced_targets = HashSet::new();
        for reference in &references {
            let (from, to) = (
                places.get(&reference.referencing).unwrap_or(&nowhere),
                places.get(&reference.referenced).unwrap_or(&nowhere),
            );
            referenced_targets.extend(to.iter().copied());
            for (&referencing, &referenced) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
                edges.push(MergeReference { referencing, referenced, deferrable: reference.deferrable });
                named.push(reference);
            }
            if self.terms.mode == Mode::Sync && reference.changes_on_delete && from.is_empty() {
                for &position in to {
                    let reason = format!(
                        "foreign key {} of {}, which is not pulled, would change rows there when rows here go",
                        reference.name, reference.referencing_name
                    );
                    problems.push(Problem::of(ProblemKind::Storage, &self.targets[position].local, reason));
                }
            }
        }
        for (position, target) in self.targets.iter_mut().enumerate() {
            if let Some(merge) = &mut target.merge {
                merge.is_unreferenced = !referenced_targets.contains(&position);
            }
        }
        let names = |positions: &[usize]| -> Vec<String> {
            positions
                .iter()
                .map(|&position| named[position].name.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        };
        match plan::merge_order(self.targets.len(), &edges) {
            Ok(MergeOrder { tables, deferred }) => {
                let is_restricted =
                    |position: usize| self.targets[position].merge.as_ref().is_some_and(|merge| merge.role.is_some());
                let fires_restricted = |edge: &MergeReference| {
                    is_restricted(edge.referencing) || self.terms.mode == Mode::Sync && is_restricted(edge.referenced)
                };
                if let Some(&edge) = deferred.iter().find(|&&edge| fires_restricted(&edges[edge])) {
                    let reason = format!(
                        "foreign keys make a circle, and the check of {} cannot wait in statements that run as the owner of the table",
                        named[edge].name
                    );
                    problems.push(
                        Problem::of(ProblemKind::Storage, &self.targets[edges[edge].referencing].local, reason)
                            .mended_by("a session of the owner's, who has logged in as that role"),
                    );
                }
                let of_restricted =
                    places.iter().filter(|(_, targets)| targets.iter().any(|&target| is_restricted(target)));
                let of_restricted: Vec<u32> = of_restricted.map(|(relation, _)| *relation).collect();
                let mut waiting = catalog::read_deferred_constraints(&involved)?;
                // What users have made to look at the end of the transaction need not hold before.
                waiting.retain(|constraint| constraint.kind != 't');
                self.merges = Merges {
                    order: tables,
                    deferred: names(&deferred),
                    waiting,
                    of_restricted: catalog::read_deferred_constraints(&of_restricted)?,
                };
            }
            Err(stuck) => {
                let reason =
                    format!("foreign keys make a circle, and none of them is deferrable: {}", names(&stuck).join(", "));
                let tables: BTreeSet<usize> = stuck.iter().map(|&edge| edges[edge].referencing).collect();
                let mut problem = Problem::new(ProblemKind::Storage, reason);
                for position in tables {
                    problem = problem.at(&self.targets[position].local);
                }
                problems.push(problem);
            }
        }
        Ok(())
    }

    /// Rights on targets that the caller lacks. The owner's statements are the owner's business.
    fn missing_merge_rights(&self) -> Result<Vec<MissingRights>> {
        let meant =
            || self.targets.iter().filter(|target| target.merge.as_ref().is_some_and(|merge| merge.role.is_none()));
        let oids: Vec<u32> = meant().map(|target| target.local.oid).collect();
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let (relations, numbers): (Vec<u32>, Vec<i32>) = meant()
            .flat_map(|target| target.spec.columns.iter().map(|column| (target.local.oid, i32::from(column.number))))
            .unzip();
        spi::fixed::query_json(
            include_str!("../../sql/queries/missing_merge_rights.sql"),
            &[
                Param::OidArray(&oids),
                Param::OidArray(&relations),
                Param::Int4Array(&numbers),
                Param::TextArray(self.terms.mode.privileges()),
            ],
        )
    }

    /// Refuses to go on where rights were taken away since the plan was made.
    pub(super) fn refuse_missing_merge_rights(&self) -> Result<()> {
        match self.missing_merge_rights()?.first() {
            Some(missing) => Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, missing.text())),
            None => Ok(()),
        }
    }
}

/// Returns the index that tells rows apart; `None` in a mode that does not ask.
///
/// # Errors
/// The reason why there is none, in words that follow the table's name.
fn choose_key<'a>(
    mode: Mode,
    facts: &'a Facts,
    wanted: Option<&str>,
    columns: &[ColumnPair],
) -> std::result::Result<Option<&'a Key>, String> {
    if !mode.needs_key() {
        return Ok(None);
    }
    let key = match wanted {
        Some(name) => facts.keys.iter().find(|key| key.names.iter().any(|known| known == name)).ok_or_else(|| {
            format!("has no unique index {}, which is named as its key", plan::quote_identifier(name))
        })?,
        None => facts
            .keys
            .iter()
            .find(|key| key.is_primary)
            .ok_or_else(|| format!("has no primary key, by which mode '{}' would tell rows apart", mode.name()))?,
    };
    let name = plan::quote_identifier(&key.name);
    if let Some(unfit) = &key.unfit {
        return Err(format!("index {name} cannot tell rows apart: it {unfit}"));
    }
    let is_copied = |column: &KeyColumn| columns.iter().any(|pair| pair.number == column.number);
    match key.columns.iter().flatten().find(|column| !is_copied(column)) {
        Some(column) => Err(format!(
            "index {name} cannot tell rows apart: column {} does not get the source's values",
            plan::quote_identifier(&column.name)
        )),
        None => Ok(Some(key)),
    }
}

/// Other indexes that could tell rows apart are what mends it.
fn no_key(mode: Mode, target: &Target, reason: String, facts: &Facts, of_files: bool) -> Problem {
    let local = &target.local;
    let problem = Problem::of(ProblemKind::Storage, local, reason);
    if !mode.needs_key() {
        return problem;
    }
    let is_read = |column: &KeyColumn| target.spec.columns.iter().any(|it| it.number == column.number);
    let fits = |key: &&Key| key.unfit.is_none() && key.columns.iter().flatten().all(is_read);
    match facts.keys.iter().find(fits) {
        Some(key) if of_files => problem.mended_by(format!("key => {}", plan::quote_literal(&key.name))),
        Some(key) => {
            let (table, key) = (serde_json::json!(local.qualified_name()), serde_json::json!(key.name));
            problem.mended_by(format!("tables => '{{{table}: {{\"key\": {key}}}}}'"))
        }
        None => problem,
    }
}

fn not_updated<'a>(mode: Mode, facts: &Facts, key: Option<&Key>, columns: &'a [ColumnPair]) -> Vec<&'a str> {
    if !matches!(mode, Mode::Upsert | Mode::Sync) {
        return Vec::new();
    }
    let in_key = |number: i16| {
        key.and_then(|key| key.columns.as_ref()).is_some_and(|of| of.iter().any(|it| it.number == number))
    };
    columns
        .iter()
        .filter(|column| facts.always_identity.contains(&column.number) && !in_key(column.number))
        .map(|column| column.name.as_str())
        .collect()
}

fn merge_of(role: Option<Role>, facts: &Facts, key: Option<&Key>, columns: &[ColumnPair]) -> Merge {
    let key_columns: &[KeyColumn] = key.and_then(|key| key.columns.as_deref()).unwrap_or_default();
    let is_fixed = |number: i16| {
        facts.always_identity.contains(&number)
            || key_columns.iter().any(|column| column.number == number && column.is_exact)
    };
    Merge {
        role,
        columns: columns
            .iter()
            .map(|column| MergeColumn { name: column.name.clone(), is_updated: !is_fixed(column.number) })
            .collect(),
        key: key_columns
            .iter()
            .map(|column| MergeKeyColumn {
                name: column.name.clone(),
                operator: column.operator.clone(),
                collation: column.collation.clone(),
                is_nullable: column.is_nullable,
            })
            .collect(),
        index: key.map(|key| key.name.clone()),
        can_be_arbiter: key.is_some_and(|key| !key.has_deferrable_twin),
        is_unreferenced: false,
        filter: None,
    }
}

/// Makes the spec that of a stage table which holds the rows for a while: the statements that bring them into the target see to
/// its defaults, generated columns and constraints.
fn stage_for_merge(
    spec: &mut TableSpec,
    owner: u32,
    definition: Option<&Definition>,
    key: Option<u32>,
    mut stage: NewTable,
) {
    let position = key.and_then(|key| definition?.indexes.iter().position(|index| index.oid == key));
    spec.owner = owner;
    spec.indexes = position.and_then(|position| definition?.indexes.get(position).cloned()).into_iter().collect();
    spec.checks.clear();
    spec.checks_bounds = false;
    spec.generated.clear();
    spec.defaults.clear();
    spec.column_options.clear();
    spec.extended_statistics.clear();
    spec.virtuals.clear();
    // The planner must know the rows that it joins.
    spec.analyze_slices = usize::from(position.is_some());
    stage.indexes = position.and_then(|position| stage.indexes.get(position).cloned()).into_iter().collect();
    for index in &mut stage.indexes {
        index.tablespace = stage.tablespace;
    }
    for column in &mut stage.columns {
        column.not_null = false;
    }
    stage.access_method = pg_sys::HEAP_TABLE_AM_OID.to_u32();
    // Nobody needs these rows after a crash, and what is not logged costs less.
    stage.persistence = 'u';
    stage.options.clear();
    // The mark keeps its chunks from logical decoding.
    stage.toast = Some(NewToast { oid: spec.target, options: Vec::new() });
    spec.new_table = Some(stage);
}
