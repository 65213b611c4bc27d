//! A subset that holds together: with some rows of some tables, the rows that they refer to and those that refer to them.
//!
//! The conditions in `tables` say where the subset begins. Tables below those with a condition (that refer to them, and so on) keep
//! the rows whose keys are kept. What all these rows refer to is needed, and what that refers to, until nothing new is found. Any
//! other table that refers to a reduced one keeps the rows whose keys are kept. All of it is done with sets of keys, which the
//! source is asked for table by table.

mod rounds;

use super::chooser::Chooser;
use super::granted::Granted;
use super::selection::choice_of;
use super::{Counterpart, From, Prepared};
use crate::error::Result;
use crate::local::interrupts;
use crate::order::ChosenRows;
use crate::source::{self, Session};
use plan::catalog::Relation;
use plan::{Problem, ProblemKind};
use selection::{Content, Reference, Selection};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// The values of a key's columns, as texts.
type Keys = BTreeSet<Vec<String>>;

/// What is to be known of the source's tables beside those of the pull.
pub(super) struct Ties {
    /// The topmost partitioned table above a table.
    tops: HashMap<u32, u32>,
    /// The partitioned tables above the tables, with these themselves.
    with_above: BTreeSet<u32>,
    /// The names of partitioned tables.
    partitioned: HashMap<u32, (String, String)>,
    /// Keys that are no constraints, by the referring table.
    declared: Vec<(u32, Reference)>,
    /// Columns whose values must not leave the source.
    masked: HashSet<(u32, String)>,
}

impl Ties {
    pub(super) fn of(selection: &Selection, sources: &[Relation]) -> Self {
        let all: HashMap<u32, &Relation> = sources.iter().map(|relation| (relation.oid, relation)).collect();
        let mut ties = Self {
            tops: sources.iter().map(|table| (table.oid, table.partition_root.unwrap_or(table.oid))).collect(),
            with_above: BTreeSet::new(),
            partitioned: sources
                .iter()
                .filter(|relation| relation.kind == 'p')
                .map(|relation| (relation.oid, (relation.schema.clone(), relation.name.clone())))
                .collect(),
            declared: Vec::new(),
            masked: HashSet::new(),
        };
        for table in sources.iter().filter(|table| table.is_table()) {
            interrupts::check();
            ties.with_above.extend(table.ancestors());
            // A contradiction is told of where the choice is made.
            let Ok(choice) = choice_of(selection, table, &all) else { continue };
            let declared = choice.references.into_iter().flat_map(|references| references.value);
            ties.declared.extend(declared.map(|reference| (table.oid, reference)));
            let masked = choice.columns.into_iter().filter(|(_, column)| {
                let content = column.content.as_ref().map(|content| &content.value);
                matches!(content, Some(Content::Mask(_)))
            });
            ties.masked.extend(masked.map(|(name, _)| (table.oid, name)));
        }
        ties
    }
}

/// Rows of a table with all its partitions, or of one of these alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rows {
    /// The topmost table.
    top: u32,
    /// The partition of any level.
    part: Option<u32>,
}

impl Rows {
    fn of_all(top: u32) -> Self {
        Self { top, part: None }
    }
}

/// A key: columns of one table that refer to those of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    /// The topmost table. What refers from some partitions is taken for a key of all.
    child: u32,
    from: Vec<String>,
    parent: Rows,
    to: Vec<String>,
    /// The condition, over the referring row, under which it is one.
    condition: Option<String>,
    /// Whether the source's server sees to it that the row is there which is referred to.
    enforced: bool,
}

impl Edge {
    /// The condition that a row has such a key.
    fn is_there(&self) -> String {
        // IS NOT NULL would ask for all attributes of a composite value.
        let there = self.from.iter().map(|column| format!("{} IS DISTINCT FROM NULL", plan::quote_identifier(column)));
        there
            .chain(self.condition.iter().map(|condition| format!("({condition}) IS TRUE")))
            .collect::<Vec<_>>()
            .join(" AND ")
    }
}

impl Prepared {
    /// Reduces the tables of the pull to what belongs together.
    pub(super) fn follow_keys(&mut self, ties: &Ties, problems: &mut Vec<Problem>) -> Result<()> {
        let From::Server(side) = &mut self.from else { return Ok(()) };
        if !problems.is_empty() {
            // Conditions among them may be what cannot be asked.
            return Ok(());
        }
        let session = Rc::clone(&side.session);
        let granted = Rc::clone(&side.granted);
        let tables = std::mem::take(&mut side.counterparts);
        let mut follower = Follower::new(&session, &tables, ties);
        follower.find_edges(ties, &granted, problems)?;
        let mut reduced = Vec::new();
        if problems.is_empty() {
            follower.begin();
            if follower.places.is_empty() {
                let text = "follow_keys needs a table to begin with";
                let problem = Problem::new(ProblemKind::Selection, text);
                problems.push(problem.mended_by("where or sample in tables"));
            }
            follower.refuse_code_of_others(problems)?;
        }
        if problems.is_empty() {
            follower.follow()?;
            reduced = follower.conditions();
        }
        let From::Server(side) = &mut self.from else { return Ok(()) };
        side.counterparts = tables;
        for (position, condition, keys, path) in reduced {
            let (target, counterpart) = (&mut self.targets[position], &mut side.counterparts[position]);
            target.warnings.push(path);
            let table = &mut counterpart.table;
            let chosen = table.chosen.get_or_insert_with(|| ChosenRows {
                columns: target.spec.columns.iter().map(|column| plan::quote_identifier(&column.name)).collect(),
                computed: false,
                condition: None,
            });
            chosen.condition = Some(condition);
            // Few rows are found by an index, which each part would go through.
            if (keys as f64) < counterpart.relation.tuples / FEW || table.partitions.len() > 1 {
                table.parts = vec![plan::Part::WHOLE];
                table.partitions = Vec::new();
            } else if keys != usize::MAX {
                // Each part reads the set of keys first.
                table.parts = plan::joined(&table.parts);
            }
        }
        Ok(())
    }

    /// Counts the rows of each target that a condition or the keys leave, by the target's OID.
    pub(super) fn count_chosen_rows(&self) -> Result<HashMap<u32, i64>> {
        let From::Server(side) = &self.from else { return Ok(HashMap::new()) };
        let mut counts = HashMap::new();
        for (target, counterpart) in self.targets.iter().zip(&side.counterparts) {
            let Some(condition) = condition_of(counterpart) else { continue };
            interrupts::check();
            let count = source::count_chosen_rows(&side.session, &counterpart.relation.from_clause(), condition)?;
            counts.insert(target.local.oid, count);
        }
        Ok(counts)
    }
}

/// A table is read by its indexes for the keys of less than this part of its rows.
const FEW: f64 = 20.0;

/// The most keys of all sets together, and of one question.
const MOST_KEYS: usize = 20_000_000;
const KEYS_OF_A_QUESTION: usize = 50_000;

fn condition_of(table: &Counterpart) -> Option<&String> {
    table.table.chosen.as_ref()?.condition.as_ref()
}

/// Keys of a table that are needed.
struct NewKeys {
    rows: Rows,
    columns: Vec<String>,
    keys: Keys,
    /// Whether there is a row with each of them.
    are_there: bool,
}

struct Follower<'a> {
    session: &'a Session,
    tables: &'a [Counterpart],
    /// Positions of the tables of the pull, by the topmost tables above them.
    members: BTreeMap<u32, Vec<usize>>,
    edges: Vec<Edge>,
    /// Of reduced tables, the rounds in which they became that. Keys to those of earlier rounds decide which rows are kept.
    places: BTreeMap<u32, usize>,
    round: usize,
    deciding: BTreeSet<Edge>,
    /// For tables that do not only hold what others need, the condition of each member.
    base: HashMap<usize, String>,
    /// What is needed beyond that: for each table, or partition that is referred to, and key.
    needed: BTreeMap<(Rows, Vec<String>), Keys>,
    /// What the conditions in `base` keep, as far as it was asked for.
    kept_by_base: HashMap<(Rows, Vec<String>), Rc<Keys>>,
    /// Keys that are needed, and were not looked at.
    new: Vec<NewKeys>,
    keys: usize,
    /// The number of keys in the conditions.
    keys_in_base: HashMap<usize, usize>,
    /// For each table, those whose rows decide which of its rows are kept, and those whose rows need some.
    parents: BTreeMap<u32, BTreeSet<u32>>,
    children: BTreeMap<u32, BTreeSet<u32>>,
}

impl<'a> Follower<'a> {
    fn new(session: &'a Session, tables: &'a [Counterpart], ties: &Ties) -> Self {
        let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (position, table) in tables.iter().enumerate() {
            let oid = table.relation.oid;
            members.entry(ties.tops.get(&oid).copied().unwrap_or(oid)).or_default().push(position);
        }
        Self {
            session,
            tables,
            members,
            edges: Vec::new(),
            places: BTreeMap::new(),
            round: 0,
            deciding: BTreeSet::new(),
            base: HashMap::new(),
            needed: BTreeMap::new(),
            kept_by_base: HashMap::new(),
            new: Vec::new(),
            keys: 0,
            keys_in_base: HashMap::new(),
            parents: BTreeMap::new(),
            children: BTreeMap::new(),
        }
    }

    /// Returns the positions of the tables that hold rows.
    fn positions(&self, rows: Rows) -> Vec<usize> {
        let of_part = |position: &usize| {
            rows.part.is_none_or(|part| self.tables[*position].relation.ancestors().any(|oid| oid == part))
        };
        self.members.get(&rows.top).into_iter().flatten().copied().filter(of_part).collect()
    }

    /// Finds the keys between the tables, those of the source and those in `references`.
    fn find_edges(&mut self, ties: &Ties, granted: &Granted, problems: &mut Vec<Problem>) -> Result<()> {
        let top = |oid: u32| ties.tops.get(&oid).copied().unwrap_or(oid);
        let rows_of = |oid: u32| Rows { top: top(oid), part: (top(oid) != oid).then_some(oid) };
        let mut edges = BTreeSet::new();
        let involved: Vec<u32> =
            ties.with_above.iter().copied().filter(|oid| self.members.contains_key(&top(*oid))).collect();
        for key in source::read_key_columns(self.session, &involved)? {
            let (from, to) = key.columns.into_iter().unzip();
            let (child, parent) = (top(key.referencing), rows_of(key.referenced));
            edges.insert(Edge { child, from, parent, to, condition: None, enforced: key.enforced });
        }
        if !ties.declared.is_empty() {
            let instant = self.session.query_value("SELECT pg_catalog.now()::pg_catalog.text")?;
            let (keys, unique) = (HashMap::new(), HashSet::new());
            for (oid, reference) in &ties.declared {
                let Some(table) = self.tables.iter().find(|table| table.relation.oid == *oid) else { continue };
                let table = &table.relation;
                let condition = match &reference.condition {
                    None => None,
                    Some(condition) => {
                        let (session, instant) = (self.session, instant.as_str());
                        let mut chooser = Chooser {
                            session,
                            granted,
                            instant,
                            keys: &keys,
                            unique: &unique,
                            has_mask_functions: false,
                            problems,
                        };
                        match chooser.condition(table, "references, where", condition)? {
                            None => continue,
                            condition => condition,
                        }
                    }
                };
                match self.declared_parent(ties, table, reference) {
                    Ok(parent) => {
                        let declared = Edge {
                            child: top(*oid),
                            from: reference.columns.clone(),
                            parent: rows_of(parent),
                            to: reference.to.clone(),
                            condition,
                            enforced: false,
                        };
                        if !edges.contains(&Edge { enforced: true, ..declared.clone() }) {
                            edges.insert(declared);
                        }
                    }
                    Err(reason) => {
                        problems.push(Problem::of(ProblemKind::Selection, table, format!("references: {reason}")));
                    }
                }
            }
        }
        let is_pulled = |rows: Rows| !self.positions(rows).is_empty();
        self.edges =
            edges.into_iter().filter(|edge| is_pulled(Rows::of_all(edge.child)) && is_pulled(edge.parent)).collect();
        for edge in &self.edges {
            for (rows, columns) in [(Rows::of_all(edge.child), &edge.from), (edge.parent, &edge.to)] {
                for position in self.positions(rows) {
                    let table = &self.tables[position].relation;
                    let masked = columns.iter().find(|column| ties.masked.contains(&(table.oid, (*column).clone())));
                    let is_array = |column: &&String| {
                        let found = table.columns.iter().find(|known| known.name == **column);
                        found.is_some_and(|known| known.base_type.ends_with("[]"))
                    };
                    if let Some(column) = columns.iter().find(is_array) {
                        let reason = format!(
                            "column {} is an array, and follow_keys cannot ask for such keys",
                            plan::quote_identifier(column)
                        );
                        let problem = Problem::of(ProblemKind::Selection, table, reason);
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                    let denied: Vec<&str> = columns
                        .iter()
                        .map(String::as_str)
                        .filter(|column| !granted.may_read(table.oid, column))
                        .collect();
                    if !denied.is_empty() {
                        let problem = granted.problem(table, "follow_keys: ", &denied);
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                    if let Some(column) = masked {
                        let reason = format!(
                            "column {} is masked, and follow_keys would need its values here",
                            plan::quote_identifier(column)
                        );
                        let problem = Problem::of(ProblemKind::Selection, table, reason);
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the table that a declared key refers to.
    fn declared_parent(
        &self,
        ties: &Ties,
        child: &Relation,
        reference: &Reference,
    ) -> std::result::Result<u32, String> {
        let mut found: BTreeMap<u32, &Relation> = BTreeMap::new();
        for table in self.tables.iter().map(|table| &table.relation) {
            if reference.table.matches(&table.schema, &table.name) {
                found.insert(table.oid, table);
            }
            // Its partitions have its columns.
            for above in table.ancestors() {
                if ties.partitioned.get(&above).is_some_and(|(schema, name)| reference.table.matches(schema, name)) {
                    found.entry(above).or_insert(table);
                }
            }
        }
        let Some((oid, parent)) = found.pop_first().filter(|_| found.is_empty()) else {
            return Err(format!("{} is not one table of the pull", reference.table));
        };
        let type_of = |table: &Relation, name: &str| {
            let column = table.columns.iter().find(|column| column.name == name);
            column
                .map(|column| column.base_type.clone())
                .ok_or_else(|| format!("{} has no column {}", table.qualified_name(), plan::quote_identifier(name)))
        };
        const ALIKE: [[&str; 3]; 2] = [["smallint", "integer", "bigint"], ["text", "character varying", "character"]];
        for (from, to) in reference.columns.iter().zip(&reference.to) {
            let (of_child, of_parent) = (type_of(child, from)?, type_of(parent, to)?);
            let are_alike =
                |types: &[&str; 3]| types.contains(&of_child.as_str()) && types.contains(&of_parent.as_str());
            if of_child != of_parent && !ALIKE.iter().any(are_alike) {
                return Err(format!(
                    "column {} is of type {of_child}, and {} of {} is of type {of_parent}",
                    plan::quote_identifier(from),
                    plan::quote_identifier(to),
                    parent.qualified_name()
                ));
            }
        }
        Ok(oid)
    }

    /// Notes the tables that conditions are given for.
    fn begin(&mut self) {
        for (&top, members) in &self.members {
            if members.iter().any(|&position| condition_of(&self.tables[position]).is_some()) {
                self.places.insert(top, 0);
                for &position in members {
                    let condition = condition_of(&self.tables[position]).cloned().unwrap_or_else(|| "true".to_owned());
                    self.base.insert(position, condition);
                }
            }
        }
    }

    /// Refuses tables that keys tie to the beginning and that only plain COPY may read: queries will ask for their keys.
    fn refuse_code_of_others(&self, problems: &mut Vec<Problem>) -> Result<()> {
        let mut tied: BTreeSet<u32> = self.places.keys().copied().collect();
        loop {
            let before = tied.len();
            for edge in &self.edges {
                if tied.contains(&edge.child) || tied.contains(&edge.parent.top) {
                    tied.extend([edge.child, edge.parent.top]);
                }
            }
            if tied.len() == before {
                break;
            }
        }
        let tables: HashMap<u32, &Relation> = tied
            .iter()
            .flat_map(|top| &self.members[top])
            .map(|&position| (self.tables[position].relation.oid, &self.tables[position].relation))
            .collect();
        let oids: Vec<u32> = tables.keys().copied().collect();
        for code in source::read_code_of_others(self.session, &oids)? {
            let authors = &code.authors;
            let reason = format!("a query over it would run functions of {authors} as the user of the source");
            problems.extend(tables.get(&code.relation).map(|table| Problem::of(ProblemKind::Rights, table, reason)));
        }
        Ok(())
    }
}
