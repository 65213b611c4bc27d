//! How much memory pgcopy's processes use.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Private memory of the processes of a job, in kilobytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeakMemory {
    pub biggest_process: u64,
    pub all_together: u64,
    /// The calling session is not among the others: it was there before and stays.
    pub caller: u64,
}

impl PeakMemory {
    const INTERVAL: Duration = Duration::from_millis(100);

    /// Runs the work and watches the job's processes meanwhile. They end too soon to ask them afterwards.
    pub fn during<T>(postmaster: u32, caller: i32, work: impl FnOnce() -> T) -> (T, Self) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut peak = Self::default();
                while !done.load(Ordering::Relaxed) {
                    peak = peak.max(Self::now(postmaster, caller));
                    std::thread::park_timeout(Self::INTERVAL);
                }
                peak
            });
            let result = work();
            done.store(true, Ordering::Relaxed);
            watch.thread().unpark();
            (result, watch.join().unwrap_or_default())
        })
    }

    /// Only children of this postmaster: other servers of the machine may run jobs too.
    fn now(postmaster: u32, caller: i32) -> Self {
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let of_job = children.split_whitespace().filter(|child| {
            fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|title| title.starts_with(b"postgres: pgcopy job"))
        });
        let start = Self { caller: private_memory(&caller.to_string()).unwrap_or(0), ..Self::default() };
        of_job.filter_map(private_memory).fold(start, |sum, size| Self {
            biggest_process: sum.biggest_process.max(size),
            all_together: sum.all_together + size,
            ..sum
        })
    }

    pub fn max(self, other: Self) -> Self {
        Self {
            biggest_process: self.biggest_process.max(other.biggest_process),
            all_together: self.all_together.max(other.all_together),
            caller: self.caller.max(other.caller),
        }
    }

    /// In megabytes: the biggest process, all together, the calling session.
    pub fn megabytes(self) -> [f64; 3] {
        [self.biggest_process, self.all_together, self.caller].map(|kilobytes| kilobytes as f64 / 1024.0)
    }
}

/// RssAnon leaves out shared buffers, which every process maps.
fn private_memory(process: &str) -> Option<u64> {
    kilobytes_of(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "RssAnon")
}

/// The value of a line such as `MemTotal:  16384 kB`.
pub fn kilobytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}
