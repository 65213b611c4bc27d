//! The layout of the block: a header, arrays of slots, then the order as JSON.

use super::progress::PHASES;
use frames::Codec;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64};

#[repr(C)]
pub(super) struct Header {
    /// The mark of a job's block: other sessions find a job by the number of its segment, which may belong to something
    /// else by then.
    pub(super) magic: AtomicU64,
    pub(super) job: AtomicI64,
    pub(super) database: AtomicU32,
    pub(super) leader_pid: AtomicI32,
    pub(super) steward_pid: AtomicI32,
    pub(super) leader_xid: AtomicU64,
    pub(super) phase: AtomicU32,
    /// When the pull was called, in microseconds since PostgreSQL's epoch, as all times here.
    pub(super) called: AtomicI64,
    /// When each phase was entered; 0 if it was not.
    pub(super) entered: [AtomicI64; PHASES],
    /// Smoothed recent throughput.
    pub(super) bytes_per_second: AtomicU64,
    /// The time of that measurement, and the number of bytes then.
    pub(super) measured: AtomicI64,
    pub(super) measured_bytes: AtomicU64,
    /// 0, or 1 once the job cannot succeed any more.
    pub(super) failed: AtomicU32,
    /// 0 free, 1 being written, 2 written.
    pub(super) error_state: AtomicU32,
    pub(super) error_length: AtomicU32,
    pub(super) tables: AtomicU32,
    /// Tables that are loaded in place; their slots follow those of the others.
    pub(super) in_place: AtomicU32,
    pub(super) indexes: AtomicU32,
    pub(super) tasks: AtomicU32,
    pub(super) workers: AtomicU32,
    pub(super) claimed_workers: AtomicU32,
    pub(super) done_tasks: AtomicU32,
    /// One more than the position of the table whose stage table the steward is asked to give a TOAST table; 0 for none.
    pub(super) toast_wanted: AtomicU32,
    /// No task before this one is waiting.
    pub(super) first_waiting: AtomicU32,
    /// How long the work will take, in microseconds, going by an earlier job; 0 where there was none.
    pub(super) predicted: AtomicU64,
    /// As for the error.
    pub(super) messages_state: AtomicU32,
    pub(super) messages_length: AtomicU32,
    pub(super) spec_length: AtomicU64,
    /// The places that workers have asked for.
    pub(super) claimed_words: AtomicU32,
    /// Written once, by the process that has moved `error_state` from 0 to 1, and read only after it says 2.
    pub(super) error: UnsafeCell<[u8; ERROR_BYTES]>,
    /// What the leader had to say, in the same way.
    pub(super) messages: UnsafeCell<[u8; MESSAGES_BYTES]>,
    pub(super) words: [WordsSlot; WORDS],
}

/// How many different messages of workers are kept.
pub(super) const WORDS: usize = 16;

/// A message of a worker.
#[repr(C)]
pub(super) struct WordsSlot {
    /// 0 as long as it is not written.
    pub(super) length: AtomicU32,
    /// Written once, by the process that has claimed the place, before `length` is set.
    pub(super) text: UnsafeCell<[u8; WORDS_BYTES]>,
}

pub(super) const WORDS_BYTES: usize = 508;

/// Twice what is kept: characters may take more room in JSON.
pub(super) const MESSAGES_BYTES: usize = 20 * 1024;

pub(super) const ERROR_BYTES: usize = 16 * 1024;
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"pgcopy 1");

#[repr(C)]
pub(super) struct TableSlot {
    pub(super) stage: AtomicU32,
    /// The number of tasks that work on this table alone.
    pub(super) tasks_left: AtomicU32,
    /// Of them, those that bring its rows.
    pub(super) loads_left: AtomicU32,
    pub(super) rows: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The start of the first task; 0 before.
    pub(super) started: AtomicI64,
    /// The end of the last task so far.
    pub(super) finished: AtomicI64,
    /// Of a table that is loaded in place.
    pub(super) weight: AtomicU64,
    /// How many more rows, and how much more in the sum of their digests, the source has than what was stored, as far as both
    /// were added up: rows, and the upper and the lower part of the sum.
    pub(super) beyond: [AtomicI64; 3],
    /// What a merge has inserted, updated, deleted and left as it was, each one more; 0 before it is known.
    pub(super) changes: [AtomicU64; 4],
    /// What has arrived in frames: the bytes that have travelled, and those of the rows for each codec.
    pub(super) framed: [AtomicU64; 1 + Codec::ALL.len()],
}

#[repr(C)]
pub(super) struct TaskSlot {
    /// As [`TASK_WAITING`] and so on.
    pub(super) state: AtomicU32,
    /// 0 is the leader.
    pub(super) worker: AtomicU32,
    /// As [`Activity`].
    pub(super) activity: AtomicU32,
    /// Microseconds since PostgreSQL's epoch.
    pub(super) started: AtomicI64,
    pub(super) finished: AtomicI64,
    pub(super) weight: AtomicU64,
    /// The bytes of a load that have arrived, and the bytes that the source's pages or the files amount to.
    pub(super) bytes: AtomicU64,
    pub(super) expected_bytes: AtomicU64,
}

pub(super) const TASK_WAITING: u32 = 0;
pub(super) const TASK_RUNNING: u32 = 1;
pub(super) const TASK_DONE: u32 = 2;

#[repr(C)]
pub(super) struct WorkerSlot {
    /// 0 before the worker runs and after it ended.
    pub(super) pid: AtomicI32,
}

#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) tables: usize,
    pub(super) in_place: usize,
    pub(super) indexes: usize,
    pub(super) tasks: usize,
    pub(super) workers: usize,
    pub(super) table_slots: usize,
    pub(super) index_slots: usize,
    pub(super) task_slots: usize,
    pub(super) worker_slots: usize,
    pub(super) spec: usize,
    pub(super) total: usize,
}

impl Layout {
    pub(super) fn new(
        tables: usize,
        in_place: usize,
        indexes: usize,
        tasks: usize,
        workers: usize,
        spec_length: usize,
    ) -> Self {
        let align = |offset: usize| offset.next_multiple_of(16);
        let table_slots = align(size_of::<Header>());
        let index_slots = align(table_slots + (tables + in_place) * size_of::<TableSlot>());
        let task_slots = align(index_slots + indexes * size_of::<AtomicU32>());
        let worker_slots = align(task_slots + tasks * size_of::<TaskSlot>());
        let spec = align(worker_slots + workers * size_of::<WorkerSlot>());
        let total = spec + spec_length;
        Self {
            tables,
            in_place,
            indexes,
            tasks,
            workers,
            table_slots,
            index_slots,
            task_slots,
            worker_slots,
            spec,
            total,
        }
    }
}
