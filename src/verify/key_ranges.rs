//! Buckets that are ranges of a key: rows of the few that differ are found through the key's index, without reading the table a
//! second time.

use super::TablePair;
use super::batches::MOST_PAGES;
use super::rows::are_too_many;
use super::summary::{Summary, in_role};
use crate::error::{Error, Result};
use crate::local::spi::Moment;
use crate::source::Session;
use pgrx::prelude::*;
use plan::digest::{Buckets, is_integer};

/// Chooses ranges for a big table, where the first column of its key is an integer whose values lie close enough to each other.
pub(super) fn choose(session: &Session, moment: &Moment, pair: &mut TablePair) -> Result<()> {
    /// More do not fit on a page of 8 kB.
    const MOST_ROWS_OF_A_PAGE: i64 = 300;
    let Some(identity) = &mut pair.identity else { return Ok(()) };
    let Some(first) = identity.key.first().filter(|first| is_integer(first)) else { return Ok(()) };
    // A small table is soon read again. The bounds of what a condition leaves, or a mask makes, take a scan.
    if pair.pages <= MOST_PAGES || pair.computed {
        return Ok(());
    }
    let name = plan::quote_identifier(&first.name);
    let query = |from: &str| format!("SELECT json_build_array(min({name}), max({name}))::text FROM {from}");
    let there = bounds(&session.query_value(&query(&pair.source))?)?;
    let here = in_role(pair.owner, || moment.query_text(&query(&pair.here)))?;
    let here = bounds(&here.unwrap_or_default())?;
    let sides = || there.iter().chain(&here);
    let (Some(lowest), Some(highest)) = (sides().map(|side| side.0).min(), sides().map(|side| side.1).max()) else {
        return Ok(());
    };
    let rows = pair.pages.saturating_mul(MOST_ROWS_OF_A_PAGE);
    if let Some(ranges) = Buckets::ranges(lowest, highest, identity.buckets.count(), rows) {
        identity.buckets = ranges;
    }
    Ok(())
}

/// Goes back to hashes where the rows lie so unevenly that a range which differs holds too many of them. Says whether it did.
pub(super) fn give_up(pair: &mut TablePair, there: &Summary, here: &Summary) -> bool {
    let Some(identity) = &mut pair.identity else { return false };
    let Buckets::Ranges { count, .. } = identity.buckets else { return false };
    if !are_too_many(&there.buckets, &here.buckets) {
        return false;
    }
    identity.buckets = Buckets::Hashed(count.next_power_of_two());
    true
}

/// The lowest and the highest value, or nothing of a table without rows.
fn bounds(answer: &str) -> Result<Option<(i64, i64)>> {
    let (lowest, highest): (Option<i64>, Option<i64>) = serde_json::from_str(answer).map_err(|error| {
        Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "unexpected bounds of a key").detail(error.to_string())
    })?;
    Ok(lowest.zip(highest))
}
