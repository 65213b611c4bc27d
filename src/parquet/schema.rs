//! The schema of a Parquet file, and the forms in which its values are read.

use super::embedded::{self, Hint};
use super::provenance::Provenance;
use crate::error::{Error, Result};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::file::metadata::FileMetaData;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use pgrx::prelude::*;
use std::sync::Arc;

/// A column at the top level of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileColumn {
    pub name: String,
    pub shape: Shape,
    /// The type in the notation of Parquet's own tools.
    pub parquet_type: String,
    pub arrow_type: String,
    pub nullable: bool,
    /// Positions of its leaves among those of the file.
    pub leaves: std::ops::Range<usize>,
}

/// The structure of a column's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Scalar(Scalar),
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
    /// Read as a list of structures of two fields.
    Map(Box<Shape>, Box<Shape>),
}

/// The meaning of a leaf's values. Times count from 1970, in the zone of the value or in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// NULL in every row.
    Null,
    Bool,
    Int {
        bits: u8,
        signed: bool,
    },
    Float16,
    Float32,
    Float64,
    /// A precision that makes no sense is 0. Reading needs the scale alone.
    Decimal {
        precision: i32,
        scale: i32,
    },
    Date,
    /// Milliseconds.
    DateMillis,
    Time(TimeUnit),
    Timestamp {
        unit: TimeUnit,
        utc: bool,
    },
    /// Nanoseconds of a day and a Julian day.
    Int96,
    Duration(TimeUnit),
    /// Months, days and milliseconds.
    Interval,
    Text,
    Enum,
    Json,
    Bytes,
    Bson,
    FixedBytes(i32),
    Uuid,
}

/// The schema of one file. Leaves whose meaning is decided here are read as plain bytes: texts are validated when they
/// are stored, and INT96 and INTERVAL keep every bit.
pub struct FileSchema {
    pub columns: Vec<FileColumn>,
    pub provenance: Provenance,
    physical: SchemaDescriptor,
    hint: Fields,
}

impl FileSchema {
    /// # Errors
    /// The schema makes no sense. The text does not name the file.
    pub fn new(metadata: &FileMetaData) -> Result<Self> {
        guarded(|| Self::build(metadata))
    }

    fn build(metadata: &FileMetaData) -> Result<Self> {
        let original = metadata.schema_descr();
        let hints = embedded::hints(original.root_schema(), metadata.key_value_metadata());
        let mut scalars = Vec::with_capacity(original.num_columns());
        let root = original.root_schema();
        let canonical = parquetpages::canonical(root).map_err(unreadable)?;
        let fields = canonical
            .get_fields()
            .iter()
            .map(|field| physical_type(field, &hints, &mut scalars))
            .collect::<Result<_>>()?;
        let physical_root = Type::group_type_builder(root.name()).with_fields(fields).build().map_err(unreadable)?;
        let physical = SchemaDescriptor::new(Arc::new(physical_root));
        let arrow = parquet_to_arrow_schema(&physical, None).map_err(unreadable)?;
        let mut columns = Vec::with_capacity(arrow.fields().len());
        let mut remaining = scalars.iter();
        for (field, original_field) in arrow.fields().iter().zip(root.get_fields()) {
            let first = scalars.len() - remaining.len();
            let shape = shape_of(field.data_type(), &mut remaining)?;
            columns.push(FileColumn {
                name: field.name().clone(),
                parquet_type: describe(original_field),
                arrow_type: describe_arrow(&shape),
                nullable: field.is_nullable(),
                leaves: first..scalars.len() - remaining.len(),
                shape,
            });
        }
        if columns.len() != root.get_fields().len() {
            return Err(Error::internal("columns of a file were lost"));
        }
        let hint = arrow.fields().iter().map(|field| as_view(field)).collect();
        let provenance = Provenance::of(metadata.created_by(), metadata.key_value_metadata());
        Ok(Self { columns, provenance, physical, hint })
    }

    /// Returns the projection with which the crate reads the columns at the given positions.
    pub fn levels(&self, columns: &[usize]) -> Result<FieldLevels> {
        let leaves = columns.iter().flat_map(|&column| self.columns[column].leaves.clone());
        let mask = ProjectionMask::leaves(&self.physical, leaves);
        guarded(|| parquet_to_arrow_field_levels(&self.physical, mask, Some(&self.hint)).map_err(unreadable))
    }
}

/// Runs code of the Parquet library, which may panic on unexpected files.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    parquetpages::guarded(|| Ok(work())).unwrap_or_else(|error| Err(unreadable(error)))
}

pub fn malformed(text: impl Into<String>) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the Parquet file is corrupt").detail(text)
}

pub fn unreadable(error: impl std::fmt::Display) -> Error {
    // The library wraps its errors into one another.
    const KINDS: [&str; 5] = ["Parquet argument error: ", "Parquet error: ", "External: ", "EOF: ", "NYI: "];
    malformed(KINDS.iter().fold(error.to_string(), |text, kind| text.replace(kind, "")))
}

/// Returns the type as it is to be read, and pushes the meanings of its leaves to `scalars`.
fn physical_type(original: &TypePtr, hints: &[Option<Hint>], scalars: &mut Vec<Scalar>) -> Result<TypePtr> {
    let info = original.get_basic_info();
    let built = match original.as_ref() {
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| physical_type(field, hints, scalars)).collect::<Result<Vec<_>>>()?;
            Type::group_type_builder(info.name())
                .with_repetition(info.repetition())
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_fields(fields)
                .build()
        }
        Type::PrimitiveType { physical_type, type_length, .. } => {
            let (scalar, keeps_annotation) = scalar_of(original, hints.get(scalars.len()).copied().flatten());
            scalars.push(scalar);
            let (physical, length) = match physical_type {
                Physical::INT96 => (Physical::FIXED_LEN_BYTE_ARRAY, INT96_BYTES),
                other => (*other, *type_length),
            };
            let builder = Type::primitive_type_builder(info.name(), physical)
                .with_repetition(info.repetition())
                .with_length(length);
            if keeps_annotation {
                builder
                    .with_converted_type(info.converted_type())
                    .with_logical_type(info.logical_type_ref().cloned())
                    .with_precision(original.get_precision())
                    .with_scale(original.get_scale())
                    .build()
            } else {
                builder.build()
            }
        }
    };
    built.map(Arc::new).map_err(unreadable)
}

const INT96_BYTES: i32 = 12;
const INTERVAL_BYTES: i32 = 12;
const UUID_BYTES: i32 = 16;

/// Returns the meaning of a leaf, and whether the Parquet library must know of it, too.
fn scalar_of(leaf: &Type, hint: Option<Hint>) -> (Scalar, bool) {
    let info = leaf.get_basic_info();
    let (logical, converted) = (info.logical_type_ref(), info.converted_type());
    if let Some(LogicalType::Unknown) = logical {
        // The column is read as it is stored, so that a value where none can be is noticed.
        return (Scalar::Null, false);
    }
    let Type::PrimitiveType { physical_type, type_length, precision, scale, .. } = leaf else {
        return (Scalar::Null, true);
    };
    let decimal = || match (logical, converted) {
        (Some(LogicalType::Decimal(decimal)), _) => Some((decimal.precision, decimal.scale)),
        (None, ConvertedType::DECIMAL) => Some((*precision, *scale)),
        _ => None,
    };
    if let Some((precision, scale)) = decimal() {
        // The library has no type for many digits, and none for bytes beyond the sixteenth.
        return (Scalar::Decimal { precision, scale }, false);
    }
    let unannotated = logical.is_none() && converted == ConvertedType::NONE;
    match physical_type {
        Physical::BOOLEAN => (Scalar::Bool, false),
        Physical::FLOAT => (Scalar::Float32, false),
        Physical::DOUBLE => (Scalar::Float64, false),
        Physical::INT96 => (Scalar::Int96, false),
        Physical::INT32 | Physical::INT64 => {
            let bits = if *physical_type == Physical::INT32 { 32 } else { 64 };
            if let Some(hint) = hint.filter(|hint| unannotated && hint.bits == bits) {
                return (hint.scalar, false);
            }
            integer_scalar(logical, converted, bits)
        }
        Physical::BYTE_ARRAY => {
            let scalar = match (logical, converted) {
                (Some(LogicalType::String), _) | (None, ConvertedType::UTF8) => Scalar::Text,
                (Some(LogicalType::Enum), _) | (None, ConvertedType::ENUM) => Scalar::Enum,
                (Some(LogicalType::Json), _) | (None, ConvertedType::JSON) => Scalar::Json,
                (Some(LogicalType::Bson), _) | (None, ConvertedType::BSON) => Scalar::Bson,
                _ => Scalar::Bytes,
            };
            (scalar, false)
        }
        Physical::FIXED_LEN_BYTE_ARRAY => match (logical, converted) {
            (Some(LogicalType::Float16), _) if *type_length == 2 => (Scalar::Float16, true),
            (Some(LogicalType::Uuid), _) if *type_length == UUID_BYTES => (Scalar::Uuid, false),
            (None, ConvertedType::INTERVAL) if *type_length == INTERVAL_BYTES => (Scalar::Interval, false),
            _ => (Scalar::FixedBytes(*type_length), false),
        },
    }
}

fn integer_scalar(logical: Option<&LogicalType>, converted: ConvertedType, physical_bits: u8) -> (Scalar, bool) {
    let unit = |unit: &parquet::basic::TimeUnit| match unit {
        parquet::basic::TimeUnit::MILLIS => TimeUnit::Millisecond,
        parquet::basic::TimeUnit::MICROS => TimeUnit::Microsecond,
        parquet::basic::TimeUnit::NANOS => TimeUnit::Nanosecond,
    };
    let int = |bits: u8, signed: bool| (Scalar::Int { bits, signed }, true);
    match (logical, converted) {
        (Some(LogicalType::Integer(int)), _) if int.bit_width as u8 <= physical_bits => {
            (Scalar::Int { bits: int.bit_width as u8, signed: int.is_signed }, true)
        }
        (Some(LogicalType::Date), _) | (None, ConvertedType::DATE) if physical_bits == 32 => (Scalar::Date, true),
        // Only the unit is needed, so that any combination of it with the physical type can be read.
        (Some(LogicalType::Time(time)), _) => (Scalar::Time(unit(&time.unit)), false),
        (None, ConvertedType::TIME_MILLIS) => (Scalar::Time(TimeUnit::Millisecond), false),
        (None, ConvertedType::TIME_MICROS) => (Scalar::Time(TimeUnit::Microsecond), false),
        (Some(LogicalType::Timestamp(stamp)), _) => {
            (Scalar::Timestamp { unit: unit(&stamp.unit), utc: stamp.is_adjusted_to_u_t_c }, false)
        }
        (None, ConvertedType::TIMESTAMP_MILLIS) => {
            (Scalar::Timestamp { unit: TimeUnit::Millisecond, utc: true }, false)
        }
        (None, ConvertedType::TIMESTAMP_MICROS) => {
            (Scalar::Timestamp { unit: TimeUnit::Microsecond, utc: true }, false)
        }
        (None, ConvertedType::INT_8) => int(8, true),
        (None, ConvertedType::INT_16) => int(16, true),
        (None, ConvertedType::UINT_8) => int(8, false),
        (None, ConvertedType::UINT_16) => int(16, false),
        (None, ConvertedType::UINT_32) => int(32, false),
        (None, ConvertedType::UINT_64) => int(64, false),
        _ => (Scalar::Int { bits: physical_bits, signed: true }, false),
    }
}

fn shape_of<'a>(data_type: &DataType, scalars: &mut impl Iterator<Item = &'a Scalar>) -> Result<Shape> {
    Ok(match data_type {
        DataType::List(element) => Shape::List(Box::new(shape_of(element.data_type(), scalars)?)),
        DataType::Struct(fields) => Shape::Struct(
            fields
                .iter()
                .map(|field| Ok((field.name().clone(), shape_of(field.data_type(), scalars)?)))
                .collect::<Result<_>>()?,
        ),
        DataType::Map(entries, _) => {
            let Shape::Struct(fields) = shape_of(entries.data_type(), scalars)? else {
                return Err(malformed("a map without entries"));
            };
            let [(_, key), (_, value)] =
                <[_; 2]>::try_from(fields).map_err(|_| malformed("a map without keys and values"))?;
            Shape::Map(Box::new(key), Box::new(value))
        }
        _ => Shape::Scalar(*scalars.next().ok_or_else(|| malformed("its schema has too few leaves"))?),
    })
}

/// Returns the same field with byte strings that borrow from the decoded page.
fn as_view(field: &Field) -> Field {
    let inner = |field: &Arc<Field>| Arc::new(as_view(field));
    let data_type = match field.data_type() {
        DataType::Binary => DataType::BinaryView,
        DataType::List(element) => DataType::List(inner(element)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| as_view(field)).collect()),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// Returns a type in the notation of Parquet's own tools, without the column's name.
fn describe(original: &Type) -> String {
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, original);
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(';').to_owned()
}

fn describe_arrow(shape: &Shape) -> String {
    let unit_name = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    match shape {
        Shape::List(element) => format!("list<{}>", describe_arrow(element)),
        Shape::Map(key, value) => format!("map<{}, {}>", describe_arrow(key), describe_arrow(value)),
        Shape::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, shape)| format!("{name}: {}", describe_arrow(shape))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        Shape::Scalar(scalar) => match scalar {
            Scalar::Null => "null".into(),
            Scalar::Bool => "bool".into(),
            Scalar::Int { bits, signed } => format!("{}int{bits}", if *signed { "" } else { "u" }),
            Scalar::Float16 => "float16".into(),
            Scalar::Float32 => "float32".into(),
            Scalar::Float64 => "float64".into(),
            Scalar::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
            Scalar::Date => "date32".into(),
            Scalar::DateMillis => "date64".into(),
            Scalar::Time(unit) => format!("time[{}]", unit_name(unit)),
            Scalar::Timestamp { unit, utc: false } => format!("timestamp[{}]", unit_name(unit)),
            Scalar::Timestamp { unit, utc: true } => format!("timestamp[{}, UTC]", unit_name(unit)),
            Scalar::Int96 => "timestamp[ns] (int96)".into(),
            Scalar::Duration(unit) => format!("duration[{}]", unit_name(unit)),
            Scalar::Interval => "interval".into(),
            Scalar::Text => "utf8".into(),
            Scalar::Enum => "utf8 (enum)".into(),
            Scalar::Json => "utf8 (json)".into(),
            Scalar::Bytes => "binary".into(),
            Scalar::Bson => "binary (bson)".into(),
            Scalar::FixedBytes(length) => format!("fixed_size_binary[{length}]"),
            Scalar::Uuid => "uuid".into(),
        },
    }
}

impl Shape {
    /// Returns whether a column that is created for such values is one of documents.
    pub fn is_document(&self) -> bool {
        self.default_type() == "jsonb"
    }

    /// Returns the type of a column that is created for such values.
    pub fn default_type(&self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.default_type(),
            Self::List(element) => match element.as_ref() {
                Self::Scalar(scalar) => format!("{}[]", scalar.default_type()),
                _ => "jsonb".into(),
            },
            Self::Struct(_) | Self::Map(..) => "jsonb".into(),
        }
    }
}

/// The most digits that a declared `numeric` has (`NUMERIC_MAX_PRECISION`).
const MOST_DIGITS: i32 = 1000;

impl Scalar {
    fn default_type(self) -> String {
        match self {
            Self::Bool => "boolean".into(),
            Self::Int { bits: 8 | 16, signed: true } | Self::Int { bits: 8, signed: false } => "smallint".into(),
            Self::Int { bits: 32, signed: true } | Self::Int { bits: 16, signed: false } => "integer".into(),
            Self::Int { bits: 64, signed: false } => "numeric(20,0)".into(),
            Self::Int { .. } => "bigint".into(),
            Self::Float16 | Self::Float32 => "real".into(),
            Self::Float64 => "double precision".into(),
            Self::Decimal { precision: precision @ 1..=MOST_DIGITS, scale }
                if (-MOST_DIGITS..=MOST_DIGITS).contains(&scale) =>
            {
                format!("numeric({precision},{scale})")
            }
            // A declaration cannot have so many digits.
            Self::Decimal { .. } => "numeric".into(),
            Self::Date | Self::DateMillis => "date".into(),
            Self::Time(_) => "time without time zone".into(),
            Self::Timestamp { utc: false, .. } | Self::Int96 => "timestamp without time zone".into(),
            Self::Timestamp { utc: true, .. } => "timestamp with time zone".into(),
            Self::Duration(_) | Self::Interval => "interval".into(),
            Self::Null | Self::Text | Self::Enum => "text".into(),
            Self::Json => "json".into(),
            Self::Bytes | Self::Bson | Self::FixedBytes(_) => "bytea".into(),
            Self::Uuid => "uuid".into(),
        }
    }
}
