//! Digests of tables, which each server computes of its own rows, and the verdicts that follow from them; and whether this server's
//! own tables are sound.

mod batches;
mod key_ranges;
mod local_checks;
mod rows;
mod stored;
mod summary;

use crate::error::{Error, Result};
use crate::local::spi::Moment;
use crate::source::{Session, Transport};
use batches::batches;
use pgrx::prelude::*;
use plan::digest::{DigestColumn, Hash};
use std::time::Instant;

pub use local_checks::{Finding, check};
pub use rows::RowIdentity;
pub use stored::{difference, differing, finish_sum, start_sum};
pub use summary::{Summary, common_hash};

/// How closely tables are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// By the number of their rows.
    Count,
    /// By a digest of all rows.
    Digest,
    /// Where digests differ, row by row.
    Rows,
}

impl Level {
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "count" => Ok(Self::Count),
            "digest" => Ok(Self::Digest),
            "rows" => Ok(Self::Rows),
            other => Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("level \"{other}\" not recognized"),
            )
            .hint("It is \"count\", \"digest\" or \"rows\".")),
        }
    }
}

/// Two tables to compare. The source's is locked in the snapshot of its session, this side's in the caller's transaction.
pub struct TablePair {
    pub schema: String,
    pub name: String,
    /// On the source and here.
    pub oids: [u32; 2],
    /// As FROM names it on each side.
    pub source: String,
    pub here: String,
    /// Whether the source computes what users ask for: its words on an error may hold a value then.
    pub computed: bool,
    /// As whom it is read here.
    pub owner: u32,
    /// Of the bigger one, TOAST included.
    pub pages: i64,
    /// What both sides have; `None` where the columns differ, so that rows can only be counted.
    pub columns: Option<Vec<DigestColumn>>,
    /// Set where rows that differ are looked for.
    pub identity: Option<RowIdentity>,
    /// What is known to differ, in words.
    pub differences: Vec<String>,
}

/// What came out for one table.
pub struct Verdict {
    pub schema: String,
    pub table: String,
    pub source: Summary,
    pub here: Summary,
    /// In words; none where both sides are the same.
    pub differences: Vec<String>,
    /// The time until both sides had read the table, and those that were read together with it.
    pub seconds: f64,
}

/// Compares tables: the source computes while this side does. `processes` is how many each server may use for a big table, and
/// `most` how many differing rows of each kind are told of for each table. `transport` is the way of rows that are looked at one by one.
pub fn compare(
    session: &Session,
    mut pairs: Vec<TablePair>,
    level: Level,
    processes: usize,
    most: usize,
    transport: Transport,
) -> Result<Vec<Verdict>> {
    summary::set_value_settings(session)?;
    let hash = summary::common_hash(session)?;
    let moment = Moment::of_transaction();
    for pair in &mut pairs {
        key_ranges::choose(session, &moment, pair)?;
    }
    session.execute(&format!("SET LOCAL max_parallel_workers_per_gather = {}", processes.saturating_sub(1)))?;
    let of_both = |pairs: &[TablePair]| summaries(session, &moment, pairs, level, hash, processes);
    let Summaries { there, here, seconds } = of_both(&pairs)?;
    pairs
        .into_iter()
        .zip(there.into_iter().zip(here))
        .zip(seconds)
        .map(|((mut pair, (mut source, mut here)), mut seconds)| {
            let begun = Instant::now();
            if source != here && key_ranges::give_up(&mut pair, &source, &here) {
                let mut again = of_both(std::slice::from_ref(&pair))?;
                (source, here) = again.there.pop().zip(again.here.pop()).unwrap_or((source, here));
            }
            let mut differences = differences(&pair, &source, &here);
            if source != here {
                let buckets = (source.buckets.as_slice(), here.buckets.as_slice());
                differences.extend(rows::find(session, &moment, &pair, hash, buckets, most, transport)?);
            }
            seconds += begun.elapsed().as_secs_f64();
            Ok(Verdict { schema: pair.schema, table: pair.name, source, here, differences, seconds })
        })
        .collect()
}

/// The summaries of both sides in the order of the tables, and how long this side read each table.
struct Summaries {
    there: Vec<Summary>,
    here: Vec<Summary>,
    seconds: Vec<f64>,
}

/// Computes the summaries of some tables on both sides at the same time.
fn summaries(
    session: &Session,
    moment: &Moment,
    pairs: &[TablePair],
    level: Level,
    hash: Hash,
    processes: usize,
) -> Result<Summaries> {
    let batches = batches(pairs);
    let queries = |from: fn(&TablePair) -> &str| -> Vec<String> {
        batches.iter().map(|batch| summary::query(&pairs[batch.clone()], level, hash, from)).collect()
    };
    let started = Instant::now();
    let running = session.start_values(&queries(|pair| &pair.source));
    let mut here = Vec::with_capacity(pairs.len());
    let mut seconds = Vec::with_capacity(pairs.len());
    for (batch, query) in batches.iter().zip(queries(|pair| &pair.here)) {
        let begun = started.elapsed();
        here.extend(summary::compute_here(moment, &query, &pairs[batch.clone()], processes)?);
        seconds.resize(here.len(), (started.elapsed() - begun).as_secs_f64());
    }
    let mut there = Vec::with_capacity(pairs.len());
    let computed = pairs.iter().any(|pair| pair.computed);
    let answers = running.finish(computed)?;
    for (batch, answer) in batches.iter().zip(answers) {
        there.extend(summary::parse(&answer, &pairs[batch.clone()])?);
    }
    Ok(Summaries { there, here, seconds })
}

fn differences(pair: &TablePair, source: &Summary, here: &Summary) -> Vec<String> {
    let mut differences = pair.differences.clone();
    if source.rows != here.rows {
        let rows = |count: i64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        differences.push(format!("{} on the source and {} on the destination", rows(source.rows), rows(here.rows)));
    } else if source.digest != here.digest {
        differences.push("rows differ".to_owned());
    }
    differences
}
