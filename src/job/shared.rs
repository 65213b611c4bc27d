//! What the processes of a job share: its state, its tasks, its progress, its first error.
//!
//! One block of memory: a header, arrays of slots, then the plan as JSON. It is a dynamic shared memory segment where
//! there are workers, and plain memory where the leader works alone; the code is the same.

use crate::error::{Error, Result};
use crate::order::{JobSpec, Loaded, Stage};
use pgrx::pg_sys;
use plan::{Schedule, TaskKind};
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

#[repr(C)]
struct Header {
    /// Other sessions find a job by the number of its segment, which may be somebody else's by then.
    magic: AtomicU64,
    job: AtomicI64,
    database: AtomicU32,
    leader_pid: AtomicI32,
    steward_pid: AtomicI32,
    leader_xid: AtomicU64,
    phase: AtomicU32,
    /// When the pull was called, in microseconds since PostgreSQL's epoch, as all times here.
    called: AtomicI64,
    /// When each phase was entered; 0 if it was not.
    entered: [AtomicI64; PHASES],
    /// Of late.
    bytes_per_second: AtomicU64,
    /// When that was measured, and how many bytes there were.
    measured: AtomicI64,
    measured_bytes: AtomicU64,
    /// 0, or 1 once the job cannot succeed any more.
    failed: AtomicU32,
    /// 0 free, 1 being written, 2 written.
    error_state: AtomicU32,
    error_length: AtomicU32,
    tables: AtomicU32,
    /// Tables that are loaded in place; their slots follow those of the others.
    in_place: AtomicU32,
    indexes: AtomicU32,
    tasks: AtomicU32,
    workers: AtomicU32,
    claimed_workers: AtomicU32,
    done_tasks: AtomicU32,
    /// One more than the position of the table whose stage table the steward is asked to give a TOAST table; 0 for none.
    toast_wanted: AtomicU32,
    /// No task before this one is waiting.
    first_waiting: AtomicU32,
    spec_length: AtomicU64,
    error: [u8; ERROR_BYTES],
}

const ERROR_BYTES: usize = 16 * 1024;
const MAGIC: u64 = u64::from_be_bytes(*b"pgcopy 1");

#[repr(C)]
struct TableSlot {
    stage: AtomicU32,
    /// Of the tasks that work on this table alone.
    tasks_left: AtomicU32,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// When the first task began; 0 before.
    started: AtomicI64,
    /// When the last task so far ended.
    finished: AtomicI64,
    /// Of a table that is loaded in place.
    weight: AtomicU64,
}

#[repr(C)]
struct TaskSlot {
    /// As [`TASK_WAITING`] and so on.
    state: AtomicU32,
    /// 0 is the leader.
    worker: AtomicU32,
    /// As [`Activity`].
    activity: AtomicU32,
    /// Microseconds since PostgreSQL's epoch.
    started: AtomicI64,
    finished: AtomicI64,
    weight: AtomicU64,
    /// Of a load: what has arrived, and what the source's pages or the files amount to.
    bytes: AtomicU64,
    expected_bytes: AtomicU64,
}

const TASK_WAITING: u32 = 0;
const TASK_RUNNING: u32 = 1;
const TASK_DONE: u32 = 2;

#[repr(C)]
struct WorkerSlot {
    /// 0 before the worker runs and after it ended.
    pid: AtomicI32,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(super) enum Phase {
    Starting = 0,
    /// The job is written down.
    Begun = 1,
    Locking = 2,
    Working = 3,
    Swapping = 4,
    InPlace = 5,
    /// The leader has done its part; what becomes of it depends on its transaction.
    Swapped = 6,
}

const PHASES: usize = Phase::Swapped as usize + 1;

impl Phase {
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Begun,
            2 => Self::Locking,
            3 => Self::Working,
            4 => Self::Swapping,
            5 => Self::InPlace,
            _ => Self::Swapped,
        }
    }
}

/// What a kind of task is called while most of the work is of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(super) enum Activity {
    Copying = 0,
    Indexing = 1,
    Checking = 2,
}

impl Activity {
    fn of(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Create { .. } | TaskKind::Load { .. } => Self::Copying,
            TaskKind::BuildIndex { .. } => Self::Indexing,
            TaskKind::CheckForeignKeys { .. } | TaskKind::Analyze { .. } => Self::Checking,
        }
    }
}

/// How a table of a running job is doing.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableProgress {
    pub(super) loaded: Loaded,
    /// Microseconds since PostgreSQL's epoch; 0 before the first task.
    pub(super) started: i64,
    pub(super) finished: i64,
    pub(super) is_done: bool,
}

/// What a worker should do next.
pub(super) enum Next {
    /// One task, or some small ones of a kind.
    Tasks(Vec<usize>),
    /// Nothing is ready until another task is done.
    Wait,
    AllDone,
    Failed,
}

/// When a task ran, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskTimes {
    /// 0 is the leader.
    pub(super) worker: u32,
    /// Microseconds since PostgreSQL's epoch.
    pub(super) started: i64,
    pub(super) finished: i64,
}

/// A view of the block. It stays valid as long as the process has the segment mapped.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    base: *mut u8,
    layout: Layout,
}

#[derive(Clone, Copy)]
struct Layout {
    tables: usize,
    in_place: usize,
    indexes: usize,
    tasks: usize,
    workers: usize,
    table_slots: usize,
    index_slots: usize,
    task_slots: usize,
    worker_slots: usize,
    spec: usize,
    total: usize,
}

impl Layout {
    fn new(tables: usize, in_place: usize, indexes: usize, tasks: usize, workers: usize, spec_length: usize) -> Self {
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

/// A segment that this process made or attached.
pub(super) struct Segment(*mut pg_sys::dsm_segment);

impl Segment {
    pub(super) fn create(bytes: usize) -> Option<Self> {
        // SAFETY: returns null when the server has no segment left. The mapping belongs to the current resource owner,
        // so that it ends with the (sub)transaction that fails.
        let segment = unsafe { pg_sys::dsm_create(bytes, pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32) };
        (!segment.is_null()).then_some(Self(segment))
    }

    /// For a background process: the mapping lasts as long as the process.
    pub(super) fn attach(handle: u32) -> Option<Self> {
        // SAFETY: returns null when the segment is gone.
        let segment = unsafe { pg_sys::dsm_attach(handle) };
        (!segment.is_null()).then_some(Self(segment))
    }

    pub(super) fn handle(&self) -> u32 {
        // SAFETY: the segment is mapped.
        unsafe { pg_sys::dsm_segment_handle(self.0) }
    }

    pub(super) fn address(&self) -> *mut u8 {
        // SAFETY: the segment is mapped.
        unsafe { pg_sys::dsm_segment_address(self.0).cast() }
    }

    pub(super) fn as_ptr(&self) -> *mut pg_sys::dsm_segment {
        self.0
    }

    fn length(&self) -> usize {
        // SAFETY: the segment is mapped.
        unsafe { pg_sys::dsm_segment_map_length(self.0) }
    }

    pub(super) fn detach(self) {
        // SAFETY: the segment is mapped, and no view of it is used after this.
        unsafe { pg_sys::dsm_detach(self.0) }
    }
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
        Self::initialize(base.cast(), spec, &[], schedule, 0, called)
    }

    /// Initializes the block at `base`, which has [`Shared::bytes`] bytes and is aligned for every type.
    pub(super) fn initialize(
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
            }
            if let Some(table) = task.kind.table() {
                shared.table_slots()[table].tasks_left.fetch_add(1, SeqCst);
            }
        }
        for (table, slot) in spec.in_place.iter().zip(&shared.table_slots()[layout.tables..]) {
            slot.tasks_left.store(1, SeqCst);
            slot.weight.store(plan::load_weight(table.pages), SeqCst);
        }
        // From here on others may read it.
        header.magic.store(MAGIC, SeqCst);
        shared
    }

    /// The block of a job that this process is no part of; `None` when it is gone.
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

    /// The number may have passed on to a segment that holds anything.
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
        let shared = is_the_jobs.then(|| Self::attached(segment.address()))?;
        (shared.layout.total <= segment.length()).then_some(shared)
    }

    /// A view of a block that the leader initialized.
    pub(super) fn attached(base: *mut u8) -> Self {
        // SAFETY: the header is the first thing in every block.
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

    pub(super) fn phase(&self) -> Phase {
        Phase::from_number(self.header().phase.load(SeqCst))
    }

    pub(super) fn enter_phase(&self, phase: Phase) {
        self.header().entered[phase as usize].store(now(), SeqCst);
        self.header().phase.store(phase as u32, SeqCst);
        self.wake_everybody();
    }

    pub(super) fn set_steward(&self, pid: i32) {
        self.header().steward_pid.store(pid, SeqCst);
    }

    /// When the pull was called.
    pub(super) fn called(&self) -> i64 {
        self.header().called.load(SeqCst)
    }

    /// When the phase was entered; 0 if it was not.
    pub(super) fn entered(&self, phase: Phase) -> i64 {
        self.header().entered[phase as usize].load(SeqCst)
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

    /// `first_index` is the number of indexes of the tables before this one.
    pub(super) fn set_stage(&self, table: usize, first_index: usize, stage: &Stage) {
        self.table_slots()[table].stage.store(stage.heap, SeqCst);
        for (slot, &index) in self.index_slots()[first_index..].iter().zip(&stage.indexes) {
            slot.store(index, SeqCst);
        }
    }

    pub(super) fn stage(&self, table: usize, first_index: usize, indexes: usize) -> Stage {
        Stage {
            heap: self.table_slots()[table].stage.load(SeqCst),
            indexes: self.index_slots()[first_index..first_index + indexes]
                .iter()
                .map(|index| index.load(SeqCst))
                .collect(),
        }
    }

    pub(super) fn stages(&self, spec: &JobSpec) -> Vec<Stage> {
        let mut first_index = 0;
        spec.tables
            .iter()
            .enumerate()
            .map(|(position, table)| {
                let stage = self.stage(position, first_index, table.indexes.len());
                first_index += table.indexes.len();
                stage
            })
            .collect()
    }

    /// Asks the steward for a TOAST table; false while it makes another one.
    pub(super) fn ask_for_toast(&self, table: usize) -> bool {
        let wanted = &self.header().toast_wanted;
        let asked = wanted.compare_exchange(0, table as u32 + 1, SeqCst, SeqCst).is_ok();
        if asked {
            super::processes::wake(self.header().steward_pid.load(SeqCst));
        }
        asked || self.has_failed()
    }

    pub(super) fn toast_wanted(&self) -> Option<usize> {
        (self.header().toast_wanted.load(SeqCst) as usize).checked_sub(1)
    }

    pub(super) fn toast_made(&self) {
        self.header().toast_wanted.store(0, SeqCst);
        self.wake_everybody();
    }

    /// `worker` is 0 for the leader. The most urgent task that is ready, now taken by the caller; together with the next ones of its kind where all of
    /// them are small.
    pub(super) fn next_tasks(&self, schedule: &Schedule, worker: usize) -> Next {
        const MOST_SMALL_TASKS: usize = 64;
        if self.has_failed() {
            return Next::Failed;
        }
        let slots = self.task_slots();
        let is_done = |&task: &usize| slots[task].state.load(SeqCst) == TASK_DONE;
        let first_waiting = self.header().first_waiting.load(SeqCst) as usize;
        let mut skipped = false;
        let mut taken: Vec<usize> = Vec::new();
        // Each worker leaves something for the others.
        let most = MOST_SMALL_TASKS.min(1 + (slots.len() - first_waiting) / (4 * self.layout.workers.max(1)));
        for (position, slot) in slots.iter().enumerate().skip(first_waiting) {
            let task = &schedule.tasks[position];
            if let Some(&first) = taken.first() {
                let alike = std::mem::discriminant(&schedule.tasks[first].kind) == std::mem::discriminant(&task.kind);
                if taken.len() == most || !task.is_small || !alike {
                    break;
                }
            }
            if slot.state.load(SeqCst) != TASK_WAITING {
                if !skipped && taken.is_empty() {
                    self.header().first_waiting.fetch_max(position as u32 + 1, SeqCst);
                }
                continue;
            }
            if task.after.iter().all(is_done)
                && slot.state.compare_exchange(TASK_WAITING, TASK_RUNNING, SeqCst, SeqCst).is_ok()
            {
                slot.worker.store(worker as u32, SeqCst);
                taken.push(position);
                if !task.is_small {
                    break;
                }
            } else {
                skipped = true;
                if !taken.is_empty() {
                    break;
                }
            }
        }
        match taken.is_empty() {
            false => Next::Tasks(taken),
            true if self.all_done() => Next::AllDone,
            true => Next::Wait,
        }
    }

    pub(super) fn task_begins(&self, task: usize, kind: TaskKind) {
        let now = now();
        self.task_slots()[task].started.store(now, SeqCst);
        if let Some(table) = kind.table() {
            self.table_begins_at(table, now);
        }
    }

    fn table_begins_at(&self, table: usize, now: i64) {
        let _ = self.table_slots()[table].started.compare_exchange(0, now, SeqCst, SeqCst);
    }

    /// Of one that is loaded in place.
    pub(super) fn table_begins(&self, table: usize) {
        self.table_begins_at(table, now());
    }

    /// Of one that is loaded in place.
    pub(super) fn table_done(&self, table: usize) {
        let slot = &self.table_slots()[table];
        slot.finished.store(now(), SeqCst);
        slot.tasks_left.store(0, SeqCst);
    }

    /// Processes that may be building an index at the same time as the caller, which is one of them.
    pub(super) fn index_builders(&self, schedule: &Schedule) -> usize {
        let workers = self.layout.workers.max(1);
        let is_build = |task: &plan::Task| matches!(task.kind, TaskKind::BuildIndex { .. });
        let left = schedule
            .tasks
            .iter()
            .zip(self.task_slots())
            .rev()
            .filter(|(task, slot)| is_build(task) && slot.state.load(SeqCst) != TASK_DONE);
        left.take(workers).count().max(1)
    }

    /// The work is done, but not yet committed.
    pub(super) fn task_ends(&self, task: usize, kind: TaskKind) {
        let now = now();
        self.task_slots()[task].finished.store(now, SeqCst);
        if let Some(table) = kind.table() {
            self.table_slots()[table].finished.fetch_max(now, SeqCst);
        }
    }

    /// The tasks' work is committed: others may build on it.
    pub(super) fn tasks_done(&self, schedule: &Schedule, tasks: &[usize]) {
        for &task in tasks {
            self.task_slots()[task].state.store(TASK_DONE, SeqCst);
            if let Some(table) = schedule.tasks[task].kind.table() {
                self.table_slots()[table].tasks_left.fetch_sub(1, SeqCst);
            }
        }
        self.header().done_tasks.fetch_add(tasks.len() as u32, SeqCst);
        self.wake_everybody();
    }

    pub(super) fn all_done(&self) -> bool {
        self.header().done_tasks.load(SeqCst) as usize == self.layout.tasks
    }

    pub(super) fn task_times(&self) -> Vec<TaskTimes> {
        self.task_slots()
            .iter()
            .map(|slot| TaskTimes {
                worker: slot.worker.load(SeqCst),
                started: slot.started.load(SeqCst),
                finished: slot.finished.load(SeqCst),
            })
            .collect()
    }

    /// From the table's first task to its last so far. Tables that are loaded in place come after the others.
    pub(super) fn table_seconds(&self, table: usize) -> f64 {
        let progress = self.table_progress(table);
        if progress.finished < progress.started { 0.0 } else { (progress.finished - progress.started) as f64 / 1e6 }
    }

    /// `task` is the one that loads, where one does.
    pub(super) fn add_progress(&self, table: usize, task: Option<usize>, loaded: Loaded) {
        let slot = &self.table_slots()[table];
        slot.rows.fetch_add(loaded.rows, SeqCst);
        slot.bytes.fetch_add(loaded.bytes, SeqCst);
        if let Some(task) = task {
            self.task_slots()[task].bytes.fetch_add(loaded.bytes, SeqCst);
        }
    }

    pub(super) fn progress(&self, table: usize) -> Loaded {
        let slot = &self.table_slots()[table];
        Loaded { rows: slot.rows.load(SeqCst), bytes: slot.bytes.load(SeqCst) }
    }

    pub(super) fn table_progress(&self, table: usize) -> TableProgress {
        let slot = &self.table_slots()[table];
        TableProgress {
            loaded: self.progress(table),
            started: slot.started.load(SeqCst),
            finished: slot.finished.load(SeqCst),
            is_done: slot.tasks_left.load(SeqCst) == 0,
        }
    }

    /// Those that are loaded in place included.
    pub(super) fn tables(&self) -> usize {
        self.layout.tables + self.layout.in_place
    }

    pub(super) fn total(&self) -> Loaded {
        (0..self.tables()).map(|table| self.progress(table)).fold(Loaded::default(), |total, table| Loaded {
            rows: total.rows + table.rows,
            bytes: total.bytes + table.bytes,
        })
    }

    /// The kind of work of the earliest task that is not done.
    pub(super) fn activity(&self) -> Activity {
        let open = self.task_slots().iter().filter(|slot| slot.state.load(SeqCst) != TASK_DONE);
        match open.map(|slot| slot.activity.load(SeqCst)).min() {
            Some(0) => Activity::Copying,
            Some(1) => Activity::Indexing,
            _ => Activity::Checking,
        }
    }

    /// How much of the work is done, from 0 to 1, by estimate.
    pub(super) fn fraction_done(&self) -> f64 {
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
            // Four for each page, as the plan weighs it.
            let expected = weight / 4 * u64::from(pg_sys::BLCKSZ);
            total += weight as f64;
            let is_done = slot.tasks_left.load(SeqCst) == 0;
            done += weight as f64 * if is_done { 1.0 } else { part(slot.bytes.load(SeqCst), expected) };
        }
        if total > 0.0 { done / total } else { 0.0 }
    }

    /// Measures the rate anew, if the last time is long enough ago.
    pub(super) fn measure_rate(&self) {
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

    /// Of late; the average until that is known.
    pub(super) fn bytes_per_second(&self) -> u64 {
        const KNOWN_AFTER_MICROSECONDS: i64 = 3_000_000;
        let worked = now() - self.entered(Phase::Working);
        if worked > KNOWN_AFTER_MICROSECONDS {
            return self.header().bytes_per_second.load(SeqCst);
        }
        (self.total().bytes as f64 / (worked.max(1) as f64 / 1e6)) as u64
    }

    pub(super) fn has_failed(&self) -> bool {
        self.header().failed.load(SeqCst) != 0
    }

    /// Makes every process of the job stop, without a reason of its own.
    pub(super) fn abandon(&self) {
        self.header().failed.store(1, SeqCst);
        self.wake_everybody();
    }

    /// Makes every process of the job stop. The first error is the one that counts.
    pub(super) fn fail(&self, error: &Error) {
        self.note_error(error);
        self.abandon();
    }

    /// Says why the job is about to fail. The first error is the one that counts.
    pub(super) fn note_error(&self, error: &Error) {
        let header = self.header();
        if header.error_state.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
            let mut json = serde_json::to_vec(error).unwrap_or_default();
            // Characters may take several times their room in JSON.
            for most in [4096, 1024, 256] {
                if json.len() <= ERROR_BYTES {
                    break;
                }
                json = serde_json::to_vec(&error.capped(most)).unwrap_or_default();
            }
            // SAFETY: only the process that moved the state from 0 to 1 writes the text, and nobody reads it before 2.
            unsafe {
                let text = (&raw const header.error).cast_mut().cast::<u8>();
                std::ptr::copy_nonoverlapping(json.as_ptr(), text, json.len());
            }
            header.error_length.store(json.len() as u32, SeqCst);
            header.error_state.store(2, SeqCst);
        }
    }

    pub(super) fn error(&self) -> Option<Error> {
        let header = self.header();
        if header.error_state.load(SeqCst) != 2 {
            return None;
        }
        serde_json::from_slice(&header.error[..header.error_length.load(SeqCst) as usize]).ok()
    }

    fn wake_everybody(&self) {
        let header = self.header();
        let others = [header.leader_pid.load(SeqCst), header.steward_pid.load(SeqCst)];
        for pid in others.into_iter().chain(self.worker_pids()) {
            super::processes::wake(pid);
        }
    }
}

/// Microseconds since PostgreSQL's epoch.
pub(super) fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
