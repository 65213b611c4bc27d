use serde::{Deserialize, Serialize};

/// The work for one table, measured in pages.
#[derive(Debug, Clone, Default)]
pub struct Work {
    pub pages: u32,
    /// The share of each part in the pages.
    pub part_pages: Vec<u32>,
    pub indexes: usize,
    /// ANALYZE computes statistics of index expressions, and needs those indexes for it.
    pub analyze_needs_indexes: bool,
    /// How many tasks share the table's columns between them for ANALYZE.
    pub analyze_slices: usize,
    /// Whether the leader alone can do all this.
    pub by_leader: bool,
    /// Positions of the indexes that the leader alone can build.
    pub leader_indexes: Vec<usize>,
    pub leader_analyzes: bool,
    /// Whether each part of the source is compared with what was stored.
    pub verified: bool,
}

/// The foreign keys that one task checks.
#[derive(Debug, Clone, Default)]
pub struct KeyWork {
    /// The tables of the pull whose new rows the check reads.
    pub reads: Vec<usize>,
    /// Whether the leader alone can check them.
    pub by_leader: bool,
}

/// The unit that a worker takes. Tables, parts, indexes and foreign keys are named by their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    /// Makes the stage table.
    Create {
        table: usize,
    },
    Load {
        table: usize,
        part: usize,
    },
    BuildIndex {
        table: usize,
        index: usize,
    },
    CheckForeignKeys {
        group: usize,
    },
    /// A slice of a table's columns.
    Analyze {
        table: usize,
        slice: usize,
    },
    /// Compares a part of the source's rows, and a share of those stored, in a sum over all of them.
    Verify {
        table: usize,
        part: usize,
    },
    /// Checks something of a table that is not replaced.
    CheckLocal {
        table: usize,
        check: usize,
    },
}

impl TaskKind {
    /// Returns the one table that the task works on; a check of foreign keys has several.
    pub fn table(self) -> Option<usize> {
        match self {
            Self::Create { table }
            | Self::Load { table, .. }
            | Self::BuildIndex { table, .. }
            | Self::Analyze { table, .. }
            | Self::Verify { table, .. }
            | Self::CheckLocal { table, .. } => Some(table),
            Self::CheckForeignKeys { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub kind: TaskKind,
    /// The share of the task in the whole work, for the progress of the job.
    pub weight: u64,
    /// Positions of the tasks that must be done before.
    pub after: Vec<usize>,
    /// Set where a transaction of its own would cost more than the work.
    pub is_small: bool,
    /// Set where other processes do not see what the work needs.
    pub by_leader: bool,
}

/// All tasks of a pull, most urgent first. Every process of a job derives the same one from the same plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub tasks: Vec<Task>,
}

/// Returns whether copying a table takes less time than the round trip for it.
pub fn is_small(pages: u32) -> bool {
    const MOST_PAGES: u32 = 64;
    pages <= MOST_PAGES
}

/// Orders the work so that the longest chains start first: a big table's parts, then its indexes before the loads of
/// small tables.
///
/// `foreign_keys` gives the groups of keys that one task checks.
pub fn schedule(tables: &[Work], foreign_keys: &[KeyWork]) -> Schedule {
    let mut entries: Vec<(u64, TaskKind)> = Vec::new();
    for (table, work) in tables.iter().enumerate() {
        let pages = u64::from(work.pages) + 1;
        entries.push((pages * (8 + work.indexes as u64), TaskKind::Create { table }));
        for (part, &share) in work.part_pages.iter().enumerate() {
            // The urgency of a load counts all tasks that wait for it.
            let urgency = pages * (4 + work.indexes as u64) + u64::from(share);
            entries.push((urgency, TaskKind::Load { table, part }));
        }
        for index in 0..work.indexes {
            entries.push((pages * 2, TaskKind::BuildIndex { table, index }));
        }
        if work.verified {
            for (part, &share) in work.part_pages.iter().enumerate() {
                entries.push((u64::from(share), TaskKind::Verify { table, part }));
            }
        }
        for slice in 0..work.analyze_slices {
            entries.push((pages.min(30_000) / 4, TaskKind::Analyze { table, slice }));
        }
    }
    for (group, keys) in foreign_keys.iter().enumerate() {
        let pages: u64 = keys.reads.iter().map(|&table| u64::from(tables[table].pages)).sum();
        entries.push((pages, TaskKind::CheckForeignKeys { group }));
    }
    // The sort is stable, so that equal work keeps the plan's order.
    entries.sort_by_key(|&(urgency, _)| std::cmp::Reverse(urgency));
    let mut creates = vec![0; tables.len()];
    let mut loads = vec![Vec::new(); tables.len()];
    let mut builds = vec![Vec::new(); tables.len()];
    for (position, (_, kind)) in entries.iter().enumerate() {
        match kind {
            TaskKind::Create { table } => creates[*table] = position,
            TaskKind::Load { table, .. } => loads[*table].push(position),
            TaskKind::BuildIndex { table, .. } => builds[*table].push(position),
            _ => {}
        }
    }
    let tasks = entries
        .into_iter()
        .map(|(_, kind)| {
            let after = match kind {
                TaskKind::Create { .. } | TaskKind::CheckLocal { .. } => Vec::new(),
                TaskKind::Load { table, .. } => vec![creates[table]],
                TaskKind::BuildIndex { table, .. } | TaskKind::Verify { table, .. } => loads[table].clone(),
                TaskKind::Analyze { table, .. } if tables[table].analyze_needs_indexes => {
                    [loads[table].as_slice(), &builds[table]].concat()
                }
                TaskKind::Analyze { table, .. } => loads[table].clone(),
                TaskKind::CheckForeignKeys { group } => {
                    foreign_keys[group].reads.iter().flat_map(|&table| loads[table].iter().copied()).collect()
                }
            };
            let is_small = match kind {
                TaskKind::Create { table }
                | TaskKind::Load { table, .. }
                | TaskKind::BuildIndex { table, .. }
                | TaskKind::Analyze { table, .. }
                | TaskKind::Verify { table, .. }
                | TaskKind::CheckLocal { table, .. } => is_small(tables[table].pages),
                TaskKind::CheckForeignKeys { group } => {
                    foreign_keys[group].reads.iter().all(|&table| is_small(tables[table].pages))
                }
            };
            let by_leader = match kind {
                TaskKind::Create { table } | TaskKind::Load { table, .. } | TaskKind::Verify { table, .. } => {
                    tables[table].by_leader
                }
                TaskKind::CheckLocal { .. } => false,
                TaskKind::BuildIndex { table, index } => {
                    tables[table].by_leader || tables[table].leader_indexes.contains(&index)
                }
                TaskKind::Analyze { table, .. } => tables[table].by_leader || tables[table].leader_analyzes,
                TaskKind::CheckForeignKeys { group } => foreign_keys[group].by_leader,
            };
            Task { kind, weight: weight(kind, tables, foreign_keys), after, is_small, by_leader }
        })
        .collect();
    Schedule { tasks }
}

/// Orders checks, which are given as table and pages and need nothing of each other: the longest come first.
pub fn schedule_checks(checks: impl Iterator<Item = (usize, u32)>) -> Schedule {
    let mut tasks: Vec<Task> = checks
        .enumerate()
        .map(|(check, (table, pages))| Task {
            kind: TaskKind::CheckLocal { table, check },
            weight: u64::from(pages) + 1,
            after: Vec::new(),
            is_small: is_small(pages),
            by_leader: false,
        })
        .collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.weight));
    Schedule { tasks }
}

/// Returns how long the loading of that many pages takes, in the unit of [`Task::weight`].
pub fn load_weight(pages: u32) -> u64 {
    4 * u64::from(pages) + 1
}

/// By rule of thumb: to copy a page takes as long as to put it into four indexes' sorts.
fn weight(kind: TaskKind, tables: &[Work], foreign_keys: &[KeyWork]) -> u64 {
    let pages = |table: usize| u64::from(tables[table].pages);
    match kind {
        TaskKind::Create { .. } => 1,
        TaskKind::Load { table, part } => load_weight(tables[table].part_pages[part]),
        TaskKind::BuildIndex { table, .. } => pages(table) + 1,
        TaskKind::Analyze { table, .. } => pages(table).min(30_000) / 4 + 1,
        TaskKind::Verify { table, part } => load_weight(tables[table].part_pages[part]),
        TaskKind::CheckLocal { table, .. } => pages(table) + 1,
        TaskKind::CheckForeignKeys { group } => {
            foreign_keys[group].reads.iter().map(|&table| pages(table) / 2).sum::<u64>() + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::{PartLimits, split};

    fn work(pages: u32, indexes: usize) -> Work {
        Work {
            pages,
            part_pages: split(pages, 0, PartLimits::for_workers(2)).iter().map(|part| part.pages(pages)).collect(),
            indexes,
            analyze_needs_indexes: indexes > 2,
            analyze_slices: 1,
            ..Work::default()
        }
    }

    fn keys(reads: &[usize]) -> KeyWork {
        KeyWork { reads: reads.to_vec(), by_leader: false }
    }

    /// Runs the schedule as workers would and returns the order of the kinds.
    fn run(schedule: &Schedule) -> Vec<TaskKind> {
        let mut done = vec![false; schedule.tasks.len()];
        let mut order = Vec::new();
        while order.len() < done.len() {
            let next = schedule
                .tasks
                .iter()
                .enumerate()
                .position(|(position, task)| !done[position] && task.after.iter().all(|&other| done[other]))
                .expect("some task is always ready");
            done[next] = true;
            order.push(schedule.tasks[next].kind);
        }
        order
    }

    #[test]
    fn every_task_runs_once_and_after_what_it_needs() {
        let tables = [work(10, 1), work(50_000, 3), work(0, 0)];
        let order = run(&schedule(&tables, &[keys(&[0, 1]), keys(&[2])]));
        let at = |kind| order.iter().position(|&other| other == kind).unwrap();
        assert_eq!(order.len(), 3 + tables[1].part_pages.len() + 2 + 4 + 3 + 2);
        assert_eq!(order[..2], [TaskKind::Create { table: 1 }, TaskKind::Load { table: 1, part: 0 }]);
        assert!(at(TaskKind::BuildIndex { table: 1, index: 0 }) < at(TaskKind::Load { table: 0, part: 0 }));
        assert!(at(TaskKind::Analyze { table: 1, slice: 0 }) > at(TaskKind::BuildIndex { table: 1, index: 2 }));
        assert!(at(TaskKind::CheckForeignKeys { group: 0 }) > at(TaskKind::Load { table: 0, part: 0 }));
    }

    #[test]
    fn what_only_the_leader_can_do_is_marked() {
        let mut tables = [work(10, 2), work(10, 1)];
        tables[0].by_leader = true;
        tables[1].leader_indexes = vec![0];
        let mut key = keys(&[0, 1]);
        key.by_leader = true;
        let schedule = schedule(&tables, &[key, keys(&[1])]);
        let marked = schedule.tasks.iter().filter(|task| task.by_leader).map(|task| task.kind);
        let (of_first, others): (Vec<_>, Vec<_>) = marked.partition(|kind| kind.table() == Some(0));
        assert_eq!(of_first.len(), 5);
        assert_eq!(others.len(), 2);
        assert!(others.contains(&TaskKind::BuildIndex { table: 1, index: 0 }));
        assert!(others.contains(&TaskKind::CheckForeignKeys { group: 0 }));
    }
}
