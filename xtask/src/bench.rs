//! pgcopy against its peers: the same data, from the same source server into the same destination server.

use crate::Options;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use xtask::build::{Profile, build_and_install};
use xtask::server::{self, Installation, ScratchDirectory, Server};
use xtask::{Result, data, prerequisites};

const SOURCE_DATABASE: &str = "tpch";

/// Alike on both servers. The durability is that of a real server: later lines win over the helper's `fsync = off`.
pub const SETTINGS: [&str; 7] = [
    "fsync = on",
    "shared_buffers = 1GB",
    "max_wal_size = 16GB",
    "checkpoint_timeout = 30min",
    "maintenance_work_mem = 256MB",
    "max_worker_processes = 32",
    // It would start whenever it likes, at the cost of whoever runs just then.
    "autovacuum = off",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Contender {
    Pgcopy,
    Pgcopydb,
    DumpRestore,
    DumpReplace,
    PgcopyOneTable,
    CopyFromFile,
}

impl Contender {
    const ALL: [Self; 6] =
        [Self::Pgcopy, Self::Pgcopydb, Self::DumpRestore, Self::DumpReplace, Self::PgcopyOneTable, Self::CopyFromFile];

    fn name(self) -> &'static str {
        match self {
            Self::Pgcopy => "pgcopy",
            Self::Pgcopydb => "pgcopydb",
            Self::DumpRestore => "dump-restore",
            Self::DumpReplace => "dump-replace",
            Self::PgcopyOneTable => "pgcopy-one-table",
            Self::CopyFromFile => "copy-from-file",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Pgcopy => "pull(…, overwrite => true) into full tables",
            Self::Pgcopydb => "pgcopydb clone, 4 table and 4 index jobs, into an empty database",
            Self::DumpRestore => "pg_dump -Fd -j2, pg_restore -j2 into an empty database",
            Self::DumpReplace => "TRUNCATE, pg_dump -a -Fd -j2, pg_restore -a -j2 --disable-triggers",
            Self::PgcopyOneTable => "pull(…, include => '{lineitem}', overwrite => true) into a full table",
            Self::CopyFromFile => "COPY lineitem FROM a file on the server (FORMAT binary) into an empty table",
        }
    }

    /// The contender of ours that does the same work.
    fn ours(self) -> Self {
        match self {
            Self::PgcopyOneTable | Self::CopyFromFile => Self::PgcopyOneTable,
            _ => Self::Pgcopy,
        }
    }

    fn database(self) -> String {
        format!("bench_{}", self.name().replace('-', "_"))
    }

    fn tables(self) -> Vec<String> {
        match self.ours() {
            Self::PgcopyOneTable => vec!["lineitem".into()],
            _ => data::TABLES.map(String::from).into(),
        }
    }

    /// Those asked for, all if none is, with the one of ours that each is compared with.
    fn choose(only: &[String]) -> Result<Vec<Self>> {
        let known = |name: &String| Self::ALL.iter().any(|contender| contender.name() == name);
        if let Some(unknown) = only.iter().find(|name| !known(name)) {
            let names = Self::ALL.map(Self::name).join(", ");
            return Err(format!("there is no contender {unknown}, only {names}").into());
        }
        let asked_for = |contender: Self| only.is_empty() || only.iter().any(|name| name == contender.name());
        let needed = |ours: Self| Self::ALL.iter().any(|other| other.ours() == ours && asked_for(*other));
        let chosen = |contender: Self| contender == Self::Pgcopy || asked_for(contender) || needed(contender);
        Ok(Self::ALL.into_iter().filter(|contender| chosen(*contender)).collect())
    }
}

pub fn run(options: &Options) -> Result<()> {
    let contenders = Contender::choose(&options.only)?;
    if options.runs == 0 {
        return Err("--runs must be at least 1".into());
    }
    if contenders.contains(&Contender::Pgcopydb) {
        prerequisites::ensure_peers()?;
    }
    let installation = build_and_install(options.version, Profile::Release)?;
    let mut bench = Bench::set_up(installation, options.scale, &contenders)?;
    let warm_ups = usize::from(options.runs > 1);
    let mut seconds: HashMap<Contender, Vec<f64>> = HashMap::new();
    for round in 0..warm_ups + options.runs {
        // In turns, so that a machine that slows down or speeds up does so for everybody.
        for &contender in &contenders {
            let elapsed = bench.measure(contender)?;
            bench.verify_cheaply(contender)?;
            let counted = round >= warm_ups;
            if counted {
                seconds.entry(contender).or_default().push(elapsed);
            }
            if round + 1 == warm_ups + options.runs {
                bench.verify_every_row(contender)?;
            }
            let label = if counted { format!("run {}", round + 1 - warm_ups) } else { "warm-up".into() };
            eprintln!("{label:<8} {:<17} {elapsed:>8.2} s", contender.name());
        }
    }
    bench.print_circumstances(options)?;
    print_results("TPC-H with its keys and indexes", Contender::Pgcopy, &contenders, &seconds);
    print_results("lineitem alone, without indexes", Contender::PgcopyOneTable, &contenders, &seconds);
    bench.memory.print();
    Ok(())
}

struct Bench {
    source: Server,
    destination: Server,
    installation: Installation,
    /// Of the servers' user: they write and read files here too.
    scratch: ScratchDirectory,
    memory: PeakMemory,
    row_counts: HashMap<String, i64>,
    checksums: HashMap<String, (String, i64, String)>,
    keys_and_indexes: (i64, i64),
}

impl Bench {
    fn set_up(installation: Installation, scale: f64, contenders: &[Contender]) -> Result<Self> {
        let start = |name: &str| {
            let options = SETTINGS.iter().fold(server::Options::named(name), |options, line| options.setting(*line));
            Server::start(&installation, options)
        };
        let (source, destination) = (start("bench-source")?, start("bench-destination")?);
        eprintln!("filling the source with TPC-H, scale {scale}");
        source.try_connect("postgres")?.batch_execute(&format!("CREATE DATABASE {SOURCE_DATABASE}"))?;
        let mut there = source.try_connect(SOURCE_DATABASE)?;
        data::create_filled(&mut there, scale)?;
        there.batch_execute("CHECKPOINT")?;
        let checksums = data::checksums(&mut there, &data::TABLES.map(String::from))?;
        let mut bench = Self {
            row_counts: checksums.iter().map(|(table, rows, _)| (table.clone(), *rows)).collect(),
            checksums: checksums.into_iter().map(|sum| (sum.0.clone(), sum)).collect(),
            keys_and_indexes: keys_and_indexes(&mut there)?,
            source,
            destination,
            scratch: ScratchDirectory::create("bench-files")?,
            memory: PeakMemory::default(),
            installation,
        };
        for &contender in contenders {
            eprintln!("preparing {}", contender.name());
            bench.prepare_once(contender)?;
        }
        Ok(bench)
    }

    fn prepare_once(&mut self, contender: Contender) -> Result<()> {
        match contender {
            Contender::Pgcopydb | Contender::DumpRestore => return Ok(()),
            _ => self.create_database(contender)?,
        }
        let mut here = self.connect(contender)?;
        match contender {
            Contender::Pgcopy | Contender::DumpReplace => data::create_schema(&mut here)?,
            _ => data::create_tables(&mut here)?,
        }
        match contender {
            Contender::CopyFromFile => {
                let copy = format!("COPY lineitem TO '{}' (FORMAT binary)", self.copy_file());
                self.source.try_connect(SOURCE_DATABASE)?.batch_execute(&copy)?;
            }
            _ => {
                // Tables that are replaced hold rows before the first run too.
                here.batch_execute("CREATE EXTENSION pgcopy")?;
                self.pull(contender)?;
            }
        }
        Ok(())
    }

    /// Seconds that one run takes, without what precedes it.
    fn measure(&mut self, contender: Contender) -> Result<f64> {
        match contender {
            Contender::Pgcopydb | Contender::DumpRestore => self.create_database(contender)?,
            Contender::CopyFromFile => self.connect(contender)?.batch_execute("TRUNCATE lineitem")?,
            _ => {}
        }
        let directory = self.scratch.path().join("dump");
        // The writes of the runs before are theirs, not this one's.
        self.destination.try_connect("postgres")?.batch_execute("CHECKPOINT")?;
        let start = Instant::now();
        match contender {
            Contender::Pgcopy | Contender::PgcopyOneTable => {
                let postmaster = self.destination.pid();
                let (pulled, peak) = PeakMemory::during(postmaster, || self.pull(contender));
                pulled?;
                self.memory = self.memory.max(peak);
            }
            Contender::Pgcopydb => self.clone_with_pgcopydb(&directory)?,
            Contender::DumpRestore => self.dump_and_restore(contender, &directory, &[], &[])?,
            Contender::DumpReplace => {
                let truncate = format!("TRUNCATE {}", contender.tables().join(", "));
                self.connect(contender)?.batch_execute(&truncate)?;
                self.dump_and_restore(contender, &directory, &["-a"], &["-a", "--disable-triggers"])?;
            }
            Contender::CopyFromFile => {
                let copy = format!("COPY lineitem FROM '{}' (FORMAT binary)", self.copy_file());
                self.connect(contender)?.batch_execute(&copy)?;
            }
        }
        let elapsed = start.elapsed().as_secs_f64();
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        Ok(elapsed)
    }

    fn pull(&self, contender: Contender) -> Result<()> {
        let include = (contender == Contender::PgcopyOneTable).then(|| contender.tables());
        self.connect(contender)?.query(
            "SELECT * FROM pgcopy.pull($1, include => $2, overwrite => true)",
            &[&self.source.dsn(SOURCE_DATABASE), &include],
        )?;
        Ok(())
    }

    fn clone_with_pgcopydb(&self, directory: &Path) -> Result<()> {
        let contender = Contender::Pgcopydb;
        run_program(
            self.command(Path::new("pgcopydb"))?
                .args(["clone", "--table-jobs", "4", "--index-jobs", "4", "--dir"])
                .arg(directory)
                .args(["--source", &self.source.dsn(SOURCE_DATABASE)])
                .args(["--target", &self.destination.dsn(&contender.database())]),
        )
    }

    fn dump_and_restore(
        &self,
        contender: Contender,
        directory: &Path,
        dump_options: &[&str],
        restore_options: &[&str],
    ) -> Result<()> {
        run_program(
            self.command(&self.installation.program("pg_dump"))?
                .args(["-Fd", "-j2"])
                .args(dump_options)
                .arg("-f")
                .arg(directory)
                .args(["-d", &self.source.dsn(SOURCE_DATABASE)]),
        )?;
        run_program(
            self.command(&self.installation.program("pg_restore"))?
                .arg("-j2")
                .args(restore_options)
                .args(["-d", &self.destination.dsn(&contender.database())])
                .arg(directory),
        )
    }

    /// A client program that finds the others of our installation, and nothing of the caller's about servers.
    fn command(&self, program: &Path) -> Result<Command> {
        let mut path = OsString::from(self.installation.program("").as_os_str());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(variable);
        }
        command.env("PATH", path).stdin(Stdio::null());
        Ok(command)
    }

    fn create_database(&self, contender: Contender) -> Result<()> {
        let mut client = self.destination.try_connect("postgres")?;
        let database = contender.database();
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {database}"))?;
        client.batch_execute(&format!("CREATE DATABASE {database}"))?;
        Ok(())
    }

    fn verify_cheaply(&self, contender: Contender) -> Result<()> {
        let mut here = self.connect(contender)?;
        for table in contender.tables() {
            let rows: i64 = here.query_one(&format!("SELECT count(*) FROM {table}"), &[])?.get(0);
            let expected = self.row_counts[&table];
            if rows != expected {
                return Err(format!("{} left {rows} rows in {table}, not {expected}", contender.name()).into());
            }
        }
        let found = keys_and_indexes(&mut here)?;
        if contender.ours() == Contender::Pgcopy && found != self.keys_and_indexes {
            let expected = self.keys_and_indexes;
            let name = contender.name();
            return Err(format!("{name} left {found:?} valid foreign keys and indexes, not {expected:?}").into());
        }
        Ok(())
    }

    fn verify_every_row(&self, contender: Contender) -> Result<()> {
        for found in data::checksums(&mut self.connect(contender)?, &contender.tables())? {
            if found != self.checksums[&found.0] {
                return Err(format!("{} left other rows in {} than the source has", contender.name(), found.0).into());
            }
        }
        Ok(())
    }

    fn connect(&self, contender: Contender) -> Result<postgres::Client> {
        self.destination.try_connect(&contender.database())
    }

    fn copy_file(&self) -> String {
        self.scratch.path().join("lineitem.copy").display().to_string()
    }

    fn print_circumstances(&self, options: &Options) -> Result<()> {
        let cores = std::thread::available_parallelism()?;
        let memory = kilobytes_of(&fs::read_to_string("/proc/meminfo")?, "MemTotal").unwrap_or(0) as f64 / 1048576.0;
        let version: String = self.source.try_connect("postgres")?.query_one("SHOW server_version", &[])?.get(0);
        println!("\n{cores} cores, {memory:.1} GB of memory, source and destination both on this machine");
        println!("PostgreSQL {version}: {}", SETTINGS.join(", "));
        println!("TPC-H scale {}, {} counted runs of each, in turns", options.scale, options.runs);
        Ok(())
    }
}

/// The number of validated foreign keys and of valid indexes.
fn keys_and_indexes(client: &mut postgres::Client) -> Result<(i64, i64)> {
    let row = client.query_one(
        "SELECT (SELECT count(*) FROM pg_constraint
                  WHERE connamespace = 'public'::regnamespace AND contype = 'f' AND convalidated),
                (SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                  WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid)",
        &[],
    )?;
    Ok((row.get(0), row.get(1)))
}

fn run_program(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?} failed:\n{said}{complained}").into())
}

fn print_results(title: &str, ours: Contender, contenders: &[Contender], seconds: &HashMap<Contender, Vec<f64>>) {
    let Some(our_seconds) = seconds.get(&ours) else { return };
    println!("\n{title}; seconds, and {} / contender as the median over the rounds", ours.name());
    println!("{:<17} {:>8} {:>8} {:>8} {:>7}", "contender", "median", "min", "max", "ratio");
    for contender in contenders.iter().filter(|contender| contender.ours() == ours) {
        let theirs = &seconds[contender];
        let ratios: Vec<f64> = our_seconds.iter().zip(theirs).map(|(our, their)| our / their).collect();
        let (min, max) = (theirs.iter().copied().fold(f64::MAX, f64::min), theirs.iter().copied().fold(0.0, f64::max));
        println!(
            "{:<17} {:>8.2} {min:>8.2} {max:>8.2} {:>7.2}  {}",
            contender.name(),
            median(theirs),
            median(&ratios),
            contender.description()
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Private memory of the processes of a job, in kilobytes.
#[derive(Debug, Clone, Copy, Default)]
struct PeakMemory {
    biggest_process: u64,
    all_together: u64,
}

impl PeakMemory {
    const INTERVAL: Duration = Duration::from_millis(100);

    /// Runs the work and watches the job's processes meanwhile. They end too soon to ask them afterwards.
    fn during<T>(postmaster: u32, work: impl FnOnce() -> T) -> (T, Self) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut peak = Self::default();
                while !done.load(Ordering::Relaxed) {
                    peak = peak.max(Self::now(postmaster));
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
    fn now(postmaster: u32) -> Self {
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let of_job = children.split_whitespace().filter(|child| {
            fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|title| title.starts_with(b"postgres: pgcopy job"))
        });
        // RssAnon leaves out shared buffers, which every process maps.
        let sizes = of_job
            .filter_map(|child| kilobytes_of(&fs::read_to_string(format!("/proc/{child}/status")).ok()?, "RssAnon"));
        sizes.fold(Self::default(), |sum, size| Self {
            biggest_process: sum.biggest_process.max(size),
            all_together: sum.all_together + size,
        })
    }

    fn max(self, other: Self) -> Self {
        Self {
            biggest_process: self.biggest_process.max(other.biggest_process),
            all_together: self.all_together.max(other.all_together),
        }
    }

    fn print(self) {
        println!(
            "\nprivate memory of pgcopy's processes at its peak: {:.0} MB in the biggest, {:.0} MB in all together",
            self.biggest_process as f64 / 1024.0,
            self.all_together as f64 / 1024.0
        );
    }
}

/// The value of a line such as `MemTotal:  16384 kB`.
fn kilobytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}
