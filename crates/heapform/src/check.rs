//! The walk over the values of a row.

use crate::column::Column;
use crate::content::{Content, Inside};
use crate::{Damage, Record};

/// The place of a value that is NULL.
pub const NULL: u32 = u32::MAX;

/// Checks one row after the other against the columns of a table.
pub struct Checker {
    columns: Vec<Column>,
    places: Vec<u32>,
    inside: Inside,
}

/// What a sound row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    pub has_nulls: bool,
    /// Whether one of its values has a length of its own.
    pub has_variable_width: bool,
}

impl Checker {
    /// Checks rows of these columns, with texts in UTF-8.
    pub fn new(columns: Vec<Column>) -> Self {
        let places = vec![NULL; columns.len()];
        Self { columns, places, inside: Inside::default() }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns where, in its data, the values of the row begin that was checked last; [`NULL`] for those that are NULL.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// Walks a row as the server would. `pause` is called before what may take long.
    ///
    /// # Errors
    /// The first thing that the server could stumble over, or would read as another value than what was stored.
    pub fn check(&mut self, record: &Record<'_>, pause: &dyn Fn()) -> Result<Checked, Damage> {
        let mut checked = Checked { has_nulls: false, has_variable_width: false };
        if record.bitmap.is_some_and(|bitmap| bitmap.len() < self.columns.len().div_ceil(8)) {
            return Err(Damage::of_row("the record has another number of columns"));
        }
        let mut at = 0;
        for (number, (column, place)) in self.columns.iter().zip(&mut self.places).enumerate() {
            if record.bitmap.is_some_and(|bitmap| bitmap[number / 8] >> (number % 8) & 1 == 0) {
                checked.has_nulls = true;
                *place = NULL;
                continue;
            }
            let walked = if column.length == -1 {
                checked.has_variable_width = true;
                variable(&mut self.inside, column, record.data, at, pause)
            } else {
                fixed(column, record.data, at)
            };
            let (start, end) = walked.map_err(|reason| Damage { column: Some(number), reason })?;
            *place = start as u32;
            at = end;
        }
        if at != record.data.len() {
            return Err(Damage::of_row("there is something behind the last value"));
        }
        Ok(checked)
    }
}

const CUT_OFF: &str = "a value is cut off";

/// Checks a value of fixed length whose padding begins at `at`, and returns its place.
#[inline]
fn fixed(column: &Column, data: &[u8], at: usize) -> Result<(usize, usize), &'static str> {
    let start = at.next_multiple_of(column.alignment.into());
    let end = start + column.length as usize;
    let value = data.get(start..end).ok_or(CUT_OFF)?;
    if let Content::Scalar(scalar) = column.content {
        scalar.check_fixed(value)?;
    }
    Ok((start, end))
}

/// Checks a value that begins with its length.
#[inline]
fn variable(
    inside: &mut Inside,
    column: &Column,
    data: &[u8],
    at: usize,
    pause: &dyn Fn(),
) -> Result<(usize, usize), &'static str> {
    let alignment = usize::from(column.alignment);
    // A byte that is not zero is the beginning of the value; padding is zero.
    let start = if *data.get(at).ok_or(CUT_OFF)? == 0 { at.next_multiple_of(alignment) } else { at };
    let first = *data.get(start).ok_or(CUT_OFF)?;
    if first & 1 == 1 {
        let end = start + usize::from(first >> 1);
        if first == 1 {
            return Err("a value lies outside of the row");
        }
        let content = data.get(start + 1..end).ok_or(CUT_OFF)?;
        inside.check(column.content, content)?;
        return Ok((start, end));
    }
    if !start.is_multiple_of(alignment) {
        return Err("a value is not aligned");
    }
    let word = |at: usize| {
        let bytes = data.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let header = word(start).ok_or(CUT_OFF)?;
    let end = start + (header >> 2) as usize;
    if header & 2 == 0 {
        let content = data.get(start + 4..end).ok_or(CUT_OFF)?;
        inside.check(column.content, content)?;
    } else {
        let info = word(start + 4).ok_or(CUT_OFF)?;
        let compressed = data.get(start + 8..end).ok_or(CUT_OFF)?;
        pause();
        inside.check_compressed(column.content, info, compressed)?;
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4: u32 = 23;
    const INT8: u32 = 20;
    const TEXT: u32 = 25;
    const BOOL: u32 = 16;

    fn checker(types: &[u32]) -> Checker {
        Checker::new(types.iter().map(|oid| Column::of(*oid, -1).unwrap()).collect())
    }

    fn check(types: &[u32], bitmap: Option<&[u8]>, data: &[u8]) -> Result<Vec<u32>, &'static str> {
        let mut checker = checker(types);
        let outcome = checker.check(&Record { bitmap, data }, &|| ());
        outcome.map(|_| checker.places().to_vec()).map_err(|damage| damage.reason)
    }

    #[test]
    fn values_stand_where_the_server_looks_for_them() {
        // A boolean, padding, an integer, a short text, padding, a long one.
        let mut data = vec![1, 0, 0, 0, 7, 0, 0, 0, 5, b'a', 0, 0];
        data.extend_from_slice(&(5u32 << 2).to_le_bytes());
        data.push(b'b');
        assert_eq!(check(&[BOOL, INT4, TEXT, TEXT], None, &data), Ok(vec![0, 4, 8, 12]));
        assert_eq!(check(&[BOOL, INT4, TEXT, TEXT, INT8], Some(&[0b01111]), &data), Ok(vec![0, 4, 8, 12, NULL]));
    }

    #[test]
    fn rows_that_end_elsewhere_are_refused() {
        let data = 7u32.to_le_bytes();
        assert_eq!(check(&[INT4], None, &data), Ok(vec![0]));
        assert_eq!(check(&[INT4, INT4], None, &data), Err(CUT_OFF));
        assert_eq!(check(&[INT4], Some(&[0]), &data), Err("there is something behind the last value"));
        assert_eq!(check(&[TEXT], None, &[]), Err(CUT_OFF));
    }

    #[test]
    fn lengths_are_those_of_the_row() {
        let long = |total: u32| (total << 2).to_le_bytes();
        assert_eq!(check(&[TEXT], None, &[3]), Ok(vec![0]));
        assert_eq!(check(&[TEXT], None, &[5]), Err(CUT_OFF));
        assert_eq!(check(&[TEXT], None, &long(4)), Ok(vec![0]));
        assert_eq!(check(&[TEXT], None, &long(3)), Err(CUT_OFF));
        assert_eq!(check(&[TEXT], None, &long(5)), Err(CUT_OFF));
        assert_eq!(check(&[TEXT], None, &long(0)), Err(CUT_OFF));
        // A pointer to a TOAST table.
        let mut pointer = vec![1, 18];
        pointer.extend_from_slice(&[0; 16]);
        assert_eq!(check(&[TEXT], None, &pointer), Err("a value lies outside of the row"));
        // A long length that is not aligned.
        let mut shifted = vec![1];
        shifted.extend_from_slice(&long(5 + 64));
        shifted.extend_from_slice(&[b'a'; 65]);
        assert_eq!(check(&[BOOL, TEXT], None, &shifted), Err("a value is not aligned"));
    }
}
