//! The summary of a table's rows, and the queries that compute it.

use super::batches::MOST_PAGES;
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
    /// The same for each bucket of rows, where rows that differ are looked for.
    pub buckets: Vec<Bucket>,
}

/// The rows that a hash has sorted into one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub number: i64,
    pub rows: i64,
    pub digest: String,
}

/// A summary as it travels.
type Answer = (i64, Option<String>, Option<Vec<(i64, i64, String)>>);

/// What the texts of values depend on beyond what every session of ours has set.
pub(super) const VALUE_SETTINGS: [(&CStr, &str); 2] = [(c"lc_monetary", "C"), (c"row_security", "off")];

/// Prepares the source's session.
pub(super) fn set_value_settings(session: &Session) -> Result<()> {
    for (name, value) in VALUE_SETTINGS {
        session.execute(&format!("SET LOCAL {} = '{value}'", name.to_string_lossy()))?;
    }
    Ok(())
}

/// Chooses the hash that both sides compute alike.
pub fn common_hash(session: &Session) -> Result<Hash> {
    /// The hash functions read several bytes of a text at once, so that the order of bytes shows.
    const PROBE: &str = "SELECT hashtextextended('both sides must hash this alike' COLLATE \"C\", 0)::text";
    const PROBE_OF_RECORD: &str = "SELECT hash_record_extended(ROW('both sides'::pg_catalog.text COLLATE \"C\", 1, -2.50, '2000-02-29'::pg_catalog.date, true), 1)::text";
    const ENCODING: &str = "SELECT getdatabaseencoding()::text";
    const FIRST_WITH_HASH_OF_RECORD: u32 = 140_000;
    let are_alike = |probe| Ok::<_, Error>(Some(session.query_value(probe)?) == spi::fixed::query_text(probe, &[])?);
    if session.query_value(ENCODING)? != encoding::database_name() || !are_alike(PROBE)? {
        return Ok(Hash::Portable);
    }
    let is_record = session.version >= FIRST_WITH_HASH_OF_RECORD && are_alike(PROBE_OF_RECORD)?;
    Ok(if is_record { Hash::Record } else { Hash::Quick })
}

/// The query that summarizes a few tables: a JSON array in the order of the tables.
pub(super) fn query(pairs: &[TablePair], level: Level, hash: Hash, from: fn(&TablePair) -> &str) -> String {
    let branches: Vec<String> = pairs
        .iter()
        .enumerate()
        .map(|(position, pair)| {
            let (from, digest) = (from(pair), pair.columns.as_ref().map(|columns| digest::row_digest(columns, hash)));
            match (digest, &pair.identity) {
                (Some(digest), Some(identity)) if level == Level::Rows => {
                    let columns = pair.columns.as_deref().unwrap_or_default();
                    let bucket = identity.buckets.of_row(&identity.key, columns, hash);
                    format!(
                        "SELECT {position} AS position, coalesce(sum(b.rows), 0)::bigint AS rows,
                                coalesce(sum(b.digest), 0)::text AS digest,
                                json_agg(json_build_array(b.bucket, b.rows, b.digest::text)) AS buckets
                         FROM (SELECT r.bucket, count(*) AS rows, sum(r.digest) AS digest FROM ({}) r GROUP BY 1) b",
                        rows_with_buckets(pair, &bucket, &digest, from)
                    )
                }
                (digest, _) => {
                    let digest = match digest {
                        Some(digest) if level != Level::Count => format!("coalesce(sum({digest}), 0)::text"),
                        _ => "NULL::text".to_owned(),
                    };
                    format!(
                        "SELECT {position} AS position, count(*) AS rows, {digest} AS digest, NULL::json AS buckets
                         FROM {from}"
                    )
                }
            }
        })
        .collect();
    format!(
        "SELECT coalesce(json_agg(json_build_array(v.rows, v.digest, v.buckets) ORDER BY v.position), '[]')::text FROM ({}) v",
        branches.join(" UNION ALL ")
    )
}

/// The rows of a table, each with its bucket. The planner takes the number of buckets for as large as that of keys, and does not let
/// each process of a parallel query add up its own. Of a union it knows nothing, and takes their number for small: a big table gets a
/// second branch that finds no row.
fn rows_with_buckets(pair: &TablePair, bucket: &str, digest: &str, from: &str) -> String {
    let rows = format!("SELECT {bucket} AS bucket, {digest} AS digest FROM {from}");
    match pair.pages {
        // Others are read together with it, in a query with one branch for each.
        ..=MOST_PAGES => rows,
        _ => format!("{rows} UNION ALL {rows} WHERE ctid = '(4294967295,0)'::tid"),
    }
}

/// Runs such a query here: planning it, too, runs code that belongs to the tables.
pub(super) fn compute_here(
    moment: &Moment,
    query: &str,
    pairs: &[TablePair],
    processes: usize,
) -> Result<Vec<Summary>> {
    let Some(first) = pairs.first() else { return Ok(Vec::new()) };
    let answer = in_role(first.owner, || {
        settings::set_local(c"max_parallel_workers_per_gather", &processes.saturating_sub(1).to_string())?;
        moment.query_text(query)
    })?;
    parse(answer.unwrap_or_default().as_bytes(), pairs)
}

/// Runs a query over tables of one owner as that, with the settings that values are written by.
pub(super) fn in_role<T>(owner: u32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    run_as(Role::TableOwner(owner), || {
        for (name, value) in VALUE_SETTINGS {
            settings::set_local(name, value)?;
        }
        work()
    })
}

/// Parses the answer to such a query.
pub(super) fn parse(answer: &[u8], pairs: &[TablePair]) -> Result<Vec<Summary>> {
    /// Digits of a number of a bucket, a count and a sum of 64-bit numbers, with what is around them.
    const LONGEST: usize = 150;
    let wrong = |what: String| {
        Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "unexpected summary of a table's rows").detail(what)
    };
    let tables = pairs.len();
    let most = |pair: &TablePair| 1 + pair.identity.as_ref().map_or(0, |identity| identity.buckets.count() as usize);
    if answer.len() > LONGEST * (1 + pairs.iter().map(most).sum::<usize>()) {
        return Err(wrong(format!("{} bytes for {tables} tables", answer.len())));
    }
    let answers: Vec<Answer> = serde_json::from_slice(answer).map_err(|error| wrong(error.to_string()))?;
    if answers.len() != tables {
        return Err(wrong(format!("{} summaries for {tables} tables", answers.len())));
    }
    let is_number = |digest: &str| digest.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    let of_bucket = |(number, rows, digest)| Bucket { number, rows, digest };
    let summaries: Vec<Summary> = answers
        .into_iter()
        .map(|(rows, digest, buckets)| {
            let mut buckets: Vec<Bucket> = buckets.unwrap_or_default().into_iter().map(of_bucket).collect();
            buckets.sort_by_key(|bucket| bucket.number);
            Summary { rows, digest, buckets }
        })
        .collect();
    let digests = |summary: &Summary| {
        let of_buckets = summary.buckets.iter().map(|bucket| bucket.digest.as_str());
        summary.digest.as_deref().into_iter().chain(of_buckets).all(is_number)
    };
    if !summaries.iter().all(digests) {
        return Err(wrong("a digest is no number".to_owned()));
    }
    Ok(summaries)
}
