//! The values of one column, on their way from rows to an Arrow array: which Parquet type a type becomes, and how.

use super::numeric::{self, Number, Unscaled};
use crate::error::Error;
use crate::local::datum::{ArrayReader, CompositeReader, OutputFunction, Value, utf8};
use crate::local::types::{self, Shape};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray, StringArray, StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::extension::{Json, Uuid};
use arrow_schema::{ArrowError, DataType, Field, Fields, TimeUnit};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

/// A column, or a field of one, with the values that were appended since the last array was made.
pub struct Column {
    name: String,
    nulls: NullBufferBuilder,
    values: Values,
}

enum Values {
    Bool(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    UInt32(Vec<u32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp {
        values: Vec<i64>,
        with_time_zone: bool,
    },
    Decimal128 {
        values: Vec<i128>,
        precision: u8,
        scale: u8,
        limit: i128,
    },
    Decimal256 {
        values: Vec<i256>,
        precision: u8,
        scale: u8,
        limit: i256,
    },
    Uuid(Vec<u8>),
    Binary(Bytes),
    Text {
        bytes: Bytes,
        form: TextForm,
        is_json: bool,
    },
    /// A level for each dimension, from the outermost to the innermost.
    List {
        reader: ArrayReader,
        levels: Vec<Vec<i32>>,
        item: Box<Column>,
    },
    Group {
        reader: CompositeReader,
        fields: Vec<GroupField>,
    },
}

struct GroupField {
    /// Among the type's columns, dropped ones included.
    position: usize,
    column: Column,
}

/// How a value becomes a text.
enum TextForm {
    /// Its bytes are the text.
    Stored,
    Name,
    /// With the labels that were seen so far, in UTF-8.
    Enum {
        labels: HashMap<u32, Vec<u8>>,
        function: OutputFunction,
    },
    Function(OutputFunction),
}

/// A value that a Parquet file cannot hold.
pub struct Refusal {
    pub error: Error,
    /// From the column to the value, as in `.field[]`.
    pub path: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, path: String::new() }
    }
}

/// Between 1970 and 2000, as dates and timestamps count.
const DAYS_TO_2000: i32 = 10_957;
const MICROSECONDS_TO_2000: i64 = DAYS_TO_2000 as i64 * MICROSECONDS_PER_DAY;
const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;
/// The largest precision of a decimal in Arrow, of 128 and of 256 bits.
const DECIMAL128_DIGITS: i32 = 38;
const DECIMAL256_DIGITS: i32 = 76;
/// Types nested deeper become texts; readers have limits, too.
const DEEPEST: usize = 32;
const VARHDRSZ: i32 = 4;

impl Column {
    /// `dimensions` is that of an array, as its column was declared.
    pub fn new(name: String, type_oid: pg_sys::Oid, typmod: i32, dimensions: usize) -> Self {
        Self::nested(name, type_oid, typmod, dimensions, 0)
    }

    fn nested(name: String, type_oid: pg_sys::Oid, typmod: i32, dimensions: usize, depth: usize) -> Self {
        let values = Values::of(type_oid, typmod, dimensions, depth);
        Self { name, nulls: NullBufferBuilder::new(0), values }
    }

    pub fn field(&self) -> Field {
        let field = Field::new(&self.name, self.values.data_type(), true);
        match &self.values {
            Values::Uuid(_) => field.with_extension_type(Uuid),
            Values::Text { is_json: true, .. } => field.with_extension_type(Json::default()),
            _ => field,
        }
    }

    /// Returns about how many bytes the value takes.
    pub fn append(&mut self, value: Option<Value<'_>>) -> Result<usize, Refusal> {
        match value {
            Some(value) => {
                self.nulls.append_non_null();
                self.values.append(value)
            }
            None => {
                self.nulls.append_null();
                self.values.append_null();
                Ok(1)
            }
        }
    }

    /// The values as an array; the column is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.values.finish(self.nulls.finish())
    }
}

impl Values {
    fn of(type_oid: pg_sys::Oid, typmod: i32, dimensions: usize, depth: usize) -> Self {
        let base = types::base_type(type_oid, typmod, dimensions);
        let text = |form| Self::Text { bytes: Bytes::default(), form, is_json: false };
        let json = |form| Self::Text { bytes: Bytes::default(), form, is_json: true };
        let by_function = || TextForm::Function(OutputFunction::of(base.oid));
        match base.shape {
            _ if depth > DEEPEST => text(by_function()),
            Shape::Array(element) => Self::List {
                reader: ArrayReader::of(element),
                levels: vec![vec![0]; base.dimensions.max(1)],
                item: Box::new(Column::nested("element".into(), element, base.typmod, 0, depth + 1)),
            },
            Shape::Composite => Self::group(base, depth).unwrap_or_else(|| text(by_function())),
            Shape::Enum => text(TextForm::Enum { labels: HashMap::new(), function: OutputFunction::of(base.oid) }),
            Shape::Scalar => match base.oid {
                pg_sys::BOOLOID => Self::Bool(BooleanBufferBuilder::new(0)),
                pg_sys::INT2OID => Self::Int16(Vec::new()),
                pg_sys::INT4OID => Self::Int32(Vec::new()),
                pg_sys::INT8OID => Self::Int64(Vec::new()),
                pg_sys::OIDOID => Self::UInt32(Vec::new()),
                pg_sys::FLOAT4OID => Self::Float32(Vec::new()),
                pg_sys::FLOAT8OID => Self::Float64(Vec::new()),
                pg_sys::NUMERICOID => Self::decimal(base.typmod).unwrap_or_else(|| text(by_function())),
                pg_sys::DATEOID => Self::Date(Vec::new()),
                pg_sys::TIMEOID => Self::Time(Vec::new()),
                pg_sys::TIMESTAMPOID => Self::Timestamp { values: Vec::new(), with_time_zone: false },
                pg_sys::TIMESTAMPTZOID => Self::Timestamp { values: Vec::new(), with_time_zone: true },
                pg_sys::UUIDOID => Self::Uuid(Vec::new()),
                pg_sys::BYTEAOID => Self::Binary(Bytes::default()),
                pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => text(TextForm::Stored),
                pg_sys::NAMEOID => text(TextForm::Name),
                pg_sys::JSONOID => json(TextForm::Stored),
                pg_sys::JSONBOID => json(by_function()),
                _ => text(by_function()),
            },
        }
    }

    /// `None` for a type without columns, which Parquet has no group for.
    fn group(base: types::BaseType, depth: usize) -> Option<Self> {
        let reader = CompositeReader::of(base.oid, base.typmod);
        let fields: Vec<_> = reader
            .attributes()
            .into_iter()
            .enumerate()
            .filter(|(_, attribute)| !attribute.dropped)
            .map(|(position, attribute)| {
                let (type_oid, typmod, dimensions) = (attribute.type_oid, attribute.typmod, attribute.dimensions);
                let column = Column::nested(attribute.name, type_oid, typmod, dimensions, depth + 1);
                GroupField { position, column }
            })
            .collect();
        (!fields.is_empty()).then_some(Self::Group { reader, fields })
    }

    /// `None` without a precision, or with one that no decimal has.
    fn decimal(typmod: i32) -> Option<Self> {
        let typmod = (typmod >= VARHDRSZ).then_some(typmod - VARHDRSZ)?;
        let precision = (typmod >> 16) & 0xFFFF;
        // Eleven bits with a sign. Parquet has neither a scale below zero nor one above the precision.
        let scale = ((typmod & 0x7FF) ^ 1024) - 1024;
        let precision = if scale < 0 { precision - scale } else { precision.max(scale) };
        let scale = scale.max(0) as u8;
        match precision {
            ..=DECIMAL128_DIGITS => {
                let precision = precision as u8;
                Some(Self::Decimal128 { values: Vec::new(), precision, scale, limit: numeric::limit(precision)? })
            }
            precision if precision <= DECIMAL256_DIGITS => {
                let precision = precision as u8;
                Some(Self::Decimal256 { values: Vec::new(), precision, scale, limit: numeric::limit(precision)? })
            }
            _ => None,
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Bool(_) => DataType::Boolean,
            Self::Int16(_) => DataType::Int16,
            Self::Int32(_) => DataType::Int32,
            Self::UInt32(_) => DataType::UInt32,
            Self::Int64(_) => DataType::Int64,
            Self::Float32(_) => DataType::Float32,
            Self::Float64(_) => DataType::Float64,
            Self::Date(_) => DataType::Date32,
            Self::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp { with_time_zone, .. } => {
                DataType::Timestamp(TimeUnit::Microsecond, with_time_zone.then(|| "UTC".into()))
            }
            Self::Decimal128 { precision, scale, .. } => DataType::Decimal128(*precision, *scale as i8),
            Self::Decimal256 { precision, scale, .. } => DataType::Decimal256(*precision, *scale as i8),
            Self::Uuid(_) => DataType::FixedSizeBinary(16),
            Self::Binary(_) => DataType::Binary,
            Self::Text { .. } => DataType::Utf8,
            Self::List { levels, item, .. } => levels
                .iter()
                .fold(item.field(), |item, _| list_item(DataType::List(Arc::new(item))))
                .data_type()
                .clone(),
            Self::Group { fields, .. } => {
                DataType::Struct(fields.iter().map(|field| field.column.field()).collect::<Fields>())
            }
        }
    }

    #[inline]
    fn append(&mut self, value: Value<'_>) -> Result<usize, Refusal> {
        match self {
            Self::Bool(values) => values.append(value.as_bool()),
            Self::Int16(values) => values.push(value.as_i16()),
            Self::Int32(values) => values.push(value.as_i32()),
            Self::UInt32(values) => values.push(value.as_u32()),
            Self::Int64(values) => values.push(value.as_i64()),
            Self::Float32(values) => values.push(value.as_f32()),
            Self::Float64(values) => values.push(value.as_f64()),
            Self::Date(values) => values.push(days_since_1970(value.as_i32())?),
            Self::Time(values) => values.push(time_of_day(value.as_i64())?),
            Self::Timestamp { values, .. } => values.push(microseconds_since_1970(value.as_i64())?),
            Self::Decimal128 { values, precision, scale, limit } => {
                values.push(decimal(value, *precision, *scale, *limit)?);
            }
            Self::Decimal256 { values, precision, scale, limit } => {
                values.push(decimal(value, *precision, *scale, *limit)?);
            }
            Self::Uuid(values) => values.extend_from_slice(value.as_fixed::<16>()),
            Self::Binary(bytes) => return Ok(bytes.append(value.as_varlena())?),
            Self::Text { bytes, form, .. } => return append_text(bytes, form, value),
            Self::List { reader, levels, item } => return append_list(reader, levels, item, value),
            Self::Group { reader, fields } => return append_group(reader, fields, value),
        }
        // Nearly so: it only has to bound what is held.
        Ok(16)
    }

    fn append_null(&mut self) {
        match self {
            Self::Bool(values) => values.append(false),
            Self::Int16(values) => values.push(0),
            Self::Int32(values) | Self::Date(values) => values.push(0),
            Self::UInt32(values) => values.push(0),
            Self::Int64(values) | Self::Time(values) | Self::Timestamp { values, .. } => values.push(0),
            Self::Float32(values) => values.push(0.0),
            Self::Float64(values) => values.push(0.0),
            Self::Decimal128 { values, .. } => values.push(0),
            Self::Decimal256 { values, .. } => values.push(i256::ZERO),
            Self::Uuid(values) => values.extend_from_slice(&[0; 16]),
            Self::Binary(bytes) | Self::Text { bytes, .. } => bytes.append_null(),
            Self::List { levels, .. } => {
                let outermost = &mut levels[0];
                outermost.push(last(outermost));
            }
            Self::Group { fields, .. } => {
                for field in fields {
                    field.column.nulls.append_null();
                    field.column.values.append_null();
                }
            }
        }
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let data_type = self.data_type();
        Ok(match self {
            Self::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Self::Int16(values) => primitive::<Int16Type>(values, nulls, data_type)?,
            Self::Int32(values) => primitive::<Int32Type>(values, nulls, data_type)?,
            Self::UInt32(values) => primitive::<UInt32Type>(values, nulls, data_type)?,
            Self::Int64(values) => primitive::<Int64Type>(values, nulls, data_type)?,
            Self::Float32(values) => primitive::<Float32Type>(values, nulls, data_type)?,
            Self::Float64(values) => primitive::<Float64Type>(values, nulls, data_type)?,
            Self::Date(values) => primitive::<Date32Type>(values, nulls, data_type)?,
            Self::Time(values) => primitive::<Time64MicrosecondType>(values, nulls, data_type)?,
            Self::Timestamp { values, .. } => primitive::<TimestampMicrosecondType>(values, nulls, data_type)?,
            Self::Decimal128 { values, .. } => primitive::<Decimal128Type>(values, nulls, data_type)?,
            Self::Decimal256 { values, .. } => primitive::<Decimal256Type>(values, nulls, data_type)?,
            Self::Uuid(values) => {
                Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(mem::take(values)), nulls)?)
            }
            Self::Binary(bytes) => {
                let (offsets, values) = bytes.finish();
                Arc::new(BinaryArray::try_new(offsets, values, nulls)?)
            }
            Self::Text { bytes, .. } => {
                let (offsets, values) = bytes.finish();
                Arc::new(StringArray::try_new(offsets, values, nulls)?)
            }
            Self::List { levels, item, .. } => {
                let mut field = item.field();
                let mut array = item.finish()?;
                for (position, offsets) in levels.iter_mut().enumerate().rev() {
                    let offsets = OffsetBuffer::new(ScalarBuffer::from(mem::replace(offsets, vec![0])));
                    // Only whole arrays can be NULL.
                    let nulls = nulls.clone().filter(|_| position == 0);
                    array = Arc::new(ListArray::try_new(Arc::new(field), offsets, array, nulls)?);
                    field = list_item(arrow_array::Array::data_type(&array).clone());
                }
                array
            }
            Self::Group { fields, .. } => {
                let types: Fields = fields.iter().map(|field| field.column.field()).collect();
                let arrays = fields.iter_mut().map(|field| field.column.finish()).collect::<Result<_, _>>()?;
                Arc::new(StructArray::try_new(types, arrays, nulls)?)
            }
        })
    }
}

fn list_item(data_type: DataType) -> Field {
    Field::new("element", data_type, true)
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: DataType,
) -> Result<ArrayRef, ArrowError> {
    let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(mem::take(values)), nulls)?;
    Ok(Arc::new(array.with_data_type(data_type)))
}

/// Values of variable length, one after the other.
struct Bytes {
    ends: Vec<i32>,
    values: Vec<u8>,
}

impl Default for Bytes {
    fn default() -> Self {
        Self { ends: vec![0], values: Vec::new() }
    }
}

impl Bytes {
    #[inline]
    fn append(&mut self, value: &[u8]) -> Result<usize, Error> {
        // Arrays hold a few megabytes and one row, which can be of more only where arrays grow as texts.
        let Ok(end) = i32::try_from(self.values.len() + value.len()) else { return Err(too_large()) };
        self.values.extend_from_slice(value);
        self.ends.push(end);
        Ok(value.len() + mem::size_of::<i32>())
    }

    fn append_null(&mut self) {
        self.ends.push(last(&self.ends));
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let Self { ends, values } = mem::take(self);
        (OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(values))
    }
}

fn last(offsets: &[i32]) -> i32 {
    offsets.last().copied().unwrap_or(0)
}

fn append_text(bytes: &mut Bytes, form: &mut TextForm, value: Value<'_>) -> Result<usize, Refusal> {
    let text = match form {
        TextForm::Stored => utf8(value.as_varlena()),
        TextForm::Name => utf8(value.as_name()),
        TextForm::Function(function) => utf8(function.text(value)),
        TextForm::Enum { labels, function } => {
            let label = labels.entry(value.as_u32()).or_insert_with(|| utf8(function.text(value)).into_owned());
            return Ok(bytes.append(label)?);
        }
    };
    if let Err(invalid) = std::str::from_utf8(&text) {
        let rest = &text[invalid.valid_up_to()..];
        let shown: Vec<_> = rest.iter().take(4).map(|byte| format!("0x{byte:02x}")).collect();
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
        )
        .into());
    }
    Ok(bytes.append(&text)?)
}

fn append_list(
    reader: &ArrayReader,
    levels: &mut [Vec<i32>],
    item: &mut Column,
    value: Value<'_>,
) -> Result<usize, Refusal> {
    let elements = reader.elements(value);
    if elements.count == 0 {
        levels[0].push(last(&levels[0]));
        return Ok(4);
    }
    if elements.lengths.len() != levels.len() {
        let plural = |count| if count == 1 { "dimension" } else { "dimensions" };
        let (found, declared) = (elements.lengths.len(), levels.len());
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_ARRAY_ELEMENT_ERROR,
            format!("array has {found} {}, but its column is written with {declared}", plural(found)),
        )
        .hint(
            "The brackets of a table's column say how many dimensions are written. With COPY (SELECT ...) TO, \
               arrays of several shapes can be written as texts or as jsonb.",
        )
        .into());
    }
    if elements.starts.iter().any(|start| *start != 1) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_ARRAY_ELEMENT_ERROR,
            "array whose subscripts do not begin with 1 has no equivalent in a Parquet file",
        )
        .hint(
            "With COPY (SELECT ...) TO, a slice that spans the array, as in a[:], has subscripts from 1 on, and a \
               text keeps the subscripts.",
        )
        .into());
    }
    let mut lists = 1;
    for (offsets, length) in levels.iter_mut().zip(&elements.lengths) {
        for _ in 0..lists {
            let end = usize::try_from(last(offsets)).unwrap_or(0) + length;
            offsets.push(i32::try_from(end).map_err(|_| too_large())?);
        }
        lists *= length;
    }
    let mut appended = 4;
    for position in 0..elements.count {
        appended += item.append(elements.items.value(position)).map_err(|refusal| refusal.within("[]"))?;
    }
    Ok(appended)
}

fn append_group(reader: &mut CompositeReader, fields: &mut [GroupField], value: Value<'_>) -> Result<usize, Refusal> {
    let row = reader.fields(value);
    let mut appended = 0;
    for GroupField { position, column } in fields {
        let value = row.value(*position);
        appended += column.append(value).map_err(|refusal| {
            let name = format!(".{}", plan::quote_identifier(&column.name));
            refusal.within(&name)
        })?;
    }
    Ok(appended)
}

impl Refusal {
    fn within(mut self, step: &str) -> Self {
        self.path.insert_str(0, step);
        self
    }
}

fn days_since_1970(days: i32) -> Result<i32, Refusal> {
    match days {
        i32::MAX => Err(no_equivalent("date", "infinity")),
        i32::MIN => Err(no_equivalent("date", "-infinity")),
        // The last year of a date is far below what 32 bits of days can hold.
        days => Ok(days + DAYS_TO_2000),
    }
}

/// Readers know no 24:00:00.
fn time_of_day(microseconds: i64) -> Result<i64, Refusal> {
    if microseconds < MICROSECONDS_PER_DAY { Ok(microseconds) } else { Err(no_equivalent("time", "24:00:00")) }
}

fn microseconds_since_1970(microseconds: i64) -> Result<i64, Refusal> {
    match microseconds {
        i64::MAX => Err(no_equivalent("timestamp", "infinity")),
        i64::MIN => Err(no_equivalent("timestamp", "-infinity")),
        _ => microseconds.checked_add(MICROSECONDS_TO_2000).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
                "timestamp out of range for a Parquet file, whose last year is 294246",
            )
            .into()
        }),
    }
}

fn decimal<T: Unscaled>(value: Value<'_>, precision: u8, scale: u8, limit: T) -> Result<T, Refusal> {
    match Number::read(value.as_varlena()) {
        Some(Number::Finite(number)) => number.unscaled(scale, limit).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                format!("value does not fit into numeric({precision},{scale}), which the query says it is"),
            )
            .into()
        }),
        Some(Number::Nan) => Err(no_equivalent("numeric", "NaN")),
        Some(Number::Infinity) => Err(no_equivalent("numeric", "Infinity")),
        Some(Number::MinusInfinity) => Err(no_equivalent("numeric", "-Infinity")),
        None => Err(Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "invalid numeric value").into()),
    }
}

fn no_equivalent(type_name: &str, value: &str) -> Refusal {
    let sqlstate = match type_name {
        "numeric" => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        _ => PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
    };
    Error::new(sqlstate, format!("{type_name} \"{value}\" has no equivalent in a Parquet file"))
        .hint("COPY (SELECT ...) TO can write another value, NULL or a text instead.")
        .into()
}

fn too_large() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "row is too large for a Parquet file")
}
