#![allow(dead_code)]
//! Files to read, and how they are read.

use arrow_array::builder::{
    BinaryBuilder, FixedSizeBinaryBuilder, Int32Builder, ListBuilder, StringBuilder, StructBuilder,
};
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Fields};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{ArrowWriter, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::column::page::{PageIterator, PageReader};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::SchemaDescriptor;
use parquetpages::{Batches, ColumnPages, Error, Limits, Source, canonical, guarded, read_metadata};
use std::sync::Arc;

/// Pseudo-random numbers, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Rows of most kinds of columns, with nulls, repetition and text that compresses.
pub fn rows(count: usize) -> RecordBatch {
    let mut random = Random(7);
    let sparse = |random: &mut Random, value: i64| (!random.next().is_multiple_of(5)).then_some(value);
    let small: Int32Array = (0..count).map(|_| Some(random.below(20) as i32)).collect();
    let big: Int64Array = (0..count)
        .map(|row| {
            let value = (row as i64) << 20 ^ random.next() as i64;
            sparse(&mut random, value)
        })
        .collect();
    let float: Float64Array = (0..count).map(|_| Some(random.below(1000) as f64 / 8.0)).collect();
    let flag: BooleanArray = (0..count).map(|_| (random.below(3) > 0).then_some(random.below(2) > 0)).collect();
    let text: StringArray =
        (0..count).map(|row| (row % 7 > 0).then(|| format!("/shop/{}/item/{}", row / 10, random.below(50)))).collect();
    let mut binary = BinaryBuilder::new();
    let mut fixed = FixedSizeBinaryBuilder::new(16);
    let mut numbers = ListBuilder::new(Int32Builder::new());
    let inner = ListBuilder::new(StringBuilder::new());
    let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let members =
        Fields::from(vec![Field::new("name", DataType::Utf8, true), Field::new("tags", DataType::List(item), true)]);
    let mut records = StructBuilder::new(members, vec![Box::new(StringBuilder::new()), Box::new(inner)]);
    for row in 0..count {
        match random.below(4) {
            0 => binary.append_null(),
            length => binary.append_value(&random.next().to_le_bytes()[..length * 2]),
        }
        if random.below(6) == 0 {
            fixed.append_null();
        } else {
            let half = random.next().to_le_bytes();
            fixed.append_value([half, half].concat()).unwrap();
        }
        for _ in 0..random.below(4) {
            numbers.values().append_option((random.below(4) > 0).then_some(row as i32));
        }
        numbers.append(random.below(5) > 0);
        let name = records.field_builder::<StringBuilder>(0).unwrap();
        name.append_value(["red", "green", "blue"][random.below(3)]);
        let tags = records.field_builder::<ListBuilder<StringBuilder>>(1).unwrap();
        for tag in 0..random.below(3) {
            tags.values().append_value(format!("tag {tag}"));
        }
        tags.append(true);
        records.append(random.below(8) > 0);
    }
    let decimal: Decimal128Array = (0..count).map(|row| Some(row as i128 * 1_000_003)).collect();
    let moment: TimestampMicrosecondArray = (0..count).map(|row| Some(row as i64 * 86_400_000)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("small", Arc::new(small)),
        ("big", Arc::new(big)),
        ("float", Arc::new(float)),
        ("flag", Arc::new(flag)),
        ("text", Arc::new(text)),
        ("binary", Arc::new(binary.finish())),
        ("fixed", Arc::new(fixed.finish())),
        ("numbers", Arc::new(numbers.finish())),
        ("record", Arc::new(records.finish())),
        ("decimal", Arc::new(decimal.with_precision_and_scale(30, 4).unwrap())),
        ("moment", Arc::new(moment)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

pub fn write(rows: &RecordBatch, properties: WriterPropertiesBuilder) -> Bytes {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties.build())).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap().into()
}

/// Files of every codec, with both versions of pages, with dictionaries and without.
pub fn every_kind(row_count: usize) -> Vec<Bytes> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::LZ4,
    ];
    let rows = rows(row_count);
    let mut files = Vec::new();
    for (index, codec) in codecs.into_iter().enumerate() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let mut properties = WriterProperties::builder()
                .set_compression(codec)
                .set_writer_version(version)
                .set_dictionary_enabled(index % 2 == 1)
                .set_max_row_group_row_count(Some(row_count * 3 / 5))
                .set_data_page_row_count_limit(row_count / 4)
                .set_write_batch_size(row_count / 4);
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
pub const TAIL: usize = 8;

pub fn footer_start(file: &[u8]) -> usize {
    let tail = file.len() - TAIL;
    tail.saturating_sub(u32::from_le_bytes(file[tail..tail + 4].try_into().unwrap()) as usize)
}

/// A small change at a random place.
pub fn change(random: &mut Random, file: &mut Vec<u8>, others: &[Bytes]) {
    // The footer is small and matters much.
    if file.len() <= TAIL {
        return;
    }
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

/// All row groups of a file, their pages found by this crate.
pub struct Groups {
    pub source: Arc<dyn Source>,
    pub metadata: ParquetMetaData,
    pub limits: Limits,
}

struct Chunks {
    readers: std::vec::IntoIter<Result<ColumnPages, Error>>,
}

impl Iterator for Chunks {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.readers.next().map(|reader| Ok(Box::new(reader?) as Box<dyn PageReader>))
    }
}

impl PageIterator for Chunks {}

impl RowGroups for Groups {
    fn num_rows(&self) -> usize {
        self.metadata.file_metadata().num_rows() as usize
    }

    fn column_chunks(&self, column: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let groups = self.metadata.row_groups().iter();
        let readers = groups
            .map(|group| ColumnPages::new(self.source.clone(), group.column(column), self.limits))
            .collect::<Vec<_>>();
        Ok(Box::new(Chunks { readers: readers.into_iter() }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The usual ones, where memory is taken and not asked for: what is asked for is given back, but would count.
pub fn limits() -> Limits {
    Limits { memory: |_| true, ..Limits::default() }
}

pub fn open(source: Arc<dyn Source>, limits: Limits) -> Result<Groups, Error> {
    let metadata = read_metadata(&*source, &limits)?;
    Ok(Groups { source, metadata, limits })
}

impl Groups {
    /// Reads all pages and decodes none.
    pub fn pages(&self) -> Result<usize, Error> {
        let mut pages = 0;
        for group in self.metadata.row_groups() {
            for column in group.columns() {
                for page in ColumnPages::new(self.source.clone(), column, self.limits)? {
                    page?;
                    pages += 1;
                }
            }
        }
        Ok(pages)
    }

    pub fn batches(&self, size: usize) -> Result<Vec<RecordBatch>, Error> {
        let schema = self.metadata.file_metadata().schema_descr();
        let levels = parquet_to_arrow_field_levels(schema, ProjectionMask::all(), None)?;
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, self, size, None)?;
        // An error of the readers comes as one of Arrow; only whether there is one counts here.
        reader.collect::<Result<_, _>>().map_err(|error| Error::Malformed(error.to_string()))
    }
}

/// Thrift's compact protocol, for what no writer would write.
#[derive(Default)]
pub struct Struct {
    bytes: Vec<u8>,
    last: i16,
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn zigzag(value: i64) -> Vec<u8> {
    varint(((value << 1) ^ (value >> 63)) as u64)
}

impl Struct {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn raw(mut self, id: i16, kind: u8, value: &[u8]) -> Self {
        match id - self.last {
            delta @ 1..16 => self.bytes.push((delta as u8) << 4 | kind),
            _ => {
                self.bytes.push(kind);
                self.bytes.extend(zigzag(id.into()));
            }
        }
        self.last = id;
        self.bytes.extend_from_slice(value);
        self
    }

    pub fn bool(self, id: i16, value: bool) -> Self {
        self.raw(id, if value { 1 } else { 2 }, &[])
    }

    pub fn i32(self, id: i16, value: i32) -> Self {
        self.raw(id, 5, &zigzag(value.into()))
    }

    pub fn i64(self, id: i16, value: i64) -> Self {
        self.raw(id, 6, &zigzag(value))
    }

    pub fn text(self, id: i16, value: &str) -> Self {
        let bytes = [&varint(value.len() as u64)[..], value.as_bytes()].concat();
        self.raw(id, 8, &bytes)
    }

    pub fn structure(self, id: i16, value: Struct) -> Self {
        self.raw(id, 12, &value.end())
    }

    pub fn list(self, id: i16, kind: u8, count: u64, elements: &[u8]) -> Self {
        let bytes = [&[0xf0 | kind][..], &varint(count), elements].concat();
        self.raw(id, 9, &bytes)
    }

    pub fn structures(self, id: i16, elements: Vec<Struct>) -> Self {
        let count = elements.len() as u64;
        let bytes: Vec<u8> = elements.into_iter().flat_map(Struct::end).collect();
        self.list(id, 12, count, &bytes)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// A file of such data and such a footer.
pub fn file(data: &[u8], footer: &[u8]) -> Bytes {
    let length = (footer.len() as u32).to_le_bytes();
    [b"PAR1", data, footer, &length, b"PAR1"].concat().into()
}

/// All rows, as the extension reads them.
pub fn read_rows(file: Bytes, limits: Limits) -> Result<usize, Error> {
    let source: Arc<dyn Source> = Arc::new(file);
    let metadata = Arc::new(read_metadata(&*source, &limits)?);
    let schema = SchemaDescriptor::new(canonical(metadata.file_metadata().schema_descr().root_schema())?);
    let hint = guarded(|| Ok(parquet_to_arrow_schema(&schema, None)?))?;
    let hint: Fields = hint.fields().iter().map(|field| as_view(field)).collect();
    let mut rows = 0;
    for group in 0..metadata.num_row_groups() {
        let levels = guarded(|| Ok(parquet_to_arrow_field_levels(&schema, ProjectionMask::all(), Some(&hint))?))?;
        let (source, leaves) = (Arc::clone(&source), 0..schema.num_columns());
        let mut batches = Batches::open(source, Arc::clone(&metadata), group, levels, leaves, limits)?;
        while let Some(batch) = batches.next()? {
            rows += batch.num_rows();
            // A row group that nobody holds against its data may be said to have any number of rows.
            if rows > 100_000 {
                return Ok(rows);
            }
        }
    }
    Ok(rows)
}

fn as_view(field: &Field) -> Field {
    let inner = |field: &Arc<Field>| Arc::new(as_view(field));
    let data_type = match field.data_type() {
        DataType::Binary => DataType::BinaryView,
        DataType::Utf8 => DataType::Utf8View,
        DataType::List(element) => DataType::List(inner(element)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| as_view(field)).collect()),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}
