//! Which data sets and contenders belong together, and what is printed of them.

use super::contender::Contender;
use super::link::Quality;
use super::race::{Race, Results};
use super::report;
use super::workload::Workload;
use crate::Options;
use std::process::Command;
use std::time::Duration;
use xtask::Result;
use xtask::server::{Installation, work_directory};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    Tpch,
    ManyTables,
    Wide,
    Toast,
    Numeric,
    Text,
    Jsonb,
    Workers,
    Scales,
    Link,
    Swap,
    Verify,
    Parquet,
    Migrate,
    MigrateObjects,
    MigrateLargeObjects,
    Script,
    Upsert,
    Parts,
    HeapForm,
}

impl Suite {
    pub const ALL: [Self; 20] = [
        Self::Tpch,
        Self::ManyTables,
        Self::Wide,
        Self::Toast,
        Self::Numeric,
        Self::Text,
        Self::Jsonb,
        Self::Workers,
        Self::Scales,
        Self::Link,
        Self::Swap,
        Self::Verify,
        Self::Parquet,
        Self::Migrate,
        Self::MigrateObjects,
        Self::MigrateLargeObjects,
        Self::Script,
        Self::Upsert,
        Self::Parts,
        Self::HeapForm,
    ];

    /// Those named, `tpch` if none is.
    pub fn choose(names: &[String]) -> Result<Vec<Self>> {
        if names.is_empty() {
            return Ok(vec![Self::Tpch]);
        }
        let find = |name: &String| {
            Self::ALL.into_iter().find(|suite| suite.name() == name).ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("there is no suite {name}, only {names}").into()
            })
        };
        names.iter().map(find).collect()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Tpch => "tpch",
            Self::ManyTables => "many-tables",
            Self::Wide => "wide",
            Self::Toast => "toast",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Jsonb => "jsonb",
            Self::Workers => "workers",
            Self::Scales => "scales",
            Self::Link => "link",
            Self::Swap => "swap",
            Self::Verify => "verify",
            Self::Parquet => "parquet",
            Self::Migrate => "migrate",
            Self::MigrateObjects => "migrate-objects",
            Self::MigrateLargeObjects => "migrate-large-objects",
            Self::Script => "load_sql",
            Self::Upsert => "upsert",
            Self::Parts => "parts",
            Self::HeapForm => "heap-form",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Tpch => "TPC-H with keys and indexes, and its biggest table alone",
            Self::ManyTables => "--tables N (5000) tables of 100 rows",
            Self::Wide => "a table of 500 columns",
            Self::Toast => "documents of 50 kB",
            Self::Numeric => "numbers and times",
            Self::Text => "nothing but text",
            Self::Jsonb => "jsonb documents",
            Self::Workers => "TPC-H pulled with 1, 2 and 4 workers",
            Self::Scales => "TPC-H pulled at 0.1, 1 and 10 times the scale: time per row, memory",
            Self::Link => {
                "TPC-H and many tables, a tenth of each, over --rtt (20) ms and --mbit (100) Mbit/s, compressed and not"
            }
            Self::Swap => "how long readers wait for a pull of TPC-H, small and at scale, and of many tables",
            Self::Verify => "TPC-H compared by digests, row by row where rows differ, and inside a pull",
            Self::Script => "TPC-H from a script of pg_dump, against psql",
            Self::Upsert => {
                "changes of a hundredth of lineitem, merged into the other rows, against statements by hand"
            }
            Self::Parquet => "lineitem from a Parquet file, against pyarrow piped into COPY",
            Self::Parts => "TPC-H through a condition, with masks, and a subset that holds together",
            Self::HeapForm => "TPC-H as its rows lie in the heap, and its biggest table alone",
            Self::Migrate => "TPC-H into an empty database",
            Self::MigrateObjects => {
                "2000 tables with 3 indexes each, views, functions and triggers, into an empty database"
            }
            Self::MigrateLargeObjects => "100000 large objects of 2 kB",
        }
    }

    pub fn contenders(self) -> Vec<Contender> {
        use Contender::{
            CopyFromFile, DumpPipe, DumpReplace, DumpRestore, Pgcopy, PgcopyHeapForm, PgcopyHeapFormOneTable,
            PgcopyMasked, PgcopyOneTable, PgcopySubset, PgcopyTunnel, PgcopyVerified, PgcopyWhere, Pgcopydb,
            SourceAlone, VerifyDigest, VerifyRows,
        };
        match self {
            Self::Tpch => vec![Pgcopy, Pgcopydb, DumpRestore, DumpReplace, PgcopyOneTable, CopyFromFile, SourceAlone],
            Self::ManyTables | Self::Wide | Self::Toast | Self::Numeric | Self::Text | Self::Jsonb => {
                vec![Pgcopy, Pgcopydb, DumpRestore, DumpReplace]
            }
            Self::Workers => [1, 2, 4].map(Contender::PgcopyParallel).into(),
            Self::Scales | Self::Swap => vec![Pgcopy],
            Self::Verify => vec![Pgcopy, PgcopyVerified, VerifyDigest, VerifyRows],
            Self::Parts => vec![Pgcopy, PgcopyWhere, PgcopyMasked, PgcopySubset],
            Self::HeapForm => vec![Pgcopy, PgcopyHeapForm, PgcopyOneTable, PgcopyHeapFormOneTable, CopyFromFile],
            Self::Link => {
                let [none, lz4, zstd, gzip] = ["none", "lz4", "zstd", "gzip"].map(Contender::PgcopyCompress);
                vec![Pgcopy, none, lz4, zstd, gzip, PgcopyTunnel, Pgcopydb, DumpPipe]
            }
            Self::Migrate => vec![Contender::Migrate, Pgcopydb, DumpRestore],
            Self::MigrateObjects | Self::MigrateLargeObjects => vec![Contender::Migrate, DumpRestore],
            // It has its own.
            Self::Parquet | Self::Script | Self::Upsert => Vec::new(),
        }
    }

    /// Of TPC-H, where the suite has it.
    pub fn tpch_scales(self, scale: f64) -> Vec<f64> {
        match self {
            Self::Tpch | Self::Workers | Self::Migrate | Self::Verify | Self::Parts | Self::HeapForm => vec![scale],
            Self::Scales => vec![scale / 10.0, scale, scale * 10.0],
            Self::Link => vec![scale / 10.0],
            Self::Swap => vec![0.01, scale],
            _ => Vec::new(),
        }
    }

    pub fn run(self, installation: &Installation, options: &Options) -> Result<()> {
        let race = |workload| {
            let contenders = Contender::choose(&self.contenders(), &options.only);
            Race::set_up(installation, workload, contenders)
        };
        let Options { scale, tables, .. } = *options;
        match self {
            Self::Tpch => {
                let results = race(Workload::tpch(scale))?.run(options)?;
                report::print_ratios(&results.title, Contender::Pgcopy, &results);
                report::print_ratios("lineitem alone, without indexes", Contender::PgcopyOneTable, &results);
                print_inside(&results);
            }
            Self::Verify => {
                let results = race(Workload::tpch(scale))?.run(options)?;
                report::print_ratios(&results.title, Contender::Pgcopy, &results);
                print_inside(&results);
            }
            Self::Parts => {
                let results = race(Workload::tpch(scale))?.with_pgcopy_at_the_source()?.run(options)?;
                report::print_shares(&results.title, Contender::Pgcopy, &results);
                print_inside(&results);
            }
            Self::HeapForm => {
                let results = race(Workload::tpch(scale))?.with_pgcopy_at_the_source()?.run(options)?;
                report::print_shares(&results.title, Contender::Pgcopy, &results);
                report::print_shares("lineitem alone, without indexes", Contender::CopyFromFile, &results);
                print_inside(&results);
            }
            Self::ManyTables => compare(race(Workload::many_tables(tables))?.run(options)?),
            Self::Wide => compare(race(Workload::wide(scale))?.run(options)?),
            Self::Toast => compare(race(Workload::toast(scale))?.run(options)?),
            Self::Numeric => compare(race(Workload::numeric(scale))?.run(options)?),
            Self::Text => compare(race(Workload::text(scale))?.run(options)?),
            Self::Jsonb => compare(race(Workload::jsonb(scale))?.run(options)?),
            Self::Workers => {
                let results = race(Workload::tpch(scale))?.run(options)?;
                report::print_ratios(&results.title, Contender::PgcopyParallel(1), &results);
                print_inside(&results);
            }
            Self::Scales => {
                let mut all = Vec::new();
                for scale in self.tpch_scales(scale) {
                    // What was measured before is worth printing.
                    match refuse_full_disk(scale).and_then(|()| race(Workload::tpch(scale))?.run(options)) {
                        Ok(results) => all.push(results),
                        Err(error) => {
                            report::print_scales(&all);
                            return Err(error);
                        }
                    }
                }
                report::print_scales(&all);
                all.iter().for_each(report::print_timelines);
            }
            Self::Link => {
                let quality = Quality {
                    bits_per_second: options.mbit * 1e6,
                    round_trip: Duration::from_secs_f64(options.rtt / 1e3),
                };
                println!("the link: {quality}");
                let tpch = self.tpch_scales(scale).into_iter().map(Workload::tpch);
                for workload in tpch.chain([Workload::many_tables(tables.div_ceil(10))]) {
                    let results = race(workload)?.through_a_link(quality)?.run(options)?;
                    report::print_ratios(&results.title, Contender::Pgcopy, &results);
                    report::print_link(quality, &results);
                    print_inside(&results);
                }
            }
            Self::Parquet => super::parquet::run(installation, options)?,
            Self::Migrate => compare_migrations(race(Workload::tpch(scale))?.run(options)?),
            Self::MigrateObjects => compare_migrations(race(Workload::many_objects(2000))?.run(options)?),
            Self::MigrateLargeObjects => compare_migrations(race(Workload::large_objects(100_000))?.run(options)?),
            Self::Script => super::script::run(installation, options)?,
            Self::Upsert => super::upsert::run(installation, options)?,
            Self::Swap => {
                let mut all = Vec::new();
                let tpch = self.tpch_scales(scale).into_iter().map(Workload::tpch);
                for workload in tpch.chain([Workload::many_tables(tables)]) {
                    all.push(race(workload)?.with_a_reader().run(options)?);
                }
                report::print_waits(&all);
                all.iter().for_each(report::print_timelines);
            }
        }
        Ok(())
    }
}

fn compare(results: Results) {
    report::print_ratios(&results.title, Contender::Pgcopy, &results);
    print_inside(&results);
}

fn compare_migrations(results: Results) {
    report::print_ratios(&results.title, Contender::Migrate, &results);
    report::print_timelines(&results);
}

fn print_inside(results: &Results) {
    report::print_memory(results.memory());
    report::print_timelines(results);
}

/// A full disk would hit others on this machine too.
fn refuse_full_disk(scale: f64) -> Result<()> {
    const DATABASE_GB: f64 = 1.9;
    // Once on the source, twice on the destination while a pull is under way, and the WAL of both.
    let needed = scale * 3.0 * DATABASE_GB + 2.0 + (scale * DATABASE_GB).min(16.0);
    let directory = work_directory()?;
    let output = Command::new("df").args(["--output=avail", "--block-size=1000000"]).arg(&directory).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let free = text.lines().last().and_then(|line| line.trim().parse::<f64>().ok()).unwrap_or(f64::MAX) / 1000.0;
    if free < needed {
        let directory = directory.display();
        return Err(
            format!("TPC-H scale {scale} needs about {needed:.0} GB in {directory}, {free:.0} GB are free").into()
        );
    }
    Ok(())
}
