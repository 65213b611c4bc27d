//! Whether the source can send rows in frames.

use super::Session;
use crate::error::{Result, capped};
use std::rc::Rc;

/// What the source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireSupport {
    There,
    /// It cannot; a sentence says why.
    Lacking(String),
}

/// Asks whether the source has our functions, in a version that is known here, and lets this user call them.
pub fn read_wire_support(session: &Session) -> Result<WireSupport> {
    let lacking = |reason: &str| Ok(WireSupport::Lacking(reason.to_owned()));
    match session.query_value(include_str!("../../sql/queries/wire_support.sql"))?.as_str() {
        "absent" => return lacking("The database has no extension pgcopy."),
        "denied" => return lacking("The user of the source may not execute pgcopy.send_frames."),
        "there" => {}
        _ => return lacking("The extension pgcopy there is an older version, which does not compress."),
    }
    let versions = match session.try_query("SELECT pgcopy.wire_versions()::pg_catalog.text")? {
        Ok(versions) => versions,
        // Such as a library that is not there.
        Err(rejection) => {
            return Ok(WireSupport::Lacking(format!("The extension pgcopy there does not work: {}.", rejection.error)));
        }
    };
    let known = |version: &str| version == frames::VERSION.to_string();
    if versions.trim_matches(['{', '}']).split(',').any(known) {
        return Ok(WireSupport::There);
    }
    let versions = capped(&versions, 100).into_owned();
    Ok(WireSupport::Lacking(format!(
        "The extension pgcopy there knows the wire versions {versions}, and not {}.",
        frames::VERSION
    )))
}

/// Reads samples and returns how long each is in binary and in text form, the length of the header left out.
pub fn sample_forms(session: &Rc<Session>, queries: &[String]) -> Result<Vec<[u64; 2]>> {
    /// The signature, flags and the length of an extension; and the end.
    const AROUND: u64 = 19 + 2;
    let commands: Vec<String> = queries
        .iter()
        .flat_map(|query| ["binary", "text"].map(|form| format!("COPY ({query}) TO STDOUT (FORMAT {form})")))
        .collect();
    let mut copies = session.start_copies(&[], &commands, &vec![None; commands.len()], false);
    let mut lengths = Vec::with_capacity(commands.len());
    for _ in &commands {
        let mut bytes = 0;
        while copies.read(&mut |data| {
            bytes += data.len() as u64;
            Ok(())
        })? {}
        lengths.push(bytes);
    }
    copies.finish()?;
    let (pairs, _) = lengths.as_chunks::<2>();
    Ok(pairs.iter().map(|[binary, text]| [binary.saturating_sub(AROUND), *text]).collect())
}
