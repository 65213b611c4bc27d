//! Setting sequences so that a rollback undoes it.

use super::locks::{self, Mode};
use super::{bindings, rights, settings, spi};
use crate::error::{Error, Result};
use pgrx::prelude::*;
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
    /// Whether numbers that it has given out already may not be given out again: not all of the rows that hold them go.
    pub never_back: bool,
}

/// Makes sequences, given by their OIDs, continue where the source's stand.
///
/// A reset gives a sequence new storage, as ALTER SEQUENCE RESTART does, which a rollback takes away again; only into
/// that storage does `setval` write, so that it is undone as well. `setval` alone would not be.
pub fn continue_at(values: &BTreeMap<u32, Continuation>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    for &sequence in values.keys() {
        locks::lock_relation(sequence, Mode::ShareRowExclusive);
    }
    let oids: Vec<u32> = values.keys().copied().collect();
    // Its owner may have changed since the plan was made.
    if let Some(name) = rights::not_owned(&oids)?.into_iter().next() {
        let text = format!("must be owner of sequence {name}");
        return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, text));
    }
    settings::with_catalog_settings(|| {
        let wanted = |oids: &[u32]| {
            let values: Vec<_> = oids.iter().map(|oid| values[oid]).collect();
            format!(
                "ROWS FROM (unnest({}), unnest({}), unnest({}), unnest({})) v(sequence, value, is_called, never_back)",
                plan::catalog::array(oids),
                plan::number_array(values.iter().map(|wanted| wanted.value.last_value), "int8"),
                plan::number_array(values.iter().map(|wanted| wanted.value.is_called), "bool"),
                plan::number_array(values.iter().map(|wanted| wanted.never_back), "bool"),
            )
        };
        // New storage for thousands is worth avoiding.
        let changed: Vec<u32> = spi::query_json(&format!(
            "SELECT coalesce(json_agg(v.sequence::bigint ORDER BY v.sequence), '[]'::json)::text FROM {}
             JOIN pg_sequence s ON s.seqrelid = v.sequence
             CROSS JOIN LATERAL (SELECT CASE WHEN has_sequence_privilege(v.sequence, 'SELECT')
                                             THEN pg_sequence_last_value(v.sequence) END AS value) here
             WHERE CASE WHEN v.never_back AND here.value IS NOT NULL
                        THEN sign(here.value::numeric - v.value) * sign(s.seqincrement) < 0
                        WHEN v.is_called THEN here.value IS DISTINCT FROM v.value ELSE true END",
            wanted(&oids)
        ))?;
        for &sequence in &changed {
            // SAFETY: the caller owns it and it is locked; one that is gone is an ERROR.
            unsafe { bindings::ResetSequence(sequence.into()) };
        }
        spi::execute(&format!("SELECT count(setval(v.sequence, v.value, v.is_called)) FROM {}", wanted(&changed)))
    })
}
