//! The Parquet types that types become.

use super::super::byte_values::Bytes;
use super::super::numeric;
use super::{Column, GroupField, TextForm, Values};
use crate::local::datum::{ArrayReader, CompositeReader, OutputFunction};
use crate::local::types::{self, Shape};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use pgrx::pg_sys;
use std::collections::HashMap;
use std::sync::Arc;

/// The largest precision of a decimal in Arrow, of 128 and of 256 bits.
const DECIMAL128_DIGITS: i32 = 38;
const DECIMAL256_DIGITS: i32 = 76;
/// The depth beyond which nested types become texts; readers have limits, too.
const DEEPEST: usize = 32;
const VARHDRSZ: i32 = 4;

impl Values {
    pub(super) fn of(type_oid: pg_sys::Oid, typmod: i32, dimensions: usize, depth: usize) -> Self {
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

    /// Returns a group for a composite type; `None` for a type without columns, for which Parquet has no group.
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

    /// Returns a decimal; `None` without a precision, or with one that no decimal has.
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

    pub(super) fn data_type(&self) -> DataType {
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
}

/// Returns the field of the elements of a list.
pub(super) fn list_item(data_type: DataType) -> Field {
    Field::new("element", data_type, true)
}
