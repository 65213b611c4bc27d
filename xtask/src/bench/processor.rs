//! How much processor time servers take.

use std::fs;

/// The processor time of these postmasters and all that they started, also of what has ended.
pub fn processor_seconds(postmasters: impl IntoIterator<Item = u32>) -> f64 {
    /// `sysconf(_SC_CLK_TCK)` on every Linux of today.
    const TICKS_PER_SECOND: f64 = 100.0;
    let of_server = |postmaster: u32| {
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let living: u64 = children.split_whitespace().filter_map(|child| child.parse().ok()).map(ticks).sum();
        ticks(postmaster) + living
    };
    postmasters.into_iter().map(of_server).sum::<u64>() as f64 / TICKS_PER_SECOND
}

/// Those of the process, in the server and in the kernel, and of its children that have ended and been waited for.
fn ticks(process: u32) -> u64 {
    const FIRST: usize = 11;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in brackets, may hold blanks.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    fields.split_whitespace().skip(FIRST).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}
