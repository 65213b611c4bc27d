//! The rounds in which keys are asked for, until nothing new is found.

use super::super::chooser::type_without_length;
use super::{Edge, Follower, KEYS_OF_A_QUESTION, Keys, MOST_KEYS, NewKeys, Rows};
use crate::error::{Error, Result};
use crate::local::interrupts;
use crate::source;
use pgrx::PgSqlErrorCode;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Follower<'_> {
    pub(super) fn follow(&mut self) -> Result<()> {
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
    pub(super) fn reduce_referring(&mut self) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        loop {
            let children: BTreeSet<u32> = self
                .edges
                .iter()
                .filter(|edge| self.places.contains_key(&edge.parent.top) && !self.places.contains_key(&edge.child))
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

    pub(super) fn keep_referring(&mut self, child: u32) -> Result<()> {
        let place = self.places[&child];
        let deciding: Vec<Edge> = self
            .edges
            .iter()
            .filter(|edge| edge.child == child && self.places.get(&edge.parent.top).is_some_and(|other| *other < place))
            .cloned()
            .collect();
        let (mut conditions, mut count) = (Vec::new(), 0);
        for edge in &deciding {
            let keys = self.kept(edge.parent, &edge.to)?;
            count += keys.len();
            let kept = self.is_in(edge.parent.top, &edge.to, &edge.from, &keys);
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
        self.parents.entry(child).or_default().extend(deciding.iter().map(|edge| edge.parent.top));
        self.deciding.extend(deciding);
        for &position in &self.members[&child] {
            self.base.insert(position, conditions.join(" AND "));
            self.keys_in_base.insert(position, count);
        }
        Ok(())
    }

    /// Keeps rows of other kinds, too, in tables whose rows refer to one table or another by their kinds. Returns these tables.
    pub(super) fn keep_other_kinds(&mut self) -> Result<Vec<u32>> {
        let is_other = |edge: &&Edge| {
            edge.condition.is_some()
                && edge.parent.top != edge.child
                && !self.deciding.contains(edge)
                && self.places.get(&edge.child).is_some_and(|place| *place > 0)
                && self.base.contains_key(&self.members[&edge.child][0])
                && self.places.contains_key(&edge.parent.top)
        };
        let others: Vec<Edge> = self.edges.iter().filter(is_other).cloned().collect();
        for edge in &others {
            let keys = self.kept(edge.parent, &edge.to)?;
            let kept = self.is_in(edge.parent.top, &edge.to, &edge.from, &keys);
            for position in &self.members[&edge.child] {
                if let Some(base) = self.base.get_mut(position) {
                    *base = format!("({base}) OR ({} AND {kept})", edge.is_there());
                }
                *self.keys_in_base.entry(*position).or_default() += keys.len();
            }
            self.kept_by_base.retain(|(rows, _), _| rows.top != edge.child);
            self.parents.entry(edge.child).or_default().insert(edge.parent.top);
        }
        let tables: BTreeSet<u32> = others.iter().map(|edge| edge.child).collect();
        self.deciding.extend(others);
        Ok(tables.into_iter().collect())
    }

    /// Notes what the rows of tables refer to that their conditions keep.
    pub(super) fn need_of(&mut self, tops: &[u32]) -> Result<()> {
        for edge in self.edges.clone() {
            if !tops.contains(&edge.child) || self.deciding.contains(&edge) {
                continue;
            }
            for position in self.members[&edge.child].clone() {
                let condition = format!("({}) AND {}", self.base[&position], edge.is_there());
                let keys = self.select_references(position, &edge, &condition)?;
                self.need(&edge, keys)?;
            }
        }
        Ok(())
    }

    /// Notes keys that are needed.
    pub(super) fn need(&mut self, edge: &Edge, mut keys: Keys) -> Result<()> {
        self.places.entry(edge.parent.top).or_insert(self.round);
        if self.base.contains_key(&self.members[&edge.parent.top][0]) {
            let kept = self.kept_by_base(edge.parent, &edge.to)?;
            keys.retain(|key| !kept.contains(key));
        }
        let known = self.needed.entry((edge.parent, edge.to.clone())).or_default();
        keys.retain(|key| !known.contains(key));
        if keys.is_empty() {
            return Ok(());
        }
        self.keys += keys.len();
        refuse_too_many(self.keys)?;
        known.extend(keys.iter().cloned());
        self.children.entry(edge.parent.top).or_default().insert(edge.child);
        let (rows, columns) = (edge.parent, edge.to.clone());
        self.new.push(NewKeys { rows, columns, keys, are_there: edge.enforced });
        Ok(())
    }

    /// Follows what is needed, until nothing is new.
    pub(super) fn close(&mut self) -> Result<()> {
        while let Some(NewKeys { rows, columns: to, mut keys, are_there }) = self.new.pop() {
            let mut edges: Vec<Edge> = self.edges.iter().filter(|edge| edge.child == rows.top).cloned().collect();
            if are_there {
                let mut unknown = Vec::new();
                for edge in edges {
                    match self.known_values(&edge, &to, &keys) {
                        Some(known) => self.need(&edge, known)?,
                        None => unknown.push(edge),
                    }
                }
                edges = unknown;
            }
            while !keys.is_empty() && !edges.is_empty() {
                let rest = keys.iter().nth(KEYS_OF_A_QUESTION).cloned();
                let rest = rest.map(|first| keys.split_off(&first)).unwrap_or_default();
                for edge in &edges {
                    for position in self.positions(rows) {
                        let condition = format!("{} AND {}", self.is_in(rows.top, &to, &to, &keys), edge.is_there());
                        let found = self.select_references(position, edge, &condition)?;
                        self.need(edge, found)?;
                    }
                }
                keys = rest;
            }
        }
        Ok(())
    }

    /// Returns what rows refer to by a key if their own keys tell it.
    fn known_values(&self, edge: &Edge, columns: &[String], keys: &Keys) -> Option<Keys> {
        if edge.condition.is_some() || !self.equal_is_same(self.members[&edge.child][0], &edge.from) {
            return None;
        }
        let position = |from: &String| columns.iter().position(|column| column == from);
        let positions: Vec<usize> = edge.from.iter().map(position).collect::<Option<_>>()?;
        keys.iter().map(|key| positions.iter().map(|&position| key.get(position).cloned()).collect()).collect()
    }

    /// Whether equal values of columns have the same text, in whatever table of that type they are.
    fn equal_is_same(&self, position: usize, columns: &[String]) -> bool {
        const TYPES: [&str; 6] = ["smallint", "integer", "bigint", "oid", "uuid", "date"];
        let known = &self.tables[position].relation.columns;
        columns
            .iter()
            .all(|name| known.iter().any(|column| column.name == *name && TYPES.contains(&column.base_type.as_str())))
    }

    /// Returns the keys of the rows that are kept of a table, or of a partition.
    fn kept(&mut self, rows: Rows, columns: &[String]) -> Result<Keys> {
        let mut kept = match self.base.contains_key(&self.members[&rows.top][0]) {
            true => self.kept_by_base(rows, columns)?.as_ref().clone(),
            false => Keys::new(),
        };
        let needed: Vec<(Rows, Vec<String>, Keys)> = self
            .needed
            .iter()
            .filter(|((other, _), _)| other.top == rows.top)
            .map(|((other, columns), keys)| (*other, columns.clone(), keys.clone()))
            .collect();
        let own = self.positions(rows);
        for (other, others, keys) in needed {
            if other == rows && others == columns {
                kept.extend(keys);
                continue;
            }
            for position in self.positions(other).into_iter().filter(|position| own.contains(position)) {
                kept.extend(self.select(position, columns, &self.is_in(rows.top, &others, &others, &keys))?);
            }
        }
        Ok(kept)
    }

    fn kept_by_base(&mut self, rows: Rows, columns: &[String]) -> Result<Rc<Keys>> {
        let name = (rows, columns.to_vec());
        if let Some(known) = self.kept_by_base.get(&name) {
            return Ok(Rc::clone(known));
        }
        let mut kept = Keys::new();
        for position in self.positions(rows) {
            kept.extend(self.select(position, columns, &format!("({})", self.base[&position]))?);
        }
        self.keys += kept.len();
        refuse_too_many(self.keys)?;
        let kept = Rc::new(kept);
        self.kept_by_base.insert(name, Rc::clone(&kept));
        Ok(kept)
    }

    /// Asks the source for the values of columns in the rows that satisfy a condition.
    fn select(&self, position: usize, columns: &[String], condition: &str) -> Result<Keys> {
        let equal_is_same = self.equal_is_same(position, columns);
        let columns: Vec<String> = columns.iter().map(|column| plan::quote_identifier(column)).collect();
        self.ask(position, &columns, condition, equal_is_same)
    }

    /// Asks the source for the values by which rows refer to others, as the columns that they refer to have them: the text of a
    /// `real` is another number as a `double precision`.
    fn select_references(&self, position: usize, edge: &Edge, condition: &str) -> Result<Keys> {
        let type_of = |position: usize, name: &str| {
            let columns = &self.tables[position].relation.columns;
            columns.iter().find(|column| column.name == name).map(|column| column.base_type.as_str())
        };
        let referenced = self.members[&edge.parent.top][0];
        let value = |(from, to): (&String, &String)| {
            let column = plan::quote_identifier(from);
            // Casts of other types may be code of users.
            let is_built_in = |name: &&str| !name.contains('.');
            let is_plain = self.equal_is_same(position, std::slice::from_ref(from));
            let own = type_of(position, from).filter(is_built_in).filter(|_| !is_plain);
            match type_of(referenced, to).filter(is_built_in) {
                Some(others) if own.is_some_and(|own| own != others) => {
                    format!("({column}::{})", type_without_length(others))
                }
                _ => column,
            }
        };
        let values: Vec<String> = edge.from.iter().zip(&edge.to).map(value).collect();
        self.ask(position, &values, condition, self.equal_is_same(position, &edge.from))
    }

    /// `values` is SQL.
    fn ask(&self, position: usize, values: &[String], condition: &str, equal_is_same: bool) -> Result<Keys> {
        interrupts::check();
        let from = self.tables[position].relation.from_clause();
        let most = MOST_KEYS + 1;
        let values = source::read_distinct_values(self.session, &from, values, condition, equal_is_same, most)?;
        refuse_too_many(values.len())?;
        Ok(values.into_iter().collect())
    }

    /// Returns the condition that columns have values of a set, which is one of another table's columns.
    pub(super) fn is_in(&self, top: u32, typed_as: &[String], columns: &[String], keys: &Keys) -> String {
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
    pub(super) fn conditions(&self) -> Vec<(usize, String, usize, String)> {
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
                    if other.top == top && !needed.is_empty() && self.positions(*other).contains(&position) {
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

/// All of them are in the memory of this process.
fn refuse_too_many(keys: usize) -> Result<()> {
    if keys <= MOST_KEYS {
        return Ok(());
    }
    let text = format!("follow_keys finds more than {MOST_KEYS} keys");
    Err(Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, text)
        .hint("Begin with fewer rows, or pull the tables as a whole."))
}
