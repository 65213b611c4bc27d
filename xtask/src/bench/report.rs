//! What is printed of the results.

use super::contender::Contender;
use super::link::Quality;
use super::memory::{PeakMemory, kilobytes_of};
use super::race::{Results, Run};
use super::reader::Waits;
use std::fs;
use std::process::Command;
use std::time::Duration;
use xtask::Result;
use xtask::server::Installation;

pub fn print_circumstances(installation: &Installation) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    let memory = kilobytes_of(&fs::read_to_string("/proc/meminfo")?, "MemTotal").unwrap_or(0) as f64 / 1048576.0;
    let version = Command::new(installation.program("postgres")).arg("--version").output()?;
    println!("\n{cores} cores, {memory:.1} GB of memory, source and destination both on this machine");
    println!("{}: {}", String::from_utf8_lossy(&version.stdout).trim(), super::SETTINGS.join(", "));
    Ok(())
}

/// Seconds of the contenders that do the same work as this one of ours, and what part of theirs ours are.
pub fn print_ratios(title: &str, ours: Contender, results: &Results) {
    if results.seconds(ours).is_empty() {
        return;
    }
    println!("\n{title}; seconds, and {} / contender as the median over the rounds", ours.name());
    println!("{:<17} {:>8} {:>8} {:>8} {:>7}", "contender", "median", "min", "max", "ratio");
    // A migration is the only one of ours in its races.
    let alike =
        |contender: &&Contender| contender.ours() == ours || (ours == Contender::Migrate && !contender.is_pgcopy());
    for &contender in results.contenders.iter().filter(alike) {
        let seconds = results.seconds(contender);
        if !seconds.is_empty() {
            println!(
                "{:<17} {:>8.2} {:>8.2} {:>8.2} {:>7.2}  {}",
                contender.name(),
                median(&seconds),
                smallest(&seconds),
                largest(&seconds),
                median(&results.ratios(ours, contender)),
                contender.description()
            );
        }
        for (_, failure) in results.failures.iter().filter(|(failed, _)| *failed == contender) {
            println!("{:<17} failed: {}", contender.name(), failure.trim_end());
        }
    }
}

/// Seconds and processor time of the contenders of one kind, and what part each is of those of one of them.
pub fn print_shares(title: &str, whole: Contender, results: &Results) {
    let processor_time = |contender| median(&results.figures(contender, |run| run.processor_seconds));
    println!(
        "\n{title}; seconds, their ratio to those of {} as the median over the rounds, and processor time of both servers",
        whole.name()
    );
    println!(
        "{:<26} {:>8} {:>8} {:>8} {:>7} {:>10} {:>7}",
        "contender", "median", "min", "max", "ratio", "processor", "ratio"
    );
    let alike = |contender: &&Contender| contender.ours() == whole.ours() && !results.seconds(**contender).is_empty();
    for &contender in results.contenders.iter().filter(alike) {
        let seconds = results.seconds(contender);
        println!(
            "{:<26} {:>8.2} {:>8.2} {:>8.2} {:>7.2} {:>10.2} {:>7.2}  {}",
            contender.name(),
            median(&seconds),
            smallest(&seconds),
            largest(&seconds),
            median(&results.ratios(contender, whole)),
            processor_time(contender),
            processor_time(contender) / processor_time(whole),
            contender.description()
        );
    }
}

pub fn print_memory(memory: PeakMemory) {
    let [biggest, together, caller] = memory.megabytes();
    println!(
        "\nprivate memory of pgcopy's processes at its peak: {biggest:.0} MB in the biggest, {together:.0} MB in all \
         together, besides {caller:.0} MB in the calling session"
    );
}

pub fn print_timelines(results: &Results) {
    for (contender, timeline) in &results.timelines {
        timeline.print(&format!("{} ({})", contender.name(), results.title));
    }
}

/// How close each contender comes to the time that its bytes alone take on the line.
pub fn print_link(quality: Quality, results: &Results) {
    println!(
        "\nthe same through a link of {quality}: what crossed it, the seconds that the bytes alone take, and processor time of both servers"
    );
    println!(
        "{:<17} {:>8} {:>8} {:>8} {:>8} {:>10} {:>12} {:>12} {:>12}",
        "contender", "seconds", "MB", "bound", "ratio", "processor", "connections", "round trips", "most in one"
    );
    let succeeded = |contender: &&Contender| !results.seconds(**contender).is_empty();
    for &contender in results.contenders.iter().filter(succeeded) {
        let figure = |figure: &dyn Fn(&Run) -> f64| median(&results.figures(contender, figure));
        println!(
            "{:<17} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>10.2} {:>12.0} {:>12.0} {:>12.0}",
            contender.name(),
            figure(&|run| run.seconds),
            figure(&|run| run.traffic.received as f64 / 1e6),
            figure(&|run| quality.bound(run.traffic)),
            figure(&|run| run.seconds / quality.bound(run.traffic)),
            figure(&|run| run.processor_seconds),
            figure(&|run| run.traffic.connections as f64),
            figure(&|run| run.traffic.round_trips as f64),
            figure(&|run| run.traffic.most_round_trips as f64),
        );
    }
}

/// Row by row over data sets: seconds per pull and row, and memory.
pub fn print_scales(all: &[Results]) {
    if all.is_empty() {
        return;
    }
    let width = title_width(all);
    println!("\n{:<width$} {:>10} {:>8} {:>8} {:>14} {:>14} {:>14}", "", "", "", "", "biggest", "all", "calling");
    println!(
        "{:<width$} {:>10} {:>8} {:>8} {:>14} {:>14} {:>14}",
        "pgcopy", "rows", "seconds", "us/row", "process, MB", "processes, MB", "session, MB"
    );
    for results in all {
        let seconds = median(&results.seconds(Contender::Pgcopy));
        let [biggest, together, caller] = results.memory().megabytes();
        println!(
            "{:<width$} {:>10} {seconds:>8.2} {:>8.3} {biggest:>14.1} {together:>14.1} {caller:>14.1}",
            results.title,
            results.rows,
            seconds * 1e6 / results.rows.max(1) as f64
        );
    }
}

/// How long a reader of a target waits for the swap and the commit.
pub fn print_waits(all: &[Results]) {
    let width = title_width(all);
    println!("\nmilliseconds that a session waited which read one target again and again, medians over the runs");
    println!(
        "{:<width$} {:>8} {:>8} {:>8} {:>12} {:>8} {:>8} {:>14}",
        "pgcopy", "pull, s", "reads", "average", "before swap", "swap", "worst", "then the call"
    );
    for results in all {
        let waits = |figure: fn(&Waits) -> f64| {
            results.figures(Contender::Pgcopy, |run| run.waits.as_ref().map_or(0.0, figure))
        };
        let swaps = waits(|waits| milliseconds(waits.longest_at_swap));
        println!(
            "{:<width$} {:>8.2} {:>8.0} {:>8.2} {:>12.1} {:>8.1} {:>8.1} {:>14.1}",
            results.title,
            median(&results.seconds(Contender::Pgcopy)),
            median(&waits(|waits| waits.reads as f64)),
            median(&waits(|waits| milliseconds(waits.average))),
            median(&waits(|waits| milliseconds(waits.longest_before_swap))),
            median(&swaps),
            largest(&swaps),
            median(&waits(|waits| milliseconds(waits.call_went_on)))
        );
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn title_width(all: &[Results]) -> usize {
    all.iter().map(|results| results.title.chars().count()).max().unwrap_or(0)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

pub fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MAX, f64::min)
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MIN, f64::max)
}

/// Measures contenders in turns, after a warm-up round where there are several, and returns the seconds of each.
pub fn in_turns<W: Copy, const N: usize>(
    ways: [W; N],
    runs: usize,
    name: impl Fn(W) -> &'static str,
    measure: impl Fn(W) -> Result<Duration>,
) -> Result<[Vec<f64>; N]> {
    let mut seconds = [const { Vec::new() }; N];
    for round in 0..runs + usize::from(runs > 1) {
        let counted = runs == 1 || round > 0;
        for (way, seconds) in ways.into_iter().zip(&mut seconds) {
            let took = measure(way)?.as_secs_f64();
            eprintln!("{:<8} {:<17} {took:>8.2} s", if counted { "run" } else { "warm-up" }, name(way));
            if counted {
                seconds.push(took);
            }
        }
    }
    Ok(seconds)
}

/// The heading of rows by `print_row`.
pub fn print_heading() {
    println!("{:<17} {:>8} {:>8} {:>8} {:>7}", "contender", "median", "min", "max", "ratio");
}

/// A line of the report: the seconds of a contender, and their ratios to those of another.
pub fn print_row(name: &str, seconds: &[f64], ratios: &[f64], description: &str) {
    println!(
        "{name:<17} {:>8.2} {:>8.2} {:>8.2} {:>7.2}  {description}",
        median(seconds),
        smallest(seconds),
        largest(seconds),
        median(ratios)
    );
}
