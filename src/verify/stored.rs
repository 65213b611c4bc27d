//! Whether the rows that a pull has stored are those of the source's snapshot.

use super::summary::VALUE_SETTINGS;
use crate::error::{Error, Result};
use crate::source::{RunningValues, Session};
use crate::stage::RowSum;
use pgrx::prelude::*;

/// Has the source add up the digests of rows, which are given as FROM names them.
pub fn start_sum<'a>(session: &'a Session, rows: &str, digest: &str) -> Result<RunningValues<'a>> {
    set_value_settings(session, true)?;
    Ok(session.start_values(&[format!(
        "SELECT json_build_array(count(*), coalesce(sum({digest}), 0)::text)::text FROM {rows}"
    )]))
}

/// Waits for the sum. `computed` tells whether it is over what users ask for.
pub fn finish_sum(session: &Session, running: RunningValues<'_>, computed: bool) -> Result<RowSum> {
    let answers = running.finish(computed)?;
    let answer = answers.into_iter().next_back().unwrap_or_default();
    set_value_settings(session, false)?;
    let wrong = |what: String| {
        Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "unexpected sum of a table's rows").detail(what)
    };
    let (rows, sum): (i64, String) = serde_json::from_slice(&answer).map_err(|error| wrong(error.to_string()))?;
    let sum = sum.parse().map_err(|_| wrong("the sum is no number".to_owned()))?;
    Ok(RowSum { rows, sum })
}

/// Sets what texts of values depend on, or gives it back to the session: rows may be read in it, too.
fn set_value_settings(session: &Session, on: bool) -> Result<()> {
    for (name, value) in VALUE_SETTINGS {
        let value = if on { format!("'{value}'") } else { "DEFAULT".to_owned() };
        if name != c"row_security" {
            session.execute(&format!("SET LOCAL {} = {value}", name.to_string_lossy()))?;
        }
    }
    Ok(())
}

/// The error of a pull whose rows are not those that were to be stored. Each line tells of a table.
pub fn differing(lines: Vec<String>) -> Error {
    let tables = if lines.len() == 1 { "1 table".to_owned() } else { format!("{} tables", lines.len()) };
    Error::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, format!("the rows stored for {tables} are not those of the source"))
        .details(lines)
        .hint("All targets keep their old rows. pgcopy.check_local() tells whether this server's disk and memory can be trusted.")
}

/// What two sums tell of a table; `None` where they are the same.
pub fn difference(source: RowSum, stored: RowSum) -> Option<String> {
    if source.rows != stored.rows {
        return Some(format!("{} rows on the source and {} stored", source.rows, stored.rows));
    }
    (source.sum != stored.sum).then(|| "rows differ".to_owned())
}
