//! Values of any structure as JSON.

use super::atom::{Atom, atom_at};
use super::bounds;
use super::decimal;
use super::scalar::{Rules, valid_text};
use super::target::entry_shape;
use super::text;
use crate::error::Result;
use crate::parquet::schema::{Scalar, Shape, malformed};
use arrow_array::Array;
use arrow_array::cast::AsArray;

/// Appends the value of a row, `null` for NULL.
pub(super) fn write(array: &dyn Array, shape: &Shape, row: usize, rules: Rules, out: &mut Vec<u8>) -> Result<()> {
    // Room for all pieces of a fixed length.
    bounds::room(out, SMALL)?;
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match shape {
        Shape::Scalar(scalar) => write_scalar(&atom_at(array, *scalar, row, rules)?, *scalar, rules, out),
        Shape::List(element) => {
            let values = list_at(array, row)?;
            out.push(b'[');
            for position in 0..values.len() {
                if position > 0 {
                    out.extend_from_slice(b", ");
                }
                write(values.as_ref(), element, position, rules, out)?;
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
                write_string(name.as_bytes(), out)?;
                out.extend_from_slice(b": ");
                write(structure.column(position).as_ref(), shape, row, rules, out)?;
            }
            out.push(b'}');
            Ok(())
        }
        Shape::Map(key, value) => write_map(array, key, value, row, rules, out),
    }
}

/// Appends a map: as an object where the keys are texts or numbers, else as a list of entries.
fn write_map(array: &dyn Array, key: &Shape, value: &Shape, row: usize, rules: Rules, out: &mut Vec<u8>) -> Result<()> {
    let entries = list_at(array, row)?;
    let structure = entries.as_struct_opt().ok_or_else(|| malformed("a map came as something else"))?;
    let Shape::Scalar(key_scalar) = key else {
        let entry = entry_shape(key, value);
        out.push(b'[');
        for position in 0..entries.len() {
            if position > 0 {
                out.extend_from_slice(b", ");
            }
            write(structure, &entry, position, rules, out)?;
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
        let atom = atom_at(keys.as_ref(), *key_scalar, position, rules)?;
        if let Atom::Text(bytes) = atom {
            write_string(&valid_text(bytes, rules.on_invalid_text)?, out)?;
        } else {
            bounds::room(out, longest(&atom))?;
            out.push(b'"');
            text::write_json_words(&atom, rules.on_lossy, out)?;
            out.push(b'"');
        }
        out.extend_from_slice(b": ");
        write(structure.column(1).as_ref(), value, position, rules, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends the elements of a list, or the entries of a map.
pub(super) fn list_at(array: &dyn Array, row: usize) -> Result<arrow_array::ArrayRef> {
    if let Some(list) = array.as_list_opt::<i32>() {
        return Ok(list.value(row));
    }
    if let Some(map) = array.as_map_opt() {
        return Ok(std::sync::Arc::new(map.value(row)));
    }
    Err(malformed("a list came as something else"))
}

fn write_scalar(atom: &Atom<'_>, scalar: Scalar, rules: Rules, out: &mut Vec<u8>) -> Result<()> {
    if let Atom::Text(bytes) = atom {
        let bytes = valid_text(bytes, rules.on_invalid_text)?;
        // A document within the document.
        if scalar == Scalar::Json {
            bounds::room(out, bytes.len())?;
            out.extend_from_slice(&bytes);
        } else {
            write_string(&bytes, out)?;
        }
        return Ok(());
    }
    bounds::room(out, longest(atom))?;
    text::write_json(atom, rules.on_lossy, out)
}

fn write_string(words: &[u8], out: &mut Vec<u8>) -> Result<()> {
    // A few more than most take; the longest take six for each.
    bounds::room(out, words.len() + words.len() / 8 + SMALL)?;
    out.push(b'"');
    for piece in words.chunks(PIECE) {
        bounds::room(out, 6 * piece.len() + SMALL)?;
        text::escape_json(piece, out);
    }
    out.push(b'"');
    Ok(())
}

const SMALL: usize = 64;
const PIECE: usize = 64 * 1024;

/// Returns the most bytes of a scalar's text.
fn longest(atom: &Atom<'_>) -> usize {
    const NUMBER: usize = 1024;
    match atom {
        // In the escape format of bytea, a byte takes four, of which two are escaped again.
        Atom::Bytes(bytes) | Atom::Text(bytes) | Atom::Uuid(bytes) => bytes.len().saturating_mul(6) + SMALL,
        Atom::Decimal { unscaled, scale } => decimal::longest_text(*unscaled, *scale),
        _ => NUMBER,
    }
}
