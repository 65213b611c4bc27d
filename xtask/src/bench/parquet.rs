//! A Parquet file into a table: pgcopy against the pipe that people build from pyarrow and COPY.

use super::memory::PeakMemory;
use super::report;
use crate::Options;
use postgres::Client;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::server::{self, Installation, ScratchDirectory, Server};
use xtask::{Result, data, python, root};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    LoadIntoTable,
    LoadIntoNewTable,
    PyarrowPipe,
}

/// What memory is measured for: where rows go, and whether the file is one row group.
const LOADS: [(&str, bool, &str); 4] = [
    ("lineitem", false, "into an empty table, row groups of 122880 rows"),
    ("lineitem", true, "into an empty table, all rows in one row group"),
    ("kept", false, "beside rows that stay, row groups of 122880 rows"),
    ("kept", true, "beside rows that stay, all rows in one row group"),
];

const WAYS: [Way; 3] = [Way::LoadIntoTable, Way::LoadIntoNewTable, Way::PyarrowPipe];
const DATABASE: &str = "parquet";
/// What the file holds: texts without the blanks of `char(n)`, as any other writer would have them.
const COLUMNS: &str = "l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity, l_extendedprice, l_discount, l_tax,
    rtrim(l_returnflag) AS l_returnflag, rtrim(l_linestatus) AS l_linestatus, l_shipdate, l_commitdate, l_receiptdate,
    rtrim(l_shipinstruct) AS l_shipinstruct, rtrim(l_shipmode) AS l_shipmode, l_comment";

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::LoadIntoTable => "load_parquet",
            Self::LoadIntoNewTable => "load_parquet-new",
            Self::PyarrowPipe => "pyarrow-pipe",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::LoadIntoTable => "load_parquet('lineitem.parquet', target => 'lineitem') into an empty table",
            Self::LoadIntoNewTable => "the same into a table that is made for the file",
            Self::PyarrowPipe => "pyarrow to CSV | COPY lineitem FROM STDIN, into an empty table",
        }
    }
}

struct Contest {
    server: Server,
    installation: Installation,
    file: PathBuf,
    one_group: PathBuf,
    python: PathBuf,
    expected: String,
    _scratch: ScratchDirectory,
}

pub fn run(installation: &Installation, options: &Options) -> Result<()> {
    let contest = Contest::set_up(installation, options.scale)?;
    let seconds = report::in_turns(WAYS, options.runs, Way::name, |way| contest.measure(way))?;
    let megabytes = std::fs::metadata(&contest.file)?.len() / 1_000_000;
    println!("\nlineitem of TPC-H scale {}, {megabytes} MB with snappy, into a table without indexes", options.scale);
    report::print_heading();
    for (way, others) in WAYS.into_iter().zip(&seconds) {
        let ratios: Vec<f64> = seconds[0].iter().zip(others).map(|(ours, other)| ours / other).collect();
        report::print_row(way.name(), others, &ratios, way.description());
    }
    println!("\nprivate memory at its peak, in MB");
    println!("{:>14} {:>10} {:>8}", "biggest worker", "all workers", "session");
    for (target, one_group, title) in LOADS {
        let [biggest, together, caller] = contest.weigh(target, one_group)?.megabytes();
        println!("{biggest:>14.0} {together:>10.0} {caller:>8.0}  {title}");
    }
    Ok(())
}

impl Contest {
    fn set_up(installation: &Installation, scale: f64) -> Result<Self> {
        let python = python::environment(&python::PARQUET_PACKAGES)?.join("python");
        let start =
            super::SETTINGS.iter().fold(server::Options::named("bench-parquet"), |all, line| all.setting(*line));
        let server = Server::start(installation, start)?;
        server.try_connect("postgres")?.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
        let scratch = ScratchDirectory::create("bench-parquet-files")?;
        let file = scratch.path().join("lineitem.parquet");
        let mut client = server.try_connect(DATABASE)?;
        client.batch_execute("CREATE EXTENSION pgcopy; LOAD 'pgcopy'")?;
        data::create_tables(&mut client)?;
        eprintln!("writing the file");
        data::fill(&mut client, scale)?;
        let one_group = scratch.path().join("one_row_group.parquet");
        for (file, options) in [(&file, ""), (&one_group, ", row_group_rows 1000000000, row_group_bytes '1000MB'")] {
            client.batch_execute(&format!(
                "COPY (SELECT {COLUMNS} FROM lineitem) TO '{}' (FORMAT parquet, codec 'snappy'{options})",
                file.display()
            ))?;
        }
        let expected = checksum(&mut client, COLUMNS, "lineitem")?;
        client.batch_execute("TRUNCATE region, nation, supplier, customer, part, partsupp, orders, lineitem")?;
        Ok(Self { server, installation: installation.clone(), file, one_group, python, expected, _scratch: scratch })
    }

    /// One run, checked by content.
    fn measure(&self, way: Way) -> Result<Duration> {
        let mut client = self.server.try_connect(DATABASE)?;
        client.batch_execute("DROP TABLE IF EXISTS made; TRUNCATE lineitem; CHECKPOINT")?;
        // As for the other suites: what is over must not cost who comes next.
        std::thread::sleep(Duration::from_secs(6));
        let start = Instant::now();
        let table = match way {
            Way::LoadIntoTable | Way::LoadIntoNewTable => {
                let table = if way == Way::LoadIntoTable { "lineitem" } else { "made" };
                let path = self.file.display().to_string();
                client.query("SELECT * FROM pgcopy.load_parquet($1, target => $2)", &[&path, &table])?;
                table
            }
            Way::PyarrowPipe => {
                self.pipe()?;
                "lineitem"
            }
        };
        let took = start.elapsed();
        let columns = if table == "lineitem" { COLUMNS } else { "*" };
        if checksum(&mut client, columns, table)? != self.expected {
            return Err(format!("{} did not load what the file holds", way.name()).into());
        }
        Ok(took)
    }

    /// The memory of a load.
    fn weigh(&self, target: &str, one_group: bool) -> Result<PeakMemory> {
        let mut client = self.server.try_connect(DATABASE)?;
        client.batch_execute(
            "TRUNCATE lineitem; DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM lineitem LIMIT 0;
             INSERT INTO kept (l_orderkey) VALUES (-1); CHECKPOINT",
        )?;
        let mut client = self.server.try_connect(DATABASE)?;
        let caller = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        let path = if one_group { &self.one_group } else { &self.file }.display().to_string();
        let (loaded, memory) = PeakMemory::during(self.server.pid(), caller, || {
            client.query("SELECT * FROM pgcopy.load_parquet($1, target => $2)", &[&path, &target])
        });
        loaded?;
        let rows = format!("(SELECT * FROM {target} WHERE l_orderkey > 0) loaded");
        if checksum(&mut client, COLUMNS, &rows)? != self.expected {
            return Err(format!("{path} was not loaded as it is").into());
        }
        Ok(memory)
    }

    fn pipe(&self) -> Result<()> {
        let mut reading = Command::new(&self.python)
            .arg(root().join("xtask/python/parquet_to_csv.py"))
            .arg(&self.file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut copy = Command::new(self.installation.program("psql"));
        copy.args(["-X", "-q", "-d", &self.server.dsn(DATABASE), "-c", "COPY lineitem FROM STDIN (FORMAT csv)"]);
        if let Some(rows) = reading.stdout.take() {
            copy.stdin(rows);
        }
        let copied = copy.status()?;
        if reading.wait()?.success() && copied.success() { Ok(()) } else { Err("the pipe failed".into()) }
    }
}

/// Of all rows, in any order.
fn checksum(client: &mut Client, columns: &str, table: &str) -> Result<String> {
    let sql = format!(
        "SELECT count(*) || '/' || sum(('x' || substr(md5(t::text), 1, 16))::bit(64)::bigint::numeric)
         FROM (SELECT {columns} FROM {table}) t"
    );
    Ok(client.query_one(&sql, &[])?.get(0))
}
