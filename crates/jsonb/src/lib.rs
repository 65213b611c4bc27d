#![forbid(unsafe_code)]
//! JSON texts to the stored form of PostgreSQL's `jsonb` (`utils/jsonb.h`), without the server.
//!
//! A text that is not plainly a valid document in the common form is left to the server's own parser: `None` only means
//! "ask the server".

mod parse;

#[cfg(test)]
use parse::MOST_NODES;
use parse::{Node, Parser};

const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;

const IS_STRING: u32 = 0;
const IS_NUMERIC: u32 = 0x1000_0000;
const IS_FALSE: u32 = 0x2000_0000;
const IS_TRUE: u32 = 0x3000_0000;
const IS_NULL: u32 = 0x4000_0000;
const IS_CONTAINER: u32 = 0x5000_0000;
const TYPE_MASK: u32 = 0x7000_0000;
const LENGTH_MASK: u32 = 0x0fff_ffff;
/// The entry tells where its value ends instead of how long it is; every so many do.
const HAS_OFFSET: u32 = 0x8000_0000;
const OFFSET_STRIDE: usize = 32;

/// The longest document. Longer ones are left to the server, whose memory is bounded.
const LONGEST_DOCUMENT: usize = 1 << 20;
/// The most memory that is kept from one document to the next.
const KEPT_MEMORY: usize = 256 << 10;

/// Encodes one document after the other in the same memory.
#[derive(Default)]
pub struct Encoder {
    parser: Parser,
    output: Vec<u8>,
}

impl Encoder {
    /// Returns the stored form, without the length word in front, of a text in UTF-8.
    pub fn encode(&mut self, text: &[u8]) -> Option<&[u8]> {
        let root = self.parse(text)?;
        self.output.clear();
        let writer = Writer { parser: &self.parser, text, output: &mut self.output };
        writer.write_root(root)?;
        Some(&self.output)
    }

    /// Returns whether the text is plainly a valid JSON document.
    pub fn is_valid(&mut self, text: &[u8]) -> bool {
        self.parse(text).is_some()
    }

    fn parse(&mut self, text: &[u8]) -> Option<Node> {
        if text.len() > LONGEST_DOCUMENT {
            return None;
        }
        // The memory of a long document is not kept for short ones.
        if self.parser.memory() + self.output.capacity() > KEPT_MEMORY {
            *self = Self::default();
        }
        self.parser.parse(text)
    }
}

struct Writer<'a> {
    parser: &'a Parser,
    text: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn write_root(mut self, root: Node) -> Option<()> {
        match root {
            Node::Array { .. } | Node::Object { .. } => self.write(root).map(drop),
            // A scalar is kept as an array of one element.
            scalar => self.write_entries(ARRAY | SCALAR | 1, &[scalar]).map(drop),
        }
    }

    /// Appends a value and returns its entry, with its length.
    fn write(&mut self, node: Node) -> Option<u32> {
        let start = self.output.len();
        let kind = match node {
            Node::Null => return Some(IS_NULL),
            Node::Bool(false) => return Some(IS_FALSE),
            Node::Bool(true) => return Some(IS_TRUE),
            Node::String(string) => {
                self.output.extend_from_slice(self.parser.string(self.text, string));
                IS_STRING
            }
            Node::Number(number) => {
                self.align();
                write_numeric(&self.text[number.start..number.start + number.length], self.output)?;
                IS_NUMERIC
            }
            Node::Array { first, count } => {
                let parser = self.parser;
                self.write_entries(ARRAY | u32::try_from(count).ok()?, parser.children(first, count))?;
                IS_CONTAINER
            }
            Node::Object { first, count } => {
                self.write_object(first, count)?;
                IS_CONTAINER
            }
        };
        let length = u32::try_from(self.output.len() - start).ok().filter(|length| *length <= LENGTH_MASK)?;
        Some(kind | length)
    }

    fn write_object(&mut self, first: usize, count: usize) -> Option<()> {
        let parser = self.parser;
        let mut pairs: Vec<(&[u8], Node)> = parser
            .children(first, count * 2)
            .chunks_exact(2)
            .map(|pair| match pair[0] {
                Node::String(key) => (parser.string(self.text, key), pair[1]),
                _ => (&[][..], pair[1]),
            })
            .collect();
        // Shorter keys first; of equal ones the last counts. The sort is stable.
        pairs.sort_by(|(one, _), (other, _)| one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
        let mut unique: Vec<(&[u8], Node)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        let header = OBJECT | u32::try_from(unique.len()).ok()?;
        let mut entries = Entries::begin(self, header, unique.len() * 2);
        for (key, _) in &unique {
            self.output.extend_from_slice(key);
            let length = u32::try_from(key.len()).ok().filter(|length| *length <= LENGTH_MASK)?;
            entries.add(self.output, IS_STRING | length)?;
        }
        for (_, value) in unique {
            let entry = self.write(value)?;
            entries.add(self.output, entry)?;
        }
        Some(())
    }

    fn write_entries(&mut self, header: u32, values: &[Node]) -> Option<()> {
        let mut entries = Entries::begin(self, header, values.len());
        for &value in values {
            let entry = self.write(value)?;
            entries.add(self.output, entry)?;
        }
        Some(())
    }

    /// Numbers and containers begin at multiples of four bytes; the padding counts as theirs.
    fn align(&mut self) {
        self.output.resize(self.output.len().next_multiple_of(4), 0);
    }
}

/// The entries of a container, which stand before its values.
struct Entries {
    next: usize,
    index: usize,
    total: u32,
}

impl Entries {
    fn begin(writer: &mut Writer<'_>, header: u32, count: usize) -> Self {
        writer.align();
        writer.output.extend_from_slice(&header.to_ne_bytes());
        let next = writer.output.len();
        writer.output.resize(next + count * 4, 0);
        Self { next, index: 0, total: 0 }
    }

    fn add(&mut self, output: &mut [u8], entry: u32) -> Option<()> {
        self.total = self.total.checked_add(entry & LENGTH_MASK).filter(|total| *total <= LENGTH_MASK)?;
        let entry =
            if self.index.is_multiple_of(OFFSET_STRIDE) { entry & TYPE_MASK | self.total | HAS_OFFSET } else { entry };
        output[self.next..self.next + 4].copy_from_slice(&entry.to_ne_bytes());
        self.next += 4;
        self.index += 1;
        Some(())
    }
}

/// Digits that a `numeric` stores together.
const GROUP: usize = 4;
/// The most digits of the short stored form behind the point, and a bound of those before it.
const LONGEST_SCALE: usize = 0x3f;
const LONGEST_WHOLE: usize = 64 * GROUP;

fn split_at_point(digits: &[u8]) -> (&[u8], &[u8]) {
    match digits.iter().position(|&byte| byte == b'.') {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[]),
    }
}

/// The number with its point where the exponent moves it; `None` where that is far away.
fn without_exponent(mantissa: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let exponent: i32 = std::str::from_utf8(exponent).ok()?.parse().ok()?;
    let (whole, fraction) = split_at_point(mantissa);
    if exponent.unsigned_abs() as usize > LONGEST_WHOLE || mantissa.len() > LONGEST_WHOLE {
        return None;
    }
    let point = whole.len() as i32 + exponent;
    let zeros = |count: i32| std::iter::repeat_n(b'0', count.max(0) as usize);
    let all = || whole.iter().chain(fraction).copied();
    let before = all().take(point.max(0) as usize).chain(zeros(point - (whole.len() + fraction.len()) as i32));
    let mut moved: Vec<u8> = if point > 0 { before.collect() } else { vec![b'0'] };
    moved.push(b'.');
    moved.extend(zeros(-point).chain(all().skip(point.max(0) as usize)));
    if moved.last() == Some(&b'.') {
        moved.pop();
    }
    Some(moved)
}

/// Appends a number as a `numeric` with its length word; `None` for what does not have the short stored form.
fn write_numeric(number: &[u8], output: &mut Vec<u8>) -> Option<()> {
    const SHORT: u16 = 0x8000;
    const NEGATIVE: u16 = 0x2000;
    const SCALE_SHIFT: u16 = 7;
    const WEIGHT_NEGATIVE: u16 = 0x0040;
    const WEIGHT_MASK: u16 = 0x003f;
    let (negative, digits) = match number.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, number),
    };
    let shifted;
    let digits = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(mark) => {
            shifted = without_exponent(&digits[..mark], &digits[mark + 1..])?;
            &shifted
        }
        None => digits,
    };
    let (whole, fraction) = split_at_point(digits);
    if fraction.len() > LONGEST_SCALE || whole.len() > LONGEST_WHOLE {
        return None;
    }
    let start = output.len();
    output.extend_from_slice(&[0; 6]);
    let groups_of_whole = whole.len().div_ceil(GROUP);
    let mut weight = groups_of_whole as i32 - 1;
    let mut leading = true;
    let mut push = |group: u16, output: &mut Vec<u8>| {
        if leading && group == 0 {
            weight -= 1;
        } else {
            leading = false;
            output.extend_from_slice(&group.to_ne_bytes());
        }
    };
    let value = |digits: &[u8]| digits.iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
    let (head, rest) = whole.split_at(whole.len() - (groups_of_whole.saturating_sub(1)) * GROUP);
    push(value(head), output);
    rest.chunks(GROUP).for_each(|group| push(value(group), output));
    for group in fraction.chunks(GROUP) {
        push(value(group) * 10u16.pow((GROUP - group.len()) as u32), output);
    }
    while output.len() > start + 6 && output.ends_with(&[0, 0]) {
        output.truncate(output.len() - 2);
    }
    let mut header = SHORT | (fraction.len() as u16) << SCALE_SHIFT;
    if output.len() == start + 6 {
        weight = 0;
    } else if negative {
        header |= NEGATIVE;
    }
    if !(-64..=63).contains(&weight) {
        return None;
    }
    header |= weight as u16 & WEIGHT_MASK;
    if weight < 0 {
        header |= WEIGHT_NEGATIVE;
    }
    let length = (output.len() - start) as u32;
    let length = if cfg!(target_endian = "little") { length << 2 } else { length };
    output[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    output[start + 4..start + 6].copy_from_slice(&header.to_ne_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_from_what_is_none() {
        let mut encoder = Encoder::default();
        for good in [
            "1",
            " [1, -0.5, 2.50] ",
            r#"{"a": {"b": [null, true, false, "x\n\u00e9\ud83d\ude00"]}}"#,
            "\"\"",
            "{}",
            "[]",
        ] {
            assert!(encoder.encode(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{1:2}",
            "tru",
            "\"\\u00\"",
            "\"\\x\"",
            "1 2",
            "\"a\nb\"",
            "\"\\ud83d\"",
            "\"\\u0000\"",
            "[",
            "]",
            "{\"a\":",
            "\"abc",
            "nul",
            "[1 2]",
            "\u{feff}1",
        ] {
            assert!(encoder.encode(bad.as_bytes()).is_none(), "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert!(encoder.encode(deep.as_bytes()).is_none());
    }

    #[test]
    fn huge_documents_are_left_to_the_server() {
        let mut encoder = Encoder::default();
        let array = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        assert!(encoder.encode(array(MOST_NODES - 1).as_bytes()).is_some());
        assert!(encoder.encode(b"{}").is_some());
        assert!(encoder.parser.memory() + encoder.output.capacity() <= KEPT_MEMORY);
        assert!(!encoder.is_valid(array(MOST_NODES + 1).as_bytes()));
        assert!(!encoder.is_valid(format!("{{{}\"\":0}}", "\"\":0,".repeat(MOST_NODES)).as_bytes()));
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        assert!(encoder.is_valid(text(LONGEST_DOCUMENT).as_bytes()));
        assert!(!encoder.is_valid(text(LONGEST_DOCUMENT + 1).as_bytes()));
    }

    #[test]
    fn random_bytes_never_panic() {
        let sample = br#"{"key": [1, 2.5, -3e5, "text \" \u00e9 \\ ", {"x": null, "yy": true}], "zz": "a", "zz": 12345678901234567890.123}"#;
        let mut encoder = Encoder::default();
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..100_000 {
            let mut bytes = sample.to_vec();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let position = (seed >> 33) as usize % bytes.len();
                bytes[position] = (seed >> 24) as u8;
            }
            bytes.truncate(1 + (seed >> 45) as usize % bytes.len());
            let _ = encoder.encode(&bytes);
        }
    }
}
