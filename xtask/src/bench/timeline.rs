//! What the workers of a pull did when, and when they did nothing.

use postgres::Client;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};
use xtask::Result;

/// The last pull of a database.
pub struct Timeline {
    tasks: Vec<Task>,
    took: f64,
}

/// Its times are seconds since the call.
struct Task {
    worker: i32,
    description: String,
    begins: f64,
    ends: f64,
}

impl Timeline {
    const GAP: f64 = 0.05;
    const GAPS_SHOWN: usize = 4;

    /// Waits until the job's history is written, which happens after the caller's commit.
    pub fn of_last_pull(client: &mut Client, began: SystemTime, took: Duration) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let job: i64 = loop {
            let last = client.query_one("SELECT job, state FROM pgcopy.jobs ORDER BY job DESC LIMIT 1", &[])?;
            let (job, state): (i64, String) = (last.get(0), last.get(1));
            match state.as_str() {
                "completed" => break job,
                "running" if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                _ => return Err(format!("the pull is over, but its job {job} is {state}").into()),
            }
        };
        // The view rounds to milliseconds, of which a small table takes less than one.
        let rows = client.query(
            "SELECT worker, task, extract(epoch FROM started)::float8, extract(epoch FROM finished)::float8
             FROM pgcopy_internal.job_task WHERE job = $1 AND worker > 0 ORDER BY worker, started",
            &[&job],
        )?;
        let began = began.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
        let tasks = rows.iter().map(|row| Task {
            worker: row.get(0),
            description: row.get(1),
            begins: row.get::<_, f64>(2) - began,
            ends: row.get::<_, f64>(3) - began,
        });
        Ok(Self { tasks: tasks.collect(), took: took.as_secs_f64() })
    }

    /// When the last task was done, as the time since the call.
    pub fn workers_done(&self) -> Duration {
        let last = self.tasks.iter().fold(0.0, |last, task| task.ends.max(last));
        Duration::from_secs_f64(last)
    }

    pub fn print(&self, pull: &str) {
        let begin = self.tasks.iter().fold(self.took, |begin, task| begin.min(task.begins));
        let end = self.workers_done().as_secs_f64().max(begin);
        println!(
            "\nlast pull of {pull}: {begin:.2} s before the first task, {:.2} s with tasks, {:.2} s after",
            end - begin,
            self.took - end
        );
        println!("{:<6} {:>6} {:>7}  idle for more than {:.0} ms", "worker", "tasks", "busy", Self::GAP * 1000.0);
        let mut workers: BTreeMap<i32, Vec<&Task>> = BTreeMap::new();
        for task in &self.tasks {
            workers.entry(task.worker).or_default().push(task);
        }
        for (worker, tasks) in &workers {
            let busy: f64 = tasks.iter().map(|task| task.ends - task.begins).sum();
            println!(
                "{worker:<6} {:>6} {:>5.1} %  {}",
                tasks.len(),
                100.0 * busy / (end - begin),
                describe_gaps(gaps(tasks, begin, end))
            );
        }
        let mut kinds: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for task in &self.tasks {
            let kind = task.description.split(' ').next().unwrap_or_default();
            let (count, seconds) = kinds.entry(kind).or_default();
            *count += 1;
            *seconds += task.ends - task.begins;
        }
        let sums: Vec<String> =
            kinds.iter().map(|(kind, (count, seconds))| format!("{kind} {seconds:.2} s in {count} tasks")).collect();
        println!("all workers: {}", sums.join(", "));
    }
}

struct Gap<'a> {
    begins: f64,
    ends: f64,
    /// What the worker took up after it; nothing at the end.
    next: Option<&'a Task>,
}

fn gaps<'a>(tasks: &[&'a Task], begin: f64, end: f64) -> Vec<Gap<'a>> {
    let mut gaps = Vec::new();
    let mut free_from = begin;
    let times = tasks.iter().map(|task| (task.begins, task.ends, Some(*task))).chain([(end, end, None)]);
    for (begins, ends, next) in times {
        if begins - free_from > Timeline::GAP {
            gaps.push(Gap { begins: free_from, ends: begins, next });
        }
        free_from = ends;
    }
    gaps
}

/// The longest ones, in their order in time.
fn describe_gaps(mut gaps: Vec<Gap<'_>>) -> String {
    if gaps.is_empty() {
        return "never".into();
    }
    let length = |gap: &Gap<'_>| gap.ends - gap.begins;
    gaps.sort_by(|left, right| length(right).total_cmp(&length(left)));
    let others = gaps.split_off(gaps.len().min(Timeline::GAPS_SHOWN));
    gaps.sort_by(|left, right| left.begins.total_cmp(&right.begins));
    let mut texts: Vec<String> = gaps
        .iter()
        .map(|gap| {
            let next = gap.next.map_or_else(|| "the end".into(), |task| task.description.replace("public.", ""));
            format!("{:.2} to {:.2} s before {next}", gap.begins, gap.ends)
        })
        .collect();
    if !others.is_empty() {
        texts.push(format!("{} more, {:.2} s in sum", others.len(), others.iter().map(length).sum::<f64>()));
    }
    texts.join("; ")
}
