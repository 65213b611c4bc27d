//! Runs of contenders in turns: the same data, from the same source server into the same destination server.

use super::contender::Contender;
use super::link::{Link, Quality, Traffic};
use super::memory::PeakMemory;
use super::processor::processor_seconds;
use super::reader::{Reads, Waits};
use super::timeline::Timeline;
use super::tunnel::Tunnel;
use super::workload::Workload;
use crate::Options;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use xtask::server::{self, Installation, ScratchDirectory, Server};
use xtask::{Result, data};

const SOURCE_DATABASE: &str = "source";

pub struct Race {
    workload: Workload,
    contenders: Vec<Contender>,
    source: Server,
    destination: Server,
    installation: Installation,
    /// Of the servers' user: they write and read files here too.
    scratch: ScratchDirectory,
    checksums: HashMap<String, (String, i64, String)>,
    keys_and_indexes: (i64, i64),
    link: Option<Link>,
    tunnel: Option<Tunnel>,
    has_reader: bool,
}

/// One run of one contender.
pub struct Run {
    pub seconds: f64,
    /// Of the processes of both servers.
    pub processor_seconds: f64,
    pub traffic: Traffic,
    pub memory: PeakMemory,
    timeline: Option<Timeline>,
    pub waits: Option<Waits>,
}

pub struct Results {
    pub title: String,
    pub rows: i64,
    pub contenders: Vec<Contender>,
    /// The counted ones that succeeded, by their round.
    runs: HashMap<Contender, BTreeMap<usize, Run>>,
    /// Why runs of others did not succeed.
    pub failures: Vec<(Contender, String)>,
    /// Of each pull in the last round.
    pub timelines: Vec<(Contender, Timeline)>,
}

impl Results {
    pub fn seconds(&self, contender: Contender) -> Vec<f64> {
        self.figures(contender, |run| run.seconds)
    }

    pub fn figures(&self, contender: Contender, figure: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.get(&contender).into_iter().flat_map(BTreeMap::values).map(figure).collect()
    }

    /// Of each round in which both succeeded, what part of the other's time ours is.
    pub fn ratios(&self, ours: Contender, other: Contender) -> Vec<f64> {
        let (Some(ours), Some(others)) = (self.runs.get(&ours), self.runs.get(&other)) else { return Vec::new() };
        others.iter().filter_map(|(round, run)| Some(ours.get(round)?.seconds / run.seconds)).collect()
    }

    pub fn memory(&self) -> PeakMemory {
        let runs = self.runs.values().flat_map(BTreeMap::values);
        runs.fold(PeakMemory::default(), |peak, run| peak.max(run.memory))
    }
}

impl Race {
    /// Two new servers, the data on the source, and a full database for each contender that does not make its own.
    pub fn set_up(installation: &Installation, workload: Workload, contenders: Vec<Contender>) -> Result<Self> {
        let start = |name: &str| {
            let options = super::SETTINGS.iter().fold(server::Options::named(name), |all, line| all.setting(*line));
            // Nobody writes to the source while anybody is measured; its WAL would only fill the disk.
            let options = if name == "bench-source" { options.setting("max_wal_size = 2GB") } else { options };
            Server::start(installation, options)
        };
        let (source, destination) = (start("bench-source")?, start("bench-destination")?);
        eprintln!("filling the source: {}", workload.title);
        source.try_connect("postgres")?.batch_execute(&format!("CREATE DATABASE {SOURCE_DATABASE}"))?;
        let mut there = source.try_connect(SOURCE_DATABASE)?;
        workload.create_filled(&mut there)?;
        there.batch_execute("CHECKPOINT")?;
        let checksums = data::checksums(&mut there, &workload.tables)?;
        let race = Self {
            checksums: checksums.into_iter().map(|sum| (sum.0.clone(), sum)).collect(),
            keys_and_indexes: keys_and_indexes(&mut there)?,
            workload,
            contenders,
            source,
            destination,
            installation: installation.clone(),
            scratch: ScratchDirectory::create("bench-files")?,
            link: None,
            tunnel: None,
            has_reader: false,
        };
        for &contender in &race.contenders {
            eprintln!("preparing {}", contender.name());
            race.prepare_once(contender)?;
        }
        Ok(race)
    }

    /// From here on the source can compress, and send rows as they lie in the heap.
    pub fn with_pgcopy_at_the_source(self) -> Result<Self> {
        self.source.try_connect(SOURCE_DATABASE)?.batch_execute("CREATE EXTENSION IF NOT EXISTS pgcopy")?;
        Ok(self)
    }

    /// From here on the source is far away.
    pub fn through_a_link(mut self, quality: Quality) -> Result<Self> {
        // It compresses there.
        self = self.with_pgcopy_at_the_source()?;
        self.link = Some(Link::to(self.source.port(), quality)?);
        if self.contenders.contains(&Contender::PgcopyTunnel) {
            self.tunnel = Tunnel::to(self.source.port(), quality)?;
            if self.tunnel.is_none() {
                println!(
                    "without {}: there is no sshd (Debian package openssh-server)",
                    Contender::PgcopyTunnel.name()
                );
                self.contenders.retain(|contender| *contender != Contender::PgcopyTunnel);
            }
        }
        Ok(self)
    }

    /// From here on a session reads the first table during every pull.
    pub fn with_a_reader(mut self) -> Self {
        self.has_reader = true;
        self
    }

    pub fn run(self, options: &Options) -> Result<Results> {
        let warm_ups = usize::from(options.runs > 1);
        let mut results = Results {
            title: self.workload.title.clone(),
            rows: self.checksums.values().map(|(_, rows, _)| rows).sum(),
            contenders: self.contenders.clone(),
            runs: HashMap::new(),
            failures: Vec::new(),
            timelines: Vec::new(),
        };
        for round in 0..warm_ups + options.runs {
            let (counted, last) = (round >= warm_ups, round + 1 == warm_ups + options.runs);
            // In turns, so that a machine that slows down or speeds up does so for everybody.
            for &contender in &self.contenders {
                let label = if counted { format!("run {}", round + 1 - warm_ups) } else { "warm-up".into() };
                let verified = self.measure(contender).and_then(|run| {
                    eprintln!("{label:<8} {:<17} {:>8.2} s", contender.name(), run.seconds);
                    self.verify(contender, last)?;
                    Ok(run)
                });
                let mut run = match verified {
                    Ok(run) => run,
                    // What the others cannot do is a result.
                    Err(error) if !contender.is_pgcopy() => {
                        let error = crate::describe(&*error);
                        eprintln!("{label:<8} {:<17} failed: {error}", contender.name());
                        results.failures.push((contender, error));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if last {
                    results.timelines.extend(run.timeline.take().map(|timeline| (contender, timeline)));
                }
                if counted {
                    results.runs.entry(contender).or_default().insert(round, run);
                }
            }
        }
        Ok(results)
    }

    fn prepare_once(&self, contender: Contender) -> Result<()> {
        if contender.needs_empty_database() || !contender.fills_a_database() || self.has_database(contender)? {
            return Ok(());
        }
        self.create_database(contender)?;
        let mut here = self.connect(contender)?;
        if contender.is_about_lineitem() {
            self.workload.create_tables(&mut here)?;
        } else {
            self.workload.create_schema(&mut here)?;
        }
        if contender == Contender::CopyFromFile {
            let copy = format!("COPY lineitem TO '{}' (FORMAT binary)", self.copy_file());
            self.source.try_connect(SOURCE_DATABASE)?.batch_execute(&copy)?;
        } else {
            // Tables that are replaced hold rows before the first run too.
            here.batch_execute("CREATE EXTENSION pgcopy")?;
            self.pull(&mut here, contender)?;
        }
        Ok(())
    }

    /// One run, without what precedes it.
    fn measure(&self, contender: Contender) -> Result<Run> {
        if contender.needs_empty_database() {
            self.create_database(contender)?;
        }
        if contender == Contender::CopyFromFile {
            self.connect(contender)?.batch_execute("TRUNCATE lineitem")?;
        }
        let directory = self.scratch.path().join("dump");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        // The writes of the runs before are theirs, not this one's. So are the files that they deleted: for five seconds
        // ext4 searches for others to give out, which costs whoever creates many.
        self.destination.try_connect("postgres")?.batch_execute("CHECKPOINT")?;
        std::thread::sleep(Duration::from_secs(6));
        self.take_traffic();
        let (mut memory, mut reads) = (PeakMemory::default(), None);
        let servers = [self.source.pid(), self.destination.pid()];
        let before = processor_seconds(servers);
        let (began, start) = (SystemTime::now(), Instant::now());
        match contender {
            Contender::Pgcopy
            | Contender::PgcopyParallel(_)
            | Contender::PgcopyCompress(_)
            | Contender::PgcopyHeapForm
            | Contender::PgcopyTunnel
            | Contender::PgcopyOneTable
            | Contender::PgcopyHeapFormOneTable
            | Contender::PgcopyWhere
            | Contender::PgcopyMasked
            | Contender::PgcopySubset
            | Contender::PgcopyVerified => {
                (memory, reads) = self.watch_pull(contender)?;
            }
            Contender::Migrate => {
                let mut here = self.connect(contender)?;
                here.batch_execute("CREATE EXTENSION pgcopy")?;
                here.query("SELECT * FROM pgcopy.migrate($1)", &[&self.source_dsn()])?;
            }
            Contender::VerifyDigest => self.compare(contender, "digest", 0)?,
            Contender::VerifyRows => self.compare(contender, "rows", 10)?,
            Contender::Pgcopydb => self.clone_with_pgcopydb(&directory)?,
            Contender::DumpRestore => self.dump_and_restore(contender, &directory, &[], &[])?,
            Contender::DumpPipe => self.dump_into_restore(contender)?,
            Contender::DumpReplace => {
                let truncate = format!("TRUNCATE {}", self.tables(contender).join(", "));
                self.connect(contender)?.batch_execute(&truncate)?;
                self.dump_and_restore(contender, &directory, &["-a"], &["-a", "--disable-triggers"])?;
            }
            Contender::CopyFromFile => {
                let copy = format!("COPY lineitem FROM '{}' (FORMAT binary)", self.copy_file());
                self.connect(contender)?.batch_execute(&copy)?;
            }
            Contender::SourceAlone => self.read_lineitem()?,
        }
        let took = start.elapsed();
        let processor_seconds = processor_seconds(servers) - before;
        let traffic = self.take_traffic();
        let timeline = if contender.is_pgcopy() {
            // This also waits for what pgcopy does after the call, so that it is at nobody else's cost.
            Some(Timeline::of_last_pull(&mut self.connect(contender)?, began, took)?)
        } else {
            None
        };
        let waits = reads.zip(timeline.as_ref());
        let waits = waits.map(|(reads, timeline)| reads.waits(start + timeline.workers_done(), start + took));
        Ok(Run { seconds: took.as_secs_f64(), processor_seconds, traffic, memory, timeline, waits })
    }

    fn watch_pull(&self, contender: Contender) -> Result<(PeakMemory, Option<Reads>)> {
        let mut here = self.connect(contender)?;
        let caller = here.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        let postmaster = self.destination.pid();
        let mut work = || PeakMemory::during(postmaster, caller, || self.pull(&mut here, contender));
        let ((pulled, memory), reads) = if self.has_reader {
            let (watched, reads) = Reads::during(self.connect(contender)?, &self.workload.tables[0], work)?;
            (watched, Some(reads))
        } else {
            (work(), None)
        };
        pulled?;
        Ok((memory, reads))
    }

    fn pull(&self, here: &mut postgres::Client, contender: Contender) -> Result<()> {
        let include = contender.is_about_lineitem().then(|| self.tables(contender));
        let parallel = match contender {
            Contender::PgcopyParallel(workers) => Some(workers),
            _ => None,
        };
        let verify = contender == Contender::PgcopyVerified;
        let compress = match contender {
            Contender::PgcopyCompress(codec) => codec,
            Contender::PgcopyTunnel => "none",
            _ => "auto",
        };
        let source = match &self.tunnel {
            Some(tunnel) if contender == Contender::PgcopyTunnel => server::dsn(tunnel.port(), SOURCE_DATABASE),
            _ => self.source_dsn(),
        };
        let mask_key = (contender == Contender::PgcopyMasked).then_some("a secret of sixteen bytes or more");
        here.query(
            "SELECT * FROM pgcopy.pull($1, include => $2, overwrite => true, parallel => $3, verify => $4, compress => $5,
                                       trust_source => $6, tables => $7::text::jsonb, follow_keys => $8, mask_key => $9)",
            &[
                &source,
                &include,
                &parallel,
                &verify,
                &compress,
                &contender.takes_heap_form(),
                &contender.part_of_the_data(),
                &(contender == Contender::PgcopySubset),
                &mask_key,
            ],
        )?;
        Ok(())
    }

    /// Compares everything with the source after so many rows were changed, which are found, and undoes the change.
    fn compare(&self, contender: Contender, level: &str, changed: usize) -> Result<()> {
        let mut here = self.connect(contender)?;
        here.batch_execute(&format!(
            "BEGIN; UPDATE lineitem SET l_quantity = l_quantity + 1 WHERE ctid IN (
                 SELECT format('(%s,1)', b * (SELECT relpages FROM pg_class WHERE oid = 'lineitem'::regclass) / 11)::tid
                 FROM generate_series(1, {changed}) b)"
        ))?;
        let sql = "SELECT coalesce(sum(cardinality(array_positions(string_to_array(d, ' '), 'changed:'))), 0)
                   FROM pgcopy.verify($1, level => $2) v CROSS JOIN LATERAL array_to_string(v.differences, ' ') d";
        let found: i64 = here.query_one(sql, &[&self.source_dsn(), &level])?.get(0);
        here.batch_execute("ROLLBACK")?;
        if found != changed as i64 {
            return Err(format!("{} found {found} changed rows, not {changed}", contender.name()).into());
        }
        Ok(())
    }

    fn clone_with_pgcopydb(&self, directory: &Path) -> Result<()> {
        run_program(
            self.command(Path::new("pgcopydb"))
                .args(["clone", "--table-jobs", "4", "--index-jobs", "4", "--dir"])
                .arg(directory)
                .args(["--source", &self.source_dsn()])
                .args(["--target", &self.destination.dsn(&Contender::Pgcopydb.database())]),
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
            self.command(&self.installation.program("pg_dump"))
                .args(["-Fd", "-j2"])
                .args(dump_options)
                .arg("-f")
                .arg(directory)
                .args(["-d", &self.source_dsn()]),
        )?;
        run_program(
            self.command(&self.installation.program("pg_restore"))
                .arg("-j2")
                .args(restore_options)
                .args(["-d", &self.destination.dsn(&contender.database())])
                .arg(directory),
        )
    }

    fn dump_into_restore(&self, contender: Contender) -> Result<()> {
        let mut dump = self.command(&self.installation.program("pg_dump"));
        dump.args(["-Fc", "-Z0", "-d", &self.source_dsn()]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut dumping = dump.spawn()?;
        let mut restore = self.command(&self.installation.program("pg_restore"));
        restore.args(["-d", &self.destination.dsn(&contender.database())]);
        if let Some(output) = dumping.stdout.take() {
            restore.stdin(output);
        }
        let restored = restore.output()?;
        // Of the two the first to fail is the one to blame.
        succeeded(&dump, &dumping.wait_with_output()?)?;
        succeeded(&restore, &restored)
    }

    /// A client program that finds the others of our installation, and nothing of the caller's about servers.
    fn command(&self, program: &Path) -> Command {
        let mut path = OsString::from(self.installation.program("").as_os_str());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(variable);
        }
        // pgcopydb ends all processes of its group when it fails; that must not be ours.
        command.env("PATH", path).stdin(Stdio::null()).process_group(0);
        command
    }

    /// By two clients at once, in binary form.
    fn read_lineitem(&self) -> Result<()> {
        let middle = "(SELECT format('(%s,0)', relpages / 2)::tid FROM pg_class WHERE oid = 'lineitem'::regclass)";
        let read = |comparison: &str| {
            let rows = format!("SELECT * FROM lineitem WHERE ctid {comparison} {middle}");
            let mut psql = self.command(&self.installation.program("psql"));
            psql.args(["-X", "-c", &format!("COPY ({rows}) TO STDOUT (FORMAT binary)"), &self.source_dsn()]);
            psql.stdout(Stdio::null()).stderr(Stdio::piped());
            psql
        };
        let (mut first, mut second) = (read("<"), read(">="));
        let halves = [first.spawn()?, second.spawn()?];
        for (command, half) in [&first, &second].into_iter().zip(halves) {
            succeeded(command, &half.wait_with_output()?)?;
        }
        Ok(())
    }

    fn has_database(&self, contender: Contender) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        Ok(self.destination.try_connect("postgres")?.query_one(sql, &[&contender.database()])?.get(0))
    }

    fn create_database(&self, contender: Contender) -> Result<()> {
        let mut client = self.destination.try_connect("postgres")?;
        let database = contender.database();
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))?;
        client.batch_execute(&format!("CREATE DATABASE {database}"))?;
        Ok(())
    }

    /// The rows' number, the keys and indexes, and where asked for every row.
    fn verify(&self, contender: Contender, every_row: bool) -> Result<()> {
        if !contender.leaves_the_sources_rows() {
            return Ok(());
        }
        self.verify_cheaply(contender)?;
        if every_row { self.verify_every_row(contender) } else { Ok(()) }
    }

    fn verify_cheaply(&self, contender: Contender) -> Result<()> {
        let mut here = self.connect(contender)?;
        for table in self.tables(contender) {
            let rows: i64 = here.query_one(&format!("SELECT count(*) FROM {table}"), &[])?.get(0);
            let expected = self.checksums[&table].1;
            if rows != expected {
                return Err(format!("{} left {rows} rows in {table}, not {expected}", contender.name()).into());
            }
        }
        let found = keys_and_indexes(&mut here)?;
        if !contender.is_about_lineitem() && found != self.keys_and_indexes {
            let expected = self.keys_and_indexes;
            let name = contender.name();
            return Err(format!("{name} left {found:?} valid foreign keys and indexes, not {expected:?}").into());
        }
        Ok(())
    }

    fn verify_every_row(&self, contender: Contender) -> Result<()> {
        for found in data::checksums(&mut self.connect(contender)?, &self.tables(contender))? {
            if found != self.checksums[&found.0] {
                return Err(format!("{} left other rows in {} than the source has", contender.name(), found.0).into());
            }
        }
        Ok(())
    }

    fn tables(&self, contender: Contender) -> Vec<String> {
        if contender.is_about_lineitem() { vec!["lineitem".into()] } else { self.workload.tables.clone() }
    }

    fn connect(&self, contender: Contender) -> Result<postgres::Client> {
        self.destination.try_connect(&contender.database())
    }

    /// How the destination reaches the source.
    fn source_dsn(&self) -> String {
        match &self.link {
            Some(link) => link.dsn(SOURCE_DATABASE),
            None => self.source.dsn(SOURCE_DATABASE),
        }
    }

    fn take_traffic(&self) -> Traffic {
        let direct = self.link.as_ref().map(Link::take_traffic).unwrap_or_default();
        match self.tunnel.as_ref().map(Tunnel::take_traffic) {
            Some(traffic) if traffic.received > direct.received => traffic,
            _ => direct,
        }
    }

    fn copy_file(&self) -> String {
        self.scratch.path().join("lineitem.copy").display().to_string()
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
    succeeded(command, &output)
}

fn succeeded(command: &Command, output: &std::process::Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    const LINES: usize = 20;
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().display();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = complaint.lines().collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
    Err(format!("{program}: {}\n{end}", output.status).into())
}
