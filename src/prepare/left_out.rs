//! Tables that cannot be pulled, and those that reference them, where the caller wants the others all the same.

use crate::error::Result;
use crate::local::catalog;
use plan::catalog::Relation;
use plan::{Pairing, Problem};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Schema and name of a table.
type Name = (String, String);

/// The tables that are left out, each with the reasons.
#[derive(Default)]
pub(super) struct LeftOut {
    reasons: BTreeMap<Name, Vec<String>>,
    /// Of them, those with which nothing is wrong but what they reference.
    referencing: BTreeSet<Name>,
}

impl LeftOut {
    /// Takes the tables out of the pairs, and what is wrong with nothing but them out of the problems.
    pub(super) fn take_out(&self, pairing: &mut Pairing, source: &[Relation]) {
        pairing.pairs.retain(|pair| !self.has(&source[pair.source]));
        let is_over = |problem: &Problem| {
            !problem.tables.is_empty() && problem.tables.iter().all(|table| self.reasons.contains_key(table))
        };
        pairing.problems.retain(|problem| !is_over(problem));
    }

    /// Adds the tables that problems are about, and those that reference them, unless there is a problem that leaving out tables
    /// does not mend. Returns whether there are more now. `targets` are the OIDs of all tables that were paired.
    pub(super) fn grow(&mut self, problems: &[Problem], local: &[Relation], targets: &[u32]) -> Result<bool> {
        if problems.iter().any(|problem| problem.tables.is_empty()) {
            return Ok(false);
        }
        let before = self.reasons.len();
        for problem in problems {
            for table in &problem.tables {
                self.reasons.entry(table.clone()).or_default().push(problem.reason().to_owned());
            }
        }
        if self.reasons.len() > before {
            self.add_referencing(local, targets)?;
        }
        Ok(self.reasons.len() > before)
    }

    /// The new rows of a table need not find their keys among the old rows of one that is left out.
    fn add_referencing(&mut self, local: &[Relation], targets: &[u32]) -> Result<()> {
        let relations: HashMap<u32, &Relation> = local.iter().map(|relation| (relation.oid, relation)).collect();
        let mut out: HashSet<u32> =
            local.iter().filter(|relation| self.has(relation)).map(|relation| relation.oid).collect();
        let targets: HashSet<u32> = targets.iter().copied().collect();
        let involved: Vec<u32> = targets.union(&out).copied().collect();
        let keys = catalog::read_foreign_keys(&involved)?;
        let above = |oid: &u32| relations.get(oid).into_iter().flat_map(|relation| relation.ancestors());
        loop {
            let before = out.len();
            for key in &keys {
                let referenced = [key.referenced].into_iter().chain(key.referenced_leaves.iter().copied());
                let gone = referenced.flat_map(|oid| above(&oid)).find(|oid| out.contains(oid));
                let target = above(&key.referencing).find(|oid| targets.contains(oid));
                let (Some(gone), Some(target)) = (gone, target) else { continue };
                if out.insert(target) {
                    let target = relations[&target];
                    let reason = format!("references {}, which is left out", relations[&gone].qualified_name());
                    let name = (target.schema.clone(), target.name.clone());
                    self.reasons.insert(name.clone(), vec![reason]);
                    self.referencing.insert(name);
                }
            }
            if out.len() == before {
                return Ok(());
            }
        }
    }

    fn has(&self, relation: &Relation) -> bool {
        !self.reasons.is_empty() && {
            let (schema, name) = relation.counterpart_key();
            self.reasons.contains_key(&(schema.to_owned(), name.to_owned()))
        }
    }

    /// The tables with why they are left out.
    pub(super) fn into_tables(self) -> Vec<LeftOutTable> {
        let Self { reasons, referencing } = self;
        let table = |(name, reasons): (Name, Vec<String>)| {
            let is_cause = !referencing.contains(&name);
            let (schema, name) = name;
            LeftOutTable { schema, name, reason: reasons.join("; "), is_cause }
        };
        reasons.into_iter().map(table).collect()
    }
}

/// A table that is left out.
pub struct LeftOutTable {
    pub schema: String,
    pub name: String,
    pub reason: String,
    /// Whether something is wrong with the table itself, and not only with one that it references.
    pub is_cause: bool,
}

impl LeftOutTable {
    /// The words for a warning.
    pub fn warning(&self) -> String {
        format!("{} is left out: {}", plan::qualified(&self.schema, &self.name), self.reason)
    }
}
