//! Real files, cut short and changed at random: what comes of them is rows or an error.

mod support;

use bytes::Bytes;
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquetpages::{Error, Limits};
use peak_alloc::PeakAlloc;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use support::{Random, open, rows, write};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn files() -> Vec<Bytes> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::LZ4,
    ];
    let rows = rows(200);
    let mut files = Vec::new();
    for (index, codec) in codecs.into_iter().enumerate() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let mut properties = WriterProperties::builder()
                .set_compression(codec)
                .set_writer_version(version)
                .set_dictionary_enabled(index % 2 == 1)
                .set_max_row_group_row_count(Some(120))
                .set_data_page_row_count_limit(50)
                .set_write_batch_size(50);
            if index == 0 {
                properties = properties.set_encoding(Encoding::DELTA_BYTE_ARRAY);
                for path in ["small", "big", "float", "flag", "numbers.list.item", "moment"] {
                    let path = parquet::schema::types::ColumnPath::new(path.split('.').map(String::from).collect());
                    properties = properties.set_column_encoding(path, Encoding::PLAIN);
                }
            }
            files.push(write(&rows, properties));
        }
    }
    files
}

/// What stands between the footer's end and the file's.
const TAIL: usize = 8;

fn footer_start(file: &[u8]) -> usize {
    let tail = file.len() - TAIL;
    tail - u32::from_le_bytes(file[tail..tail + 4].try_into().unwrap()) as usize
}

/// Reads everything. Pages must come, or an error; panics are for the decoders of their contents alone.
fn survive(file: Bytes) -> bool {
    let limits = Limits { page_bytes: 4 << 20, page_values: 1 << 16, record_values: 1 << 12, ..Limits::default() };
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
    for file in files().iter().skip(2).take(2) {
        assert!(survive(file.clone()));
        for length in 0..file.len() {
            assert!(open(Arc::new(file.slice(..length)), Limits::default()).is_err(), "cut at {length}");
        }
        // The footer stays; the data before it ends too early, or begins too late.
        let start = footer_start(file);
        let groups = open(Arc::new(file.clone()), Limits::default()).unwrap();
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
    for file in files() {
        let groups = open(Arc::new(file), Limits::default()).unwrap();
        let column = groups.metadata.row_group(0).column(1).clone();
        let size = column.compressed_size();
        for shorter in [size - 1, size / 2, 10, 1, 0] {
            let column = column.clone().into_builder().set_total_compressed_size(shorter).build().unwrap();
            let pages = parquetpages::ColumnPages::new(groups.source.clone(), &column, groups.limits).unwrap();
            let error = pages.take(100).find_map(Result::err).expect("an error");
            assert!(matches!(Error::from(error), Error::Malformed(_)), "{shorter} of {size}");
        }
    }
}

fn change(random: &mut Random, file: &mut Vec<u8>, others: &[Bytes]) {
    // The footer is small and matters much.
    let start = if random.below(2) == 0 { footer_start(file) } else { 0 };
    let place = start + random.below(file.len() - start);
    match random.below(8) {
        0 => file[place] = 0xff,
        1 => file[place] = 0x7f,
        2 => file[place] = 0,
        3 | 4 => file[place] ^= 1 << random.below(8),
        5 => {
            for byte in file[place..].iter_mut().take(1 + random.below(8)) {
                *byte = random.next() as u8;
            }
        }
        6 => {
            let other = &others[random.below(others.len())];
            let from = random.below(other.len());
            let piece = &other[from..(from + 1 + random.below(64)).min(other.len())];
            for (byte, new) in file[place..].iter_mut().zip(piece) {
                *byte = *new;
            }
        }
        _ => {
            let from = random.below(file.len());
            let piece = file[from..(from + 1 + random.below(64)).min(file.len())].to_vec();
            let until = (place + random.below(64)).min(file.len());
            file.splice(place..until, piece);
        }
    }
}

#[test]
fn changed_at_random() {
    quietly();
    let files = files();
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
