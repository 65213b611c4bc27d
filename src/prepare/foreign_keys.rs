//! The foreign keys that the new rows must satisfy.

use super::problems::must_own;
use super::{From, Method, Prepared, Target};
use crate::error::Result;
use crate::local::catalog::{self, ForeignKey};
use crate::local::rights;
use crate::local::spi::{self, Param};
use crate::order::ForeignKeyCheck;
use crate::source::{self, GuaranteedKey};
use crate::stage;
use plan::{Problem, ProblemKind};
use std::collections::{BTreeSet, HashMap, HashSet};

impl Prepared {
    pub(super) fn plan_foreign_keys(&mut self, problems: &mut Vec<Problem>) -> Result<()> {
        if self.terms.mode.merges() {
            // The server checks them with each statement.
            return Ok(());
        }
        let in_place = self.oids_by(Method::InPlace);
        self.in_place_members = catalog::partition_members(&in_place)?;
        self.foreign_keys = self.read_foreign_keys_to_check()?;
        // Keys of other tables are suspended there. Missing rights on the targets themselves are reported already.
        let others: BTreeSet<u32> = self
            .foreign_keys
            .iter()
            .filter(|key| self.waits_for_in_place(key))
            .flat_map(|key| [key.referencing, key.referenced])
            .filter(|oid| !self.all_targets.contains(oid) && !self.in_place_members.contains(oid))
            .collect();
        for other in rights::not_owned(&others.into_iter().collect::<Vec<_>>())? {
            let tied = |target: &&Target| {
                self.foreign_keys.iter().any(|key| {
                    let ends = [key.referencing, key.referenced];
                    ends.contains(&other.relation) && ends.contains(&target.local.oid)
                })
            };
            let problem = must_own("table", &other);
            problems.push(
                self.targets_by(Method::InPlace)
                    .filter(tied)
                    .fold(problem, |problem, target| problem.at(&target.local)),
            );
        }
        let computes = |target: &&Target| {
            let definition = self.definitions.iter().find(|definition| definition.oid == target.local.oid);
            definition.is_some_and(|definition| definition.computes_partition_key)
        };
        let compared: Vec<u32> =
            self.targets_by(Method::Swap).filter(computes).map(|target| target.local.oid).collect();
        let foreign = rights::foreign_partition_code(&in_place, &compared)?;
        problems.extend(foreign.into_iter().map(|text| Problem::new(ProblemKind::Rights, text)));
        Ok(())
    }

    /// Leaves foreign keys unchecked that the source guarantees: the same key, validated and enforced there, between the
    /// same two tables, both read in the one snapshot, over values that are compared alike on both sides.
    pub(super) fn trust_the_source(&mut self) -> Result<()> {
        let From::Server(side) = &self.from else { return Ok(()) };
        let counterpart: HashMap<u32, u32> = self
            .targets
            .iter()
            .zip(&side.counterparts)
            // Where rows are left out or values changed, the source guarantees nothing.
            .filter(|(target, counterpart)| target.method == Method::Swap && counterpart.table.chosen.is_none())
            .map(|(target, counterpart)| (target.local.oid, counterpart.relation.oid))
            .collect();
        let source_oids: Vec<u32> = counterpart.values().copied().collect();
        let guaranteed: HashSet<GuaranteedKey> = source::read_guaranteed_keys(&side.session, &source_oids)?
            .into_iter()
            .map(|mut key| {
                key.columns.sort();
                key
            })
            .collect();
        let is_guaranteed = |key: &ForeignKey| {
            let ends = (counterpart.get(&key.referencing), counterpart.get(&key.referenced));
            let (Some(&referencing), Some(&referenced)) = ends else { return false };
            if key.keys.iter().any(|pair| pair.compared_as.is_none()) {
                return false;
            }
            let mut columns: Vec<_> = key
                .keys
                .iter()
                .map(|pair| (pair.referencing.clone(), pair.referenced.clone(), pair.compared_as.clone()))
                .collect();
            columns.sort();
            let as_strict = |match_full| {
                guaranteed.contains(&GuaranteedKey { referencing, referenced, match_full, columns: columns.clone() })
            };
            as_strict(true) || !key.match_full && as_strict(false)
        };
        self.trusted_keys = self.foreign_keys.iter().filter(|key| is_guaranteed(key)).map(|key| key.oid).collect();
        Ok(())
    }

    pub(super) fn read_foreign_keys_to_check(&self) -> Result<Vec<ForeignKey>> {
        let mut changed = self.oids_by(Method::Swap);
        changed.extend(&self.in_place_members);
        catalog::read_foreign_keys(&changed)
    }

    /// Returns whether a foreign key can only be checked when the targets that are loaded in place have their rows.
    pub(super) fn waits_for_in_place(&self, key: &ForeignKey) -> bool {
        let ends = [key.referencing, key.referenced];
        ends.iter().chain(&key.referenced_leaves).any(|oid| self.in_place_members.contains(oid))
    }

    /// Returns the checks of those foreign keys.
    pub fn in_place_checks(&self) -> Result<Vec<ForeignKeyCheck>> {
        let checks = self.checks(&HashMap::new(), |key| self.waits_for_in_place(key))?;
        Ok(checks.into_iter().map(|(_, check)| check).collect())
    }

    /// Returns the foreign keys that are meant, each with its check. `positions` are those of the targets among the job's
    /// tables.
    pub(super) fn checks(
        &self,
        positions: &HashMap<u32, usize>,
        is_meant: impl Fn(&ForeignKey) -> bool,
    ) -> Result<Vec<(&ForeignKey, ForeignKeyCheck)>> {
        let readable = readable_referencing(&self.foreign_keys)?;
        self.foreign_keys
            .iter()
            .filter(|key| !self.trusted_keys.contains(&key.oid) && is_meant(key))
            .map(|key| {
                let is_target = |oid: &u32| self.all_targets.contains(oid) || self.in_place_members.contains(oid);
                let referencing_is_target = is_target(&key.referencing);
                let shows_values = readable.contains(&key.referencing);
                let mut check = stage::foreign_key_check(key, positions, referencing_is_target, shows_values)?;
                let other = if !referencing_is_target {
                    Some(&key.referencing_name)
                } else {
                    let referenced_is_target = key.referenced_leaves.iter().chain([&key.referenced]).any(is_target);
                    (!referenced_is_target).then_some(&key.referenced_name)
                };
                check.hint = other.filter(|_| matches!(self.from, From::Server(_))).map(|other| {
                    format!("Table \"{other}\" is not part of this pull and keeps its rows: pull both tables together.")
                });
                if check.hint.is_none() && self.takes_only_some_rows(key) {
                    let name = &key.referenced_name;
                    check.hint = Some(format!(
                        "Only some rows of table \"{name}\" are taken: leave out those that refer to the others, too, with where in tables."
                    ));
                }
                Ok((key, check))
            })
            .collect()
    }

    /// Returns whether rows of the referenced table are left out.
    fn takes_only_some_rows(&self, key: &ForeignKey) -> bool {
        let From::Server(side) = &self.from else { return false };
        let referenced = |oid: u32| key.referenced == oid || key.referenced_leaves.contains(&oid);
        self.targets.iter().zip(&side.counterparts).any(|(target, counterpart)| {
            let chosen = counterpart.table.chosen.as_ref();
            referenced(target.local.oid) && chosen.is_some_and(|chosen| chosen.condition.is_some())
        })
    }

    /// Returns tables outside of the pull that a foreign key ties to a target.
    pub fn tied_tables(&self) -> BTreeSet<u32> {
        let targets: BTreeSet<u32> = self.target_oids().into_iter().collect();
        self.foreign_keys
            .iter()
            .flat_map(|key| key.referenced_leaves.iter().copied().chain([key.referencing, key.referenced]))
            .filter(|oid| !targets.contains(oid))
            .collect()
    }
}

/// Returns the referencing tables whose values the caller may see.
fn readable_referencing(keys: &[ForeignKey]) -> Result<BTreeSet<u32>> {
    let oids: Vec<u32> = keys.iter().map(|key| key.referencing).collect();
    let readable: Vec<u32> =
        spi::fixed::query_json(include_str!("../../sql/queries/readable_tables.sql"), &[Param::OidArray(&oids)])?;
    Ok(readable.into_iter().collect())
}
