//! Files that nobody wrote by mistake. Each asks for what no process can give; what it gets is an error, in words, and
//! not much memory.

mod support;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::column::page::PageReader;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::WriterProperties;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;
use parquetpages::{ColumnPages, Error, Limits, Reports, Source, read_metadata};
use peak_alloc::PeakAlloc;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use support::{Struct, file, limits, open, varint, write, zigzag};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What one test takes must not be seen by another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const MB: usize = 1 << 20;

struct Budget {
    before: usize,
    limit: usize,
}

impl Budget {
    fn of(limit: usize) -> Self {
        MEMORY.reset_peak_usage();
        Budget { before: MEMORY.current_usage(), limit }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let taken = MEMORY.peak_usage().saturating_sub(self.before);
        if !std::thread::panicking() {
            assert!(taken <= self.limit, "{taken} bytes of memory were taken, more than {}", self.limit);
        }
    }
}

fn element(name: &str, children: i32) -> Struct {
    Struct::new().i32(3, 0).text(4, name).i32(5, children)
}

fn leaf(name: &str) -> Struct {
    Struct::new().i32(1, 1).i32(3, 0).text(4, name)
}

fn chunk(metadata: Struct) -> Struct {
    Struct::new().i64(2, 4).structure(3, metadata)
}

/// A chunk of 10 numbers in 40 bytes at the beginning of the file.
fn column(physical: i32, codec: i32, values: i64, size: i64, offset: i64) -> Struct {
    Struct::new()
        .i32(1, physical)
        .list(2, 5, 1, &zigzag(0))
        .list(3, 8, 1, &[1, b'a'])
        .i32(4, codec)
        .i64(5, values)
        .i64(6, size)
        .i64(7, size)
        .i64(9, offset)
}

fn sound() -> Struct {
    column(1, 0, 10, 40, 4)
}

fn footer_of(schema: Vec<Struct>, rows: i64, groups: Vec<Struct>) -> Struct {
    Struct::new().i32(1, 2).structures(2, schema).i64(3, rows).structures(4, groups)
}

fn group(chunks: Vec<Struct>, rows: i64) -> Struct {
    Struct::new().structures(1, chunks).i64(2, 40).i64(3, rows)
}

fn footer(chunks: Vec<Struct>) -> Struct {
    footer_of(vec![element("root", 1), leaf("a")], 10, vec![group(chunks, 10)])
}

fn footer_error(footer: Struct) -> Error {
    let file = file(&[0; 40], &footer.end());
    read_metadata(&file, &limits()).map(drop).expect_err("this footer is not sound")
}

#[track_caller]
fn malformed(footer: Struct, part: &str) {
    match footer_error(footer) {
        Error::Malformed(text) if text.contains(part) => {}
        other => panic!("{other:?} instead of {part}"),
    }
}

#[track_caller]
fn too_large(footer: Struct, part: &str) {
    match footer_error(footer) {
        Error::TooLarge(text) if text.contains(part) => {}
        other => panic!("{other:?} instead of {part}"),
    }
}

#[test]
fn a_sound_footer() {
    let _alone = alone();
    let bytes = file(&[0; 40], &footer(vec![chunk(sound())]).end());
    let metadata = read_metadata(&bytes, &limits()).unwrap();
    assert_eq!(metadata.row_group(0).column(0).num_values(), 10);
}

#[test]
fn not_a_parquet_file() {
    let _alone = alone();
    for bytes in [&b""[..], b"PAR1", b"PAR1\0\0\0\0PAR", &[0; 100]] {
        assert!(matches!(read_metadata(&Bytes::copy_from_slice(bytes), &limits()), Err(Error::NotParquet)));
    }
    for length in [0, 93, 1000, u32::MAX] {
        let bytes: Bytes = [&b"PAR1"[..], &[0; 88], &length.to_le_bytes(), b"PAR1"].concat().into();
        assert!(matches!(read_metadata(&bytes, &limits()), Err(Error::Malformed(_))), "{length}");
    }
    let bytes = file(&[0; 1000], &footer(vec![chunk(sound())]).end());
    let limits = Limits { footer_bytes: 20, ..limits() };
    assert!(matches!(read_metadata(&bytes, &limits), Err(Error::TooLarge(_))));
}

#[test]
fn encrypted() {
    let _alone = alone();
    let mut bytes = file(&[0; 40], &footer(vec![chunk(sound())]).end()).to_vec();
    let end = bytes.len();
    bytes[end - 1] = b'E';
    assert!(matches!(read_metadata(&Bytes::from(bytes), &limits()), Err(Error::Encrypted)));
    let with_key = footer(vec![chunk(sound()).structure(8, Struct::new())]);
    assert!(matches!(footer_error(with_key), Error::Encrypted));
    let algorithm = footer(vec![chunk(sound())]).structure(8, Struct::new().structure(1, Struct::new()));
    assert!(matches!(footer_error(algorithm), Error::Encrypted));
}

#[test]
fn nested_a_hundred_thousand_times() {
    let _alone = alone();
    let _budget = Budget::of(32 * MB);
    // In a field that nobody knows: structures, lists, and maps.
    for byte in [0x1c, 0x19, 0x1b] {
        let footer = Struct::new().raw(15, if byte == 0x1c { 12 } else { 9 }, &vec![byte; 100_000]);
        malformed(footer, "the footer");
    }
    // In the schema.
    let mut schema: Vec<Struct> = (0..90_000).map(|_| element("g", 1)).collect();
    schema.push(leaf("a"));
    too_large(footer_of(schema, 0, Vec::new()), "nested more than 64 levels");
    let schema = |depth: usize| {
        let mut schema: Vec<Struct> = (0..depth).map(|_| element("g", 1)).collect();
        schema.push(leaf("a"));
        footer_of(schema, 10, vec![group(vec![chunk(sound())], 10)])
    };
    let bytes = file(&[0; 40], &schema(64).end());
    assert!(read_metadata(&bytes, &limits()).is_ok());
    too_large(schema(65), "nested more than 64 levels");
}

#[test]
fn lists_longer_than_the_file() {
    let _alone = alone();
    let _budget = Budget::of(MB);
    for count in [100, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, u64::MAX] {
        for id in [2, 4, 5, 7] {
            let start = if id == 4 { Struct::new().structures(2, vec![element("r", 0)]) } else { Struct::new() };
            malformed(start.list(id, 12, count, &[0]), "the footer");
        }
    }
}

#[test]
fn schemas_that_are_no_tree() {
    let _alone = alone();
    let of = |schema| footer_of(schema, 0, Vec::new());
    malformed(of(vec![]), "empty");
    malformed(of(vec![element("r", 3), leaf("a")]), "fewer elements");
    malformed(of(vec![element("r", i32::MAX), leaf("a")]), "fewer elements");
    malformed(of(vec![element("r", 1), element("g", i32::MAX), leaf("a")]), "2147483647 fields");
    malformed(of(vec![element("r", -1), leaf("a")]), "-1 fields");
    malformed(of(vec![element("r", 1), leaf("a"), leaf("b")]), "outside its root");
    malformed(of(vec![element("r", 1), Struct::new().i32(1, 8).i32(3, 0).text(4, "a")]), "physical type 8");
    malformed(of(vec![element("r", 1), Struct::new().i32(1, 7).i32(3, 0).text(4, "a")]), "values of 0 bytes");
    malformed(of(vec![element("r", 1), Struct::new().i32(1, 7).i32(2, -5).i32(3, 0).text(4, "a")]), "values of -5");
    too_large(of(vec![element("r", 1), Struct::new().i32(1, 7).i32(2, i32::MAX).i32(3, 0).text(4, "a")]), "2147483647");
    malformed(of(vec![element("r", 1), Struct::new().i32(1, 1)]), "no name");
    too_large(of((0..100_001).map(|_| leaf("a")).collect()), "100001 elements");
}

#[test]
fn paths_much_longer_than_the_schema() {
    let _alone = alone();
    let _budget = Budget::of(150 * MB);
    // 50,000 columns, each of which repeats the megabyte of the group's name.
    let mut schema = vec![element("r", 1), element(&"g".repeat(MB), 50_000)];
    schema.extend((0..50_000).map(|_| leaf("a")));
    too_large(footer_of(schema, 0, Vec::new()), "memory");
}

#[test]
fn more_metadata_than_footer() {
    let _alone = alone();
    let _budget = Budget::of(64 * MB);
    let pairs = (0..100_000).map(|_| Struct::new().text(1, "")).collect();
    let footer = footer_of(vec![element("r", 0)], 0, vec![]).structures(5, pairs).end();
    let limits = Limits { metadata_bytes: 10 * MB, ..limits() };
    assert!(matches!(read_metadata(&file(&[], &footer), &limits), Err(Error::TooLarge(_))));
    assert!(read_metadata(&file(&[], &footer), &support::limits()).is_ok());
}

#[test]
fn fields_of_other_types() {
    let _alone = alone();
    // Read as what the format says, each would be something else: a list in place of a number, and so on.
    malformed(Struct::new().i32(2, 5), "another type");
    malformed(Struct::new().structures(2, vec![leaf("a").text(5, "a")]), "another type");
    malformed(footer(vec![Struct::new().i64(2, 4).i64(3, 1)]), "another type");
}

/// What nobody knows, and what no value is read by, may be of any type.
#[test]
fn fields_of_no_interest() {
    let _alone = alone();
    let others = |structure: Struct| structure.raw(30, 9, &[0x22, 1, 2]).raw(31, 13, &[0; 16]).raw(32, 10, &[0x15, 0]);
    let column = others(sound().raw(12, 8, &[1, b'x']));
    let chunk = others(Struct::new().text(2, "?").structure(3, column).text(4, "?"));
    let group = others(Struct::new().structures(1, vec![chunk]).i64(2, 40).i64(3, 10).text(5, "?").raw(7, 7, &[0; 8]));
    let leaf = others(leaf("a").text(10, "String"));
    let footer = others(footer_of(vec![element("r", 1), leaf], 10, vec![group]).list(5, 5, 2, &[2, 4]));
    assert_eq!(read_metadata(&file(&[0; 40], &footer.end()), &limits()).unwrap().row_group(0).num_rows(), 10);
}

/// Sizes that nothing is read by may be what a writer with too few bits made of them.
#[test]
fn sizes_below_zero() {
    let _alone = alone();
    let metadata = Struct::new().i32(1, 1).i32(4, 0).i64(5, 10).i64(6, -40).i64(7, 40).i64(9, 4);
    let chunk = chunk(metadata);
    let group = Struct::new().structures(1, vec![chunk]).i64(2, -40).i64(3, 10);
    let footer = footer_of(vec![element("r", 1), leaf("a")], 10, vec![group]);
    let group = read_metadata(&file(&[0; 40], &footer.end()), &limits()).unwrap().row_group(0).clone();
    assert_eq!((group.total_byte_size(), group.column(0).uncompressed_size()), (0, 0));
}

#[test]
fn column_chunks_that_cannot_be() {
    let _alone = alone();
    let footer = |metadata| footer(vec![chunk(metadata)]);
    malformed(footer(column(2, 0, 10, 40, 4)), "physical type");
    malformed(footer(column(1, 0, -10, 40, 4)), "-10");
    malformed(footer(column(1, 0, 11, 40, 4)), "11 values for 10 rows");
    malformed(footer(column(1, 0, 10, -40, 4)), "-40");
    malformed(footer(column(1, 0, 10, 41, 4)), "41 bytes at offset 4");
    malformed(footer(column(1, 0, 10, 40, 3)), "offset 3");
    malformed(footer(column(1, 0, 10, 40, -4)), "-4");
    malformed(footer(column(1, 0, 10, 40, i64::MAX)), "offset");
    malformed(footer(column(1, 0, 10, i64::MAX, 4)), "offset");
    assert!(matches!(footer_error(footer(column(1, 8, 10, 40, 4))), Error::Unsupported(_)));
    let elsewhere = Struct::new().text(1, "part-2.parquet").i64(2, 4).structure(3, sound());
    assert!(matches!(footer_error(self::footer(vec![elsewhere])), Error::Unsupported(_)));
    malformed(self::footer(vec![]), "0 column chunks for 1 columns");
    malformed(self::footer(vec![chunk(sound()), chunk(sound())]), "2 column chunks");
    malformed(self::footer(vec![Struct::new().i64(2, 4)]), "not described");
    let schema = || vec![element("r", 1), leaf("a")];
    malformed(footer_of(schema(), 11, vec![group(vec![chunk(sound())], 10)]), "said to have 11 rows");
    malformed(footer_of(schema(), 10, vec![group(vec![chunk(sound())], -10)]), "-10");
    let endless = || group(vec![chunk(column(1, 0, i64::MAX, 40, 4))], i64::MAX);
    malformed(footer_of(schema(), -2, vec![endless(), endless()]), "-2");
    malformed(footer_of(schema(), 1, vec![endless(), endless()]), "rows");
}

/// One chunk, made of such pages.
fn chunk_of(schema: &str, codec: Compression, values: i64, pages: &[u8]) -> Result<ColumnPages, Error> {
    let schema = SchemaDescriptor::new(Arc::new(parse_message_type(&format!("message m {{ {schema}; }}")).unwrap()));
    let column = ColumnChunkMetaData::builder(schema.column(0))
        .set_compression(codec)
        .set_num_values(values)
        .set_data_page_offset(4)
        .set_total_compressed_size(pages.len() as i64)
        .set_total_uncompressed_size(pages.len() as i64)
        .build()
        .unwrap();
    let file = file(pages, &[]);
    let limits = Limits { page_bytes: 32 * MB, ..limits() };
    ColumnPages::new(Arc::new(file), &column, limits)
}

fn chunk_error(schema: &str, codec: Compression, values: i64, pages: &[u8]) -> Error {
    match chunk_of(schema, codec, values, pages) {
        Ok(pages) => pages.take(100).find_map(Result::err).expect("an error").into(),
        Err(error) => error,
    }
}

fn sizes(page_type: i32, decompressed: i64, compressed: i64) -> Struct {
    Struct::new().i32(1, page_type).raw(2, 5, &zigzag(decompressed)).raw(3, 5, &zigzag(compressed))
}

fn data_header(values: i32, encoding: i32) -> Struct {
    Struct::new().i32(1, values).i32(2, encoding).i32(3, 3).i32(4, 3)
}

/// A data page with such a header.
fn data(decompressed: i64, compressed: i64, values: i32, body: &[u8]) -> Vec<u8> {
    [&sizes(0, decompressed, compressed).structure(5, data_header(values, 0)).end()[..], body].concat()
}

const COLUMN: &str = "required int32 a";

#[test]
fn bombs() {
    let _alone = alone();
    let zeros = vec![0_u8; 40 * MB];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::bulk::compress(&zeros, 3).unwrap();
    let mut brotli = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 1, ..Default::default() };
    brotli::BrotliCompress(&mut &zeros[..], &mut brotli, &parameters).unwrap();
    let snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    let lz4 = lz4_flex::block::compress(&zeros);
    drop(zeros);
    let codecs = [
        (Compression::GZIP(GzipLevel::default()), gzip),
        (Compression::ZSTD(ZstdLevel::default()), zstd),
        (Compression::BROTLI(BrotliLevel::default()), brotli),
        (Compression::SNAPPY, snappy),
        (Compression::LZ4_RAW, lz4.clone()),
        (Compression::LZ4, lz4),
    ];
    for (codec, body) in &codecs {
        // All of it is declared: more than a page may have.
        let page = data(40 * MB as i64, body.len() as i64, 10, body);
        assert!(matches!(chunk_error(COLUMN, *codec, 10, &page), Error::TooLarge(_)), "{codec}");
        // A little of it is declared, and no more than that is made of it.
        let page = data(1000, body.len() as i64, 10, body);
        // Brotli's window is as large as a block says that it is.
        let _budget = Budget::of(2 * page.len() + 20 * MB);
        assert!(matches!(chunk_error(COLUMN, *codec, 10, &page), Error::Malformed(_)), "{codec}");
    }
    for (codec, body) in &codecs {
        // Much is declared, and little is there.
        let body = &body[..100];
        let page = data(31 * MB as i64, body.len() as i64, 10, body);
        let _budget = Budget::of(40 * MB);
        assert!(matches!(chunk_error(COLUMN, *codec, 10, &page), Error::Malformed(_)), "{codec}");
    }
    // Snappy and LZ4 say or imply sizes of their own.
    let huge = [&varint(u32::MAX.into())[..], &[0; 10]].concat();
    for declared in [100, 30 * MB as i64] {
        let _budget = Budget::of(2 * MB);
        let page = data(declared, huge.len() as i64, 10, &huge);
        assert!(matches!(chunk_error(COLUMN, Compression::SNAPPY, 10, &page), Error::Malformed(_)));
    }
}

#[test]
fn headers_of_pages_that_cannot_be() {
    let _alone = alone();
    let _budget = Budget::of(8 * MB);
    let codec = Compression::UNCOMPRESSED;
    let body = [0; 40];
    let good = data(40, 40, 10, &body);
    assert_eq!(chunk_of(COLUMN, codec, 10, &good).unwrap().filter(Result::is_ok).count(), 1);
    let wrong = [
        ("less than a page needs", sizes(0, 40, 40).end()),
        ("less than a page needs", Struct::new().i32(1, 0).i32(2, 40).end()),
        ("11 values", data(40, 40, 11, &body)),
        ("-1 values", data(40, 40, -1, &body)),
        ("41 bytes, but the column chunk has only 40 more", data(40, 41, 10, &body)),
        ("-40", data(40, -40, 10, &body)),
        ("-40", data(-40, 40, 10, &body)),
        ("instead of 39", data(39, 40, 10, &body)),
        ("more than 32 bits", data(1 << 32, 40, 10, &body)),
        ("unknown encoding", sizes(0, 40, 40).structure(5, data_header(10, 1)).end()),
        ("twice", vec![0x15, 0, 0x05, 2, 0, 0]),
        ("ends inside its header", vec![0x15, 0, 0x15]),
        ("too deeply", sizes(0, 40, 40).raw(15, 12, &[0x1c; 100_000]).end()),
        ("after 0 of 10 values", Vec::new()),
        ("after 5 of 10 values", data(20, 20, 5, &body[..20])),
        ("after 0 of 10 values", sizes(1, 40, 40).structure(6, Struct::new()).end().into_iter().chain(body).collect()),
        ("after 0 of 10 values", data(0, 0, 0, &[])),
        (
            "checksum",
            sizes(0, 40, 40).i32(4, 7).structure(5, data_header(10, 0)).end().into_iter().chain(body).collect(),
        ),
    ];
    for (text, pages) in wrong {
        let error = chunk_error(COLUMN, codec, 10, &pages);
        assert!(matches!(&error, Error::Malformed(_)) && error.to_string().contains(text), "{error} instead of {text}");
        assert!(error.to_string().contains("column \"a\": page at byte "), "{error}");
    }
    let unknown = sizes(4, 40, 40).end();
    assert!(matches!(chunk_error(COLUMN, codec, 10, &[&unknown[..], &body].concat()), Error::Unsupported(_)));
    assert!(matches!(chunk_error(COLUMN, Compression::LZO, 10, &good), Error::Unsupported(_)));
    let many = data(40, 40, i32::MAX, &body);
    assert!(matches!(chunk_error(COLUMN, codec, i64::MAX, &many), Error::TooLarge(_)));
    // A statistic without end.
    let long = sizes(0, 40, 40).structure(5, data_header(10, 0).raw(5, 12, &[0x18, 0xff, 0xff, 0xff, 0xff, 0x07]));
    assert!(matches!(chunk_error(COLUMN, codec, 10, &long.end()), Error::Malformed(_)));
}

#[test]
fn checksums_count() {
    let _alone = alone();
    let body = [3; 40];
    let header = |crc: u32| sizes(0, 40, 40).i32(4, crc as i32).structure(5, data_header(10, 0)).end();
    let crc = crc32fast::hash(&body);
    let read = |crc| {
        let page = [&header(crc)[..], &body].concat();
        chunk_of(COLUMN, Compression::UNCOMPRESSED, 10, &page).unwrap().next().unwrap().is_ok()
    };
    assert!(read(crc));
    assert!(!read(crc ^ 1));
}

#[test]
fn pages_between_others() {
    let _alone = alone();
    // An index, a page of an unknown kind of field, a page without values: the decoders would take that for the end.
    let (body, index) = ([0; 20], sizes(1, 3, 3).structure(6, Struct::new()));
    let pages = [
        index.end(),
        vec![1, 2, 3],
        data(20, 20, 5, &body),
        data(0, 0, 0, &[]),
        data(20, 20, 5, &body),
        b"what follows is of no interest".to_vec(),
    ];
    let pages = chunk_of(COLUMN, Compression::UNCOMPRESSED, 10, &pages.concat()).unwrap();
    assert_eq!(pages.map(|page| page.unwrap().num_values()).collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn version_2() {
    let _alone = alone();
    let page = |values: i32, nulls: i32, rows: i32, definition: i32, repetition: i32| {
        let header =
            Struct::new().i32(1, values).i32(2, nulls).i32(3, rows).i32(4, 0).i32(5, definition).i32(6, repetition);
        [&sizes(3, 40, 40).structure(8, header).end()[..], &[0; 40]].concat()
    };
    let pages = |page: &[u8]| chunk_of(COLUMN, Compression::SNAPPY, 10, page).unwrap().next().unwrap();
    let levels = page(10, 0, 10, 40, 0);
    assert!(pages(&levels).is_ok_and(|page| page.buffer().len() == 40), "levels are not compressed");
    for wrong in [
        page(10, 11, 10, 0, 0),
        page(10, -1, 10, 0, 0),
        page(10, 0, 11, 0, 0),
        page(10, 0, -1, 0, 0),
        page(10, 0, 10, 41, 0),
        page(10, 0, 10, 20, 21),
        page(10, 0, 10, i32::MAX, i32::MAX),
        page(10, 0, 10, -1, 10),
        page(10, 0, 10, 10, -1),
        page(11, 0, 10, 0, 0),
    ] {
        assert!(pages(&wrong).is_err());
    }
}

#[test]
fn dictionaries_larger_than_their_page() {
    let _alone = alone();
    let _budget = Budget::of(8 * MB);
    let page = |values: i32| {
        let header = Struct::new().i32(1, values).i32(2, 0).bool(3, false);
        [&sizes(2, 40, 40).structure(7, header).end()[..], &[0; 40]].concat()
    };
    let types = [
        ("required int32 a", 10),
        ("required int64 a", 5),
        ("required int96 a", 3),
        ("required double a", 5),
        ("required binary a", 10),
        ("required fixed_len_byte_array(7) a", 5),
        ("required boolean a", -1),
    ];
    for (schema, most) in types {
        let first = |values| chunk_of(schema, Compression::UNCOMPRESSED, 10, &page(values)).unwrap().next().unwrap();
        assert!(most < 0 || first(most).is_ok(), "{schema}");
        for values in [most + 1, i32::MAX, -1] {
            assert!(first(values).is_err(), "{schema}");
        }
    }
    for second in [page(10), [data(20, 20, 5, &[0; 20]), page(10)].concat()] {
        let pages = [page(10), second].concat();
        let error = chunk_error(COLUMN, Compression::UNCOMPRESSED, 10, &pages);
        assert!(error.to_string().contains("not the first page"), "{error}");
    }
}

#[test]
fn byte_arrays_without_end() {
    let _alone = alone();
    let _budget = Budget::of(8 * MB);
    let lengths = |count: u64, length: i64| [varint(128), varint(4), varint(count), zigzag(length)].concat();
    let page = |encoding: i32, values: i32, body: &[u8]| {
        let size = body.len() as i64;
        [&sizes(0, size, size).structure(5, data_header(values, encoding)).end()[..], body].concat()
    };
    let mut wrong = Vec::new();
    for count in [11, 1 << 40, 1 << 62, u64::MAX] {
        wrong.push(page(6, 10, &lengths(count, 1)));
        wrong.push(page(7, 10, &lengths(count, 1)));
        wrong.push(page(7, 10, &[lengths(1, 0), lengths(count, 1)].concat()));
    }
    for pages in &wrong {
        for schema in ["required binary a", "required fixed_len_byte_array(8) a"] {
            let error = chunk_error(schema, Compression::UNCOMPRESSED, 10, pages);
            assert!(matches!(error, Error::Malformed(_)), "{error}");
        }
    }
    // A thousand values that are a million bytes each, of which all but one are a prefix.
    let same = |length| [lengths(1000, length), [0; 5].repeat(8)].concat();
    let body = [same(1_000_000), same(0)].concat();
    let error = chunk_error("required binary a", Compression::UNCOMPRESSED, 1000, &page(7, 1000, &body));
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}

/// Parquet's Java library before 1.8 did not begin anew with each page.
#[test]
fn pages_that_go_on_from_one_that_was_not_read() {
    let lengths = |length: i64| [varint(128), varint(4), varint(1), zigzag(length)].concat();
    let page = |prefix: i64, own: &[u8]| {
        let body = [lengths(prefix), lengths(own.len() as i64), own.to_vec()].concat();
        let size = body.len() as i64;
        [sizes(0, size, size).structure(5, data_header(1, 7)).end(), body].concat()
    };
    let chunk = [page(0, b"ax"), page(1, b"y"), page(2, b"z")].concat();
    let open = |writer: Option<&str>| {
        let pages = chunk_of("required binary a", Compression::UNCOMPRESSED, 3, &chunk);
        pages.unwrap_or_else(|error| panic!("{error}")).written_by(writer)
    };
    for writer in [None, Some("parquet-mr"), Some("parquet-mr version 1.6.0rc7 (build 1)")] {
        let read = open(writer).map(|page| page.unwrap().buffer().to_vec()).collect::<Vec<_>>();
        assert_eq!(read[1..], [b"\x02\0\0\0ay".to_vec(), b"\x03\0\0\0ayz".to_vec()]);
        let mut pages = open(writer);
        pages.get_next_page().unwrap();
        pages.skip_next_page().unwrap();
        assert!(pages.get_next_page().unwrap_err().to_string().contains("bytes of the one before"));
    }
    for writer in ["parquet-mr version 1.8.0", "parquet-mr version 1.10.1 (build 1)", "parquet-cpp version 1.5.0"] {
        let mut pages = open(Some(writer));
        pages.get_next_page().unwrap();
        assert!(pages.get_next_page().unwrap_err().to_string().contains("bytes of the one before"));
    }
}

#[test]
fn rows_without_end() {
    let _alone = alone();
    let _budget = Budget::of(8 * MB);
    // Pages of a run of 60 million elements each, all of one row.
    const RUN: u64 = 60_000_000;
    let run = [varint(RUN << 1), vec![1]].concat();
    let levels = [&(run.len() as u32).to_le_bytes()[..], &run].concat();
    let body = [&levels[..], &levels].concat();
    let size = body.len() as i64;
    let page = data(size, size, RUN as i32, &body);
    let error = chunk_error("repeated int32 a", Compression::UNCOMPRESSED, 100 * RUN as i64, &page.repeat(100));
    assert!(
        matches!(&error, Error::TooLarge(text) if text.contains("row 1 of the row group has more than")),
        "{error}"
    );
}

/// A file of one row group, whose columns are alike and have the same page; reads its rows.
fn read_alike(
    leaf: impl Fn() -> Struct,
    columns: i32,
    rows: i64,
    page: (i32, i32, &[u8]),
    limits: Limits,
) -> Result<usize, Error> {
    let (physical, values, body) = page;
    let page = data(body.len() as i64, body.len() as i64, values, body);
    let size = page.len() as i64;
    let chunks = (0..columns).map(|index| chunk(column(physical, 0, values.into(), size, 4 + i64::from(index) * size)));
    let schema = std::iter::once(element("root", columns)).chain((0..columns).map(|_| leaf())).collect();
    let footer = footer_of(schema, rows, vec![group(chunks.collect(), rows)]);
    support::read_rows(file(&page.repeat(columns as usize), &footer.end()), limits)
}

/// A page of version 1 whose values are all NULL.
fn nulls(values: u64) -> Vec<u8> {
    let run = [varint(values << 1), vec![0]].concat();
    [&(run.len() as u32).to_le_bytes()[..], &run].concat()
}

/// NULL takes the length of its type: once, in a row of many columns, and in a row of many values.
#[test]
fn nulls_of_long_types() {
    let _alone = alone();
    const LENGTH: i32 = MB as i32;
    let optional = || Struct::new().i32(1, 7).i32(2, LENGTH).i32(3, 1).text(4, "a");
    {
        // A million rows of it, one after the other.
        let _budget = Budget::of(64 * MB);
        let body = nulls(1000);
        assert_eq!(read_alike(optional, 1, 1000, (7, 1000, &body), limits()).unwrap(), 1000);
    }
    let _budget = Budget::of(64 * MB);
    let limits = Limits { row_bytes: 32 * MB as u64, ..limits() };
    let error = read_alike(optional, 2000, 10, (7, 10, &nulls(10)), limits).unwrap_err();
    assert!(matches!(&error, Error::TooLarge(text) if text.contains("row 1 of the row group")), "{error}");
    let repeated = || Struct::new().i32(1, 7).i32(2, LENGTH).i32(3, 2).text(4, "a");
    // One row of a million values, the first of which begins it.
    let levels = [varint(1 << 1), vec![0], varint(999_999 << 1), vec![1]].concat();
    let body = [&(levels.len() as u32).to_le_bytes()[..], &levels, &nulls(1_000_000)].concat();
    let error = read_alike(repeated, 1, 1, (7, 1_000_000, &body), limits).unwrap_err();
    assert!(matches!(&error, Error::TooLarge(text) if text.contains("column \"a\"")), "{error}");
}

/// What is held of all columns together has a limit, and so has what the process can have.
#[test]
fn pages_of_many_columns() {
    let _alone = alone();
    let required = || Struct::new().i32(1, 1).i32(3, 0).text(4, "a");
    let body = [7; 4000];
    let read = |limits| read_alike(required, 100, 1000, (1, 1000, &body), limits);
    assert_eq!(read(limits()).unwrap(), 1000);
    let error = read(Limits { held_bytes: 300_000, ..limits() }).unwrap_err();
    assert!(matches!(&error, Error::TooLarge(text) if text.contains("of all columns")), "{error}");
    let error = read(Limits { memory: |bytes| bytes < 33 * MB, ..limits() }).unwrap_err();
    assert!(matches!(&error, Error::OutOfMemory(_)), "{error}");
}

/// The limits are no obstacle to what is large and sound.
#[test]
fn large_and_sound() {
    let _alone = alone();
    let text = "x".repeat(20 * MB);
    let array: arrow_array::StringArray = [Some(text.as_str()), None, Some("y")].into_iter().collect();
    let rows = RecordBatch::try_from_iter([("a", Arc::new(array) as arrow_array::ArrayRef)]).unwrap();
    for codec in [Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default()), Compression::GZIP(GzipLevel::default())]
    {
        let file = write(&rows, WriterProperties::builder().set_compression(codec));
        let batches = open(Arc::new(file), limits()).unwrap().batches(10).unwrap();
        assert!(batches[0].column(0) == rows.column(0));
    }
}

#[test]
fn a_chunk_of_no_values_may_be_anywhere() {
    let _alone = alone();
    let schema = vec![element("r", 1), leaf("a")];
    let footer = footer_of(schema, 0, vec![group(vec![chunk(column(1, 0, 0, 15, 0))], 0)]);
    assert_eq!(open(Arc::new(file(&[0; 40], &footer.end())), limits()).unwrap().pages().unwrap(), 0);
}

/// A source that is told to stop.
struct Stopped(Bytes);

impl Source for Stopped {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        if offset < 44 { Err(std::io::ErrorKind::Interrupted.into()) } else { Source::read(&self.0, offset, length) }
    }
}

#[test]
fn errors_are_kept_for_whoever_asks() {
    let _alone = alone();
    let reports = Reports::default();
    let mut pages = chunk_of(COLUMN, Compression::UNCOMPRESSED, 10, &data(40, 40, 11, &[0; 40])).unwrap();
    pages = pages.report_to(reports.clone());
    let text = pages.next().unwrap().unwrap_err().to_string();
    let kept = reports.lock().unwrap().take();
    assert!(matches!(&kept, Some(Error::Malformed(kept)) if text.contains(kept)), "{kept:?}");

    let bytes = file(&[0; 70_000], &footer(vec![chunk(sound())]).end());
    let source: Arc<dyn Source> = Arc::new(Stopped(bytes));
    let metadata = read_metadata(&*source, &limits()).unwrap();
    let column = metadata.row_group(0).column(0);
    let mut pages = ColumnPages::new(source, column, limits()).unwrap().report_to(reports.clone());
    assert!(pages.next().unwrap().is_err());
    assert!(matches!(reports.lock().unwrap().take(), Some(Error::Interrupted)));
}
