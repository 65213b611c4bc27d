//! Values of any structure as datums made by the server's functions: arrays, rows, documents.

use super::super::to_datum::to_datum;
use super::atom::atom_at;
use super::bounds;
use super::json;
use super::scalar::{Rules, store, text};
use super::target::{ElementLayout, Kind, Target, entry_shape};
use crate::error::{Error, Result};
use crate::local::interrupts;
use crate::parquet::schema::{Scalar, Shape, malformed};
use crate::storage::tuple::Value;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// Returns the value of a row for its target, whose domain it satisfies.
pub(super) fn convert<'a>(
    array: &'a dyn Array,
    shape: &Shape,
    target: &Target,
    row: usize,
    rules: Rules,
) -> Result<Value<'a>> {
    let value = if array.is_null(row) {
        Value::Null
    } else {
        match (shape, &target.kind) {
            // A text is a document already.
            (Shape::Scalar(Scalar::Json | Scalar::Text), _) | (Shape::Scalar(_), Kind::Text { .. }) => {
                let Shape::Scalar(scalar) = shape else { return Err(Error::internal("a scalar was expected")) };
                store(atom_at(array, *scalar, row, rules)?, target, rules)?
            }
            (_, Kind::Json | Kind::Jsonb) => {
                let mut document = Vec::new();
                json::write(array, shape, row, rules, &mut document)?;
                bounds::refuse_beyond_row(document.len())?;
                owned(text(&document, target, rules)?)
            }
            (Shape::Scalar(scalar), _) => store(atom_at(array, *scalar, row, rules)?, target, rules)?,
            (Shape::List(_) | Shape::Map(..), Kind::Array { element, layout }) => {
                Value::Datum(array_of(array, shape, element, *layout, row, rules)?)
            }
            (Shape::Struct(fields), Kind::Composite { attributes, descriptor }) => {
                Value::Datum(row_of(array, fields, attributes, *descriptor, row, rules)?)
            }
            _ => return Err(Error::internal("a value of a structure that its column does not take")),
        }
    };
    if !target.is_domain() {
        return Ok(value);
    }
    let datum = datum_of(value);
    target.check_domain(datum);
    Ok(datum.map_or(Value::Null, Value::Datum))
}

/// Returns the value in memory of its own, in the current memory context.
pub fn datum_of(value: Value<'_>) -> Option<pg_sys::Datum> {
    // SAFETY: allocates in the current context, or raises.
    to_datum(value, |bytes| unsafe { pg_sys::palloc(bytes).cast() })
}

fn owned(value: Value<'_>) -> Value<'static> {
    datum_of(value).map_or(Value::Null, Value::Datum)
}

/// Elements of one array, with its dimensions, from the outermost inwards.
#[derive(Default)]
struct Elements {
    data: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    dimensions: Vec<i32>,
    /// The bytes that elements take in memory of their own.
    bytes: usize,
}

impl Elements {
    fn push(&mut self, value: Value<'_>) -> Result<()> {
        self.bytes += match value {
            Value::Fixed(bytes) | Value::Varlena(bytes) => bytes.len(),
            Value::Pieces { head, tail } => head.len() + tail.len(),
            _ => 0,
        };
        if self.bytes > bounds::LONGEST_VALUE {
            return Err(bounds::too_long("an array"));
        }
        let value = datum_of(value);
        self.nulls.push(value.is_none());
        self.data.push(value.unwrap_or(pg_sys::Datum::from(0usize)));
        if self.data.len().is_multiple_of(CHECKED_EVERY) {
            interrupts::check();
            bounds::refuse_beyond_row(0)?;
        }
        Ok(())
    }
}

/// Elements between two looks at what they have taken.
const CHECKED_EVERY: usize = 1024;

/// `MAXDIM`
const MOST_DIMENSIONS: usize = 6;

fn array_of(
    array: &dyn Array,
    shape: &Shape,
    element: &Target,
    layout: ElementLayout,
    row: usize,
    rules: Rules,
) -> Result<pg_sys::Datum> {
    let mut elements = Elements::default();
    collect(array, shape, element, row, 0, rules, &mut elements)?;
    let no_elements = elements.data.is_empty();
    if no_elements && elements.dimensions.len() > 1 {
        return Err(not_rectangular());
    }
    // SAFETY: as many data, flags and dimensions as said; the function copies the elements into the new array. The type's
    // element OID is that which the values were made for, the domain's if it is one.
    unsafe {
        if no_elements {
            return Ok(pg_sys::Datum::from(pg_sys::construct_empty_array(element.declared())));
        }
        let mut lower_bounds = vec![1; elements.dimensions.len()];
        Ok(pg_sys::Datum::from(pg_sys::construct_md_array(
            elements.data.as_mut_ptr(),
            elements.nulls.as_mut_ptr(),
            elements.dimensions.len() as i32,
            elements.dimensions.as_mut_ptr(),
            lower_bounds.as_mut_ptr(),
            element.declared(),
            layout.length.into(),
            layout.by_value,
            layout.alignment,
        )))
    }
}

fn collect(
    array: &dyn Array,
    shape: &Shape,
    element: &Target,
    row: usize,
    depth: usize,
    rules: Rules,
    elements: &mut Elements,
) -> Result<()> {
    let inner = match shape {
        Shape::List(inner) => inner.as_ref().clone(),
        Shape::Map(key, value) => entry_shape(key, value),
        _ => return Err(Error::internal("a list was expected")),
    };
    let values: ArrayRef = json::list_at(array, row)?;
    let count = i32::try_from(values.len()).map_err(|_| malformed("a list has too many elements"))?;
    if depth >= MOST_DIMENSIONS {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("number of array dimensions exceeds the maximum allowed ({MOST_DIMENSIONS})"),
        ));
    }
    match elements.dimensions.get(depth) {
        None => elements.dimensions.push(count),
        Some(&known) if known != count => return Err(not_rectangular()),
        Some(_) => {}
    }
    bounds::room_for(&mut elements.data, values.len())?;
    bounds::room_for(&mut elements.nulls, values.len())?;
    let is_list = matches!(inner, Shape::List(_)) && !matches!(element.kind, Kind::Json | Kind::Jsonb);
    for position in 0..values.len() {
        if is_list {
            if values.is_null(position) {
                return Err(not_rectangular());
            }
            collect(values.as_ref(), &inner, element, position, depth + 1, rules, elements)?;
        } else {
            elements.push(convert(values.as_ref(), &inner, element, position, rules)?)?;
        }
    }
    Ok(())
}

fn not_rectangular() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_ARRAY_ELEMENT_ERROR,
        "lists in a list must have the same length to become one array",
    )
    .hint("A column of type jsonb takes lists of any lengths.")
}

fn row_of(
    array: &dyn Array,
    fields: &[(String, Shape)],
    attributes: &[(String, Option<Target>)],
    descriptor: pg_sys::TupleDesc,
    row: usize,
    rules: Rules,
) -> Result<pg_sys::Datum> {
    let structure = array.as_struct_opt().ok_or_else(|| malformed("a structure came as something else"))?;
    let mut values = Vec::with_capacity(attributes.len());
    let mut nulls = Vec::with_capacity(attributes.len());
    for (name, target) in attributes {
        let field = fields.iter().position(|(field, _)| field == name);
        let value = match (field, target) {
            (Some(field), Some(target)) => {
                datum_of(convert(structure.column(field).as_ref(), &fields[field].1, target, row, rules)?)
            }
            (None, Some(target)) => {
                target.check_domain(None);
                None
            }
            _ => None,
        };
        nulls.push(value.is_none());
        values.push(value.unwrap_or(pg_sys::Datum::from(0usize)));
    }
    // SAFETY: one value and one flag for each attribute of the descriptor; the result is a datum of its own.
    unsafe {
        let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        Ok(pg_sys::heap_copy_tuple_as_datum(tuple, descriptor))
    }
}
