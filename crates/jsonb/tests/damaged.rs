//! Damaged documents: nothing, or a stored form whose every offset and length lies inside of it.
//!
//! `PGCOPY_FUZZ_INPUTS` sets how many are tried.

use jsonb::Encoder;

fn inputs(usual: u64) -> u64 {
    std::env::var("PGCOPY_FUZZ_INPUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// A reproducible source of numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

const PIECES: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"a\":",
    "\"key\":",
    "\"\":",
    "null",
    "true",
    "false",
    "0",
    "-0.00",
    "12345678901234567890",
    "0.000000000000000000000000000000000000000000000000000000000000001",
    "1e5",
    "-1.50",
    "9999",
    "10000.0001",
    "\"\"",
    "\"text\"",
    "\"\\u00e9\\ud83d\\ude00\"",
    "\"\\n\\\\\"",
    "\"größe\"",
    " ",
    "\n",
    "[]",
    "{}",
    "[[[]]]",
    "{\"a\":{\"a\":1}}",
    "-",
    "\\u0000",
];

/// Mostly sound.
fn document(random: &mut Random, depth: usize, text: &mut String) {
    match random.below(if depth == 0 { 6 } else { 10 }) {
        0..=5 => text.push_str(PIECES[10 + random.below(17)]),
        6 | 7 => {
            text.push('[');
            for number in 0..random.below(40) {
                text.push_str(if number > 0 { "," } else { "" });
                document(random, depth - 1, text);
            }
            text.push(']');
        }
        _ => {
            text.push('{');
            for number in 0..random.below(8) {
                text.push_str(if number > 0 { "," } else { "" });
                text.push_str(&format!("\"k{}\":", random.below(12)));
                document(random, depth - 1, text);
            }
            text.push('}');
        }
    }
}

const COUNT: u32 = 0x0fff_ffff;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Walks a container as `jsonb_util.c` would, with a look at every bound; `start` is that of the container.
fn check_container(bytes: &[u8], start: usize, end: usize, depth: usize) {
    let header = word(bytes, start);
    let count = (header & COUNT) as usize;
    let entries = if header & 0x2000_0000 != 0 { 2 * count } else { count };
    let values = start + 4 + 4 * entries;
    assert!(values <= end && depth < 300);
    let mut offset = 0usize;
    for number in 0..entries {
        let entry = word(bytes, start + 4 + 4 * number);
        let length = if entry & 0x8000_0000 != 0 {
            let next = (entry & COUNT) as usize;
            assert!(next >= offset);
            next - offset
        } else {
            (entry & COUNT) as usize
        };
        let (mut from, to) = (values + offset, values + offset + length);
        assert!(to <= end, "a value ends behind its container");
        match entry & 0x7000_0000 {
            0 => assert!(std::str::from_utf8(&bytes[from..to]).is_ok()),
            0x1000_0000 => {
                from = from.next_multiple_of(4);
                let total = word(bytes, from);
                let total = if cfg!(target_endian = "little") { total >> 2 } else { total } as usize;
                assert_eq!(from + total, to, "a number's own length");
                assert!(total >= 6 && total.is_multiple_of(2));
            }
            0x5000_0000 => check_container(bytes, from.next_multiple_of(4), to, depth + 1),
            _ => assert_eq!(length, 0),
        }
        offset += length;
    }
    assert!(values + offset == end, "nothing is left over");
}

#[test]
fn any_document() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut encoder = Encoder::default();
    let (mut accepted, mut refused) = (0u64, 0u64);
    let mut text = String::new();
    for number in 0..inputs(300_000) {
        text.clear();
        if number % 3 == 0 {
            for _ in 0..random.below(30) {
                text.push_str(PIECES[random.below(PIECES.len())]);
            }
        } else {
            document(&mut random, 3, &mut text);
        }
        let mut bytes = std::mem::take(&mut text).into_bytes();
        if number % 2 == 0 {
            for _ in 0..1 + random.below(3) {
                let position = random.below(bytes.len().max(1));
                match random.below(3) {
                    0 if position < bytes.len() => bytes[position] = random.next() as u8,
                    1 => bytes.truncate(position),
                    _ => bytes.insert(position.min(bytes.len()), b"{}[],:\"\\0-e."[random.below(12)]),
                }
            }
        }
        // As the caller has made sure of.
        let is_text = std::str::from_utf8(&bytes).is_ok();
        let valid = encoder.is_valid(&bytes);
        match encoder.encode(&bytes) {
            Some(stored) => {
                accepted += 1;
                assert!(valid);
                if is_text {
                    check_container(stored, 0, stored.len(), 0);
                }
            }
            None => refused += 1,
        }
        bytes.clear();
        text = String::from_utf8(bytes).unwrap_or_default();
    }
    eprintln!("{accepted} documents were accepted, {refused} refused");
    assert!(accepted > 0 && refused > 0);
}
