use crate::Options;
use crate::test::{WholePulls, run_pure};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xtask::Result;

/// How long one history lasts. Each begins with empty servers and another number of sessions, so that several find more than
/// one long one.
const HISTORY: Duration = Duration::from_secs(120);

const HISTORIES: &str = "soak::a_long_history";

/// Random tests that are slow and seldom broken, by their names, and what makes them longer than in `cargo xtask test`.
const REPEATED: [&str; 10] = [
    "kills::processes",
    "killed_backups_are_never_called_complete",
    "a_disk_that_fills_up_at_any_moment",
    "changed_files_do_not_end_the_server",
    "damaged_rows_are_stored_or_refused",
    "changed_bytes_of_stored_rows_do_not_end_the_server",
    "values_and_refusals_are_those_of_the_server",
    "random_tables_both_ways",
    "scripts_are_divided_as_by_psql",
    "scripts_that_are_cut_off_leave_nothing",
];
/// The same of a pure crate.
const REPEATED_PURE: (&str, &str) = ("frames", "damaged_frames_are_errors_and_nothing_else");
const MORE_OF_THEM: [(&str, u64); 8] = [
    ("PGCOPY_FAULT_TRIES", 25),
    ("PGCOPY_TEST_CHANGES", 1000),
    ("PGCOPY_FUZZ_PULLS", 80),
    ("PGCOPY_FUZZ_FORMS", 300),
    ("PGCOPY_TEST_ROUNDS", 4),
    ("PGCOPY_TEST_SCRIPTS", 4000),
    ("PGCOPY_TEST_CUTS", 1000),
    ("PGCOPY_FUZZ_FRAMES", 2_000_000),
];

/// Plays random histories and runs the slow random tests, in turns with a seed each, until the minutes are over or a test
/// fails. Words choose tests by their names. A turn that has begun is finished, and a history is shorter than the others
/// where less time is left.
pub fn run(options: &Options) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let mut seed = options.seed.unwrap_or(now % 1_000_000);
    let tests = WholePulls::prepare(options)?;
    let end = Instant::now() + Duration::from_secs(60 * options.minutes.max(1));
    let is_chosen =
        |test: &&str| options.words.is_empty() || options.words.iter().any(|word| test.contains(word.as_str()));
    let repeated: Vec<&str> = REPEATED.into_iter().filter(is_chosen).collect();
    let has_histories = is_chosen(&HISTORIES);
    let has_pure = is_chosen(&REPEATED_PURE.1);
    if repeated.is_empty() && !has_histories && !has_pure {
        let names = REPEATED.join(", ");
        return Err(format!("none of these tests has such a name: {HISTORIES}, {}, {names}", REPEATED_PURE.1).into());
    }
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        eprintln!("seed {seed}");
        let failed = |error| format!("{error}; `cargo xtask soak --seed {seed}` begins with the same seed");
        if has_histories {
            let seconds = left.min(HISTORY).as_secs().max(10);
            let environment = [("PGCOPY_TEST_SEED", seed), ("PGCOPY_SOAK_SECONDS", seconds)];
            tests.run(&[HISTORIES, "--include-ignored", "--nocapture"], &environment).map_err(failed)?;
        }
        let mut environment = vec![("PGCOPY_TEST_SEED", seed)];
        environment.extend(MORE_OF_THEM);
        if has_pure && Instant::now() < end {
            let (package, test) = REPEATED_PURE;
            run_pure(options, package, test, &environment).map_err(failed)?;
        }
        if !repeated.is_empty() && Instant::now() < end {
            tests.run(&repeated, &environment).map_err(failed)?;
        }
        seed += 1;
    }
}
