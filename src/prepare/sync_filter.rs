//! Conditions over the source's rows, where rows here go by them, too.

use crate::error::Result;
use crate::local::identity::{Role, run_as};
use crate::local::spi::Moment;
use crate::local::{rights, settings, transaction};
use plan::catalog::Relation;
use std::collections::BTreeSet;

/// Columns that every table has, which tell where a row lies and who has written it, on either side something else.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"];

/// Returns the reason why a condition over the source's rows does not tell which rows here are within it. `changed` are columns here
/// that do not get the source's values.
pub(super) fn unfit(
    target: &Relation,
    role: Option<Role>,
    filter: &str,
    changed: &BTreeSet<String>,
) -> Result<Option<String>> {
    // A text that is not understood may speak of all of them.
    let names = selection::names_in(filter);
    let is_named = |column: &str| names.as_ref().is_none_or(|names| names.contains(&column.to_lowercase()));
    if let Some(column) = SYSTEM_COLUMNS.into_iter().find(|column| is_named(column)) {
        return Ok(Some(format!("the condition may be about {column}, which says something else here")));
    }
    if let Some(column) = changed.iter().find(|column| is_named(column)) {
        let column = plan::quote_identifier(column);
        return Ok(Some(format!("the condition may be about {column}, which does not get the source's values")));
    }
    // To plan a query is to run some of its functions.
    let of_others = match role {
        Some(role) => run_as(role, || rights::called_code_of_others(filter)),
        None => rights::called_code_of_others(filter),
    };
    if let Some(of_others) = of_others? {
        return Ok(Some(format!("here, {of_others}")));
    }
    // No name of a table stands before a column: the whole row has other columns here.
    let query = format!("SELECT 'row' FROM {} AS pgcopy_row WHERE false AND ({filter})", target.from_clause());
    let look = || settings::with_settings_of_source(|| Moment::newest().query_text(&query).map(drop));
    // A type or a function may be another one here, or none.
    let looked = transaction::attempt(|| match role {
        Some(role) => run_as(role, look),
        None => look(),
    });
    Ok(looked.err().map(|error| format!("the condition means nothing here: {}", error.message)))
}
