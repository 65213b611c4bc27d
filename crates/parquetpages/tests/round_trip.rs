//! Files of the `parquet` crate's writer, read through this crate and by that crate's own reader.

mod support;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::column::page::{Page, PageReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use parquetpages::{ColumnPages, Limits, Source};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::{open, rows, write};

const CODECS: [fn() -> Compression; 7] = [
    || Compression::UNCOMPRESSED,
    || Compression::SNAPPY,
    || Compression::GZIP(GzipLevel::default()),
    || Compression::BROTLI(BrotliLevel::default()),
    || Compression::ZSTD(ZstdLevel::default()),
    || Compression::LZ4_RAW,
    || Compression::LZ4,
];

fn expected(file: &Bytes, batch: usize) -> Vec<RecordBatch> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    reader.with_batch_size(batch).build().unwrap().collect::<Result<_, _>>().unwrap()
}

fn same(file: &Bytes, batch: usize, limits: Limits) {
    let groups = open(Arc::new(file.clone()), limits).unwrap();
    let (actual, expected) = (groups.batches(batch).unwrap(), expected(file, batch));
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(&expected) {
        assert_eq!(actual.columns(), expected.columns());
    }
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(700))
        .set_data_page_row_count_limit(200)
        .set_write_batch_size(50)
}

#[test]
fn every_codec_page_version_and_dictionary() {
    let rows = rows(1500);
    for codec in CODECS {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                let properties = properties()
                    .set_compression(codec())
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary);
                same(&write(&rows, properties), 256, Limits::default());
            }
        }
    }
}

#[test]
fn every_encoding_of_byte_arrays() {
    let rows = rows(1500);
    for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let mut properties = properties().set_dictionary_enabled(false).set_writer_version(version);
            for path in ["text", "binary", "record.name"] {
                properties = properties
                    .set_column_encoding(ColumnPath::new(path.split('.').map(String::from).collect()), encoding);
            }
            same(&write(&rows, properties), 100, Limits::default());
        }
    }
}

#[test]
fn windows_of_every_size() {
    let rows = rows(300);
    // Long statistics make for long headers.
    let properties = properties()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(100);
    let file = write(&rows, properties);
    for window_bytes in [1, 2, 7, 31, 64, 100, 1000, 100_000] {
        same(&file, 1000, Limits { window_bytes, ..Limits::default() });
    }
}

#[test]
fn no_rows_and_no_columns() {
    let file = write(&rows(1).slice(0, 0), WriterProperties::builder());
    same(&file, 10, Limits::default());
    let none = RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty()));
    let file = write(&none, WriterProperties::builder());
    let groups = open(Arc::new(file), Limits::default()).unwrap();
    assert_eq!(groups.pages().unwrap(), 0);
}

/// Counts what is read.
struct Counting {
    file: Bytes,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    last: Mutex<(u64, usize)>,
}

impl Source for Counting {
    fn length(&self) -> u64 {
        self.file.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length, Ordering::Relaxed);
        *self.last.lock().unwrap() = (offset, length);
        Source::read(&self.file, offset, length)
    }
}

#[test]
fn few_requests_and_nothing_twice() {
    let properties = WriterProperties::builder().set_dictionary_enabled(false).set_data_page_row_count_limit(1000);
    let file = write(&rows(50_000), properties);
    let source = Arc::new(Counting {
        file: file.clone(),
        requests: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        last: Mutex::default(),
    });
    let limits = Limits { window_bytes: 64 << 10, ..Limits::default() };
    let groups = open(source.clone(), limits).unwrap();
    assert_eq!(source.requests.load(Ordering::Relaxed), 1, "the footer");
    for column in groups.metadata.row_group(0).columns() {
        source.requests.store(0, Ordering::Relaxed);
        source.bytes.store(0, Ordering::Relaxed);
        let pages = ColumnPages::new(source.clone(), column, limits).unwrap();
        let values: i64 = pages.map(|page| i64::from(page.unwrap().num_values())).sum();
        assert_eq!(values, column.num_values());
        let size = column.compressed_size() as usize;
        assert_eq!(source.bytes.load(Ordering::Relaxed), size);
        assert!(source.requests.load(Ordering::Relaxed) <= size.div_ceil(limits.window_bytes), "{size}");
    }
}

#[test]
fn pages_peeked_and_skipped() {
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let file = write(&rows(700), properties().set_writer_version(version).set_compression(Compression::SNAPPY));
        let groups = open(Arc::new(file), Limits::default()).unwrap();
        let v2 = version == WriterVersion::PARQUET_2_0;
        for column in groups.metadata.row_group(0).columns() {
            let new = || ColumnPages::new(groups.source.clone(), column, groups.limits).unwrap();
            let all = new().collect::<Result<Vec<_>, _>>().unwrap();
            assert!(all.iter().filter(|page| page.is_data_page()).count() >= 4);
            for skipped in 0..all.len() {
                let mut pages = new();
                for (index, expected) in all.iter().enumerate() {
                    for _ in 0..2 {
                        let peeked = pages.peek_next_page().unwrap().unwrap();
                        assert_eq!(peeked.is_dict, expected.is_dictionary_page());
                        if expected.is_data_page() {
                            assert_eq!(peeked.num_levels, Some(expected.num_values() as usize));
                            assert_eq!(peeked.num_rows.is_some(), v2);
                        }
                    }
                    if index == skipped {
                        pages.skip_next_page().unwrap();
                        continue;
                    }
                    let page = pages.get_next_page().unwrap().unwrap();
                    assert_eq!(page.buffer(), expected.buffer());
                    assert_eq!(pages.at_record_boundary().unwrap(), index + 1 == all.len() || v2);
                }
                assert!(pages.peek_next_page().unwrap().is_none());
                assert!(pages.get_next_page().unwrap().is_none());
                pages.skip_next_page().unwrap();
                let deferred = pages.take_deferred_dictionary().unwrap();
                match (&all[skipped], deferred) {
                    (Page::DictionaryPage { buf, .. }, Some(page)) => assert_eq!(page.buffer(), buf),
                    (Page::DictionaryPage { .. }, None) => panic!("the dictionary is lost"),
                    (_, deferred) => assert!(deferred.is_none()),
                }
                assert!(pages.take_deferred_dictionary().unwrap().is_none());
            }
        }
    }
}

/// Files of other writers: PARQUETPAGES_FILES=directory cargo test -p parquetpages -- --ignored
#[test]
#[ignore = "needs a directory of files"]
fn files_of_others() {
    let directory = std::env::var_os("PARQUETPAGES_FILES").expect("PARQUETPAGES_FILES names a directory");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            println!("{}", path.display());
            same(&std::fs::read(path).unwrap().into(), 5000, Limits { window_bytes: 100_000, ..Limits::default() });
        }
    }
}
