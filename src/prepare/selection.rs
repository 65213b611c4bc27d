//! What is taken of each table: the argument `tables`, applied to the tables of the source.

use super::chooser::{Chooser, Chosen};
use super::granted::Granted;
use super::masked_keys::mask_referencing_columns;
use crate::error::Result;
use crate::local::interrupts;
use crate::source::{self, Session};
use plan::catalog::Relation;
use plan::{Problem, ProblemKind};
use selection::{Choice, Content, Selection};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Returns what is read of each table, where that is not all of it as it is, and the unique index here that rows are to be told
/// apart by. Sources and targets are in the same order, with their columns; `all` are the source's relations by their OIDs.
pub(super) fn choose(
    session: &Session,
    granted: &Granted,
    selection: &Selection,
    sources: &[Relation],
    targets: &[Relation],
    all: &HashMap<u32, &Relation>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<(Option<Chosen>, Option<String>)>> {
    if selection.is_empty() {
        return Ok(sources.iter().map(|_| (None, None)).collect());
    }
    let oids: Vec<u32> = sources.iter().map(|source| source.oid).collect();
    problems.extend(unmatched_columns(selection, sources));
    let instant = session.query_value("SELECT pg_catalog.now()::pg_catalog.text")?;
    let mut keys: HashMap<u32, Vec<String>> = HashMap::new();
    for key in source::read_unique_keys(session, &oids)? {
        keys.entry(key.relation).or_insert(key.columns);
    }
    let mut choices: Vec<Choice> = Vec::with_capacity(sources.len());
    for source in sources {
        choices.push(choice_of(selection, source, all).unwrap_or_else(|problem| {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
            Choice::default()
        }));
    }
    let mut unique = HashSet::new();
    let mut has_mask_functions = false;
    if selection.needs_key() {
        has_mask_functions = source::has_mask_functions(session)?;
        unique = source::read_unique_columns(session, &oids)?.into_iter().collect();
        let with_above: BTreeSet<u32> = sources.iter().flat_map(Relation::ancestors).collect();
        let keys = source::read_key_columns(session, &with_above.into_iter().collect::<Vec<_>>())?;
        problems.extend(mask_referencing_columns(sources, targets, all, &mut choices, &keys));
    }
    problems.extend(forgotten_heirs(session, sources, &choices)?);
    let mut chooser =
        Chooser { session, granted, instant: &instant, keys: &keys, unique: &unique, has_mask_functions, problems };
    sources
        .iter()
        .zip(targets)
        .zip(choices)
        .map(|((source, target), choice)| {
            let chosen = if choice.is_empty() { None } else { Some(chooser.choose(source, target, &choice)?) };
            Ok((chosen, choice.index.map(|index| index.value)))
        })
        .collect()
}

/// Returns a problem for each column that `tables` hides the values of, but not those of a table that inherits it.
fn forgotten_heirs(session: &Session, sources: &[Relation], choices: &[Choice]) -> Result<Vec<Problem>> {
    let is_said = |choice: &Choice, name: &str| choice.columns.get(name).is_some_and(|column| column.content.is_some());
    let hidden_in = |position: usize| {
        choices[position].columns.iter().filter_map(|(name, column)| {
            let hides = column.content.as_ref().is_some_and(|content| !matches!(content.value, Content::Kept));
            hides.then_some(name)
        })
    };
    if (0..choices.len()).all(|position| hidden_in(position).next().is_none()) {
        return Ok(Vec::new());
    }
    let positions: HashMap<u32, usize> =
        sources.iter().enumerate().map(|(position, source)| (source.oid, position)).collect();
    let oids: Vec<u32> = sources.iter().map(|source| source.oid).collect();
    let mut problems = Vec::new();
    for (heir, parent) in source::read_heirs(session, &oids)? {
        interrupts::check();
        let (Some(&heir), Some(&parent)) = (positions.get(&heir), positions.get(&parent)) else { continue };
        let (heir, choice) = (&sources[heir], &choices[heir]);
        for name in hidden_in(parent) {
            let has_column = heir.columns.iter().any(|column| column.name == *name);
            if has_column && !is_said(choice, name) {
                let reason = format!(
                    "tables says what becomes of column {} of {}, but not of this table, which inherits it",
                    plan::quote_identifier(name),
                    sources[parent].qualified_name()
                );
                problems.push(Problem::of(ProblemKind::Selection, heir, reason));
            }
        }
    }
    Ok(problems)
}

/// Gives each table of the source the name that it is to have here.
pub(super) fn name_counterparts(selection: &Selection, relations: &mut [Relation]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if selection.is_empty() {
        return problems;
    }
    for relation in relations {
        interrupts::check();
        match choice_of(selection, relation, &HashMap::new()) {
            Ok(choice) => {
                let is_named = choice.into.as_ref().is_some_and(|into| into.is_literal());
                let other = choice.into.map(|into| into.value.of(&relation.schema, &relation.name));
                let other = other.filter(|(schema, name)| (schema.as_str(), name.as_str()) != relation.key());
                relation.counterpart_is_named = is_named && other.is_some();
                relation.counterpart = other;
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

/// Returns a problem for each entry that matches no table of the source.
pub(super) fn unmatched_entries(selection: &Selection, relations: &[Relation]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in selection.entries() {
        let matches = |relation: &Relation| {
            interrupts::check();
            entry.pattern().matches(&relation.schema, &relation.name)
        };
        if !relations.iter().any(matches) {
            let text = format!("tables entry {}: no such table on the source", entry.key);
            let near =
                entry.pattern().nearest(relations.iter().filter(|relation| relation.is_table()), &interrupts::check);
            let problem = Problem::new(ProblemKind::UnmatchedPattern, text);
            problems.push(Problem { mend: near.map(|name| format!("{name} in tables")), ..problem });
        }
    }
    problems
}

/// Returns what is said of a table and of the tables above it; `all` are the source's relations by their OIDs.
pub(super) fn choice_of(
    selection: &Selection,
    relation: &Relation,
    all: &HashMap<u32, &Relation>,
) -> std::result::Result<Choice, Problem> {
    let mut names = vec![relation.key()];
    if relation.partition_root.is_some() {
        names.extend(relation.ancestors().skip(1).filter_map(|oid| all.get(&oid)).map(|above| above.key()));
    }
    selection
        .choice(&names)
        .map_err(|contradiction| Problem::of(ProblemKind::Selection, relation, contradiction.reason))
}

/// Returns a problem for each column that an entry with a wildcard names and none of its tables has. `tables` are those of the pull,
/// with their columns.
fn unmatched_columns(selection: &Selection, tables: &[Relation]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in selection.entries().iter().filter(|entry| !entry.is_literal()) {
        let matched: Vec<&Relation> =
            tables.iter().filter(|table| entry.pattern().matches(&table.schema, &table.name)).collect();
        if matched.is_empty() {
            continue;
        }
        for name in entry.columns() {
            interrupts::check();
            if !matched.iter().any(|table| table.columns.iter().any(|column| column.name == name)) {
                let column = plan::quote_identifier(name);
                let text = format!("tables entry {}: no table that it matches has a column {column}", entry.key);
                problems.push(Problem::new(ProblemKind::MissingColumn, text));
            }
        }
    }
    problems
}
