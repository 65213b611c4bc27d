//! The form in which the source would send rows as they are stored.

use super::Session;
use super::copy_out::stored_frames;
use crate::error::{Result, capped};
use plan::PairedColumns;

/// Returns the source's description of its stored rows, or why it sends none, in words.
///
/// Only functions of an extension that a superuser has installed are asked: those in a schema of that name could be anybody's.
pub fn read_stored_form(session: &Session) -> Result<std::result::Result<String, String>> {
    const MOST_BYTES: usize = 300;
    match session.query_value(include_str!("../../sql/queries/stored_form_support.sql"))?.as_str() {
        "there" => {}
        "denied" => return Ok(Err("the user of the source may not execute pgcopy.send_stored_frames".to_owned())),
        _ => return Ok(Err("the source has no pgcopy that a superuser has installed, or an older one".to_owned())),
    }
    let told = session.try_query("SELECT pgcopy.stored_form()")?;
    Ok(match told {
        Ok(form) => Ok(capped(&form, MOST_BYTES).into_owned()),
        // Such as a library that is not there.
        Err(rejection) => Err(format!("pgcopy on the source does not work: {}", rejection.error)),
    })
}

/// Asks whether the source sends these columns of a table as they are stored, by asking for no rows of it. Returns what it says
/// against that: an older version knows fewer types.
pub fn refusal_of_stored_rows(session: &Session, table: &str, columns: &PairedColumns) -> Result<Option<String>> {
    let names = columns.copied.iter().map(|column| column.name.as_str());
    let asked =
        session.try_query(&format!("SELECT count(*)::text FROM ({}) f", stored_frames(table, names, 0, 0, "none")))?;
    Ok(asked.err().map(|rejection| plan::one_line(&rejection.error.to_string())))
}
