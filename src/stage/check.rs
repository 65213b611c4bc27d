use super::integer_keys::{self, IntegerKey, KeyColumns, Rows};
use crate::error::{Error, Result};
use crate::job::ForeignKeyCheck;
use crate::local::identity::Role;
use crate::local::spi;
use pgrx::prelude::*;

/// Verifies foreign keys of one referencing table, for all rows at once.
///
/// It runs with all rights, as the server's own foreign-key checks do in effect: the caller may well lack SELECT on a
/// table at the key's other end. Nothing of the user's runs in it but the keys' operators.
///
/// `stage_of` gives the stage table of a target; `memory` is in bytes.
///
/// # Errors
/// A violation, with a sample key where the caller may see it.
pub fn check_foreign_keys(
    checks: &[&ForeignKeyCheck],
    stage_of: impl Fn(u32) -> Option<u32>,
    memory: usize,
) -> Result<()> {
    let rows = |key: &KeyColumns| match stage_of(key.relation) {
        Some(stage) => Rows { columns: KeyColumns { relation: stage, numbers: key.numbers.clone() }, is_stage: true },
        None => Rows { columns: key.clone(), is_stage: false },
    };
    let keys: Vec<IntegerKey> = checks
        .iter()
        .filter_map(|check| check.integers.as_ref())
        .map(|integers| IntegerKey {
            referencing: rows(&integers.referencing),
            referenced: rows(&integers.referenced),
            match_full: integers.match_full,
        })
        .collect();
    let mut present = integer_keys::all_present(&keys, memory).into_iter();
    for check in checks {
        let all_present = check.integers.as_ref().and_then(|_| present.next().flatten());
        if all_present != Some(true) {
            refuse_violation(check)?;
        }
    }
    Ok(())
}

/// One anti-join, which finds a row without its key if there is one.
fn refuse_violation(check: &ForeignKeyCheck) -> Result<()> {
    // Casts of the key, where the two sides' types differ, are the referencing table's owner's code.
    let Some(values) = spi::query_text_as(Role::Extension, Role::TableOwner(check.owner), &check.query)? else {
        return Ok(());
    };
    let error = Error::new(PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION, check.message.clone());
    if !check.show_values {
        return Err(error);
    }
    let values: Vec<Option<String>> = serde_json::from_str(&values)
        .map_err(|error| Error::internal(format!("unexpected answer of a foreign-key check: {error}")))?;
    if values.iter().any(Option::is_none) {
        return Err(error.detail("MATCH FULL does not allow mixing of null and nonnull key values."));
    }
    let values = values.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Err(error.detail(format!("Key ({})=({values}) {}", check.detail_columns, check.detail_rest)))
}
