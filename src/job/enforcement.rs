//! Constraints and triggers of tables that are loaded in place are suspended meanwhile.
//!
//! None is dropped, so that each keeps all its parts: its OIDs, states, comments and dependencies. In this transaction
//! alone, for a while, the catalogs have foreign keys as something else, or TRUNCATE would refuse a table that others
//! reference; constraints that are NOT VALID as something else, or COPY would apply them to the source's rows; and
//! triggers as disabled.

use crate::error::Result;
use crate::local::identity::Caller;
use crate::local::spi::{Param, extension};
use crate::local::transaction;
use pgrx::pg_sys;
use serde::Deserialize;

/// The constraints and triggers that [`Suspended::in_tables`] has suspended. A transaction that does not resume them
/// must be given up.
#[derive(Deserialize)]
pub(super) struct Suspended {
    /// Foreign keys to the tables, those of partitions included, and constraints of the tables that are NOT VALID.
    constraints: Vec<Constraint>,
    triggers: Vec<FiringTrigger>,
}

#[derive(Deserialize)]
struct Constraint {
    oid: u32,
    /// As `pg_constraint.contype`.
    kind: String,
}

/// A trigger that would fire.
#[derive(Deserialize)]
struct FiringTrigger {
    oid: u32,
    table: u32,
    /// As `pg_trigger.tgenabled`.
    enabled: String,
}

impl Suspended {
    /// Suspends them. The caller holds the tables exclusively, with all their partitions, and checks the keys itself.
    pub(super) fn in_tables(tables: &[u32]) -> Result<Self> {
        let suspended: Self = extension::query_json(
            include_str!("../../sql/queries/enforcement.sql"),
            &[Param::OidArray(tables), Param::Oid(Caller::of_this_session().current)],
        )?;
        let constraints = suspended.constraint_oids();
        // Other catalogs count and mark both kinds, too, and are read first.
        extension::execute(
            "UPDATE pg_class c SET relchecks = c.relchecks - k.checks
             FROM (SELECT conrelid, count(*)::int2 AS checks FROM pg_constraint WHERE oid = ANY ($1) AND contype = 'c'
                   GROUP BY conrelid) k
             WHERE c.oid = k.conrelid",
            &[Param::OidArray(&constraints)],
        )?;
        extension::execute(
            "UPDATE pg_attribute a SET attnotnull = false FROM pg_constraint k
             WHERE k.oid = ANY ($1) AND k.contype = 'n' AND a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]",
            &[Param::OidArray(&constraints)],
        )?;
        extension::execute(
            "UPDATE pg_constraint SET contype = 't' WHERE oid = ANY ($1)",
            &[Param::OidArray(&constraints)],
        )?;
        suspended.disable_triggers()?;
        Ok(suspended)
    }

    /// Suspends the triggers that users have made. The caller holds the tables so that nobody writes to them, owns them, and keeps
    /// all constraints in force.
    pub(super) fn triggers_of(tables: &[u32]) -> Result<Self> {
        let triggers =
            extension::query_json(include_str!("../../sql/queries/user_triggers.sql"), &[Param::OidArray(tables)])?;
        let suspended = Self { constraints: Vec::new(), triggers };
        suspended.disable_triggers()?;
        Ok(suspended)
    }

    fn disable_triggers(&self) -> Result<()> {
        extension::execute(
            "UPDATE pg_trigger SET tgenabled = 'D' WHERE oid = ANY ($1)",
            &[Param::OidArray(&self.trigger_oids())],
        )?;
        self.announce();
        Ok(())
    }

    pub(super) fn resume(self) -> Result<()> {
        let constraints = self.constraint_oids();
        let kinds: Vec<&str> = self.constraints.iter().map(|constraint| constraint.kind.as_str()).collect();
        extension::execute(
            "UPDATE pg_constraint k SET contype = s.kind::\"char\"
             FROM unnest($1, $2) s(oid, kind) WHERE k.oid = s.oid",
            &[Param::OidArray(&constraints), Param::TextArray(&kinds)],
        )?;
        extension::execute(
            "UPDATE pg_attribute a SET attnotnull = true FROM pg_constraint k
             WHERE k.oid = ANY ($1) AND k.contype = 'n' AND a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]",
            &[Param::OidArray(&constraints)],
        )?;
        extension::execute(
            "UPDATE pg_class c SET relchecks = c.relchecks + k.checks
             FROM (SELECT conrelid, count(*)::int2 AS checks FROM pg_constraint WHERE oid = ANY ($1) AND contype = 'c'
                   GROUP BY conrelid) k
             WHERE c.oid = k.conrelid",
            &[Param::OidArray(&constraints)],
        )?;
        let states: Vec<&str> = self.triggers.iter().map(|trigger| trigger.enabled.as_str()).collect();
        extension::execute(
            "UPDATE pg_trigger t SET tgenabled = s.enabled::\"char\"
             FROM unnest($1, $2) s(oid, enabled) WHERE t.oid = s.oid",
            &[Param::OidArray(&self.trigger_oids()), Param::TextArray(&states)],
        )?;
        self.announce();
        Ok(())
    }

    fn constraint_oids(&self) -> Vec<u32> {
        self.constraints.iter().map(|constraint| constraint.oid).collect()
    }

    fn trigger_oids(&self) -> Vec<u32> {
        self.triggers.iter().map(|trigger| trigger.oid).collect()
    }

    /// Invalidates the caches of tables, since a change of the rows of triggers does not.
    fn announce(&self) {
        for trigger in &self.triggers {
            // SAFETY: notes a message for this process and others, inside a transaction.
            unsafe { pg_sys::CacheInvalidateRelcacheByRelid(trigger.table.into()) };
        }
        transaction::make_changes_visible();
    }
}
