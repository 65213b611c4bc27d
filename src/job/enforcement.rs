//! Foreign keys and triggers of tables that are loaded in place, out of the way meanwhile.
//!
//! Neither is dropped, so that each stays what it is with all its parts: its OIDs, states, comments and dependencies. For
//! this transaction alone the catalogs say for a while that the keys are no foreign keys, or TRUNCATE would refuse a table
//! that others reference, and that the triggers are disabled.

use crate::error::Result;
use crate::local::identity::Caller;
use crate::local::spi::{Param, extension};
use crate::local::transaction;
use pgrx::pg_sys;
use serde::Deserialize;

/// What [`Suspended::in_tables`] has put out of the way. A transaction that does not resume it must be given up.
#[derive(Deserialize)]
pub(super) struct Suspended {
    /// Foreign keys to the tables, those of partitions included.
    keys: Vec<u32>,
    triggers: Vec<FiringTrigger>,
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
    /// The caller holds the tables exclusively, with all their partitions, and checks the keys itself.
    pub(super) fn in_tables(tables: &[u32]) -> Result<Self> {
        let suspended: Self = extension::query_json(
            include_str!("../../sql/queries/enforcement.sql"),
            &[Param::OidArray(tables), Param::Oid(Caller::of_this_session().current)],
        )?;
        extension::execute(
            "UPDATE pg_constraint SET contype = 't' WHERE oid = ANY ($1)",
            &[Param::OidArray(&suspended.keys)],
        )?;
        extension::execute(
            "UPDATE pg_trigger SET tgenabled = 'D' WHERE oid = ANY ($1)",
            &[Param::OidArray(&suspended.trigger_oids())],
        )?;
        suspended.announce();
        Ok(suspended)
    }

    pub(super) fn resume(self) -> Result<()> {
        extension::execute(
            "UPDATE pg_constraint SET contype = 'f' WHERE oid = ANY ($1)",
            &[Param::OidArray(&self.keys)],
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

    fn trigger_oids(&self) -> Vec<u32> {
        self.triggers.iter().map(|trigger| trigger.oid).collect()
    }

    /// What is known of a table's triggers is not forgotten by itself when their rows change.
    fn announce(&self) {
        for trigger in &self.triggers {
            // SAFETY: notes a message for this process and others, inside a transaction.
            unsafe { pg_sys::CacheInvalidateRelcacheByRelid(trigger.table.into()) };
        }
        transaction::make_changes_visible();
    }
}
