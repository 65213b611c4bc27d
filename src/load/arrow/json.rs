//! Values of any structure as JSON.

use super::atom::{Atom, atom_at};
use super::scalar::refuse_invalid_text;
use super::target::entry_shape;
use crate::error::Result;
use crate::parquet::schema::{Scalar, Shape, malformed};
use arrow_array::Array;
use arrow_array::cast::AsArray;

/// Appends the value of a row, `null` for NULL.
pub(super) fn write(array: &dyn Array, shape: &Shape, row: usize, out: &mut Vec<u8>) -> Result<()> {
    if array.is_null(row) || matches!(shape, Shape::Scalar(Scalar::Null)) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match shape {
        Shape::Scalar(scalar) => write_scalar(atom_at(array, *scalar, row)?, *scalar, out),
        Shape::List(element) => {
            let values = list_at(array, row)?;
            out.push(b'[');
            for position in 0..values.len() {
                if position > 0 {
                    out.extend_from_slice(b", ");
                }
                write(values.as_ref(), element, position, out)?;
            }
            out.push(b']');
            Ok(())
        }
        Shape::Struct(fields) => {
            let structure = array.as_struct_opt().ok_or_else(|| malformed("a structure came as something else"))?;
            out.push(b'{');
            for (position, (name, shape)) in fields.iter().enumerate() {
                if position > 0 {
                    out.extend_from_slice(b", ");
                }
                write_string(name.as_bytes(), out);
                out.extend_from_slice(b": ");
                write(structure.column(position).as_ref(), shape, row, out)?;
            }
            out.push(b'}');
            Ok(())
        }
        Shape::Map(key, value) => write_map(array, key, value, row, out),
    }
}

/// An object where the keys are texts or numbers, else a list of entries.
fn write_map(array: &dyn Array, key: &Shape, value: &Shape, row: usize, out: &mut Vec<u8>) -> Result<()> {
    let entries = list_at(array, row)?;
    let structure = entries.as_struct_opt().ok_or_else(|| malformed("a map came as something else"))?;
    let Shape::Scalar(key_scalar) = key else {
        let entry = entry_shape(key, value);
        out.push(b'[');
        for position in 0..entries.len() {
            if position > 0 {
                out.extend_from_slice(b", ");
            }
            write(structure, &entry, position, out)?;
        }
        out.push(b']');
        return Ok(());
    };
    out.push(b'{');
    for position in 0..entries.len() {
        if position > 0 {
            out.extend_from_slice(b", ");
        }
        let keys = structure.column(0);
        if keys.is_null(position) {
            return Err(malformed("a map has a key that is NULL"));
        }
        let mut text = Vec::new();
        let atom = atom_at(keys.as_ref(), *key_scalar, position)?;
        if let Atom::Text(bytes) = atom {
            refuse_invalid_text(bytes)?;
        }
        atom.write_text(&mut text);
        write_string(&text, out);
        out.extend_from_slice(b": ");
        write(structure.column(1).as_ref(), value, position, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// The elements of a list, or the entries of a map.
pub(super) fn list_at(array: &dyn Array, row: usize) -> Result<arrow_array::ArrayRef> {
    if let Some(list) = array.as_list_opt::<i32>() {
        return Ok(list.value(row));
    }
    if let Some(map) = array.as_map_opt() {
        return Ok(std::sync::Arc::new(map.value(row)));
    }
    Err(malformed("a list came as something else"))
}

fn write_scalar(atom: Atom<'_>, scalar: Scalar, out: &mut Vec<u8>) -> Result<()> {
    match atom {
        Atom::Bool(_) | Atom::Int(_) | Atom::Decimal { .. } => atom.write_text(out),
        Atom::Float32(value) if value.is_finite() => atom.write_text(out),
        Atom::Float64(value) if value.is_finite() => atom.write_text(out),
        // A document inside of the document.
        Atom::Text(bytes) if scalar == Scalar::Json => {
            refuse_invalid_text(bytes)?;
            out.extend_from_slice(bytes);
        }
        Atom::Text(bytes) => {
            refuse_invalid_text(bytes)?;
            write_string(bytes, out);
        }
        other => {
            let mut text = Vec::new();
            other.write_text(&mut text);
            write_string(&text, out);
        }
    }
    Ok(())
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
