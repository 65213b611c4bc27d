//! A script of pg_dump into an empty database: pgcopy against psql.

use super::report;
use crate::Options;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::server::{self, Installation, ScratchDirectory, Server};
use xtask::{Result, data};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Load,
    LoadGzip,
    Psql,
    LoadInserts,
    PsqlInserts,
}

const WAYS: [Way; 5] = [Way::Load, Way::LoadGzip, Way::Psql, Way::LoadInserts, Way::PsqlInserts];
const SOURCE: &str = "script_source";
const SMALL_SOURCE: &str = "script_small_source";
const DATABASE: &str = "script";

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Load => "load_sql",
            Self::LoadGzip => "load_sql-gzip",
            Self::Psql => "psql",
            Self::LoadInserts => "load_sql-inserts",
            Self::PsqlInserts => "psql-inserts",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Load => "load_sql('tpch.sql') into an empty database",
            Self::LoadGzip => "the same script, compressed with gzip",
            Self::Psql => "psql -1 -f tpch.sql",
            Self::LoadInserts => "a tenth of it, written with --inserts",
            Self::PsqlInserts => "psql -1 -f with the same",
        }
    }

    fn is_small(self) -> bool {
        matches!(self, Self::LoadInserts | Self::PsqlInserts)
    }

    /// What its time is compared with.
    fn other(self) -> Self {
        if self.is_small() { Self::PsqlInserts } else { Self::Psql }
    }
}

struct Contest {
    server: Server,
    installation: Installation,
    scratch: ScratchDirectory,
}

pub fn run(installation: &Installation, options: &Options) -> Result<()> {
    let contest = Contest::set_up(installation, options.scale)?;
    let seconds = report::in_turns(WAYS, options.runs, Way::name, |way| contest.measure(way))?;
    println!("\nTPC-H scale {} with keys and indexes, and a tenth of it as INSERT statements", options.scale);
    report::print_heading();
    for (way, own) in WAYS.into_iter().zip(&seconds) {
        let position = WAYS.iter().position(|other| *other == way.other()).unwrap_or_default();
        let ratios: Vec<f64> = own.iter().zip(&seconds[position]).map(|(own, other)| own / other).collect();
        report::print_row(way.name(), own, &ratios, way.description());
    }
    Ok(())
}

impl Contest {
    fn set_up(installation: &Installation, scale: f64) -> Result<Self> {
        let start = super::SETTINGS.iter().fold(server::Options::named("bench-script"), |all, line| all.setting(*line));
        let server = Server::start(installation, start)?;
        let scratch = ScratchDirectory::create("bench-script-files")?;
        let contest = Self { server, installation: installation.clone(), scratch };
        for (database, scale) in [(SOURCE, scale), (SMALL_SOURCE, scale / 10.0)] {
            contest.server.try_connect("postgres")?.batch_execute(&format!("CREATE DATABASE {database}"))?;
            data::create_filled(&mut contest.server.try_connect(database)?, scale)?;
        }
        eprintln!("writing the scripts");
        contest.dump(SOURCE, &[], &contest.script(Way::Psql))?;
        contest.dump(SMALL_SOURCE, &["--inserts"], &contest.script(Way::PsqlInserts))?;
        let compressed = Command::new("gzip").args(["-k", "-6"]).arg(contest.script(Way::Psql)).status()?;
        if compressed.success() { Ok(contest) } else { Err("gzip failed".into()) }
    }

    fn dump(&self, database: &str, options: &[&str], to: &Path) -> Result<()> {
        let mut dump = Command::new(self.installation.program("pg_dump"));
        dump.arg(format!("--dbname={}", self.server.dsn(database))).args(options).arg("--file").arg(to);
        if dump.status()?.success() { Ok(()) } else { Err("pg_dump failed".into()) }
    }

    fn script(&self, way: Way) -> PathBuf {
        self.scratch.path().join(match way {
            Way::Load | Way::Psql => "tpch.sql",
            Way::LoadGzip => "tpch.sql.gz",
            Way::LoadInserts | Way::PsqlInserts => "inserts.sql",
        })
    }

    /// One run, checked by content.
    fn measure(&self, way: Way) -> Result<Duration> {
        let mut client = self.server.try_connect("postgres")?;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {DATABASE}"))?;
        client.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
        let mut client = self.server.try_connect(DATABASE)?;
        client.batch_execute("CREATE EXTENSION pgcopy; CHECKPOINT")?;
        // As for the other suites: what is over must not cost who comes next.
        std::thread::sleep(Duration::from_secs(6));
        let path = self.script(way).display().to_string();
        let start = Instant::now();
        match way {
            Way::Psql | Way::PsqlInserts => {
                let mut psql = Command::new(self.installation.program("psql"));
                psql.args(["-X", "-q", "-1", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"]);
                psql.args(["-d", &self.server.dsn(DATABASE), "-f", &path]);
                if !psql.status()?.success() {
                    return Err("psql failed".into());
                }
            }
            _ => drop(client.query("SELECT * FROM pgcopy.load_sql($1)", &[&path])?),
        }
        let took = start.elapsed();
        let source = if way.is_small() { SMALL_SOURCE } else { SOURCE };
        let tables: Vec<String> = data::TABLES.iter().map(|table| (*table).to_owned()).collect();
        let expected = data::checksums(&mut self.server.try_connect(source)?, &tables)?;
        if data::checksums(&mut client, &tables)? != expected {
            return Err(format!("{} did not load what the script holds", way.name()).into());
        }
        Ok(took)
    }
}
