//! Real files, cut short and changed at random: what comes of them is rows or an error.

mod support;

use bytes::Bytes;
use parquetpages::{Error, Limits};
use peak_alloc::PeakAlloc;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use support::{Random, TAIL, change, every_kind, footer_start, limits, open};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Reads everything. Pages must come, or an error; panics are for the decoders of their contents alone.
fn survive(file: Bytes) -> bool {
    let limits = Limits { page_bytes: 4 << 20, page_values: 1 << 16, record_values: 1 << 12, ..limits() };
    let Ok(groups) = open(Arc::new(file), limits) else { return false };
    let pages = groups.pages().is_ok();
    // A row count that nobody checks against the data would be read for long.
    let rows = groups.metadata.file_metadata().num_rows();
    if rows < 10_000 {
        let read = catch_unwind(AssertUnwindSafe(|| groups.batches(64).is_ok())).unwrap_or(false);
        assert!(pages || !read, "rows of pages that cannot be read");
    }
    pages
}

fn quietly() {
    // Of panics in the decoders there are thousands, and their texts are of no interest.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or("", |location| location.file());
        if place.contains("parquetpages") {
            eprintln!("{info}");
        }
    }));
}

#[test]
fn cut_anywhere() {
    quietly();
    for file in every_kind(200).iter().skip(2).take(2) {
        assert!(survive(file.clone()));
        for length in 0..file.len() {
            assert!(open(Arc::new(file.slice(..length)), limits()).is_err(), "cut at {length}");
        }
        // The footer stays; the data before it ends too early, or begins too late.
        let start = footer_start(file);
        let groups = open(Arc::new(file.clone()), limits()).unwrap();
        let columns = groups.metadata.row_groups().iter().flat_map(|group| group.columns());
        let end = columns.map(|column| column.byte_range()).map(|(start, length)| start + length).max().unwrap();
        for length in (0..end as usize).step_by(41) {
            let cut = [&file[..length], &file[start..]].concat();
            assert!(!survive(cut.into()), "the data cut at {length}");
        }
    }
}

#[test]
fn chunks_end_too_early() {
    for file in every_kind(200) {
        let groups = open(Arc::new(file), limits()).unwrap();
        let column = groups.metadata.row_group(0).column(1).clone();
        let size = column.compressed_size();
        // Some writers leave the header of the dictionary out.
        let nearly = if column.dictionary_page_offset().is_some() { (size - 140).max(1) } else { size - 1 };
        for shorter in [nearly, size / 2, 10, 1, 0] {
            let column = column.clone().into_builder().set_total_compressed_size(shorter).build().unwrap();
            let pages = parquetpages::ColumnPages::new(groups.source.clone(), &column, groups.limits).unwrap();
            let error = pages.take(100).find_map(Result::err).expect("an error");
            assert!(matches!(Error::from(error), Error::Malformed(_)), "{shorter} of {size}");
        }
    }
}

#[test]
fn changed_at_random() {
    quietly();
    let files = every_kind(200);
    // More of them: PARQUETPAGES_CHANGES=1000000 PARQUETPAGES_SEED=1 cargo test -p parquetpages changed_at_random
    let setting = |name, default| std::env::var(name).map_or(default, |value| value.parse().expect("a number"));
    let mut random = Random(setting("PARQUETPAGES_SEED", 20));
    let (mut good, mut bad) = (0, 0);
    MEMORY.reset_peak_usage();
    for _ in 0..setting("PARQUETPAGES_CHANGES", 4000) {
        let mut file = files[random.below(files.len())].to_vec();
        for _ in 0..1 + random.below(3) {
            change(&mut random, &mut file, &files);
            if file.len() <= TAIL || footer_fits(&file).is_none() {
                break;
            }
        }
        match survive(file.into()) {
            true => good += 1,
            false => bad += 1,
        }
    }
    assert!(good > 100 && bad > 1000, "{good} good, {bad} bad");
    let taken = MEMORY.peak_usage();
    assert!(taken < 100 << 20, "{taken} bytes of memory were taken");
}

fn footer_fits(file: &[u8]) -> Option<usize> {
    let tail = file.len().checked_sub(TAIL)?;
    let length = u32::from_le_bytes(file[tail..tail + 4].try_into().ok()?) as usize;
    tail.checked_sub(length)
}
