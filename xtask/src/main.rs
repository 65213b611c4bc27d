#![forbid(unsafe_code)]
//! The commands of the README and of CONTRIBUTING.md.

mod bench;
mod demo;
mod package;
mod servers;
mod soak;
mod test;

use xtask::Result;
use xtask::server::{Version, remove_stale_data};

fn usage() -> String {
    format!(
        "usage:
  cargo xtask demo                          two servers, real data, a pull, its report, a verification
  cargo xtask test [FILTER] [--pg VERSION]  formatter, lints and every test
  cargo xtask soak [FILTER] [--minutes N] [--seed S] [--pg VERSION]
                                            random histories of many sessions, and other random tests
  cargo xtask bench [SUITE]... [--scale S] [--tables N] [--runs N] [--only CONTENDER]... [--mbit N] [--rtt MILLISECONDS]
                                            pgcopy against its peers, in suites; tpch if none is named
  cargo xtask package [--pg VERSION]        the files of the extension for a server, in target/package
  cargo xtask servers [--scale S]           two servers to play with, until Ctrl-C

suites of the benchmark:
{}",
        bench::suites().trim_end()
    )
}

fn main() {
    // Nothing is left behind after Ctrl-C either.
    let _ = ctrlc::set_handler(|| {
        let _ = xtask::server::remove_own_data();
        std::process::exit(130);
    });
    if let Err(error) = run() {
        eprintln!("error: {}", describe(&*error));
        std::process::exit(1);
    }
}

/// What a server said, not only that it said something.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<postgres::Error>().and_then(|error| error.as_db_error()) {
        Some(answer) => {
            let detail = answer.detail().map(|detail| format!("\n{detail}")).unwrap_or_default();
            format!("{}{detail}", answer.message())
        }
        None => error.to_string(),
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    if matches!(command.as_deref(), Some("--help" | "-h" | "help")) {
        return print_usage();
    }
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--pg" => options.version = Version::parse(&value()?)?,
            "--scale" => options.scale = value()?.parse()?,
            "--tables" => options.tables = value()?.parse()?,
            "--runs" => options.runs = value()?.parse()?,
            "--mbit" => options.mbit = value()?.parse()?,
            "--rtt" => options.rtt = value()?.parse()?,
            "--minutes" => options.minutes = value()?.parse()?,
            "--seed" => options.seed = Some(value()?.parse()?),
            "--only" => options.only.push(value()?),
            "--release" => options.release = true,
            "--tests-only" => options.tests_only = true,
            "--help" | "-h" => return print_usage(),
            word if !word.starts_with('-') => options.words.push(word.to_owned()),
            _ => return Err(format!("unknown option {argument}\n{}", usage()).into()),
        }
    }
    remove_stale_data()?;
    match command.as_deref() {
        Some("demo") => demo::run(&options),
        Some("test") => test::run(&options),
        Some("soak") => soak::run(&options),
        Some("package") => package::run(&options),
        Some("servers") => servers::run(&options),
        Some("bench") => bench::run(&options),
        _ => Err(usage().into()),
    }
}

fn print_usage() -> Result<()> {
    println!("{}", usage());
    Ok(())
}

struct Options {
    version: Version,
    scale: f64,
    tables: usize,
    runs: usize,
    /// The link that the suite of that name goes over: megabits in a second, and the milliseconds of a round trip.
    mbit: f64,
    rtt: f64,
    /// How long random histories go on.
    minutes: u64,
    /// What the first of them begins with.
    seed: Option<u64>,
    only: Vec<String>,
    /// What is not an option: filters of tests, suites of the benchmark.
    words: Vec<String>,
    tests_only: bool,
    release: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::OLDEST,
            scale: 1.0,
            tables: 5000,
            runs: 5,
            mbit: 100.0,
            rtt: 20.0,
            minutes: 10,
            seed: None,
            only: Vec::new(),
            words: Vec::new(),
            tests_only: false,
            release: false,
        }
    }
}
