//! Documents of `jsonb` (`utils/jsonb.h`): containers of entries, whose values follow them.

use crate::content::{check_numeric, is_special_numeric, is_text, leading};

const COUNT: u32 = 0x0fff_ffff;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;
const HAS_OFFSET: u32 = 0x8000_0000;
const KIND: u32 = 0x7000_0000;
const STRING: u32 = 0;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;

const CUT_OFF: &str = "a document is cut off";
const DAMAGED: &str = "a document is damaged";
const WRONG_LENGTH: &str = "a document has another length";

/// Where a container lies in its document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    start: usize,
    end: usize,
}

/// Checks a document. `containers` is memory for those within it: documents can be nested deeper than calls.
pub(crate) fn check(document: &[u8], containers: &mut Vec<Range>) -> Result<(), &'static str> {
    containers.clear();
    let header = word(document, 0)?;
    if header & SCALAR != 0 && header != SCALAR | ARRAY | 1 {
        return Err(DAMAGED);
    }
    let mut next = Some(Range { start: 0, end: document.len() });
    while let Some(range) = next {
        check_container(document, range, range.start == 0 && header & SCALAR != 0, containers)?;
        next = containers.pop();
    }
    if containers.capacity() > 1 << 16 {
        *containers = Vec::new();
    }
    Ok(())
}

fn word(document: &[u8], at: usize) -> Result<u32, &'static str> {
    document.get(at..).and_then(leading::<4>).map(u32::from_le_bytes).ok_or(CUT_OFF)
}

fn check_container(
    document: &[u8],
    Range { start, end }: Range,
    holds_scalar: bool,
    containers: &mut Vec<Range>,
) -> Result<(), &'static str> {
    let document = document.get(..end).ok_or(CUT_OFF)?;
    let header = word(document, start)?;
    let count = (header & COUNT) as usize;
    let kind = header & !COUNT;
    let entries = match kind {
        ARRAY => count,
        OBJECT => 2 * count,
        _ if holds_scalar && kind == ARRAY | SCALAR => count,
        _ => return Err(DAMAGED),
    };
    let first_entry = start + 4;
    let values = first_entry + 4 * entries;
    if values > end {
        return Err(CUT_OFF);
    }
    let mut at = values;
    let mut last_key: &[u8] = &[];
    for number in 0..entries {
        let entry = word(document, first_entry + 4 * number)?;
        let told = (entry & COUNT) as usize;
        let value_end = if entry & HAS_OFFSET == 0 { at + told } else { values + told };
        if value_end < at || value_end > end {
            return Err(WRONG_LENGTH);
        }
        let is_key = kind == OBJECT && number < count;
        let aligned = at.next_multiple_of(4);
        match entry & KIND {
            STRING => {
                let text = &document[at..value_end];
                if !is_text(text) {
                    return Err("a text in a document is not UTF-8");
                }
                if is_key {
                    // Keys are searched for by their lengths, then by their bytes.
                    if number > 0 && (last_key.len(), last_key) >= (text.len(), text) {
                        return Err("the keys of a document are not in order");
                    }
                    last_key = text;
                }
            }
            _ if is_key => return Err(DAMAGED),
            NUMERIC => {
                let total = word(document, aligned)?;
                let length = (total >> 2) as usize;
                if total & 3 != 0 || length < 4 || aligned + length != value_end {
                    return Err("a number in a document has another length");
                }
                let number = &document[aligned + 4..value_end];
                check_numeric(number)?;
                if is_special_numeric(number) {
                    return Err("a number in a document is none of JSON");
                }
            }
            TRUE | FALSE | NULL if value_end == at => {}
            CONTAINER if !holds_scalar && aligned <= value_end => {
                containers.try_reserve(1).map_err(|_| "out of memory")?;
                containers.push(Range { start: aligned, end: value_end });
            }
            _ => return Err(DAMAGED),
        }
        at = value_end;
    }
    if at == end { Ok(()) } else { Err(WRONG_LENGTH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Vec<u8> {
        jsonb::Encoder::default().encode(text.as_bytes()).expect("a document").to_vec()
    }

    fn check_document(document: &[u8]) -> Result<(), &'static str> {
        check(document, &mut Vec::new())
    }

    #[test]
    fn documents_are_sound() {
        let long: Vec<String> = (0..100).map(|number| format!("{{\"k{number}\": [{number}.5, \"v\"]}}")).collect();
        let long = format!("[{}]", long.join(","));
        for text in ["1", "null", "\"a\"", "[]", "{}", "{\"a\":1,\"bb\":[true,false,null,\"x\",{\"c\":-1.50}]}", &long]
        {
            assert_eq!(check_document(&stored(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn documents_may_be_nested_deeply() {
        let depth = 100_000;
        let mut document = vec![0; 0];
        for level in (0..depth).rev() {
            document.extend_from_slice(&(ARRAY | 1).to_le_bytes());
            document.extend_from_slice(&(CONTAINER | (8 * level + 4)).to_le_bytes());
        }
        document.extend_from_slice(&ARRAY.to_le_bytes());
        assert_eq!(check_document(&document), Ok(()));
        document.truncate(document.len() - 4);
        assert!(check_document(&document).is_err());
    }

    #[test]
    fn damaged_documents_are_refused() {
        let sound = stored("{\"a\":1,\"bb\":[true,\"x\"]}");
        for end in 0..sound.len() {
            assert!(check_document(&sound[..end]).is_err());
        }
        let mut swapped = sound.clone();
        // The keys' entries: their lengths are exchanged, so that they are not in order.
        (swapped[4], swapped[8]) = (sound[8], sound[4]);
        assert!(check_document(&swapped).is_err());
        // A scalar in the middle, an object that is one.
        let mut scalar = stored("[[1]]");
        scalar[8..12].copy_from_slice(&(ARRAY | SCALAR | 1).to_le_bytes());
        assert!(check_document(&scalar).is_err());
        assert!(check_document(&(OBJECT | SCALAR | 1).to_le_bytes()).is_err());
        // JSON has no NaN.
        let number = |header: u16| {
            let words = [ARRAY | 1, NUMERIC | 6, 6 << 2].map(u32::to_le_bytes).concat();
            [&words[..], &header.to_le_bytes()].concat()
        };
        assert!(check_document(&number(0x8000)).is_ok() && check_document(&number(0xc000)).is_err());
        assert!(check_document(&(ARRAY | 0x0fff_ffff).to_le_bytes()).is_err());
    }
}
