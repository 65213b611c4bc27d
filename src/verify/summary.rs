//! The summary of a table's rows, and the queries that compute it.

use super::{Level, TablePair};
use crate::error::{Error, Result};
use crate::local::identity::{Role, run_as};
use crate::local::spi::{self, Moment};
use crate::local::{encoding, settings};
use crate::source::Session;
use pgrx::prelude::*;
use plan::digest::{self, Hash};
use std::ffi::CStr;

/// What is known of the rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub rows: i64,
    /// The exact sum of the rows' digests.
    pub digest: Option<String>,
}

/// What the texts of values depend on beyond what every session of ours has set.
const VALUE_SETTINGS: [(&CStr, &str); 2] = [(c"lc_monetary", "C"), (c"row_security", "off")];

/// Chooses the hash that both sides compute alike, and prepares the source's session.
pub(super) fn common_hash(session: &Session) -> Result<Hash> {
    /// The hash functions read several bytes of a text at once, so that the order of bytes shows.
    const PROBE: &str = "SELECT hashtextextended('both sides must hash this alike' COLLATE \"C\", 0)::text";
    const ENCODING: &str = "SELECT getdatabaseencoding()::text";
    for (name, value) in VALUE_SETTINGS {
        session.execute(&format!("SET LOCAL {} = '{value}'", name.to_string_lossy()))?;
    }
    let alike = session.query_value(ENCODING)? == encoding::database_name()
        && Some(session.query_value(PROBE)?) == spi::fixed::query_text(PROBE, &[])?;
    Ok(if alike { Hash::Quick } else { Hash::Portable })
}

/// The query that summarizes a few tables: a JSON array in the order of the tables.
pub(super) fn query(pairs: &[TablePair], level: Level, hash: Hash, from: fn(&TablePair) -> &str) -> String {
    let branches: Vec<String> = pairs
        .iter()
        .enumerate()
        .map(|(position, pair)| {
            let digest = match &pair.columns {
                Some(columns) if level == Level::Digest => {
                    format!("coalesce(sum({}), 0)::text", digest::row_digest(columns, hash))
                }
                _ => "NULL::text".to_owned(),
            };
            format!("SELECT {position} AS position, count(*) AS rows, {digest} AS digest FROM {}", from(pair))
        })
        .collect();
    format!(
        "SELECT coalesce(json_agg(json_build_array(v.rows, v.digest) ORDER BY v.position), '[]')::text FROM ({}) v",
        branches.join(" UNION ALL ")
    )
}

/// Runs such a query here: planning it, too, runs code that belongs to the tables.
pub(super) fn compute_here(
    moment: &Moment,
    query: &str,
    pairs: &[TablePair],
    processes: usize,
) -> Result<Vec<Summary>> {
    let Some(first) = pairs.first() else { return Ok(Vec::new()) };
    let answer = run_as(Role::TableOwner(first.owner), || {
        for (name, value) in VALUE_SETTINGS {
            settings::set_local(name, value)?;
        }
        settings::set_local(c"max_parallel_workers_per_gather", &processes.saturating_sub(1).to_string())?;
        moment.query_text(query)
    })?;
    parse(answer.unwrap_or_default().as_bytes(), pairs.len())
}

/// Parses the answer to such a query over so many tables.
pub(super) fn parse(answer: &[u8], tables: usize) -> Result<Vec<Summary>> {
    /// Digits of a count and of a sum of 64-bit numbers, with what is around them.
    const LONGEST: usize = 100;
    let wrong = |what: String| {
        Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "unexpected summary of a table's rows").detail(what)
    };
    if answer.len() > LONGEST * (tables + 1) {
        return Err(wrong(format!("{} bytes for {tables} tables", answer.len())));
    }
    let rows: Vec<(i64, Option<String>)> = serde_json::from_slice(answer).map_err(|error| wrong(error.to_string()))?;
    if rows.len() != tables {
        return Err(wrong(format!("{} summaries for {tables} tables", rows.len())));
    }
    let is_number = |digest: &String| digest.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    if !rows.iter().all(|(_, digest)| digest.as_ref().is_none_or(is_number)) {
        return Err(wrong("a digest is no number".to_owned()));
    }
    Ok(rows.into_iter().map(|(rows, digest)| Summary { rows, digest }).collect())
}
