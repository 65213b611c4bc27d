//! The rows in which two tables differ: first the buckets of keys that differ, then the rows of those buckets alone.

use super::TablePair;
use super::summary::{Bucket, in_role};
use crate::error::{Error, Result};
use crate::local::spi::Moment;
use crate::source::{Session, Transport};
use frames::Compression;
use pgrx::prelude::*;
use plan::digest::{self, Buckets, DigestColumn, Hash};
use std::collections::BTreeMap;

/// Rows of the buckets that are looked at together, on one side.
const MOST_ROWS: i64 = 100_000;
/// Bytes of a key in a sentence.
const LONGEST_KEY: usize = 200;

/// How rows of a table are told from each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowIdentity {
    /// Columns that are unique and never NULL on both sides; none where whole rows are told from each other.
    pub key: Vec<DigestColumn>,
    pub buckets: Buckets,
}

/// A row of a differing bucket: its key, or the place that it lies in, and hashes of its columns or of all of it.
type KeyedRow = (String, Vec<String>);

/// Whether the first bucket that differs holds too many rows to be looked at.
pub(super) fn are_too_many(theirs: &[Bucket], ours: &[Bucket]) -> bool {
    differing_buckets(theirs, ours).first().is_some_and(|&(_, rows)| rows > MOST_ROWS)
}

/// Finds rows that differ, at most so many of each kind, in the buckets that do, and describes them.
pub(super) fn find(
    session: &Session,
    moment: &Moment,
    pair: &TablePair,
    hash: Hash,
    (theirs, ours): (&[Bucket], &[Bucket]),
    most: usize,
    transport: Transport,
) -> Result<Vec<String>> {
    let (Some(columns), Some(identity)) = (&pair.columns, &pair.identity) else { return Ok(Vec::new()) };
    let differing = differing_buckets(theirs, ours);
    let mut chosen = Vec::new();
    let mut rows = 0_i64;
    for &(bucket, size) in differing.iter().take(most.max(1)) {
        if rows.saturating_add(size) > MOST_ROWS && !chosen.is_empty() {
            break;
        }
        rows = rows.saturating_add(size);
        chosen.push(bucket);
    }
    if rows > MOST_ROWS {
        return Ok(vec![format!("too many rows to look at one by one: {rows}")]);
    }
    let query = |from: &str| rows_query(columns, identity, hash, &chosen, from);
    let of_source = query(&pair.source);
    let running = match compression(transport, pair, rows) {
        Some(compression) => session.start_value_in_frames(&of_source, compression),
        None => session.start_values(&[of_source]),
    };
    let here = in_role(pair.owner, || moment.query_text(&query(&pair.here)))?;
    let here = parse(here.unwrap_or_default().as_bytes(), rows)?;
    let there = running.finish(pair.computed)?;
    let there = there.into_iter().next_back().unwrap_or_default();
    let there = parse(&there, rows)?;
    let mut found = if identity.key.is_empty() {
        compare_whole(there, here, most)
    } else {
        compare_keyed(identity, columns, there, here, most)
    };
    let left = differing.len() - chosen.len();
    if left > 0 {
        found.push(format!(
            "more differences among the other rows: {left} of {} buckets not looked at",
            identity.buckets.count()
        ));
    }
    Ok(found)
}

/// Returns how the source compresses so many rows of a table: their keys, and a hash of each column. It reads the table without other
/// processes then. Unless a codec is named, it does so where they are many, and the table is not much bigger than they, or not read as a whole.
fn compression(transport: Transport, pair: &TablePair, rows: i64) -> Option<Compression> {
    const FEWEST_BYTES: i64 = 1_000_000;
    const LARGEST_TABLE: i64 = 100;
    /// Of a hash or the value of a key, as text.
    const BYTES_OF_A_VALUE: i64 = 24;
    let Transport::Frames(compression) = transport else { return None };
    let values = pair.identity.as_ref().map_or(0, |identity| match identity.key.len() {
        0 => 2,
        key => key + pair.columns.as_ref().map_or(0, Vec::len),
    });
    let bytes = rows.saturating_mul(BYTES_OF_A_VALUE * values as i64);
    let table = pair.pages.saturating_mul(i64::from(pg_sys::BLCKSZ));
    let in_ranges = pair.identity.as_ref().is_some_and(|identity| matches!(identity.buckets, Buckets::Ranges { .. }));
    let pays = bytes >= FEWEST_BYTES && (in_ranges || table <= bytes.saturating_mul(LARGEST_TABLE));
    (compression != Compression::Auto || pays).then_some(compression)
}

/// Numbers of the buckets that differ, with the rows of the bigger side.
fn differing_buckets(theirs: &[Bucket], ours: &[Bucket]) -> Vec<(i64, i64)> {
    let mut sides: BTreeMap<i64, [Option<&Bucket>; 2]> = BTreeMap::new();
    for (side, buckets) in [theirs, ours].into_iter().enumerate() {
        for bucket in buckets {
            sides.entry(bucket.number).or_default()[side] = Some(bucket);
        }
    }
    let rows = |bucket: Option<&Bucket>| bucket.map_or(0, |bucket| bucket.rows);
    sides
        .into_iter()
        .filter(|(_, [there, here])| there != here)
        .map(|(number, [there, here])| (number, rows(there).max(rows(here))))
        .collect()
}

fn rows_query(columns: &[DigestColumn], identity: &RowIdentity, hash: Hash, buckets: &[i64], from: &str) -> String {
    let within = identity.buckets.is_in(buckets, &identity.key, columns, hash);
    let (name, hashes) = if identity.key.is_empty() {
        ("ctid::text".to_owned(), format!("{}::text", digest::row_digest(columns, hash)))
    } else {
        let key: Vec<String> = identity.key.iter().map(|column| plan::quote_identifier(&column.name)).collect();
        let of_columns: Vec<String> = columns
            .iter()
            .map(|column| format!("{}::text", digest::row_digest(std::slice::from_ref(column), hash)))
            .collect();
        (format!("ROW({})::text", key.join(", ")), of_columns.join(", "))
    };
    format!(
        "SELECT coalesce(json_agg(json_build_array({name}, ARRAY[{hashes}])), '[]')::text FROM {from}
         WHERE {within}"
    )
}

fn parse(answer: &[u8], most: i64) -> Result<Vec<KeyedRow>> {
    let wrong = |what: String| {
        Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "unexpected rows of a comparison").detail(what)
    };
    let rows: Vec<KeyedRow> = serde_json::from_slice(answer).map_err(|error| wrong(error.to_string()))?;
    if i64::try_from(rows.len()).is_ok_and(|count| count <= most) {
        return Ok(rows);
    }
    Err(wrong(format!("{} rows where at most {most} were counted", rows.len())))
}

fn compare_keyed(
    identity: &RowIdentity,
    columns: &[DigestColumn],
    there: Vec<KeyedRow>,
    here: Vec<KeyedRow>,
    most: usize,
) -> Vec<String> {
    let names: Vec<String> = identity.key.iter().map(|column| plan::quote_identifier(&column.name)).collect();
    let key = |values: &str| format!("({})={}", names.join(", "), plan::one_line(&shortened(values)));
    let mut here: BTreeMap<String, Vec<String>> = here.into_iter().collect();
    let there: BTreeMap<String, Vec<String>> = there.into_iter().collect();
    let mut kinds = [Told::default(), Told::default(), Told::default()];
    for (values, hashes) in there {
        match here.remove(&values) {
            None => kinds[0].add(most, || format!("missing here: {}", key(&values))),
            Some(ours) if ours != hashes => kinds[2].add(most, || {
                let changed = columns.iter().zip(hashes.iter().zip(&ours)).filter(|(_, (there, here))| there != here);
                let changed: Vec<String> = changed.map(|(column, _)| plan::quote_identifier(&column.name)).collect();
                format!("changed: {} in {}", key(&values), changed.join(", "))
            }),
            Some(_) => {}
        }
    }
    for values in here.keys() {
        kinds[1].add(most, || format!("extra here: {}", key(values)));
    }
    let names = ["missing here", "extra here", "changed"];
    kinds.into_iter().zip(names).flat_map(|(told, name)| told.sentences(name)).collect()
}

fn compare_whole(there: Vec<KeyedRow>, here: Vec<KeyedRow>, most: usize) -> Vec<String> {
    let mut places: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for (side, rows) in [there, here].into_iter().enumerate() {
        for (place, hashes) in rows {
            places.entry(hashes.concat()).or_default()[side].push(place);
        }
    }
    let mut kinds = [Told::default(), Told::default()];
    for [there, here] in places.values() {
        let both = there.len().min(here.len());
        for place in &there[both..] {
            kinds[0]
                .add(most, || format!("missing here: the row at {} of the source", plan::one_line(&shortened(place))));
        }
        for place in &here[both..] {
            kinds[1].add(most, || format!("extra here: the row at {place}"));
        }
    }
    kinds.into_iter().zip(["missing here", "extra here"]).flat_map(|(told, name)| told.sentences(name)).collect()
}

/// Differences of one kind, of which the first are told.
#[derive(Default)]
struct Told {
    sentences: Vec<String>,
    others: usize,
}

impl Told {
    fn add(&mut self, most: usize, sentence: impl FnOnce() -> String) {
        if self.sentences.len() < most {
            self.sentences.push(sentence());
        } else {
            self.others += 1;
        }
    }

    fn sentences(mut self, name: &str) -> Vec<String> {
        if self.others > 0 {
            self.sentences.push(format!("{name}: {} more", self.others));
        }
        self.sentences
    }
}

fn shortened(text: &str) -> String {
    crate::error::capped(text, LONGEST_KEY).into_owned()
}
