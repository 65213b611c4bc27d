use super::integer_keys::{self, IntegerKey, Rows};
use super::key_rows::KeyRows;
use crate::error::{Error, Result};
use crate::local::identity::Role;
use crate::local::spi::Moment;
use crate::local::{settings, transient};
use crate::order::{ForeignKeyCheck, KeyColumns, KeyEnd};
use pgrx::prelude::*;

/// Verifies foreign keys of one referencing table, for all rows at once.
///
/// No rights on the tables are needed, as for the server's own foreign-key checks: the caller may lack SELECT on the
/// table at the key's other end. Therefore no query reads the tables: only keys are taken out of them, and only the
/// functions that convert and compare keys run, as the roles that the check names.
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
            refuse_violation(check, &stage_of, memory)?;
        }
    }
    Ok(())
}

/// Runs one anti-join, which finds a row without its key if there is one.
fn refuse_violation(check: &ForeignKeyCheck, stage_of: impl Fn(u32) -> Option<u32>, memory: usize) -> Result<()> {
    let violation = |detail: Option<String>| {
        let error = Error::new(PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION, check.message.clone())
            .of_table(&check.referencing_schema, &check.referencing_name)
            .of_constraint(&check.name);
        let error = match detail.filter(|_| check.show_values) {
            Some(detail) => error.detail(detail),
            None => error,
        };
        Err(match &check.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        })
    };
    // A row and the one that it references may go together between two looks at tables that others write to.
    let moment = Moment::newest();
    let read = |end: &KeyEnd, name, stop_at_partial| {
        let relations: Vec<u32> = end.relations.iter().map(|&oid| stage_of(oid).unwrap_or(oid)).collect();
        // Both ends and the join share the memory.
        KeyRows::read(end, &relations, &moment, name, stop_at_partial, memory / 1024 / 4)
    };
    // MATCH SIMPLE lets a row pass that has any NULL, MATCH FULL only one that has nothing else.
    let referencing = read(&check.referencing, c"referencing", check.match_full)?;
    if check.match_full && referencing.any_partial {
        return violation(Some("MATCH FULL does not allow mixing of null and nonnull key values.".to_owned()));
    }
    if referencing.table.rows() == 0 {
        return Ok(());
    }
    let referenced = read(&check.referenced, c"referenced", false)?;
    let shown = referencing.shown_columns().iter().map(|column| format!("fk.{column}")).collect::<Vec<_>>().join(", ");
    let query = format!("SELECT {shown} FROM referencing fk WHERE NOT {} LIMIT 1", check.is_there);
    let found = settings::scoped(|| {
        settings::set_local(c"work_mem", &(memory / 1024 / 2).max(LEAST_MEMORY).to_string())?;
        // Every row must be looked at.
        settings::set_local(c"enable_nestloop", "off")?;
        transient::first_row(Role::TableOwner(check.comparing_role), &[&referencing.table, &referenced.table], &query)
    })?;
    let Some(values) = found else { return Ok(()) };
    let values = values.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(", ");
    violation(Some(format!("Key ({})=({values}) {}", check.detail_columns, check.detail_rest)))
}

/// The least value of the setting, in kilobytes.
const LEAST_MEMORY: usize = 64;
