//! How long readers of a target have to wait.

use postgres::Client;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use xtask::Result;

/// The reads of one session that did nothing else, each in a transaction of its own.
pub struct Reads(Vec<Read>);

struct Read {
    began: Instant,
    ended: Instant,
}

impl Read {
    fn duration(&self) -> Duration {
        self.ended - self.began
    }
}

/// What the reads say about a pull.
#[derive(Debug, Clone)]
pub struct Waits {
    pub reads: usize,
    pub average: Duration,
    /// While the workers work no lock is in the way: what the reading session then waits for are processors.
    pub longest_before_swap: Duration,
    pub longest_at_swap: Duration,
    /// How much longer the call took: it removes the old files after it has released its locks.
    pub call_went_on: Duration,
}

impl Reads {
    /// Runs the work while another session reads the table again and again.
    pub fn during<T>(mut client: Client, table: &str, work: impl FnOnce() -> T) -> Result<(T, Self)> {
        let sql = format!("SELECT 1 FROM {table} LIMIT 1");
        client.simple_query(&sql)?;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| -> Result<Self> {
                let mut reads = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    client.simple_query(&sql)?;
                    reads.push(Read { began, ended: Instant::now() });
                }
                Ok(Self(reads))
            });
            let result = work();
            done.store(true, Ordering::Relaxed);
            let reads = reader.join().map_err(|_| "the reading session's thread panicked")??;
            Ok((result, reads))
        })
    }

    /// What they say about a pull whose workers had done everything at one moment and whose call was over at another.
    pub fn waits(&self, workers_done: Instant, call_over: Instant) -> Waits {
        let (before, after): (Vec<&Read>, Vec<&Read>) = self.0.iter().partition(|read| read.ended < workers_done);
        let total: Duration = self.0.iter().map(Read::duration).sum();
        let longest = after.iter().max_by_key(|read| read.duration());
        Waits {
            reads: self.0.len(),
            average: total / self.0.len().max(1) as u32,
            longest_before_swap: before.iter().map(|read| read.duration()).max().unwrap_or_default(),
            longest_at_swap: longest.map(|read| read.duration()).unwrap_or_default(),
            call_went_on: longest.map(|read| call_over.saturating_duration_since(read.ended)).unwrap_or_default(),
        }
    }
}
