//! Real files, changed at random and read in a process that can have little memory: it gets rows or an error, and goes on.

mod support;

use bytes::Bytes;
use parquetpages::Limits;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::{Random, change, every_kind, read_rows};

const KILOBYTES: usize = 700_000;

#[test]
fn changed_files_in_little_memory() {
    let limited = format!("ulimit -v {KILOBYTES}; exec \"$0\" --exact in_little_memory --ignored --nocapture");
    let output = Command::new("sh").arg("-c").arg(limited).arg(std::env::current_exe().unwrap()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
}

/// More of it: PARQUETPAGES_CHANGES=1000000 PARQUETPAGES_SEED=1 cargo test -p parquetpages --test limited. With
/// PARQUETPAGES_FILES a directory of more files.
#[test]
#[ignore = "run by changed_files_in_little_memory"]
fn in_little_memory() {
    let own_panics = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&own_panics);
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|location| location.file().contains("parquetpages/")) {
            eprintln!("{info}");
            counter.fetch_add(1, Relaxed);
        }
    }));
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parquet");
    let mut files: Vec<Bytes> = every_kind(60);
    for directory in [Some(data), std::env::var_os("PARQUETPAGES_FILES").map(PathBuf::from)].into_iter().flatten() {
        let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        files.extend(paths.into_iter().filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap().into()));
    }
    let setting = |name, default| std::env::var(name).map_or(default, |value| value.parse().expect("a number"));
    let mut random = Random(setting("PARQUETPAGES_SEED", 31));
    // As they are, first.
    let mut outcomes: Vec<_> = files.iter().map(|file| read_rows(file.clone(), Limits::default()).is_ok()).collect();
    for _ in 0..setting("PARQUETPAGES_CHANGES", 4000) {
        let mut file = files[random.below(files.len())].to_vec();
        for _ in 0..1 + random.below(3) {
            change(&mut random, &mut file, &files);
        }
        outcomes.push(read_rows(file.into(), Limits::default()).is_ok());
    }
    assert_eq!(own_panics.load(Relaxed), 0, "panics of this crate");
    let good = outcomes.iter().filter(|is_good| **is_good).count();
    assert!(good > 100 && good < outcomes.len() - 100, "{good} of {} are good", outcomes.len());
}
