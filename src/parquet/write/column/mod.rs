//! The values of one column, on their way from rows to an Arrow array.

mod type_map;

use super::byte_values::{Bytes, last};
use super::convert::{days_since_1970, decimal, microseconds_since_1970, time_of_day};
use super::refusal::{Refusal, too_large};
use crate::error::Error;
use crate::local::datum::{ArrayReader, CompositeReader, OutputFunction, Value, utf8};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray, StringArray, StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::extension::{Json, Uuid};
use arrow_schema::{ArrowError, DataType, Field, Fields};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use type_map::list_item;

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
    /// Has a level for each dimension, from the outermost to the innermost.
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
    /// The position among the type's columns, dropped ones included.
    position: usize,
    column: Column,
}

/// The way in which a value becomes a text.
enum TextForm {
    /// The value's bytes are the text.
    Stored,
    Name,
    /// The text is a label; those that were seen so far are kept in UTF-8.
    Enum {
        labels: HashMap<u32, Vec<u8>>,
        function: OutputFunction,
    },
    Function(OutputFunction),
}

impl Column {
    /// Makes an empty column. `dimensions` is the number of dimensions with which an array was declared.
    pub fn new(name: String, type_oid: pg_sys::Oid, typmod: i32, dimensions: usize) -> Self {
        Self::nested(name, type_oid, typmod, dimensions, 0)
    }

    /// Makes a column at some depth within another one.
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

    /// Appends a value and returns about how many bytes it takes.
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

    /// Returns the values as an array; the column is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.values.finish(self.nulls.finish())
    }
}

impl Values {
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
        // An estimate suffices: it only has to bound the memory that is held.
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

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: DataType,
) -> Result<ArrayRef, ArrowError> {
    let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(mem::take(values)), nulls)?;
    Ok(Arc::new(array.with_data_type(data_type)))
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
