//! Whether the source computes masks by functions of its pgcopy.

use super::Session;
use crate::error::Result;

/// Asks whether the source has our functions for masks, in the version that is known here, and lets this user call them. Where it has
/// not, masks are computed by SQL, with the same results.
pub fn has_mask_functions(session: &Session) -> Result<bool> {
    if session.query_value(include_str!("../../sql/queries/mask_support.sql"))? != "there" {
        return Ok(false);
    }
    // An error tells of a library that is not there, for example.
    let versions = session.try_query("SELECT pgcopy.mask_versions()::pg_catalog.text")?;
    let is_known = |version: &str| version == masks::VERSION.to_string();
    Ok(versions.is_ok_and(|versions| versions.trim_matches(['{', '}']).split(',').any(is_known)))
}
