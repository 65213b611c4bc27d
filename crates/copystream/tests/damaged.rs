//! Damaged and invented streams: an error or rows, never a panic, never more memory than the stream itself is worth, and
//! the same outcome wherever the stream is cut into chunks.
//!
//! `PGCOPY_FUZZ_INPUTS` sets how many are tried.

#![allow(unsafe_code, reason = "the allocator is watched")]

use copystream::{BinaryStream, StreamError, TextField, TextStream};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Remembers the largest request of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

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

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

const LENGTHS: [i32; 20] = [
    -1,
    -1,
    0,
    1,
    2,
    3,
    4,
    8,
    16,
    40,
    -2,
    i32::MIN,
    i32::MAX,
    1 << 29,
    (1 << 30) - 24,
    (1 << 30) - 5,
    (1 << 30) - 1,
    1 << 30,
    (1 << 30) + 96,
    0x1000,
];

/// A stream that is sound in most places.
fn binary_stream(random: &mut Random, columns: usize, stream: &mut Vec<u8>) {
    stream.clear();
    stream.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
    stream.extend(random.pick(&[0u32, 0, 0, 0, 1, 0x10000]).to_be_bytes());
    stream.extend(random.pick(&[0u32, 0, 0, 0, 3, 0xffff_ffff, 0x7fff_ffff]).to_be_bytes());
    for _ in 0..random.below(5) {
        let count = if random.below(30) == 0 { random.next() as i16 } else { columns as i16 };
        stream.extend(count.to_be_bytes());
        for _ in 0..columns {
            let length = if random.below(12) == 0 { random.pick(&LENGTHS) } else { random.pick(&LENGTHS[..10]) };
            stream.extend(length.to_be_bytes());
            stream.extend((0..length.clamp(0, 40)).map(|number| number as u8));
        }
    }
    if random.below(5) > 0 {
        stream.extend([0xff, 0xff]);
    }
    damage(random, stream);
}

fn text_stream(random: &mut Random, columns: usize, stream: &mut Vec<u8>) {
    const PIECES: [&[u8]; 14] = [
        b"a",
        b"value",
        b"\\N",
        b"\\n",
        b"\\t",
        b"\\\\",
        b"\\101",
        b"\\7",
        b"",
        b"\xc3\xa4",
        b"\\x41",
        b"\\",
        b"\t",
        b"\n",
    ];
    stream.clear();
    for _ in 0..random.below(5) {
        for column in 0..columns {
            if column > 0 {
                stream.push(b'\t');
            }
            for _ in 0..random.below(4) {
                let most = if random.below(20) == 0 { PIECES.len() } else { 11 };
                stream.extend_from_slice(PIECES[random.below(most)]);
            }
        }
        stream.push(b'\n');
    }
    damage(random, stream);
}

fn damage(random: &mut Random, stream: &mut Vec<u8>) {
    for _ in 0..random.below(3) {
        let position = random.below(stream.len().max(1));
        match random.below(4) {
            0 if position < stream.len() => stream[position] = random.next() as u8,
            1 if position < stream.len() => stream[position] ^= 1 << random.below(8),
            2 => stream.truncate(position),
            _ => stream.push(random.next() as u8),
        }
    }
}

/// What comes of a stream, cut into chunks of at most so many bytes: values as they are, each behind its length.
fn read_binary(
    stream: &[u8],
    columns: usize,
    mut chunk: impl FnMut() -> usize,
    out: &mut Vec<u8>,
) -> Result<usize, StreamError> {
    let mut reader = BinaryStream::new(columns);
    let (mut rest, mut rows) = (stream, 0);
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(chunk().clamp(1, rest.len()));
        rest = tail;
        reader.feed::<StreamError>(head, |mut row| {
            rows += 1;
            assert!(row.as_bytes().len() <= stream.len());
            for _ in 0..columns {
                match row.next_field() {
                    Some(field) => {
                        out.extend_from_slice(&(field.len() as u32).to_be_bytes());
                        out.extend_from_slice(field);
                    }
                    None => out.extend_from_slice(&[0xff; 4]),
                }
            }
            assert!(row.as_bytes().is_empty(), "a row ends with its last field");
            Ok(())
        })?;
    }
    reader.finish()?;
    Ok(rows)
}

fn read_text(
    stream: &[u8],
    columns: usize,
    mut chunk: impl FnMut() -> usize,
    out: &mut Vec<u8>,
) -> Result<usize, StreamError> {
    let mut reader = TextStream::new(columns);
    let (mut rest, mut rows) = (stream, 0);
    let mut value = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(chunk().clamp(1, rest.len()));
        rest = tail;
        reader.feed::<StreamError>(head, |mut row| {
            rows += 1;
            for _ in 0..columns {
                match row.next_field()? {
                    TextField::Null => out.push(0),
                    TextField::Plain(bytes) => {
                        out.push(1);
                        out.extend_from_slice(bytes);
                    }
                    TextField::Escaped(field) => {
                        row.unescape(field, &mut value)?;
                        out.push(1);
                        out.extend_from_slice(&value);
                    }
                }
            }
            assert!(row.next_field().is_err(), "a row ends with its last field");
            Ok(())
        })?;
    }
    reader.finish()?;
    Ok(rows)
}

#[test]
fn any_stream() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut stream, mut whole, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
    let (mut accepted, mut refused) = (0u64, 0u64);
    for number in 0..inputs(400_000) {
        let columns = 1 + random.below(4);
        let is_binary = number % 2 == 0;
        if is_binary {
            binary_stream(&mut random, columns, &mut stream)
        } else {
            text_stream(&mut random, columns, &mut stream)
        }
        let read = |chunk: &mut dyn FnMut() -> usize, out: &mut Vec<u8>| {
            out.clear();
            if is_binary { read_binary(&stream, columns, chunk, out) } else { read_text(&stream, columns, chunk, out) }
        };
        LARGEST.set(0);
        let at_once = read(&mut || usize::MAX, &mut whole);
        let mut seed = Random(random.next() | 1);
        let in_pieces = read(&mut || 1 + seed.below(9), &mut pieces);
        assert!(LARGEST.get() <= 4 * stream.len() + 256, "{stream:02x?}");
        assert_eq!(at_once, in_pieces, "{stream:02x?}");
        assert!(whole == pieces, "{stream:02x?}");
        if at_once.is_ok() { accepted += 1 } else { refused += 1 }
    }
    eprintln!("{accepted} streams were accepted, {refused} refused");
    assert!(accepted > 0 && refused > 0);
}
