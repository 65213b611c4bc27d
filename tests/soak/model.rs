//! The rows that each table of the destination must hold, computed from what the sessions have seen committed.
//!
//! Every transaction takes a number while it still holds its locks, so that the numbers of transactions that exclude each
//! other are in the order of their commits. A background job takes no number; it is known only which numbers were taken
//! before it started and after it ended: all places in between are tried.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

/// Rows by number, as hashes.
pub type Rows = BTreeMap<i32, i64>;

#[derive(Debug, Clone)]
pub enum Event {
    Inserted(Vec<(i32, i64)>),
    Updated(Vec<(i32, i64)>),
    Deleted(Vec<i32>),
    Truncated,
    /// All rows replaced; `overwrite` tells whether the caller has allowed that for a table that holds rows.
    Replaced {
        rows: Arc<Rows>,
        overwrite: bool,
    },
}

/// A background job that has replaced the rows of a table between two numbers, by those of a version that only row 0 of
/// the table tells.
#[derive(Debug, Clone)]
struct Floating {
    after: i64,
    before: i64,
    overwrite: bool,
    by: String,
}

#[derive(Debug, Default)]
struct History {
    /// The rows at the beginning of the round.
    rows: Rows,
    events: Vec<(i64, String, Event)>,
    floating: Vec<Floating>,
    /// Whether a session was lost in the middle of a statement, which may have been committed.
    is_uncertain: bool,
}

/// The histories of the tables by OID, which renaming does not change.
#[derive(Debug, Default)]
pub struct Model {
    histories: HashMap<u32, History>,
}

impl Model {
    pub fn begin(&mut self, table: u32, rows: Rows) {
        self.histories.insert(table, History { rows, ..History::default() });
    }

    pub fn add(&mut self, table: u32, order: i64, by: &str, event: Event) {
        self.histories.entry(table).or_default().events.push((order, by.to_owned(), event));
    }

    pub fn add_floating(&mut self, table: u32, (after, before): (i64, i64), overwrite: bool, by: &str) {
        let floating = Floating { after, before, overwrite, by: by.to_owned() };
        self.histories.entry(table).or_default().floating.push(floating);
    }

    pub fn is_uncertain(&mut self, table: u32) {
        self.histories.entry(table).or_default().is_uncertain = true;
    }

    /// Compares a table with its history. `source_rows` are those of the version that the table's row 0 tells.
    pub fn check(&mut self, table: u32, actual: &Rows, source_rows: Option<&Rows>) -> Result<(), String> {
        let history = self.histories.entry(table).or_default();
        if history.is_uncertain {
            return Ok(());
        }
        history.events.sort_by_key(|(order, _, _)| *order);
        // Of two jobs in one place, the one that found the table empty was the first.
        history.floating.sort_by_key(|job| job.overwrite);
        let mut places = Vec::new();
        let mut why = Vec::new();
        if history.fits(&mut places, actual, source_rows, &mut why) {
            return Ok(());
        }
        let mut text = String::new();
        for reason in why.iter().take(5) {
            let _ = writeln!(text, "  {reason}");
        }
        for (order, by, event) in &history.events {
            let _ = writeln!(text, "  {order} {by}: {}", event.describe());
        }
        for job in &history.floating {
            let _ =
                writeln!(text, "  between {} and {} {}, overwrite {}", job.after, job.before, job.by, job.overwrite);
        }
        Err(text)
    }
}

impl Event {
    fn describe(&self) -> String {
        match self {
            Self::Inserted(rows) => format!("inserted {:?}", rows.iter().map(|row| row.0).collect::<Vec<_>>()),
            Self::Updated(rows) => format!("updated {:?}", rows.iter().map(|row| row.0).collect::<Vec<_>>()),
            Self::Deleted(rows) => format!("deleted {rows:?}"),
            Self::Truncated => "truncated".into(),
            Self::Replaced { rows, overwrite } => format!("replaced by {} rows, overwrite {overwrite}", rows.len()),
        }
    }
}

impl History {
    /// Gives every background job a place among the events, in all ways that are possible.
    fn fits(&self, places: &mut Vec<usize>, actual: &Rows, source: Option<&Rows>, why: &mut Vec<String>) -> bool {
        let Some(job) = self.floating.get(places.len()) else {
            return match self.replay(places, source) {
                Err(reason) => {
                    why.push(reason);
                    false
                }
                // A job has brought a version that no row tells any more.
                Ok(None) => true,
                Ok(Some(rows)) if rows == *actual => true,
                Ok(Some(rows)) => {
                    why.push(difference(&rows, actual));
                    false
                }
            };
        };
        for place in 0..=self.events.len() {
            let follows = place == 0 || self.events[place - 1].0 <= job.before;
            let precedes = place == self.events.len() || self.events[place].0 > job.after;
            if follows && precedes {
                places.push(place);
                if self.fits(places, actual, source, why) {
                    return true;
                }
                places.pop();
            }
        }
        false
    }

    /// Returns the rows at the end, or None if they depend on a version that is not known.
    fn replay(&self, places: &[usize], source: Option<&Rows>) -> Result<Option<Rows>, String> {
        let mut rows = Some(self.rows.clone());
        let last = places.iter().max();
        for place in 0..=self.events.len() {
            for (job, _) in self.floating.iter().zip(places).filter(|(_, other)| **other == place) {
                if !job.overwrite && rows.as_ref().is_some_and(|rows| !rows.is_empty()) {
                    return Err(format!("{} replaced rows without overwrite", job.by));
                }
                let is_last = Some(&place) == last && !self.replaced_after(place);
                rows = source.filter(|_| is_last).cloned();
            }
            let Some((_, by, event)) = self.events.get(place) else { break };
            match (event, &mut rows) {
                (Event::Truncated, rows) => *rows = Some(Rows::new()),
                (Event::Replaced { rows: new, overwrite }, rows) => {
                    if !overwrite && rows.as_ref().is_some_and(|rows| !rows.is_empty()) {
                        let lost = rows.iter().flatten().map(|row| row.0).take(5).collect::<Vec<_>>();
                        return Err(format!("{by} replaced rows without overwrite, such as {lost:?}"));
                    }
                    *rows = Some(Rows::clone(new));
                }
                (_, None) => {}
                (Event::Inserted(new), Some(rows)) => {
                    for (id, hash) in new {
                        if rows.insert(*id, *hash).is_some() {
                            return Err(format!("{by} inserted row {id}, which was there"));
                        }
                    }
                }
                (Event::Updated(new), Some(rows)) => {
                    for (id, hash) in new {
                        if rows.insert(*id, *hash).is_none() {
                            return Err(format!("{by} updated row {id}, which was not there"));
                        }
                    }
                }
                (Event::Deleted(old), Some(rows)) => {
                    for id in old {
                        if rows.remove(id).is_none() {
                            return Err(format!("{by} deleted row {id}, which was not there"));
                        }
                    }
                }
            }
        }
        Ok(rows)
    }

    fn replaced_after(&self, place: usize) -> bool {
        self.events[place..].iter().any(|(_, _, event)| matches!(event, Event::Truncated | Event::Replaced { .. }))
    }
}

/// Describes what distinguishes two sets of rows.
pub fn difference(expected: &Rows, actual: &Rows) -> String {
    let missing: Vec<_> = expected.keys().filter(|id| !actual.contains_key(id)).take(10).collect();
    let extra: Vec<_> = actual.keys().filter(|id| !expected.contains_key(id)).take(10).collect();
    let other: Vec<_> = expected
        .iter()
        .filter(|(id, hash)| actual.get(id).is_some_and(|other| other != *hash))
        .map(|row| row.0)
        .take(10)
        .collect();
    format!(
        "{} rows expected, {} there; missing {missing:?}, too many {extra:?}, of other content {other:?}",
        expected.len(),
        actual.len()
    )
}
