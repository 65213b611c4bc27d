//! Setting sequences so that a rollback undoes it.

use super::locks::{self, Mode};
use super::spi::{self, Param};
use super::{bindings, names, rights, settings};
use crate::error::{Error, Result};
use pgrx::prelude::*;
use plan::catalog::{ColumnSequence, MOST_BRANCHES};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The state of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SequenceValue {
    pub last_value: i64,
    pub is_called: bool,
}

/// The place where a sequence is to continue.
#[derive(Debug, Clone, Copy)]
pub struct Continuation {
    pub value: SequenceValue,
    /// Whether numbers that the sequence has given out already must not be given out again, because not all of the rows
    /// that hold them are replaced.
    pub never_back: bool,
}

/// Reads the values of sequences, in their order, as the current user, who must have the right to.
///
/// # Errors
/// Another relation has taken the name of a sequence: a view in its place would run functions of its owner.
pub fn read_values(sequences: &[&ColumnSequence]) -> Result<Vec<SequenceValue>> {
    let mut values = Vec::with_capacity(sequences.len());
    for sequences in sequences.chunks(MOST_BRANCHES) {
        for sequence in sequences {
            locks::lock_or_tell(sequence.oid, Mode::AccessShare)?;
            if names::relation_in(&sequence.schema, &sequence.name)? != Some(sequence.oid) {
                let name = plan::qualified(&sequence.schema, &sequence.name);
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                    format!("sequence {name} has changed its name meanwhile"),
                ));
            }
        }
        let branches: Vec<String> = sequences
            .iter()
            .enumerate()
            .map(|(position, sequence)| {
                let name = plan::qualified(&sequence.schema, &sequence.name);
                format!("SELECT {position} AS position, last_value, is_called FROM {name}")
            })
            .collect();
        let some: Vec<SequenceValue> = spi::query_json(&format!(
            "SELECT coalesce(json_agg(v ORDER BY v.position), '[]'::json)::text FROM ({}) v",
            branches.join(" UNION ALL ")
        ))?;
        values.extend(some);
    }
    Ok(values)
}

/// Makes sequences, given by their OIDs, continue at the values of the source's.
///
/// A reset gives a sequence new storage, as ALTER SEQUENCE RESTART does, which a rollback removes. `setval` writes into
/// that storage, so that it is undone as well; `setval` alone would not be.
pub fn continue_at(values: &BTreeMap<u32, Continuation>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    // The lock keeps others from taking numbers. Those that are far enough go no further back meanwhile.
    let behind = settings::with_catalog_settings(|| to_change(values, &values.keys().copied().collect::<Vec<_>>()))?;
    let oids: Vec<u32> = values.keys().copied().filter(|oid| !values[oid].never_back || behind.contains(oid)).collect();
    for &sequence in &oids {
        locks::lock_or_tell(sequence, Mode::ShareRowExclusive)?;
    }
    // The owner of the sequence may have changed since the plan was made.
    if let Some(name) = rights::not_owned(&oids)?.into_iter().next() {
        let text = format!("must be owner of sequence {name}");
        return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, text));
    }
    settings::with_catalog_settings(|| {
        // Sequences that already have the right value get no new storage, which is slow for thousands.
        let changed = to_change(values, &oids)?;
        for &sequence in &changed {
            // SAFETY: the caller owns it and it is locked; one that is gone is an ERROR.
            unsafe { bindings::ResetSequence(sequence.into()) };
        }
        let wanted: Vec<Continuation> = changed.iter().map(|oid| values[oid]).collect();
        spi::fixed::query_text(
            "SELECT count(setval(v.sequence, v.value, v.is_called))
             FROM unnest($1, $2, $3) v(sequence, value, is_called)",
            &[Param::OidArray(&changed), Param::Int8Array(&numbers(&wanted)), Param::BoolArray(&called(&wanted))],
        )
        .map(drop)
    })
}

/// Returns those of some relations that are sequences which no column owns, and which none of the tables uses in a default.
pub fn by_themselves(sequences: &[u32], tables: &[u32]) -> Result<Vec<u32>> {
    spi::fixed::query_json(
        include_str!("../../sql/queries/sequences_by_themselves.sql"),
        &[Param::OidArray(sequences), Param::OidArray(tables)],
    )
}

fn numbers(values: &[Continuation]) -> Vec<i64> {
    values.iter().map(|to| to.value.last_value).collect()
}

fn called(values: &[Continuation]) -> Vec<bool> {
    values.iter().map(|to| to.value.is_called).collect()
}

/// Returns those of some sequences that do not stand where they are to continue.
fn to_change(values: &BTreeMap<u32, Continuation>, sequences: &[u32]) -> Result<Vec<u32>> {
    let wanted: Vec<Continuation> = sequences.iter().map(|oid| values[oid]).collect();
    spi::fixed::query_json(
        include_str!("../../sql/queries/sequences_to_change.sql"),
        &[
            Param::OidArray(sequences),
            Param::Int8Array(&numbers(&wanted)),
            Param::BoolArray(&called(&wanted)),
            Param::BoolArray(&wanted.iter().map(|to| to.never_back).collect::<Vec<_>>()),
        ],
    )
}
