//! The memory that the processes of a job share: its state, its tasks, its progress, its first error.
//!
//! It is a dynamic shared memory segment where there are workers, and plain memory where the leader works alone; the code is
//! the same.

mod layout;
mod outcome;
mod progress;
mod segment;
mod stages;
mod tasks;

use crate::error::{Error, Result};
use crate::local::interrupts;
use crate::order::{Input, JobSpec};
use layout::{Header, Layout, MAGIC, TableSlot, TaskSlot, WorkerSlot};
use pgrx::pg_sys;
use plan::{Schedule, TaskKind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

pub(super) use progress::Phase;
pub(super) use segment::Segment;
pub(super) use tasks::{Activity, Next, Taker};

/// A view of the block. It stays valid as long as the process has the segment mapped.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    base: *mut u8,
    layout: Layout,
}

impl Shared {
    pub(super) fn bytes(spec: &JobSpec, spec_json: &[u8], schedule: &Schedule, workers: usize) -> usize {
        Self::layout_for(spec, spec_json, schedule, workers).total
    }

    fn layout_for(spec: &JobSpec, spec_json: &[u8], schedule: &Schedule, workers: usize) -> Layout {
        let indexes = spec.tables.iter().map(|table| table.indexes.len()).sum();
        Layout::new(spec.tables.len(), spec.in_place.len(), indexes, schedule.tasks.len(), workers, spec_json.len())
    }

    /// Plain memory in the current memory context, for a leader that works alone.
    pub(super) fn in_memory(spec: &JobSpec, schedule: &Schedule, called: i64) -> Self {
        let bytes = Self::bytes(spec, &[], schedule, 0);
        // SAFETY: palloc aligns for every type.
        let base = unsafe { pg_sys::MemoryContextAllocHuge(pg_sys::CurrentMemoryContext, bytes) };
        // SAFETY: just allocated; it lives as long as the leader's work in its context.
        unsafe { Self::initialize(base.cast(), spec, &[], schedule, 0, called) }
    }

    /// Initializes a block.
    ///
    /// # Safety
    /// `base` points to [`Shared::bytes`] bytes, aligned for every type, that stay for as long as the view is used and that
    /// no other process reads yet.
    pub(super) unsafe fn initialize(
        base: *mut u8,
        spec: &JobSpec,
        spec_json: &[u8],
        schedule: &Schedule,
        workers: usize,
        called: i64,
    ) -> Self {
        let layout = Self::layout_for(spec, spec_json, schedule, workers);
        // SAFETY: the block has that many bytes; zeroes are valid for every slot.
        unsafe {
            std::ptr::write_bytes(base, 0, layout.spec);
            std::ptr::copy_nonoverlapping(spec_json.as_ptr(), base.add(layout.spec), spec_json.len());
        }
        let shared = Self { base, layout };
        let header = shared.header();
        header.job.store(spec.job, SeqCst);
        header.called.store(called, SeqCst);
        header.entered[0].store(now(), SeqCst);
        header.tables.store(layout.tables as u32, SeqCst);
        header.in_place.store(layout.in_place as u32, SeqCst);
        header.indexes.store(layout.indexes as u32, SeqCst);
        header.tasks.store(layout.tasks as u32, SeqCst);
        header.workers.store(layout.workers as u32, SeqCst);
        header.spec_length.store(spec_json.len() as u64, SeqCst);
        // SAFETY: backend-local variables of this session.
        unsafe {
            header.database.store(pg_sys::MyDatabaseId.to_u32(), SeqCst);
            header.leader_pid.store(pg_sys::MyProcPid, SeqCst);
        }
        header.leader_xid.store(crate::local::transaction::assign_top_xid(), SeqCst);
        for (task, slot) in schedule.tasks.iter().zip(shared.task_slots()) {
            slot.activity.store(Activity::of(task.kind) as u32, SeqCst);
            slot.weight.store(task.weight, SeqCst);
            if let TaskKind::Load { table, part } = task.kind {
                let expected = spec.input.part_bytes(table, part, spec.tables[table].pages);
                slot.expected_bytes.store(expected.max(1), SeqCst);
                shared.table_slots()[table].loads_left.fetch_add(1, SeqCst);
            }
            if let (TaskKind::CheckLocal { table, check }, Input::Local(local)) = (task.kind, &spec.input) {
                let expected = u64::from(local.checks[check].pages) * u64::from(pg_sys::BLCKSZ);
                slot.expected_bytes.store(expected.max(1), SeqCst);
                shared.table_slots()[table].loads_left.fetch_add(1, SeqCst);
            }
            if let Some(table) = task.kind.table() {
                shared.table_slots()[table].tasks_left.fetch_add(1, SeqCst);
            }
        }
        for (table, slot) in spec.in_place.iter().zip(&shared.table_slots()[layout.tables..]) {
            slot.tasks_left.store(1, SeqCst);
            slot.loads_left.store(1, SeqCst);
            slot.weight.store(plan::load_weight(table.pages), SeqCst);
        }
        // From here on others may read it.
        header.magic.store(MAGIC, SeqCst);
        shared
    }

    /// Attaches the block of a job that this process is no part of; `None` when it is gone.
    pub(super) fn peek<T>(segment: u32, job: i64, read: impl FnOnce(Self) -> T) -> Option<T> {
        // SAFETY: returns null where this process has no mapping of it; attaching twice would be an error.
        let mapped = unsafe { pg_sys::dsm_find_mapping(segment) };
        let (opened, is_ours) =
            if mapped.is_null() { (Segment::attach(segment)?, true) } else { (Segment(mapped), false) };
        let value = Self::verified(&opened, job).map(read);
        if is_ours {
            opened.detach();
        }
        value
    }

    /// The number may belong to a segment of another kind by now.
    fn verified(segment: &Segment, job: i64) -> Option<Self> {
        if segment.length() < size_of::<Header>() {
            return None;
        }
        // SAFETY: the segment is long enough, and aligned as every mapping is.
        let header = unsafe { &*segment.address().cast::<Header>() };
        // SAFETY: reads a backend-local variable.
        let database = unsafe { pg_sys::MyDatabaseId.to_u32() };
        let is_the_jobs = header.magic.load(SeqCst) == MAGIC
            && header.job.load(SeqCst) == job
            && header.database.load(SeqCst) == database;
        // SAFETY: the block is that of the job, and mapped.
        let shared = is_the_jobs.then(|| unsafe { Self::attached(segment.address()) })?;
        (shared.layout.total <= segment.length()).then_some(shared)
    }

    /// Views a block that the leader initialized.
    ///
    /// # Safety
    /// `base` points to such a block, which stays mapped for as long as the view is used.
    pub(super) unsafe fn attached(base: *mut u8) -> Self {
        // SAFETY: promised by the caller; the header is the first thing in every block.
        let header = unsafe { &*base.cast::<Header>() };
        let count = |field: &AtomicU32| field.load(SeqCst) as usize;
        let layout = Layout::new(
            count(&header.tables),
            count(&header.in_place),
            count(&header.indexes),
            count(&header.tasks),
            count(&header.workers),
            header.spec_length.load(SeqCst) as usize,
        );
        Self { base, layout }
    }

    fn header(&self) -> &Header {
        // SAFETY: as for `attached`; all fields but the error text are atomics.
        unsafe { &*self.base.cast::<Header>() }
    }

    fn slots<T>(&self, offset: usize, count: usize) -> &[T] {
        // SAFETY: the layout reserves that many slots of all-atomic fields at the offset, aligned.
        unsafe { std::slice::from_raw_parts(self.base.add(offset).cast(), count) }
    }

    fn table_slots(&self) -> &[TableSlot] {
        self.slots(self.layout.table_slots, self.layout.tables + self.layout.in_place)
    }

    fn index_slots(&self) -> &[AtomicU32] {
        self.slots(self.layout.index_slots, self.layout.indexes)
    }

    fn task_slots(&self) -> &[TaskSlot] {
        self.slots(self.layout.task_slots, self.layout.tasks)
    }

    fn worker_slots(&self) -> &[WorkerSlot] {
        self.slots(self.layout.worker_slots, self.layout.workers)
    }

    pub(super) fn spec(&self) -> Result<JobSpec> {
        // SAFETY: the leader wrote the text before any other process could attach, and nobody changes it.
        let json = unsafe {
            std::slice::from_raw_parts(self.base.add(self.layout.spec), self.header().spec_length.load(SeqCst) as usize)
        };
        serde_json::from_slice(json).map_err(|error| Error::internal(format!("unreadable job: {error}")))
    }

    pub(super) fn job(&self) -> i64 {
        self.header().job.load(SeqCst)
    }

    pub(super) fn database(&self) -> u32 {
        self.header().database.load(SeqCst)
    }

    pub(super) fn leader_pid(&self) -> i32 {
        self.header().leader_pid.load(SeqCst)
    }

    pub(super) fn leader_xid(&self) -> u64 {
        self.header().leader_xid.load(SeqCst)
    }

    pub(super) fn set_steward(&self, pid: i32) {
        self.header().steward_pid.store(pid, SeqCst);
    }

    /// Claims a place among the workers; `None` when all are taken.
    pub(super) fn claim_worker(&self, pid: i32) -> Option<usize> {
        let worker = self.header().claimed_workers.fetch_add(1, SeqCst) as usize;
        self.worker_slots().get(worker)?.pid.store(pid, SeqCst);
        Some(worker)
    }

    pub(super) fn worker_ended(&self, worker: usize) {
        self.worker_slots()[worker].pid.store(0, SeqCst);
        self.wake_everybody();
    }

    pub(super) fn worker_pids(&self) -> Vec<i32> {
        self.worker_slots().iter().map(|slot| slot.pid.load(SeqCst)).filter(|&pid| pid != 0).collect()
    }

    fn wake_everybody(&self) {
        let header = self.header();
        let others = [header.leader_pid.load(SeqCst), header.steward_pid.load(SeqCst)];
        for pid in others.into_iter().chain(self.worker_pids()) {
            interrupts::wake(pid);
        }
    }
}

/// Returns the current time in microseconds since PostgreSQL's epoch.
pub(super) fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
