//! Changes of a big table into a table that has the other rows already: pgcopy against statements by hand.

use super::report;
use crate::Options;
use postgres::Client;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::server::{self, Installation, Server};
use xtask::{Result, data};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Upsert,
    Sync,
    ByHand,
    ByHandWhereDifferent,
}

const WAYS: [Way; 4] = [Way::Upsert, Way::Sync, Way::ByHand, Way::ByHandWhereDifferent];
const SOURCE: &str = "upsert_source";
const DATABASE: &str = "upsert";
const COLUMNS: [&str; 14] = [
    "l_partkey",
    "l_suppkey",
    "l_quantity",
    "l_extendedprice",
    "l_discount",
    "l_tax",
    "l_returnflag",
    "l_linestatus",
    "l_shipdate",
    "l_commitdate",
    "l_receiptdate",
    "l_shipinstruct",
    "l_shipmode",
    "l_comment",
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Sync => "sync",
            Self::ByHand => "by-hand",
            Self::ByHandWhereDifferent => "by-hand-different",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Upsert => "pull(…, include => '{lineitem}', mode => 'upsert')",
            Self::Sync => "the same with mode => 'sync', overwrite => true",
            Self::ByHand => "COPY into a temporary table, INSERT … ON CONFLICT DO UPDATE",
            Self::ByHandWhereDifferent => "the same, with a WHERE that leaves out rows that are the same",
        }
    }
}

struct Contest {
    server: Server,
    installation: Installation,
}

pub fn run(installation: &Installation, options: &Options) -> Result<()> {
    let contest = Contest::set_up(installation, options.scale)?;
    let seconds = report::in_turns(WAYS, options.runs, Way::name, |way| contest.measure(way))?;
    println!("\nlineitem of TPC-H scale {} with keys and indexes; a hundredth of the rows has changed", options.scale);
    report::print_heading();
    let by_hand = &seconds[2];
    for (way, own) in WAYS.into_iter().zip(&seconds) {
        let ratios: Vec<f64> = own.iter().zip(by_hand).map(|(own, other)| own / other).collect();
        report::print_row(way.name(), own, &ratios, way.description());
    }
    Ok(())
}

impl Contest {
    fn set_up(installation: &Installation, scale: f64) -> Result<Self> {
        let start = super::SETTINGS.iter().fold(server::Options::named("bench-upsert"), |all, line| all.setting(*line));
        let server = Server::start(installation, start)?;
        for database in [SOURCE, DATABASE] {
            server.try_connect("postgres")?.batch_execute(&format!("CREATE DATABASE {database}"))?;
            data::create_filled(&mut server.try_connect(database)?, scale)?;
        }
        server.try_connect(DATABASE)?.batch_execute("CREATE EXTENSION pgcopy")?;
        Ok(Self { server, installation: installation.clone() })
    }

    /// One run, checked by content. The source changes before it, so that nothing has to be put back.
    fn measure(&self, way: Way) -> Result<Duration> {
        let mut source = self.server.try_connect(SOURCE)?;
        source.batch_execute(
            "UPDATE lineitem SET l_quantity = l_quantity + 1 WHERE l_orderkey % 100 = 7; VACUUM FULL ANALYZE lineitem",
        )?;
        let mut client = self.server.try_connect(DATABASE)?;
        client.batch_execute("VACUUM FULL ANALYZE lineitem; CHECKPOINT")?;
        // As for the other suites: what is over must not cost who comes next.
        std::thread::sleep(Duration::from_secs(6));
        let dsn = self.server.dsn(SOURCE);
        let start = Instant::now();
        match way {
            Way::Upsert => pull(&mut client, &dsn, "mode => 'upsert'")?,
            Way::Sync => pull(&mut client, &dsn, "mode => 'sync', overwrite => true")?,
            Way::ByHand | Way::ByHandWhereDifferent => self.by_hand(way)?,
        }
        let took = start.elapsed();
        let tables = ["lineitem".to_owned()];
        if data::checksums(&mut client, &tables)? != data::checksums(&mut source, &tables)? {
            return Err(format!("{} did not bring what the source holds", way.name()).into());
        }
        Ok(took)
    }

    fn by_hand(&self, way: Way) -> Result<()> {
        let list = |of: fn(&str) -> String| COLUMNS.map(of).join(", ");
        let different = match way {
            Way::ByHandWhereDifferent => format!(
                " WHERE ({}) IS DISTINCT FROM ({})",
                list(|column| format!("t.{column}")),
                list(|column| format!("excluded.{column}"))
            ),
            _ => String::new(),
        };
        let merge = format!(
            "INSERT INTO lineitem AS t SELECT * FROM staged ON CONFLICT (l_orderkey, l_linenumber) DO UPDATE SET {}{different}",
            list(|column| format!("{column} = excluded.{column}"))
        );
        let psql = || {
            let mut psql = Command::new(self.installation.program("psql"));
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"]);
            psql
        };
        let mut reading = psql()
            .arg(self.server.dsn(SOURCE))
            .args(["-c", "COPY lineitem TO STDOUT (FORMAT binary)"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut writing = psql();
        writing.arg(self.server.dsn(DATABASE)).args(["-1", "-c", "CREATE TEMPORARY TABLE staged (LIKE lineitem)"]);
        writing.args(["-c", "COPY staged FROM STDIN (FORMAT binary)", "-c", &merge]);
        if let Some(rows) = reading.stdout.take() {
            writing.stdin(rows);
        }
        let written = writing.status()?;
        if reading.wait()?.success() && written.success() { Ok(()) } else { Err("psql failed".into()) }
    }
}

fn pull(client: &mut Client, dsn: &str, arguments: &str) -> Result<()> {
    client.query(&format!("SELECT * FROM pgcopy.pull($1, include => '{{lineitem}}', {arguments})"), &[&dsn])?;
    Ok(())
}
