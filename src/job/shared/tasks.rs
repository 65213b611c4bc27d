//! The tasks of a job, and how workers claim them.

use super::layout::{TASK_DONE, TASK_RUNNING, TASK_WAITING};
use super::{Shared, now};
use plan::{Schedule, TaskKind};
use std::sync::atomic::Ordering::SeqCst;

/// A kind of tasks, after which a job's activity is named while most of the work is of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(in super::super) enum Activity {
    Copying = 0,
    Indexing = 1,
    Checking = 2,
}

impl Activity {
    pub(super) fn of(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Create { .. } | TaskKind::Load { .. } => Self::Copying,
            TaskKind::BuildIndex { .. } => Self::Indexing,
            TaskKind::CheckForeignKeys { .. }
            | TaskKind::Analyze { .. }
            | TaskKind::Verify { .. }
            | TaskKind::CheckLocal { .. } => Self::Checking,
        }
    }
}

/// The next work of a worker.
pub(in super::super) enum Next {
    /// One task, or some small ones of a kind.
    Tasks(Vec<usize>),
    /// Nothing is ready until another task is done.
    Wait,
    AllDone,
    Failed,
}

/// The process that looks for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Taker {
    /// The leader, who does everything.
    LeaderAlone,
    /// The leader, who does what workers cannot.
    LeaderBesideWorkers,
    /// A worker, by its number from 1.
    Worker(usize),
}

impl Taker {
    fn takes(self, task: &plan::Task) -> bool {
        match self {
            Self::LeaderAlone => true,
            Self::LeaderBesideWorkers => task.by_leader,
            Self::Worker(_) => !task.by_leader,
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::LeaderAlone | Self::LeaderBesideWorkers => 0,
            Self::Worker(number) => number as u32,
        }
    }
}

/// The times and the process of a task that ran.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct TaskTimes {
    /// The worker's number; 0 is the leader.
    pub(in super::super) worker: u32,
    /// Microseconds since PostgreSQL's epoch.
    pub(in super::super) started: i64,
    pub(in super::super) finished: i64,
}

impl Shared {
    /// Claims the most urgent ready task that the process can do. If it is small, the next small ones of its kind are
    /// claimed with it.
    pub(in super::super) fn next_tasks(&self, schedule: &Schedule, taker: Taker) -> Next {
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
            if !taker.takes(task) {
                skipped = true;
                continue;
            }
            if task.after.iter().all(is_done)
                && slot.state.compare_exchange(TASK_WAITING, TASK_RUNNING, SeqCst, SeqCst).is_ok()
            {
                slot.worker.store(taker.number(), SeqCst);
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

    pub(in super::super) fn task_begins(&self, task: usize, kind: TaskKind) {
        let now = now();
        self.task_slots()[task].started.store(now, SeqCst);
        if let Some(table) = kind.table() {
            self.table_begins_at(table, now);
        }
    }

    /// Returns the number of processes that may be building an index at the same time, with the caller.
    pub(in super::super) fn index_builders(&self, schedule: &Schedule) -> usize {
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

    /// Notes that the work is done, but not yet committed.
    pub(in super::super) fn task_ends(&self, task: usize, kind: TaskKind) {
        let now = now();
        self.task_slots()[task].finished.store(now, SeqCst);
        if let Some(table) = kind.table() {
            self.table_slots()[table].finished.fetch_max(now, SeqCst);
        }
    }

    /// Notes that the tasks' work is committed: other tasks may build on it.
    pub(in super::super) fn tasks_done(&self, schedule: &Schedule, tasks: &[usize]) {
        for &task in tasks {
            self.task_slots()[task].state.store(TASK_DONE, SeqCst);
            if let Some(table) = schedule.tasks[task].kind.table() {
                let slot = &self.table_slots()[table];
                if matches!(schedule.tasks[task].kind, TaskKind::Load { .. } | TaskKind::CheckLocal { .. }) {
                    slot.loads_left.fetch_sub(1, SeqCst);
                }
                slot.tasks_left.fetch_sub(1, SeqCst);
            }
        }
        self.header().done_tasks.fetch_add(tasks.len() as u32, SeqCst);
        self.wake_everybody();
    }

    pub(in super::super) fn all_done(&self) -> bool {
        self.header().done_tasks.load(SeqCst) as usize == self.layout.tasks
    }

    pub(in super::super) fn task_times(&self) -> Vec<TaskTimes> {
        self.task_slots()
            .iter()
            .map(|slot| TaskTimes {
                worker: slot.worker.load(SeqCst),
                started: slot.started.load(SeqCst),
                finished: slot.finished.load(SeqCst),
            })
            .collect()
    }
}
