//! The footer as it is stored, read without trust and without more than it must say: it is whole, its schema is one tree,
//! and its size in memory is known before it takes any. Fields that nobody knows, and those that no value is read by, such
//! as statistics, are passed over whatever their type.

use crate::Limits;
use crate::annotation::{self, Annotation};
use crate::error::{Error, Result, malformed, too_large};
use crate::thrift::{DEPTH, Fault, Field, Fields, Kind, Reader};
use parquet::basic::{Compression, Repetition, Type as Physical};
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use std::mem::size_of;
use std::sync::Arc;

pub(crate) fn decode(footer: &[u8], limits: &Limits) -> Result<ParquetMetaData> {
    let mut decoder = Decoder { reader: Reader::new(footer), limits, cost: 0 };
    decoder.spend(footer.len().saturating_mul(2))?;
    decoder.file()
}

/// What an element of the schema becomes: itself, a node of the tree, a descriptor of a column.
const ELEMENT_COST: usize = 768;
/// Allocations are rounded up.
const STRING_COST: usize = 48;
const PAIR_COST: usize = size_of::<KeyValue>() + 2 * STRING_COST;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short => Error::Malformed("the footer ends inside a value".into()),
            Fault::Bad(what) => Error::Malformed(format!("the footer holds {what}")),
        }
    }
}

/// An element of the schema, as stored.
struct Element<'a> {
    name: &'a [u8],
    physical: Option<i32>,
    length: Option<i32>,
    repetition: Option<i32>,
    children: usize,
    id: Option<i32>,
    annotation: Annotation,
}

/// A column as its chunks must be.
struct Leaf {
    name: String,
    physical: Physical,
}

struct Decoder<'a> {
    reader: Reader<'a>,
    limits: &'a Limits,
    /// Bytes of memory that what was read so far takes.
    cost: usize,
}

impl<'a> Decoder<'a> {
    /// Counts memory before it is taken.
    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.cost = self.cost.saturating_add(bytes);
        if self.cost > self.limits.metadata_bytes {
            return too_large(format!("the footer takes more than {} bytes of memory", self.limits.metadata_bytes));
        }
        self.limits.ask(bytes)
    }

    fn file(mut self) -> Result<ParquetMetaData> {
        let mut fields = Fields::default();
        let (mut version, mut rows, mut created_by, mut pairs) = (1, 0, None, None);
        let mut schema: Option<SchemaDescPtr> = None;
        let mut row_groups = None;
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => version = i32::try_from(self.reader.integer(field)?).unwrap_or(1),
                2 => schema = Some(self.schema(field)?),
                3 => rows = self.count(field, "the number of rows")?,
                4 => {
                    let Some(schema) = &schema else {
                        return malformed("the footer holds row groups before the schema");
                    };
                    row_groups = Some(self.row_groups(field, schema)?);
                }
                5 => pairs = self.pairs(field)?,
                6 if field.kind == Kind::Binary => created_by = Some(text(self.reader.binary()?)),
                // How and with which key: some column, or the signature of the footer.
                8 | 9 if matches!(field.kind, Kind::Struct | Kind::Binary) => return Err(Error::Encrypted),
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        let (Some(schema), Some(row_groups)) = (schema, row_groups) else {
            return malformed("the footer lacks the schema or the row groups");
        };
        // Writers that cannot go back to what they wrote leave it at 0.
        if rows == 0 {
            rows = row_groups.iter().fold(0, |sum: i64, group| sum.saturating_add(group.num_rows()));
        }
        let file = FileMetaData::new(version, rows, created_by, pairs, schema, None);
        Ok(ParquetMetaData::new(file, row_groups))
    }

    fn structures(&mut self, field: Field) -> Result<usize> {
        field.expect(Kind::List)?;
        let (kind, count) = self.reader.list()?;
        if count > 0 && kind != Kind::Struct {
            return malformed("the footer holds a list of another type than the format's");
        }
        Ok(count)
    }

    /// A number that cannot be negative.
    fn count(&mut self, field: Field, what: &str) -> Result<i64> {
        match self.reader.integer(field)? {
            value @ 0.. => Ok(value),
            value => malformed(format!("{what} is {value}")),
        }
    }

    /// The size of what is not read by it. Where it was reckoned with too few bits, nothing is known of it.
    fn estimate(&mut self, field: Field) -> Result<i64> {
        Ok(self.reader.integer(field)?.max(0))
    }

    /// Texts of the writer's own; what does not look like a pair is none.
    fn pairs(&mut self, field: Field) -> Result<Option<Vec<KeyValue>>> {
        if field.kind != Kind::List {
            self.reader.skip(field, DEPTH)?;
            return Ok(None);
        }
        let (kind, count) = self.reader.list()?;
        if kind != Kind::Struct {
            self.reader.skip_elements(kind, count, DEPTH)?;
            return Ok(None);
        }
        self.spend(count.saturating_mul(PAIR_COST))?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let (mut key, mut value) = (None, None);
            let mut fields = Fields::default();
            while let Some(field) = self.reader.field(&mut fields)? {
                match field.id {
                    1 if field.kind == Kind::Binary => key = Some(text(self.reader.binary()?)),
                    2 if field.kind == Kind::Binary => value = Some(text(self.reader.binary()?)),
                    _ => self.reader.skip(field, DEPTH)?,
                }
            }
            if let Some(key) = key {
                pairs.push(KeyValue { key, value });
            }
        }
        Ok(Some(pairs))
    }

    fn schema(&mut self, field: Field) -> Result<SchemaDescPtr> {
        let count = self.structures(field)?;
        if count > self.limits.schema_elements {
            return too_large(format!("the schema has {count} elements, more than {}", self.limits.schema_elements));
        }
        self.spend(count.saturating_mul(ELEMENT_COST))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(self.element()?);
        }
        self.check_tree(&elements)?;
        let mut rest = elements.iter();
        let root = rest.next().map_or(Ok(None), |root| group(root, &mut rest, true))?;
        let root = root.ok_or_else(|| Error::Malformed("the schema is empty".into()))?;
        Ok(Arc::new(SchemaDescriptor::new(root)))
    }

    fn element(&mut self) -> Result<Element<'a>> {
        let mut named = false;
        let mut element = Element {
            name: &[],
            physical: None,
            length: None,
            repetition: None,
            children: 0,
            id: None,
            annotation: Annotation::default(),
        };
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => element.physical = Some(self.number(field)?),
                2 => element.length = Some(self.number(field)?),
                3 => element.repetition = Some(self.number(field)?),
                4 => {
                    field.expect(Kind::Binary)?;
                    element.name = self.reader.binary()?;
                    named = true;
                }
                5 => {
                    let children = self.number(field)?;
                    match usize::try_from(children) {
                        Ok(children) => element.children = children,
                        Err(_) => return malformed(format!("a group of the schema has {children} fields")),
                    }
                }
                6 => element.annotation.converted = Some(self.number(field)?),
                7 => element.annotation.scale = self.number(field)?,
                8 => element.annotation.precision = self.number(field)?,
                9 => element.id = i32::try_from(self.reader.integer(field)?).ok(),
                10 if field.kind == Kind::Struct => {
                    element.annotation.logical = annotation::read_logical(&mut self.reader)?;
                }
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        if !named {
            return malformed("an element of the schema has no name");
        }
        Ok(element)
    }

    fn number(&mut self, field: Field) -> Result<i32> {
        let value = self.reader.integer(field)?;
        i32::try_from(value).map_err(|_| Error::Malformed(format!("the footer holds {value} where 32 bits are due")))
    }

    /// Checks that the elements, which are stored parents first, are one tree of a bounded depth.
    fn check_tree(&mut self, elements: &[Element]) -> Result<()> {
        let Some((root, others)) = elements.split_first() else {
            return malformed("the schema is empty");
        };
        // Groups whose fields are not complete, with the number of missing ones and the memory of the path to them.
        let mut open = vec![(root.children, 0_usize)];
        let mut paths = 0_usize;
        for (index, element) in others.iter().enumerate() {
            while open.pop_if(|(missing, _)| *missing == 0).is_some() {}
            let Some((missing, path)) = open.last_mut() else {
                return malformed("the schema has elements outside its root");
            };
            *missing -= 1;
            let path = *path + element.name.len() + STRING_COST;
            if open.len() > self.limits.schema_depth {
                return too_large(format!("the schema is nested more than {} levels deep", self.limits.schema_depth));
            }
            if element.children > others.len() - index - 1 {
                return malformed(format!(
                    "{} of the schema is said to have {} fields, more than there are",
                    name(element.name),
                    element.children
                ));
            }
            if element.children > 0 {
                open.push((element.children, path));
            } else if element.physical.is_some() {
                self.check_leaf(element)?;
                paths = paths.saturating_add(path);
            }
        }
        if open.iter().any(|(missing, _)| *missing > 0) {
            return malformed("the schema has fewer elements than its groups are said to have");
        }
        self.spend(paths)
    }

    fn check_leaf(&self, element: &Element) -> Result<()> {
        let column = || name(element.name);
        let physical = element.physical.unwrap_or_default();
        let Some(physical) = physical_type(physical) else {
            return malformed(format!("column {} has the unknown physical type {physical}", column()));
        };
        if physical == Physical::FIXED_LEN_BYTE_ARRAY {
            let length = element.length.unwrap_or(0);
            let limit = self.limits.fixed_bytes;
            if length <= 0 {
                return malformed(format!("column {} has values of {length} bytes", column()));
            } else if length as usize > limit {
                return too_large(format!("column {} has values of {length} bytes, more than {limit}", column()));
            }
        }
        Ok(())
    }

    fn row_groups(&mut self, field: Field, schema: &SchemaDescPtr) -> Result<Vec<RowGroupMetaData>> {
        let leaves: Vec<Leaf> = schema
            .columns()
            .iter()
            .map(|column| Leaf { name: name(column.name().as_bytes()), physical: column.physical_type() })
            .collect();
        let count = self.structures(field)?;
        self.spend(count.saturating_mul(size_of::<RowGroupMetaData>()))?;
        let mut groups = Vec::with_capacity(count);
        for index in 0..count {
            let group = self.row_group(schema, &leaves);
            groups.push(group.map_err(|error| error.at(format_args!("row group {}", index + 1)))?);
        }
        Ok(groups)
    }

    fn row_group(&mut self, schema: &SchemaDescPtr, leaves: &[Leaf]) -> Result<RowGroupMetaData> {
        let mut columns = None;
        let (mut bytes, mut rows) = (0, None);
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => {
                    let count = self.structures(field)?;
                    if count != leaves.len() {
                        return malformed(format!("{count} column chunks for {} columns", leaves.len()));
                    }
                    self.spend(count.saturating_mul(size_of::<ColumnChunkMetaData>()))?;
                    let mut chunks = Vec::with_capacity(count);
                    for (index, leaf) in leaves.iter().enumerate() {
                        let chunk = self.chunk(schema, index, leaf);
                        chunks.push(chunk.map_err(|error| error.at(format_args!("column {}", leaf.name)))?);
                    }
                    columns = Some(chunks);
                }
                2 => bytes = self.estimate(field)?,
                3 => rows = Some(self.count(field, "the number of rows")?),
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        let columns = match columns {
            Some(columns) => columns,
            None if leaves.is_empty() => Vec::new(),
            None => return malformed(format!("no column chunks for {} columns", leaves.len())),
        };
        let Some(rows) = rows else { return malformed("the number of rows is missing") };
        let group = RowGroupMetaData::builder(schema.clone())
            .set_num_rows(rows)
            .set_total_byte_size(bytes)
            .set_column_metadata(columns);
        Ok(group.build()?)
    }

    fn chunk(&mut self, schema: &SchemaDescPtr, index: usize, leaf: &Leaf) -> Result<ColumnChunkMetaData> {
        let mut chunk = None;
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 if field.kind == Kind::Binary => {
                    if !self.reader.binary()?.is_empty() {
                        return Err(Error::Unsupported("the data is stored in another file".into()));
                    }
                }
                3 => {
                    field.expect(Kind::Struct)?;
                    chunk = Some(self.chunk_metadata(schema, index, leaf)?);
                }
                // The key, and the description under that key.
                8 | 9 if matches!(field.kind, Kind::Struct | Kind::Binary) => return Err(Error::Encrypted),
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        chunk.ok_or_else(|| Error::Malformed("the column chunk is not described".into()))
    }

    fn chunk_metadata(&mut self, schema: &SchemaDescPtr, index: usize, leaf: &Leaf) -> Result<ColumnChunkMetaData> {
        let (mut codec, mut values, mut uncompressed, mut compressed) = (0, None, 0, None);
        let (mut data, mut dictionary) = (None, None);
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => {
                    if physical_type(self.number(field)?) != Some(leaf.physical) {
                        return malformed("the physical type is not that of the schema");
                    }
                }
                4 => codec = self.number(field)?,
                5 => values = Some(self.count(field, "the number of values")?),
                6 => uncompressed = self.estimate(field)?,
                7 => compressed = Some(self.count(field, "the size")?),
                9 => data = Some(self.count(field, "the offset of the first data page")?),
                11 => dictionary = Some(self.reader.integer(field)?),
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        let (Some(values), Some(compressed), Some(data)) = (values, compressed, data) else {
            return malformed("the column chunk lacks its number of values, its size or its place");
        };
        let chunk = ColumnChunkMetaData::builder(schema.column(index))
            .set_compression(compression(codec)?)
            .set_num_values(values)
            .set_total_uncompressed_size(uncompressed)
            .set_total_compressed_size(compressed)
            .set_data_page_offset(data)
            // Some writers say 0, or less, for a dictionary that there is not.
            .set_dictionary_page_offset(dictionary.filter(|offset| *offset > 0));
        Ok(chunk.build()?)
    }
}

fn compression(codec: i32) -> Result<Compression> {
    Ok(match codec {
        0 => Compression::UNCOMPRESSED,
        1 => Compression::SNAPPY,
        2 => Compression::GZIP(Default::default()),
        3 => Compression::LZO,
        4 => Compression::BROTLI(Default::default()),
        5 => Compression::LZ4,
        6 => Compression::ZSTD(Default::default()),
        7 => Compression::LZ4_RAW,
        _ => return Err(Error::Unsupported(format!("unknown compression codec {codec}"))),
    })
}

fn physical_type(number: i32) -> Option<Physical> {
    Some(match number {
        0 => Physical::BOOLEAN,
        1 => Physical::INT32,
        2 => Physical::INT64,
        3 => Physical::INT96,
        4 => Physical::FLOAT,
        5 => Physical::DOUBLE,
        6 => Physical::BYTE_ARRAY,
        7 => Physical::FIXED_LEN_BYTE_ARRAY,
        _ => return None,
    })
}

/// The tree below a group whose fields come next; none where nothing is stored of it.
fn group<'a, 'e: 'a>(
    element: &Element,
    rest: &mut impl Iterator<Item = &'a Element<'e>>,
    is_root: bool,
) -> Result<Option<TypePtr>> {
    let mut fields = Vec::with_capacity(element.children);
    for _ in 0..element.children {
        let Some(child) = rest.next() else { return malformed("the schema has fewer elements than it must") };
        if child.children > 0 {
            fields.extend(group(child, rest, false)?);
        } else if let Some(physical) = child.physical.and_then(physical_type) {
            fields.push(leaf(child, physical)?);
        }
    }
    if fields.is_empty() && !is_root {
        return Ok(None);
    }
    let name = text(element.name);
    let builder = Type::group_type_builder(&name).with_fields(fields).with_id(element.id);
    let built = if is_root {
        builder.build()
    } else {
        let converted = element.annotation.of_group();
        builder.with_repetition(repetition(element)?).with_converted_type(converted).build()
    };
    Ok(Some(Arc::new(built?)))
}

fn leaf(element: &Element, physical: Physical) -> Result<TypePtr> {
    let of_column = |error: Error| error.at(format_args!("column {}", name(element.name)));
    let length = element.length.unwrap_or(0).max(0);
    let meaning = element.annotation.of_leaf(physical, length).map_err(of_column)?;
    let name = text(element.name);
    let built = Type::primitive_type_builder(&name, physical)
        .with_repetition(repetition(element)?)
        .with_length(length)
        .with_id(element.id)
        .with_logical_type(meaning.logical)
        .with_converted_type(meaning.converted)
        .with_precision(meaning.precision)
        .with_scale(meaning.scale)
        .build();
    Ok(Arc::new(built.map_err(|error| of_column(error.into()))?))
}

fn repetition(element: &Element) -> Result<Repetition> {
    match element.repetition {
        // As Thrift's default is 0, writers have left it out.
        None | Some(0) => Ok(Repetition::REQUIRED),
        Some(1) => Ok(Repetition::OPTIONAL),
        Some(2) => Ok(Repetition::REPEATED),
        Some(other) => malformed(format!("column {} has the unknown repetition {other}", name(element.name))),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A name for a message, however long or garbled it is.
fn name(bytes: &[u8]) -> String {
    const SHOWN: usize = 64;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let text: String = text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    format!("\"{text}{}\"", if bytes.len() > SHOWN { "…" } else { "" })
}
