//! Arrays as `utils/array.h` describes them, behind their length word.

use crate::content::leading;

const LENGTH_WORD: usize = 4;
const FIXED_BYTES: usize = 16;
const MOST_DIMENSIONS: usize = 6;
/// `MaxArraySize`: what the server could allocate.
const MOST_ITEMS: u64 = 0x3fff_ffff / 8;

const CUT_OFF: &str = "an array is cut off";
const WRONG_LENGTH: &str = "an array has another length";

/// Checks an array whose elements are of that type. `on_value` checks the content of each element.
pub(crate) fn check(
    bytes: &[u8],
    element: u32,
    length: i16,
    alignment: u8,
    mut on_value: impl FnMut(&[u8]) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let number =
        |at: usize| bytes.get(at - LENGTH_WORD..).and_then(leading::<4>).map(i32::from_le_bytes).ok_or(CUT_OFF);
    // Places count from the length word.
    let (dimensions, values_at, named) = (number(4)?, number(8)?, number(12)?);
    let dimensions = usize::try_from(dimensions).ok().filter(|count| *count <= MOST_DIMENSIONS);
    let dimensions = dimensions.ok_or("an array has too many dimensions")?;
    if named as u32 != element {
        return Err("an array is one of another type");
    }
    let mut items = u64::from(dimensions > 0);
    for dimension in 0..dimensions {
        let count = number(FIXED_BYTES + 4 * dimension)?;
        let lower_bound = number(FIXED_BYTES + 4 * (dimensions + dimension))?;
        let count = u64::try_from(count).map_err(|_| "an array has a negative size")?;
        items *= count;
        if items > MOST_ITEMS || i32::try_from(i64::from(lower_bound) + count as i64).is_err() {
            return Err("an array is too big");
        }
    }
    let bitmap_at = FIXED_BYTES + 8 * dimensions;
    let items = items as usize;
    let (bitmap, start) = if values_at == 0 {
        (None, bitmap_at.next_multiple_of(8))
    } else {
        let bitmap_bytes = items.div_ceil(8);
        let start = (bitmap_at + bitmap_bytes).next_multiple_of(8);
        if usize::try_from(values_at) != Ok(start) {
            return Err("the values of an array begin elsewhere");
        }
        let from = bitmap_at - LENGTH_WORD;
        (Some(bytes.get(from..from + bitmap_bytes).ok_or(CUT_OFF)?), start)
    };
    let end = bytes.len() + LENGTH_WORD;
    let mut at = start;
    for item in 0..items {
        if bitmap.is_some_and(|bitmap| bitmap[item / 8] >> (item % 8) & 1 == 0) {
            continue;
        }
        at = at.next_multiple_of(alignment.into());
        let rest = bytes.get(at - LENGTH_WORD..).ok_or(CUT_OFF)?;
        let (value, taken) = match usize::try_from(length) {
            Ok(length) => (rest.get(..length).ok_or(CUT_OFF)?, length),
            Err(_) => variable(rest)?,
        };
        on_value(value)?;
        at += taken;
    }
    // The last value is padded. An array without elements has nothing behind its header.
    let padded = at.next_multiple_of(alignment.into());
    if end == at || end == padded || (items == 0 && end == bitmap_at) { Ok(()) } else { Err(WRONG_LENGTH) }
}

/// Returns the content of an element that begins with its length, and the bytes that it takes. Elements are neither
/// compressed nor elsewhere.
fn variable(rest: &[u8]) -> Result<(&[u8], usize), &'static str> {
    let first = *rest.first().ok_or(CUT_OFF)?;
    if first & 1 == 1 {
        let length = usize::from(first >> 1);
        let value = rest.get(1..length).filter(|_| first > 1).ok_or("an element of an array is elsewhere")?;
        return Ok((value, length));
    }
    let header = u32::from_le_bytes(leading::<4>(rest).ok_or(CUT_OFF)?);
    if header & 2 != 0 {
        return Err("an element of an array is compressed");
    }
    let length = (header >> 2) as usize;
    Ok((rest.get(4..length).ok_or(CUT_OFF)?, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4: i32 = 23;

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn check_integers(bytes: &[u8]) -> Result<usize, &'static str> {
        let mut count = 0;
        check(bytes, INT4 as u32, 4, 4, |_| {
            count += 1;
            Ok(())
        })
        .map(|()| count)
    }

    #[test]
    fn elements_are_counted_by_the_dimensions() {
        assert_eq!(check_integers(&words(&[0, 0, INT4])), Ok(0));
        assert_eq!(check_integers(&words(&[1, 0, INT4, 2, 1, 7, 8])), Ok(2));
        assert_eq!(check_integers(&words(&[2, 0, INT4, 2, 2, 1, 1, 7, 8, 9, 10])), Ok(4));
        assert_eq!(check_integers(&words(&[1, 0, INT4, 3, 1, 7, 8])), Err(CUT_OFF));
        assert_eq!(check_integers(&words(&[1, 0, INT4, 1, 1, 7, 8])), Err(WRONG_LENGTH));
        assert_eq!(check_integers(&words(&[1, 0, 25, 2, 1, 7, 8])), Err("an array is one of another type"));
        assert_eq!(check_integers(&words(&[7, 0, INT4])), Err("an array has too many dimensions"));
        assert_eq!(check_integers(&words(&[1, 0, INT4, -1, 1])), Err("an array has a negative size"));
        assert_eq!(check_integers(&words(&[1, 0, INT4, 2, i32::MAX, 7, 8])), Err("an array is too big"));
        assert_eq!(check_integers(&words(&[2, 0, INT4, i32::MAX, i32::MAX, 1, 1])), Err("an array is too big"));
        assert_eq!(check_integers(&words(&[1, 0])), Err(CUT_OFF));
    }

    #[test]
    fn a_bitmap_tells_of_elements_that_are_null() {
        // The bitmap takes the place up to the next multiple of eight.
        let array = words(&[1, 32, INT4, 2, 1, 0b10, 0, 8]);
        assert_eq!(check_integers(&array), Ok(1));
        let mut elsewhere = array.clone();
        elsewhere[4] = 40;
        assert_eq!(check_integers(&elsewhere), Err("the values of an array begin elsewhere"));
    }

    #[test]
    fn elements_of_variable_length() {
        let check_texts = |elements: &[u8]| {
            let mut array = words(&[1, 0, 25, 2, 1]);
            array.extend_from_slice(elements);
            check(&array, 25, -1, 4, |_| Ok(()))
        };
        let long = |total: u32| (total << 2).to_le_bytes();
        assert_eq!(check_texts(&[&long(5)[..], b"a\0\0\0", &long(4)].concat()), Ok(()));
        assert_eq!(check_texts(&[&long(5)[..], b"a\0\0\0", &long(5)].concat()), Err(CUT_OFF));
        assert_eq!(check_texts(&[&long(3)[..], &long(4)].concat()), Err(CUT_OFF));
        assert_eq!(check_texts(&[1, 18, 0, 0]), Err("an element of an array is elsewhere"));
        assert_eq!(check_texts(&[2, 0, 0, 0]), Err("an element of an array is compressed"));
    }
}
