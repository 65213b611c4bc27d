//! The progress of a job: phases, rows and bytes of tables, the rate.

use super::layout::{TASK_DONE, TableSlot};
use super::tasks::Activity;
use super::{Shared, now};
use crate::order::{Changes, Loaded};
use crate::source::Framed;
use crate::stage::RowSum;
use pgrx::pg_sys;
use std::sync::atomic::Ordering::SeqCst;

/// The phase of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(in super::super) enum Phase {
    Starting = 0,
    /// The job is recorded.
    Begun = 1,
    Locking = 2,
    Working = 3,
    Swapping = 4,
    /// Staged rows are merged into tables that keep theirs.
    Merging = 5,
    InPlace = 6,
    /// The leader has done its part; its transaction decides the outcome.
    Swapped = 7,
}

pub(super) const PHASES: usize = Phase::Swapped as usize + 1;

impl Phase {
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Begun,
            2 => Self::Locking,
            3 => Self::Working,
            4 => Self::Swapping,
            5 => Self::Merging,
            6 => Self::InPlace,
            _ => Self::Swapped,
        }
    }
}

/// The progress of a table of a running job.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct TableProgress {
    pub(in super::super) loaded: Loaded,
    /// Microseconds since PostgreSQL's epoch; 0 before the first task.
    pub(in super::super) started: i64,
    pub(in super::super) finished: i64,
    /// All rows are there.
    pub(in super::super) is_copied: bool,
    pub(in super::super) is_done: bool,
}

impl Shared {
    pub(in super::super) fn phase(&self) -> Phase {
        Phase::from_number(self.header().phase.load(SeqCst))
    }

    pub(in super::super) fn enter_phase(&self, phase: Phase) {
        self.header().entered[phase as usize].store(now(), SeqCst);
        self.header().phase.store(phase as u32, SeqCst);
        self.wake_everybody();
    }

    /// Returns when the pull was called.
    pub(in super::super) fn called(&self) -> i64 {
        self.header().called.load(SeqCst)
    }

    /// Returns when the phase was entered; 0 if it was not.
    pub(in super::super) fn entered(&self, phase: Phase) -> i64 {
        self.header().entered[phase as usize].load(SeqCst)
    }

    pub(super) fn table_begins_at(&self, table: usize, now: i64) {
        let _ = self.table_slots()[table].started.compare_exchange(0, now, SeqCst, SeqCst);
    }

    /// Notes the start of a table that is loaded in place.
    pub(in super::super) fn table_begins(&self, table: usize) {
        self.table_begins_at(table, now());
    }

    /// Notes the end of a table that is loaded in place.
    pub(in super::super) fn table_done(&self, table: usize) {
        let slot = &self.table_slots()[table];
        slot.finished.store(now(), SeqCst);
        slot.loads_left.store(0, SeqCst);
        slot.tasks_left.store(0, SeqCst);
    }

    /// Returns the time from the table's first task to its last so far. Tables that are loaded in place come after the
    /// others.
    pub(in super::super) fn table_seconds(&self, table: usize) -> f64 {
        let progress = self.table_progress(table);
        if progress.finished < progress.started { 0.0 } else { (progress.finished - progress.started) as f64 / 1e6 }
    }

    /// Adds rows and bytes to a table, and to the task that loads it, if there is one.
    pub(in super::super) fn add_progress(&self, table: usize, task: Option<usize>, loaded: Loaded) {
        let slot = &self.table_slots()[table];
        slot.rows.fetch_add(loaded.rows, SeqCst);
        slot.bytes.fetch_add(loaded.bytes, SeqCst);
        if let Some(task) = task {
            self.task_slots()[task].bytes.fetch_add(loaded.bytes, SeqCst);
        }
    }

    /// Adds a part of the source's rows to what the source has beyond the stored rows, and takes a share of those off.
    pub(in super::super) fn note_sums(&self, table: usize, source: RowSum, stored: RowSum) {
        let (rows, sum) = (source.rows - stored.rows, source.sum - stored.sum);
        let [of_rows, upper, lower] = &self.table_slots()[table].beyond;
        of_rows.fetch_add(rows, SeqCst);
        // Parts that add up without an overflow as long as there are less rows than a table can have.
        upper.fetch_add((sum >> 32) as i64, SeqCst);
        lower.fetch_add((sum & 0xffff_ffff) as i64, SeqCst);
    }

    /// Returns what the source has beyond the stored rows.
    pub(in super::super) fn sum_beyond(&self, table: usize) -> RowSum {
        let [rows, upper, lower] = self.table_slots()[table].beyond.each_ref().map(|part| part.load(SeqCst));
        RowSum { rows, sum: (i128::from(upper) << 32) + i128::from(lower) }
    }

    pub(in super::super) fn note_changes(&self, table: usize, changes: Changes) {
        let Changes { inserted, updated, deleted, unchanged } = changes;
        for (slot, count) in self.table_slots()[table].changes.iter().zip([inserted, updated, deleted, unchanged]) {
            slot.store(count + 1, SeqCst);
        }
    }

    /// Returns what a merge has done; `None` for a table that is replaced, or not there yet.
    pub(in super::super) fn changes(&self, table: usize) -> Option<Changes> {
        let [inserted, updated, deleted, unchanged] =
            self.table_slots()[table].changes.each_ref().map(|slot| slot.load(SeqCst).checked_sub(1));
        Some(Changes { inserted: inserted?, updated: updated?, deleted: deleted?, unchanged: unchanged? })
    }

    /// Adds what has arrived in frames.
    pub(in super::super) fn note_framed(&self, table: usize, framed: Framed) {
        let [wire, codecs @ ..] = &self.table_slots()[table].framed;
        wire.fetch_add(framed.wire_bytes, SeqCst);
        for (sum, bytes) in codecs.iter().zip(framed.by_codec) {
            sum.fetch_add(bytes, SeqCst);
        }
    }

    /// Returns what has arrived in frames; `None` where rows came without, or none yet.
    pub(in super::super) fn framed(&self, table: usize) -> Option<Framed> {
        let [wire, codecs @ ..] = &self.table_slots()[table].framed;
        let wire_bytes = wire.load(SeqCst);
        (wire_bytes > 0).then(|| Framed { wire_bytes, by_codec: codecs.each_ref().map(|bytes| bytes.load(SeqCst)) })
    }

    pub(in super::super) fn progress(&self, table: usize) -> Loaded {
        let slot = &self.table_slots()[table];
        Loaded { rows: slot.rows.load(SeqCst), bytes: slot.bytes.load(SeqCst) }
    }

    pub(in super::super) fn table_progress(&self, table: usize) -> TableProgress {
        let slot = &self.table_slots()[table];
        TableProgress {
            loaded: self.progress(table),
            started: slot.started.load(SeqCst),
            finished: slot.finished.load(SeqCst),
            is_copied: slot.loads_left.load(SeqCst) == 0,
            is_done: slot.tasks_left.load(SeqCst) == 0,
        }
    }

    /// Those that are loaded in place included.
    pub(in super::super) fn tables(&self) -> usize {
        self.layout.tables + self.layout.in_place
    }

    pub(in super::super) fn total(&self) -> Loaded {
        (0..self.tables()).map(|table| self.progress(table)).fold(Loaded::default(), |total, table| Loaded {
            rows: total.rows + table.rows,
            bytes: total.bytes + table.bytes,
        })
    }

    /// Returns the kind of work of the earliest task that is not done.
    pub(in super::super) fn activity(&self) -> Activity {
        let open = self.task_slots().iter().filter(|slot| slot.state.load(SeqCst) != TASK_DONE);
        match open.map(|slot| slot.activity.load(SeqCst)).min() {
            Some(0) => Activity::Copying,
            Some(1) => Activity::Indexing,
            _ => Activity::Checking,
        }
    }

    /// Returns the bytes that the plan expects, by the sizes of the source's tables or of the files.
    pub(in super::super) fn expected_bytes(&self) -> u64 {
        let loads = self.task_slots().iter().map(|slot| slot.expected_bytes.load(SeqCst)).sum::<u64>();
        let in_place = self.table_slots()[self.layout.tables..].iter().map(expected_in_place).sum::<u64>();
        loads + in_place
    }

    /// Says how long the work will take, in seconds.
    pub(in super::super) fn predict(&self, seconds: f64) {
        self.header().predicted.store((seconds.max(0.0) * 1e6) as u64, SeqCst);
    }

    /// How long the work will still take, in seconds, after so many seconds of work and with this fraction of it done. What an
    /// earlier job took tells it at the beginning, and the work itself the more, the more of it is done.
    pub(in super::super) fn seconds_left(&self, worked: f64, fraction: f64) -> Option<f64> {
        /// Less tells nothing.
        const LEAST_FRACTION: f64 = 0.02;
        match self.header().predicted.load(SeqCst) {
            0 if fraction < LEAST_FRACTION => None,
            0 => Some(worked * (1.0 - fraction) / fraction),
            predicted => Some((1.0 - fraction) * ((1.0 - fraction) * predicted as f64 / 1e6 + worked)),
        }
    }

    /// Returns how much of the work is done, from 0 to 1, by estimate.
    pub(in super::super) fn fraction_done(&self) -> f64 {
        const MOST_OF_A_RUNNING_TASK: f64 = 0.99;
        let part = |bytes: u64, expected: u64| (bytes as f64 / expected.max(1) as f64).min(MOST_OF_A_RUNNING_TASK);
        let (mut done, mut total) = (0.0, 0.0);
        for slot in self.task_slots() {
            let weight = slot.weight.load(SeqCst) as f64;
            total += weight;
            done += weight
                * match slot.state.load(SeqCst) {
                    TASK_DONE => 1.0,
                    _ => part(slot.bytes.load(SeqCst), slot.expected_bytes.load(SeqCst)),
                };
        }
        for slot in &self.table_slots()[self.layout.tables..] {
            let weight = slot.weight.load(SeqCst);
            let expected = expected_in_place(slot);
            total += weight as f64;
            let is_done = slot.tasks_left.load(SeqCst) == 0;
            done += weight as f64 * if is_done { 1.0 } else { part(slot.bytes.load(SeqCst), expected) };
        }
        if total > 0.0 { done / total } else { 0.0 }
    }

    /// Measures the rate again, if the last measurement is long enough ago.
    pub(in super::super) fn measure_rate(&self) {
        const LEAST_MICROSECONDS: i64 = 900_000;
        let header = self.header();
        let (now, bytes) = (now(), self.total().bytes);
        let (before, bytes_before) = (header.measured.load(SeqCst), header.measured_bytes.load(SeqCst));
        if before != 0 && now - before < LEAST_MICROSECONDS {
            return;
        }
        header.measured.store(now, SeqCst);
        header.measured_bytes.store(bytes, SeqCst);
        if before != 0 {
            // Another process may have measured between.
            let rate = bytes.saturating_sub(bytes_before) as f64 / ((now - before) as f64 / 1e6);
            let smoothed = (header.bytes_per_second.load(SeqCst) as f64).mul_add(0.5, rate * 0.5);
            header.bytes_per_second.store(smoothed as u64, SeqCst);
        }
    }

    /// Returns the smoothed recent throughput; the average until that is known.
    pub(in super::super) fn bytes_per_second(&self) -> u64 {
        const KNOWN_AFTER_MICROSECONDS: i64 = 3_000_000;
        let worked = now() - self.entered(Phase::Working);
        if worked > KNOWN_AFTER_MICROSECONDS {
            return self.header().bytes_per_second.load(SeqCst);
        }
        (self.total().bytes as f64 / (worked.max(1) as f64 / 1e6)) as u64
    }
}

fn expected_in_place(slot: &TableSlot) -> u64 {
    // Four for each page, as the plan weighs it.
    slot.weight.load(SeqCst) / 4 * u64::from(pg_sys::BLCKSZ)
}
