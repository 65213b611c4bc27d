//! Arrow arrays to values of the heap, a column at a time where that is faster.

mod atom;
mod bounds;
mod decimal;
mod json;
mod nested;
mod rebase;
mod scalar;
mod target;
mod text;

use super::characters::is_text;
use crate::error::Result;
use crate::local::encoding;
use crate::order::{OnInvalidText, OnLossy};
use crate::parquet::schema::{Scalar, Shape};
use crate::storage::tuple::{Accept, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, BinaryViewArray, BooleanArray, FixedSizeBinaryArray};
use arrow_buffer::NullBuffer;
use arrow_schema::TimeUnit;
use decimal::Decimals;
use target::Kind;

pub(super) use nested::datum_of;
pub(super) use rebase::Rebase;
pub(super) use scalar::Rules;
pub use target::Target;

/// A column of a batch, ready to be read row by row.
pub(super) struct PreparedColumn<'a> {
    array: &'a dyn Array,
    shape: &'a Shape,
    target: &'a Target,
    rules: Rules,
    decimals: Option<Decimals>,
}

/// The way in which the rows of a prepared column are read.
pub(super) struct ColumnReader<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
    /// The most bytes that a value takes in a row, with its length and padding.
    pub(super) longest: usize,
}

enum Values<'a> {
    Bool(&'a BooleanArray),
    /// Sign-extended.
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Date(&'a [i32]),
    Timestamp {
        values: &'a [i64],
        unit: TimeUnit,
        on_lossy: OnLossy,
    },
    Text(&'a BinaryViewArray, OnInvalidText),
    Bytes(&'a BinaryViewArray),
    Uuid(&'a FixedSizeBinaryArray),
    Decimals(&'a Decimals),
    Any(&'a PreparedColumn<'a>),
}

impl<'a> PreparedColumn<'a> {
    pub(super) fn new(array: &'a dyn Array, shape: &'a Shape, target: &'a Target, rules: Rules) -> Self {
        let decimals = match (shape, &target.kind) {
            (Shape::Scalar(Scalar::Decimal { scale, .. }), Kind::Numeric { limits }) if !target.is_domain() => {
                Decimals::convert(array, *scale, *limits)
            }
            _ => None,
        };
        Self { array, shape, target, rules, decimals }
    }

    pub(super) fn reader(&'a self) -> ColumnReader<'a> {
        let (values, longest) = self.fast_values().unwrap_or((Values::Any(self), self.longest_bytes()));
        // Only the slow path looks at domains, which may refuse NULL.
        let nulls = if matches!(values, Values::Any(_)) { None } else { self.array.nulls() };
        ColumnReader { nulls, values, longest: longest + LENGTH_AND_PADDING }
    }

    /// Returns the length of the longest value that the slow path may borrow from the array.
    fn longest_bytes(&self) -> usize {
        if let Some(array) = self.array.as_byte_view_opt::<BinaryViewType>() {
            return longest_view(array) + PADDED;
        }
        if let Some(array) = self.array.as_fixed_size_binary_opt() {
            return usize::try_from(array.value_length()).unwrap_or(0);
        }
        PADDED
    }

    fn fast_values(&'a self) -> Option<(Values<'a>, usize)> {
        if self.target.is_domain() {
            return None;
        }
        let Shape::Scalar(scalar) = self.shape else { return None };
        if self.rules.extremes_are_infinite && has_extremes(self.array, *scalar) {
            return None;
        }
        let array = self.array;
        let int32 = || array.as_primitive_opt::<Int32Type>().map(|array| array.values().as_ref());
        let int64 = || array.as_primitive_opt::<Int64Type>().map(|array| array.values().as_ref());
        let views = || array.as_byte_view_opt::<BinaryViewType>();
        Some(match (scalar, &self.target.kind) {
            (Scalar::Bool, Kind::Bool) => (Values::Bool(array.as_boolean_opt()?), 0),
            (Scalar::Int { bits: 32, signed: true }, Kind::Int { bytes: 4 | 8 }) => (Values::Int32(int32()?), 8),
            (Scalar::Int { bits: 64, signed: true }, Kind::Int { bytes: 8 }) => (Values::Int64(int64()?), 8),
            (Scalar::Float32, Kind::Float4) => (Values::Float32(array.as_primitive_opt::<Float32Type>()?.values()), 8),
            (Scalar::Float64, Kind::Float8) => (Values::Float64(array.as_primitive_opt::<Float64Type>()?.values()), 8),
            (Scalar::Date, Kind::Date) => (Values::Date(array.as_primitive_opt::<Date32Type>()?.values()), 8),
            (Scalar::Timestamp { unit, .. }, Kind::Timestamp { step: 1, .. }) => {
                (Values::Timestamp { values: int64()?, unit: *unit, on_lossy: self.rules.on_lossy }, 8)
            }
            (Scalar::Text | Scalar::Enum | Scalar::Json | Scalar::Bytes, Kind::Text { limit: None })
                if encoding::database_is_utf8() =>
            {
                let views = views()?;
                (Values::Text(views, self.rules.on_invalid_text), longest_view(views))
            }
            (Scalar::Bytes | Scalar::Bson, Kind::Bytes) => {
                let views = views()?;
                (Values::Bytes(views), longest_view(views))
            }
            (Scalar::Uuid | Scalar::FixedBytes(16), Kind::Uuid) => {
                (Values::Uuid(array.as_fixed_size_binary_opt()?), 16)
            }
            (Scalar::Decimal { .. }, Kind::Numeric { .. }) => {
                const MOST_DIGITS: usize = 2 * 11;
                (Values::Decimals(self.decimals.as_ref()?), MOST_DIGITS)
            }
            _ => return None,
        })
    }
}

/// Returns whether one of the values would stand for infinity. NULLs may count as values.
fn has_extremes(array: &dyn Array, scalar: Scalar) -> bool {
    match scalar {
        Scalar::Date => array.as_primitive_opt::<Date32Type>().is_some_and(|array| {
            array.values().iter().any(|days| atom::infinite((*days).into(), i32::MAX.into()).is_some())
        }),
        Scalar::Timestamp { .. } => array
            .as_primitive_opt::<Int64Type>()
            .is_some_and(|array| array.values().iter().any(|value| atom::infinite(*value, i64::MAX).is_some())),
        _ => false,
    }
}

const LENGTH_AND_PADDING: usize = 16;
/// A bound of the padding of `char(n)`.
const PADDED: usize = 1024;

fn longest_view(array: &BinaryViewArray) -> usize {
    array.lengths().max().unwrap_or(0) as usize
}

impl<'a> ColumnReader<'a> {
    /// Returns the most bytes that the value of a row takes, as [`ColumnReader::longest`].
    pub(super) fn bytes(&self, row: usize) -> usize {
        let of_view = |array: &BinaryViewArray| array.value(row).len();
        LENGTH_AND_PADDING
            + match &self.values {
                Values::Text(array, _) | Values::Bytes(array) => of_view(array),
                Values::Any(column) => match column.array.as_byte_view_opt::<BinaryViewType>() {
                    Some(array) => of_view(array) + PADDED,
                    None => self.longest,
                },
                _ => self.longest,
            }
    }

    /// Hands the value of a row to `to`.
    #[inline(always)]
    pub(super) fn value<R>(&self, row: usize, to: impl Accept<R>) -> Result<R> {
        if let Some(nulls) = self.nulls
            && nulls.is_null(row)
        {
            return Ok(to.accept(Value::Null));
        }
        match &self.values {
            Values::Bool(array) => Ok(to.accept(Value::Bits(array.value(row).into()))),
            Values::Int32(values) => Ok(to.accept(Value::Bits(i64::from(values[row]) as u64))),
            Values::Int64(values) => Ok(to.accept(Value::Bits(values[row] as u64))),
            Values::Float32(values) => Ok(to.accept(Value::Bits(values[row].to_bits().into()))),
            Values::Float64(values) => Ok(to.accept(Value::Bits(values[row].to_bits()))),
            Values::Date(values) => Ok(to.accept(Value::Bits(scalar::date(values[row].into())? as u64))),
            Values::Timestamp { values, unit: TimeUnit::Microsecond, .. } => {
                Ok(to.accept(Value::Bits(scalar::microseconds(values[row])? as u64)))
            }
            Values::Timestamp { values, unit, on_lossy } => {
                let value = scalar::timestamp(atom::instant(values[row], *unit, false), 1, *on_lossy)?;
                Ok(to.accept(Value::Bits(value as u64)))
            }
            Values::Text(array, on_invalid_text) => {
                let bytes = array.value(row);
                let value = if is_text(bytes) {
                    Value::Varlena(bytes)
                } else {
                    scalar::replaced_text(bytes, *on_invalid_text)?
                };
                Ok(to.accept(value))
            }
            Values::Bytes(array) => Ok(to.accept(Value::Varlena(array.value(row)))),
            Values::Uuid(array) => Ok(to.accept(Value::Fixed(array.value(row)))),
            Values::Decimals(decimals) => Ok(to.accept(decimals.value(row))),
            Values::Any(column) => {
                let value = nested::convert(column.array, column.shape, column.target, row, column.rules)?;
                Ok(to.accept(value))
            }
        }
    }
}
