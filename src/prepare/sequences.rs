//! The sequences that continue where those of the source stand.

use super::problems::must_own;
use super::{From, Prepared};
use crate::error::Result;
use crate::local::sequences::SequenceValue;
use crate::local::{catalog, rights};
use crate::source::{self, NamedSequence};
use plan::catalog::{ColumnSequence, Relation};
use plan::{Problem, ProblemKind};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A sequence here and the one of the same column on the source.
pub struct SequencePair {
    pub local: ColumnSequence,
    pub source: NamedSequence,
    /// Whether rows that the pull does not replace hold numbers of the local one.
    pub used_elsewhere: bool,
}

impl Prepared {
    /// Sequences of the targets' columns, and of those of the partitioned tables above them, which give out the numbers for
    /// all partitions.
    pub(super) fn pair_sequences(&mut self, problems: &mut Vec<Problem>) -> Result<()> {
        let From::Server(side) = &self.from else { return Ok(()) };
        let user = plan::quote_identifier(side.origin.user());
        let mut counterparts: HashMap<u32, u32> = HashMap::new();
        let mut copied: HashSet<(u32, &str)> = HashSet::new();
        // Columns that get other values than those of the source's column of their name, by table.
        let mut changed: HashMap<u32, &BTreeSet<String>> = HashMap::new();
        for (target, counterpart) in self.targets.iter().zip(&side.counterparts) {
            changed.extend(target.local.ancestors().map(|relation| (relation, &counterpart.changed)));
            let above = |relation: &Relation| relation.partition_ancestors.clone().unwrap_or_default();
            counterparts.insert(target.local.oid, counterpart.relation.oid);
            for (local, source) in above(&target.local).into_iter().zip(above(&counterpart.relation)) {
                counterparts.entry(local).or_insert(source);
            }
            for relation in target.local.ancestors() {
                copied.extend(target.spec.columns.iter().map(|column| (relation, column.name.as_str())));
            }
        }
        let (local_oids, source_oids): (Vec<u32>, Vec<u32>) = counterparts.iter().unzip();
        let mut notices = Vec::new();
        let uses = catalog::read_sequences(&local_oids)?;
        let used: Vec<(u32, u32)> = uses.iter().map(|sequence| (sequence.relation, sequence.oid)).collect();
        // A default takes no right on a sequence when it is declared: a caller with more rights than the table's owner would
        // set it for him. One who has no right on it either is told of that below.
        let mut of_others: HashSet<(u32, u32)> = catalog::sequences_not_of_owners(&used)?.into_iter().collect();
        let their_sequences: Vec<u32> = of_others.iter().map(|(_, sequence)| *sequence).collect();
        let not_owned = rights::not_owned(&their_sequences)?;
        of_others.retain(|(_, sequence)| not_owned.iter().all(|other| other.relation != *sequence));
        // Rows that stay hold numbers of theirs, and who may insert rows need not own the sequences.
        let merges = self.terms.mode.merges();
        let mut unowned: HashSet<u32> = HashSet::new();
        if merges {
            let oids: Vec<u32> = uses.iter().map(|sequence| sequence.oid).collect();
            unowned.extend(rights::not_owned(&oids)?.into_iter().map(|sequence| sequence.relation));
        }
        let mut here: BTreeMap<u32, Vec<ColumnSequence>> = BTreeMap::new();
        for sequence in uses {
            if unowned.contains(&sequence.oid) {
                notices.push(left_as_it_is(&sequence, "it belongs to somebody else"));
                continue;
            }
            if of_others.contains(&(sequence.relation, sequence.oid)) {
                notices.push(left_as_it_is(&sequence, "the table's owner may not set it"));
                continue;
            }
            if changed.get(&sequence.relation).is_some_and(|columns| columns.contains(&sequence.column)) {
                notices.push(left_as_it_is(&sequence, "the column does not get the source's values"));
                continue;
            }
            here.entry(sequence.oid).or_default().push(sequence);
        }
        self.notices.append(&mut notices);
        if here.is_empty() {
            return Ok(());
        }
        let mut there: HashMap<(u32, String), Vec<ColumnSequence>> = HashMap::new();
        for sequence in source::read_sequences(&side.session, &source_oids)? {
            there.entry((sequence.relation, sequence.column.clone())).or_default().push(sequence);
        }
        let pulled: Vec<u32> = self.target_oids().into_iter().chain(self.in_place_members.iter().copied()).collect();
        let oids: Vec<u32> = here.keys().copied().collect();
        let used_elsewhere: HashSet<u32> = catalog::sequences_used_elsewhere(&oids, &pulled)?.into_iter().collect();
        let mut of_columns: HashMap<(u32, i16), Vec<(&str, &str)>> = HashMap::new();
        for local in here.values().flatten() {
            of_columns.entry((local.relation, local.number)).or_default().push((&local.schema, &local.name));
        }
        let is_of_column =
            |local: &ColumnSequence, name: (&str, &str)| of_columns[&(local.relation, local.number)].contains(&name);
        let (mut pairs, mut notices) = (Vec::new(), Vec::new());
        for uses in here.values() {
            let candidates = || {
                uses.iter().flat_map(|local| {
                    let column = (counterparts[&local.relation], local.column.clone());
                    there.get(&column).into_iter().flatten().map(move |other| (local, other))
                })
            };
            // One of another name is the counterpart, unless it is that of another sequence of the column.
            let pair = candidates()
                .find(|(local, other)| (&local.schema, &local.name) == (&other.schema, &other.name))
                .or_else(|| candidates().find(|(local, other)| !is_of_column(local, (&other.schema, &other.name))));
            let Some((local, other)) = pair else {
                // Where the column is not copied, its default takes the next values.
                if let Some(local) = uses.iter().find(|local| copied.contains(&(local.relation, &local.column))) {
                    notices.push(left_as_it_is(local, "the column has no sequence on the source"));
                }
                continue;
            };
            let used_elsewhere = used_elsewhere.contains(&local.oid);
            let name = plan::qualified(&other.schema, &other.name);
            // Somebody who may replace a partition need not have any rights on the whole table.
            let of_others = used_elsewhere && !pulled.contains(&local.relation);
            if of_others && !other.readable {
                notices.push(left_as_it_is(local, &format!("user {user} may not read its counterpart on the source")));
                continue;
            }
            if of_others && !rights::not_owned(&[local.oid])?.is_empty() {
                notices.push(left_as_it_is(local, "it belongs to somebody else, and to more than what is pulled"));
                continue;
            }
            if !other.readable {
                let text = format!("sequence {name}: user {user} may not read it on the source");
                // The role is there since version 14.
                let right = if side.session.version >= 140_000 {
                    "pg_read_all_data".to_owned()
                } else {
                    format!("SELECT ON SEQUENCE {name}")
                };
                let mend = format!("GRANT {right} TO {user}; -- on the source");
                let problem = Problem::new(ProblemKind::Rights, text).mended_by(mend);
                problems.push(match self.target_of(local.relation) {
                    Some(target) => problem.at(&target.local),
                    None => problem,
                });
            }
            let source = NamedSequence { oid: other.oid, name };
            pairs.push(SequencePair { source, local: local.clone(), used_elsewhere: used_elsewhere || merges });
        }
        self.sequences = pairs;
        self.notices.extend(notices);
        // Those that a table owns change their owner with it, who is told of already where the table is a target. The table
        // may also be a partitioned one above the targets.
        let mut above: Vec<u32> = self
            .sequences
            .iter()
            .filter(|pair| pair.local.owned && !pulled.contains(&pair.local.relation))
            .map(|pair| pair.local.relation)
            .collect();
        above.sort_unstable();
        above.dedup();
        problems.extend(rights::not_owned(&above)?.iter().map(|table| must_own("table", table)));
        let own_owners = self.sequences.iter().filter(|pair| !pair.local.owned);
        let sequence_oids: Vec<u32> = own_owners.map(|pair| pair.local.oid).collect();
        for sequence in rights::not_owned(&sequence_oids)? {
            let problem = must_own("sequence", &sequence);
            let pair = self.sequences.iter().find(|pair| pair.local.oid == sequence.relation);
            problems.push(match pair.and_then(|pair| self.target_of(pair.local.relation)) {
                Some(target) => problem.at(&target.local),
                None => problem,
            });
        }
        Ok(())
    }

    /// Returns the values at which the sequences of the targets are to continue.
    pub fn read_sequence_values(&self) -> Result<Vec<SequenceValue>> {
        let From::Server(side) = &self.from else { return Ok(Vec::new()) };
        let sequences: Vec<NamedSequence> = self.sequences.iter().map(|pair| pair.source.clone()).collect();
        source::read_sequence_values(&side.session, &sequences)
    }
}

fn left_as_it_is(sequence: &ColumnSequence, reason: &str) -> String {
    let (name, column) = (plan::qualified(&sequence.schema, &sequence.name), plan::quote_identifier(&sequence.column));
    format!("sequence {name} of {}.{column} is left as it is: {reason}", sequence.table)
}
