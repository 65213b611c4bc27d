//! pgcopy against its peers, and against itself, in suites.

mod contender;
mod link;
mod memory;
mod parquet;
mod processor;
mod race;
mod reader;
mod report;
mod script;
mod suite;
mod timeline;
mod tunnel;
mod upsert;
mod workload;

use crate::Options;
use contender::Contender;
use suite::Suite;
use workload::Workload;
use xtask::build::{Profile, build_and_install};
use xtask::{Result, prerequisites};

/// Alike on both servers. The durability is that of a real server: later lines win over the helper's `fsync = off`.
pub const SETTINGS: [&str; 8] = [
    "fsync = on",
    "shared_buffers = 1GB",
    "max_wal_size = 16GB",
    "checkpoint_timeout = 30min",
    "maintenance_work_mem = 256MB",
    "max_worker_processes = 32",
    // Every tool here locks all tables in one transaction.
    "max_locks_per_transaction = 512",
    // It would start whenever it likes, at the cost of whoever runs just then.
    "autovacuum = off",
];

pub fn run(options: &Options) -> Result<()> {
    let suites = Suite::choose(&options.words)?;
    let known: Vec<Contender> = suites.iter().flat_map(|suite| suite.contenders()).collect();
    Contender::refuse_unknown(&known, &options.only)?;
    if options.runs == 0 || options.tables == 0 {
        return Err("--runs and --tables must be at least 1".into());
    }
    if !(options.scale > 0.0 && options.scale.is_finite()) {
        return Err("--scale must be a number greater than 0".into());
    }
    if !(options.mbit > 0.0 && options.mbit.is_finite() && (0.0..=10_000.0).contains(&options.rtt)) {
        return Err("--mbit must be greater than 0, and --rtt between 0 and 10000".into());
    }
    for scale in suites.iter().flat_map(|suite| suite.tpch_scales(options.scale)) {
        Workload::check_tpch_scale(scale)?;
    }
    if Contender::choose(&known, &options.only).contains(&Contender::Pgcopydb) {
        prerequisites::ensure_peers()?;
    }
    let installation = build_and_install(options.version, Profile::Release)?;
    report::print_circumstances(&installation)?;
    for suite in suites {
        println!("\n{}: {}; counted runs of each, in turns: {}", suite.name(), suite.description(), options.runs);
        suite.run(&installation, options)?;
    }
    Ok(())
}

/// A line for each suite, for the usage text.
pub fn suites() -> String {
    Suite::ALL.iter().map(|suite| format!("    {:<12} {}\n", suite.name(), suite.description())).collect()
}
