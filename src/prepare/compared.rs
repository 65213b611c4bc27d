//! What tables have beside their rows, compared with the source: sequences and definitions.

use super::problems::refuse_problems_of;
use crate::error::Result;
use crate::local::sequences::{self, SequenceValue};
use crate::local::{catalog, spi};
use crate::source::{self, NamedSequence, Session};
use plan::catalog::{ColumnSequence, Relation, TablePart};
use plan::{Problem, ProblemKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Tables of the source and here, each beside its counterpart, and what is known to differ of each.
pub(super) struct Compared<'a> {
    pub session: &'a Session,
    pub sources: &'a [Relation],
    pub targets: &'a [Relation],
}

/// A sequence here and the one of the same column on the source, with the position of the table that uses it.
struct SequencePair {
    table: usize,
    here: ColumnSequence,
    there: ColumnSequence,
}

impl Compared<'_> {
    /// Compares the values of sequences that columns of the tables, or of the partitioned tables above them, own or use. Each is told of
    /// with the first table that uses it.
    pub(super) fn sequences(&self) -> Result<Vec<(usize, String)>> {
        let pairs = self.pair_sequences()?;
        let unreadable = |sequence: &ColumnSequence, side: &str| {
            let name = plan::qualified(&sequence.schema, &sequence.name);
            let text = format!("sequence {name}: the user may not read it on the {side}");
            (!sequence.readable).then(|| Problem::new(ProblemKind::Rights, text))
        };
        let problems: Vec<Problem> = pairs
            .iter()
            .flat_map(|pair| [unreadable(&pair.there, "source"), unreadable(&pair.here, "destination")])
            .flatten()
            .collect();
        refuse_problems_of("verify", &problems)?;
        let name = |sequence: &ColumnSequence| plan::qualified(&sequence.schema, &sequence.name);
        let theirs: Vec<NamedSequence> =
            pairs.iter().map(|pair| NamedSequence { oid: pair.there.oid, name: name(&pair.there) }).collect();
        let theirs = source::read_sequence_values(self.session, &theirs)?;
        let ours: Vec<&ColumnSequence> = pairs.iter().map(|pair| &pair.here).collect();
        let ours = sequences::read_values(&ours)?;
        let shown = |value: SequenceValue| {
            format!("{}{}", value.last_value, if value.is_called { "" } else { " (not given out yet)" })
        };
        let values = theirs.into_iter().zip(ours);
        Ok(pairs
            .iter()
            .zip(values)
            .filter(|(_, (there, here))| there != here)
            .map(|(pair, (there, here))| {
                let name = name(&pair.here);
                let text = format!(
                    "sequence {name} is at {} on the source and {} on the destination",
                    shown(there),
                    shown(here)
                );
                (pair.table, text)
            })
            .collect())
    }

    fn pair_sequences(&self) -> Result<Vec<SequencePair>> {
        // The counterpart of each table here, and the position of the first pair that it is in or above of.
        let mut counterparts: BTreeMap<u32, (u32, usize)> = BTreeMap::new();
        for (position, (source, target)) in self.sources.iter().zip(self.targets).enumerate() {
            let above = |relation: &Relation| relation.partition_ancestors.clone().unwrap_or_default();
            counterparts.entry(target.oid).or_insert((source.oid, position));
            for (here, there) in above(target).into_iter().zip(above(source)) {
                counterparts.entry(here).or_insert((there, position));
            }
        }
        let ours: Vec<u32> = counterparts.keys().copied().collect();
        let theirs: Vec<u32> = counterparts.values().map(|(source, _)| *source).collect();
        let mut there: HashMap<(u32, String), Vec<ColumnSequence>> = HashMap::new();
        for sequence in source::read_sequences(self.session, &theirs)? {
            there.entry((sequence.relation, sequence.column.clone())).or_default().push(sequence);
        }
        let mut seen = BTreeSet::new();
        let mut pairs = Vec::new();
        for here in catalog::read_sequences(&ours)? {
            let Some(&(source, table)) = counterparts.get(&here.relation) else { continue };
            let of_column = there.get(&(source, here.column.clone())).map(Vec::as_slice).unwrap_or_default();
            let same_name = of_column.iter().find(|other| (&other.schema, &other.name) == (&here.schema, &here.name));
            let counterpart = same_name.or(match of_column {
                [only] => Some(only),
                _ => None,
            });
            if let Some(there) = counterpart.cloned()
                && seen.insert(here.oid)
            {
                pairs.push(SequencePair { table, here, there });
            }
        }
        pairs.sort_by_key(|pair| (pair.table, pair.here.number));
        Ok(pairs)
    }

    /// Compares what the tables are like: columns, constraints, indexes, triggers, policies, rights and the like.
    pub(super) fn definitions(&self) -> Result<Vec<(usize, String)>> {
        type Texts = BTreeMap<String, String>;
        let by_relation = |parts: Vec<TablePart>| {
            let mut tables: HashMap<u32, Texts> = HashMap::new();
            for part in parts {
                tables.entry(part.relation).or_default().insert(part.name, part.definition);
            }
            tables
        };
        let oids = |relations: &[Relation]| relations.iter().map(|relation| relation.oid).collect::<Vec<u32>>();
        let mut there = by_relation(source::read_table_parts(self.session, &oids(self.sources))?);
        let mut here = by_relation(spi::query_json(&plan::catalog::table_parts_query(&oids(self.targets)))?);
        let mut told = Vec::new();
        for (position, (source, target)) in self.sources.iter().zip(self.targets).enumerate() {
            let there = there.remove(&source.oid).unwrap_or_default();
            let here = here.remove(&target.oid).unwrap_or_default();
            let names: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
            for name in names {
                let text = match (there.get(name), here.get(name)) {
                    (Some(there), Some(here)) if there == here => continue,
                    (Some(there), Some(here)) => format!("{name}: {there} on the source and {here} on the destination"),
                    (Some(there), None) => format!("{name} on the source only: {there}"),
                    (None, here) => format!("{name} on the destination only: {}", here.cloned().unwrap_or_default()),
                };
                told.push((position, plan::one_line(&text)));
            }
        }
        Ok(told)
    }
}
