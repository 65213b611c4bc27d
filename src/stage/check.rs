use super::{KeyColumns, integer_keys};
use crate::error::{Error, Result};
use crate::job::ForeignKeyCheck;
use crate::local::identity::{Role, run_as};
use crate::local::spi;
use pgrx::prelude::*;

/// Verifies one foreign key for all rows at once.
///
/// It runs with all rights, as the server's own foreign-key checks do in effect: the caller may well lack SELECT on a
/// table at the key's other end. Nothing of the user's runs in it but the key's operators.
///
/// `stage_of` gives the stage table of a target.
///
/// # Errors
/// A violation, with a sample key where the caller may see it.
pub fn check_foreign_key(check: &ForeignKeyCheck, stage_of: impl Fn(u32) -> Option<u32>) -> Result<()> {
    if let Some(integers) = &check.integers {
        let on_stage = |key: &KeyColumns| KeyColumns {
            relation: stage_of(key.relation).unwrap_or(key.relation),
            numbers: key.numbers.clone(),
        };
        let (referencing, referenced) = (on_stage(&integers.referencing), on_stage(&integers.referenced));
        if integer_keys::all_present(&referencing, &referenced, integers.match_full) == Some(true) {
            return Ok(());
        }
    }
    let Some(values) = run_as(Role::Extension, || spi::query_text(&check.query))? else {
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
