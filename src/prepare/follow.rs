//! A subset that holds together: with some rows of some tables, the rows that they refer to and those that refer to them.
//!
//! The conditions in `tables` say where the subset begins. Tables below those with a condition (that refer to them, and so on) keep
//! the rows whose keys are kept. What all these rows refer to is needed, and what that refers to, until nothing new is found. Any
//! other table that refers to a reduced one keeps the rows whose keys are kept. All of it is done with sets of keys, which the
//! source is asked for table by table.

use super::chooser::{Chooser, type_without_length};
use super::selection::choice_of;
use super::{Counterpart, From, Prepared};
use crate::error::{Error, Result};
use crate::local::interrupts;
use crate::order::ChosenRows;
use crate::source::{self, Session};
use pgrx::PgSqlErrorCode;
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

/// A key: columns of one table that refer to those of another. Tables are meant with all their partitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    child: u32,
    from: Vec<String>,
    parent: u32,
    to: Vec<String>,
    /// The condition, over the referring row, under which it is one.
    condition: Option<String>,
}

impl Edge {
    /// The condition that a row has such a key.
    fn is_there(&self) -> String {
        let there = self.from.iter().map(|column| format!("{} IS NOT NULL", plan::quote_identifier(column)));
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
        let tables = std::mem::take(&mut side.counterparts);
        let mut follower = Follower::new(&session, &tables, ties);
        follower.find_edges(ties, problems)?;
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
            let count = source::count_chosen_rows(&side.session, &from_clause(&counterpart.relation), condition)?;
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

fn from_clause(table: &Relation) -> String {
    format!("{}{}", if table.kind == 'p' { "" } else { "ONLY " }, table.qualified_name())
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
    /// What is needed beyond that: for each table and key.
    needed: BTreeMap<(u32, Vec<String>), Keys>,
    /// What the conditions in `base` keep, as far as it was asked for.
    kept_by_base: HashMap<(u32, Vec<String>), Rc<Keys>>,
    /// Keys that are needed, and were not looked at.
    new: Vec<(u32, Vec<String>, Keys)>,
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

    /// Finds the keys between the tables, those of the source and those in `references`.
    fn find_edges(&mut self, ties: &Ties, problems: &mut Vec<Problem>) -> Result<()> {
        let top = |oid: u32| ties.tops.get(&oid).copied().unwrap_or(oid);
        let mut edges = BTreeSet::new();
        let involved: Vec<u32> =
            ties.with_above.iter().copied().filter(|oid| self.members.contains_key(&top(*oid))).collect();
        for key in source::read_key_columns(self.session, &involved)? {
            let (from, to) = key.columns.into_iter().unzip();
            edges.insert(Edge { child: top(key.referencing), from, parent: top(key.referenced), to, condition: None });
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
                        let mut chooser = Chooser { session, instant, keys: &keys, unique: &unique, problems };
                        match chooser.condition(table, "references, where", condition)? {
                            None => continue,
                            condition => condition,
                        }
                    }
                };
                match self.declared_parent(table, reference) {
                    Ok(parent) => edges.insert(Edge {
                        child: top(*oid),
                        from: reference.columns.clone(),
                        parent: top(parent),
                        to: reference.to.clone(),
                        condition,
                    }),
                    Err(reason) => {
                        problems.push(Problem::of(ProblemKind::Selection, table, format!("references: {reason}")));
                        continue;
                    }
                };
            }
        }
        self.edges = edges
            .into_iter()
            .filter(|edge| [edge.child, edge.parent].iter().all(|top| self.members.contains_key(top)))
            .collect();
        for edge in &self.edges {
            for (top, columns) in [(edge.child, &edge.from), (edge.parent, &edge.to)] {
                for &position in &self.members[&top] {
                    let table = &self.tables[position].relation;
                    let masked = columns.iter().find(|column| ties.masked.contains(&(table.oid, (*column).clone())));
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
    fn declared_parent(&self, child: &Relation, reference: &Reference) -> std::result::Result<u32, String> {
        let found: Vec<&Relation> = self
            .tables
            .iter()
            .map(|table| &table.relation)
            .filter(|table| reference.table.matches(&table.schema, &table.name))
            .collect();
        let [parent] = found.as_slice() else {
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
        Ok(parent.oid)
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
                if tied.contains(&edge.child) || tied.contains(&edge.parent) {
                    tied.extend([edge.child, edge.parent]);
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

    fn follow(&mut self) -> Result<()> {
        // What lies below.
        self.reduce_referring()?;
        let mut kept: Vec<u32> = self.places.keys().copied().collect();
        while !kept.is_empty() {
            self.need_of(&kept)?;
            self.close()?;
            // What refers to anything that is reduced by now.
            kept = self.reduce_referring()?;
            if kept.is_empty() {
                kept = self.keep_other_kinds()?;
            }
        }
        Ok(())
    }

    /// Has tables that refer to reduced ones keep the rows whose keys are kept, and then those that refer to these. Returns them.
    fn reduce_referring(&mut self) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        loop {
            let children: BTreeSet<u32> = self
                .edges
                .iter()
                .filter(|edge| self.places.contains_key(&edge.parent) && !self.places.contains_key(&edge.child))
                .map(|edge| edge.child)
                .collect();
            if children.is_empty() {
                return Ok(all);
            }
            self.round += 1;
            self.places.extend(children.iter().map(|child| (*child, self.round)));
            for child in children {
                self.keep_referring(child)?;
                all.push(child);
            }
        }
    }

    fn keep_referring(&mut self, child: u32) -> Result<()> {
        let place = self.places[&child];
        let deciding: Vec<Edge> = self
            .edges
            .iter()
            .filter(|edge| edge.child == child && self.places.get(&edge.parent).is_some_and(|other| *other < place))
            .cloned()
            .collect();
        let (mut conditions, mut count) = (Vec::new(), 0);
        for edge in &deciding {
            let keys = self.kept(edge.parent, &edge.to)?;
            count += keys.len();
            let kept = self.is_in(edge.parent, &edge.to, &edge.from, &keys);
            conditions.push(if deciding.len() > 1 {
                format!("({kept} OR ({}) IS NOT TRUE)", edge.is_there())
            } else if edge.condition.is_some() {
                format!("({}) AND {kept}", edge.is_there())
            } else {
                kept
            });
        }
        if deciding.len() > 1 {
            let any: Vec<String> = deciding.iter().map(Edge::is_there).collect();
            conditions.push(format!("(({}))", any.join(") OR (")));
        }
        self.parents.entry(child).or_default().extend(deciding.iter().map(|edge| edge.parent));
        self.deciding.extend(deciding);
        for &position in &self.members[&child] {
            self.base.insert(position, conditions.join(" AND "));
            self.keys_in_base.insert(position, count);
        }
        Ok(())
    }

    /// Keeps rows of other kinds, too, in tables whose rows refer to one table or another by their kinds. Returns these tables.
    fn keep_other_kinds(&mut self) -> Result<Vec<u32>> {
        let is_other = |edge: &&Edge| {
            edge.condition.is_some()
                && edge.parent != edge.child
                && !self.deciding.contains(edge)
                && self.places.get(&edge.child).is_some_and(|place| *place > 0)
                && self.base.contains_key(&self.members[&edge.child][0])
                && self.places.contains_key(&edge.parent)
        };
        let others: Vec<Edge> = self.edges.iter().filter(is_other).cloned().collect();
        for edge in &others {
            let keys = self.kept(edge.parent, &edge.to)?;
            let kept = self.is_in(edge.parent, &edge.to, &edge.from, &keys);
            for position in &self.members[&edge.child] {
                if let Some(base) = self.base.get_mut(position) {
                    *base = format!("({base}) OR ({} AND {kept})", edge.is_there());
                }
                *self.keys_in_base.entry(*position).or_default() += keys.len();
            }
            self.kept_by_base.retain(|(top, _), _| *top != edge.child);
            self.parents.entry(edge.child).or_default().insert(edge.parent);
        }
        let tables: BTreeSet<u32> = others.iter().map(|edge| edge.child).collect();
        self.deciding.extend(others);
        Ok(tables.into_iter().collect())
    }

    /// Notes what the rows of tables refer to that their conditions keep.
    fn need_of(&mut self, tops: &[u32]) -> Result<()> {
        for edge in self.edges.clone() {
            if !tops.contains(&edge.child) || self.deciding.contains(&edge) {
                continue;
            }
            for position in self.members[&edge.child].clone() {
                let condition = format!("({}) AND {}", self.base[&position], edge.is_there());
                let keys = self.select(position, &edge.from, &condition)?;
                self.need(&edge, keys)?;
            }
        }
        Ok(())
    }

    /// Notes keys that are needed.
    fn need(&mut self, edge: &Edge, mut keys: Keys) -> Result<()> {
        self.places.entry(edge.parent).or_insert(self.round);
        if self.base.contains_key(&self.members[&edge.parent][0]) {
            let kept = self.kept_by_base(edge.parent, &edge.to)?;
            keys.retain(|key| !kept.contains(key));
        }
        let known = self.needed.entry((edge.parent, edge.to.clone())).or_default();
        keys.retain(|key| !known.contains(key));
        if keys.is_empty() {
            return Ok(());
        }
        self.keys += keys.len();
        if self.keys > MOST_KEYS {
            let text = format!("follow_keys finds more than {MOST_KEYS} keys");
            return Err(Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, text)
                .hint("Begin with fewer rows, or pull the tables as a whole."));
        }
        known.extend(keys.iter().cloned());
        self.children.entry(edge.parent).or_default().insert(edge.child);
        self.new.push((edge.parent, edge.to.clone(), keys));
        Ok(())
    }

    /// Follows what is needed, until nothing is new.
    fn close(&mut self) -> Result<()> {
        while let Some((top, to, mut keys)) = self.new.pop() {
            let edges: Vec<Edge> = self.edges.iter().filter(|edge| edge.child == top).cloned().collect();
            while !keys.is_empty() && !edges.is_empty() {
                let rest = keys.iter().nth(KEYS_OF_A_QUESTION).cloned();
                let rest = rest.map(|first| keys.split_off(&first)).unwrap_or_default();
                for edge in &edges {
                    for position in self.members[&top].clone() {
                        let condition = format!("{} AND {}", self.is_in(top, &to, &to, &keys), edge.is_there());
                        let found = self.select(position, &edge.from, &condition)?;
                        self.need(edge, found)?;
                    }
                }
                keys = rest;
            }
        }
        Ok(())
    }

    /// Returns the keys of the rows that are kept of a table.
    fn kept(&mut self, top: u32, columns: &[String]) -> Result<Keys> {
        let mut kept = match self.base.contains_key(&self.members[&top][0]) {
            true => self.kept_by_base(top, columns)?.as_ref().clone(),
            false => Keys::new(),
        };
        let needed: Vec<(Vec<String>, Keys)> = self
            .needed
            .iter()
            .filter(|((other, _), _)| *other == top)
            .map(|((_, columns), keys)| (columns.clone(), keys.clone()))
            .collect();
        for (others, keys) in needed {
            if others == columns {
                kept.extend(keys);
                continue;
            }
            for position in self.members[&top].clone() {
                kept.extend(self.select(position, columns, &self.is_in(top, &others, &others, &keys))?);
            }
        }
        Ok(kept)
    }

    fn kept_by_base(&mut self, top: u32, columns: &[String]) -> Result<Rc<Keys>> {
        let name = (top, columns.to_vec());
        if let Some(known) = self.kept_by_base.get(&name) {
            return Ok(Rc::clone(known));
        }
        let mut kept = Keys::new();
        for &position in &self.members[&top] {
            kept.extend(self.select(position, columns, &format!("({})", self.base[&position]))?);
        }
        let kept = Rc::new(kept);
        self.kept_by_base.insert(name, Rc::clone(&kept));
        Ok(kept)
    }

    /// Asks the source for the values of columns in the rows that satisfy a condition.
    fn select(&self, position: usize, columns: &[String], condition: &str) -> Result<Keys> {
        interrupts::check();
        let columns: Vec<String> = columns.iter().map(|column| plan::quote_identifier(column)).collect();
        let from = from_clause(&self.tables[position].relation);
        let values = source::read_distinct_values(self.session, &from, &columns, condition)?;
        Ok(values.into_iter().collect())
    }

    /// Returns the condition that columns have values of a set, which is one of another table's columns.
    fn is_in(&self, top: u32, typed_as: &[String], columns: &[String], keys: &Keys) -> String {
        if keys.is_empty() {
            return "false".to_owned();
        }
        let table = &self.tables[self.members[&top][0]].relation;
        let arrays: Vec<String> = typed_as
            .iter()
            .enumerate()
            .map(|(number, name)| {
                let base_type = table
                    .columns
                    .iter()
                    .find(|column| column.name == *name)
                    .map_or("text".to_owned(), |column| type_without_length(&column.base_type));
                let texts = keys.iter().filter_map(|key| key.get(number)).map(String::as_str);
                plan::typed_array(texts, &base_type)
            })
            .collect();
        let columns: Vec<String> = columns.iter().map(|column| plan::quote_identifier(column)).collect();
        let names: Vec<String> = (0..columns.len()).map(|number| format!("k{number}")).collect();
        let of_set: Vec<String> = names.iter().map(|name| format!("pgcopy_keys.{name}")).collect();
        // Older servers would compare with each element in turn.
        if let ([column], [array], true) = (columns.as_slice(), arrays.as_slice(), self.session.version >= 140_000) {
            return format!("{column} = ANY ({array})");
        }
        format!(
            "({}) IN (SELECT {} FROM ROWS FROM ({}) pgcopy_keys({}))",
            columns.join(", "),
            of_set.join(", "),
            arrays.iter().map(|array| format!("pg_catalog.unnest({array})")).collect::<Vec<_>>().join(", "),
            names.join(", ")
        )
    }

    /// Returns for each table that is reduced its position, the condition, the number of keys in it, and the words for a plan.
    fn conditions(&self) -> Vec<(usize, String, usize, String)> {
        let names = |tops: Option<&BTreeSet<u32>>| -> Vec<String> {
            let name = |top: &u32| {
                let members = &self.members[top];
                let whole =
                    members.iter().map(|&position| &self.tables[position].relation).find(|table| table.oid == *top);
                whole.unwrap_or(&self.tables[members[0]].relation).qualified_name()
            };
            tops.into_iter().flatten().map(name).collect()
        };
        let mut all = Vec::new();
        for (&top, &place) in &self.places {
            let (parents, children) = (names(self.parents.get(&top)), names(self.children.get(&top)));
            let mut words = Vec::new();
            if place == 0 {
                words.push("keys are followed from here".to_owned());
            }
            if !parents.is_empty() {
                words.push(format!("only rows that refer to what is taken of {}", parents.join(", ")));
            }
            match (words.is_empty(), children.is_empty()) {
                (true, _) => words.push(format!("only rows that are referred to by {}", children.join(", "))),
                (false, false) => words.push(format!("and rows that are referred to by {}", children.join(", "))),
                (false, true) => {}
            }
            for &position in &self.members[&top] {
                let mut keys = self.keys_in_base.get(&position).copied().unwrap_or_default();
                let base = self.base.get(&position).map(|base| format!("({base})"));
                let mut conditions: Vec<String> = base.into_iter().collect();
                for ((other, columns), needed) in &self.needed {
                    if *other == top && !needed.is_empty() {
                        conditions.push(self.is_in(top, columns, columns, needed));
                        keys += needed.len();
                    }
                }
                let condition = match conditions.as_slice() {
                    [] => "false".to_owned(),
                    [one] => one.clone(),
                    several => format!("({})", several.join(" OR ")),
                };
                // How many rows a condition of the caller's takes is not known.
                let keys = if place == 0 { usize::MAX } else { keys };
                all.push((position, condition, keys, words.join("; ")));
            }
        }
        all
    }
}
