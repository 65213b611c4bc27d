//! Forged rows: refused, or such that the server's own way through them stays inside of each value.
//!
//! `PGCOPY_FUZZ_INPUTS` sets how many are tried, and `PGCOPY_TEST_SEED` which.

use heapform::{Checker, Column, Damage, NULL, Record, Stream, write_header};

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
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

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const INET: u32 = 869;
const INT4_ARRAY: u32 = 1007;
const TEXT_ARRAY: u32 = 1009;
const DATE: u32 = 1082;
const VARBIT: u32 = 1562;
const NUMERIC: u32 = 1700;
const JSONB: u32 = 3802;
const TYPES: [u32; 13] =
    [BOOL, BYTEA, INT8, INT2, INT4, TEXT, INET, INT4_ARRAY, TEXT_ARRAY, DATE, VARBIT, NUMERIC, JSONB];

/// The content of a value of a type, mostly a sound one.
fn content(random: &mut Random, type_oid: u32) -> Vec<u8> {
    let small = |random: &mut Random| (random.below(100) as i32).to_le_bytes();
    match type_oid {
        BOOL => vec![random.below(2) as u8],
        INT2 => vec![1, 0],
        INT8 => random.next().to_le_bytes().to_vec(),
        INT4 | DATE => small(random).to_vec(),
        INET => [&[2, random.below(33) as u8][..], &small(random)].concat(),
        VARBIT => [&8i32.to_le_bytes()[..], &[random.next() as u8]].concat(),
        NUMERIC => {
            let groups = (0..random.below(4)).flat_map(|_| (1 + random.below(9_999) as u16).to_le_bytes());
            [0, 0x80].into_iter().chain(groups).collect()
        }
        JSONB => {
            let texts = ["{\"a\":[1,2.5,{\"b\":null}],\"key\":\"text\"}", "1", "[]", "[[],{},\"x\",true]", "\"größe\""];
            jsonb::Encoder::default().encode(texts[random.below(texts.len())].as_bytes()).unwrap().to_vec()
        }
        INT4_ARRAY => {
            let head = [1i32, 0, INT4 as i32, 2, 1].map(i32::to_le_bytes).concat();
            [head, small(random).to_vec(), small(random).to_vec()].concat()
        }
        TEXT_ARRAY => {
            let head = [1i32, 0, TEXT as i32, 2, 1].map(i32::to_le_bytes).concat();
            [&head[..], &(6u32 << 2).to_le_bytes(), b"ab\0\0", &(5u32 << 2).to_le_bytes(), b"c"].concat()
        }
        _ => "größe 0123456789".bytes().cycle().take(9 * random.below(30)).collect(),
    }
}

/// Appends a value as the server forms rows.
fn append(random: &mut Random, column: &Column, type_oid: u32, data: &mut Vec<u8>) {
    let content = content(random, type_oid);
    let align = |data: &mut Vec<u8>| data.resize(data.len().next_multiple_of(column.alignment.into()), 0);
    if column.length > 0 {
        align(data);
        data.extend_from_slice(&content);
    } else if content.len() < 126 && random.below(4) > 0 {
        data.push((content.len() as u8 + 1) << 1 | 1);
        data.extend_from_slice(&content);
    } else if random.below(4) > 0 {
        align(data);
        data.extend_from_slice(&((content.len() as u32 + 4) << 2).to_le_bytes());
        data.extend_from_slice(&content);
    } else {
        // Compressed by the server's own method, which has found nothing to repeat.
        let mut compressed = Vec::new();
        for bytes in content.chunks(8) {
            compressed.push(0);
            compressed.extend_from_slice(bytes);
        }
        align(data);
        data.extend_from_slice(&((compressed.len() as u32 + 8) << 2 | 2).to_le_bytes());
        data.extend_from_slice(&(content.len() as u32).to_le_bytes());
        data.extend_from_slice(&compressed);
    }
}

/// Finds the values as `heap_deform_tuple` does, with a look at every bound.
fn deform(columns: &[Column], record: &Record<'_>) -> Vec<u32> {
    let mut at = 0;
    let mut places = Vec::new();
    for (number, column) in columns.iter().enumerate() {
        if record.bitmap.is_some_and(|bitmap| bitmap[number / 8] >> (number % 8) & 1 == 0) {
            places.push(NULL);
            continue;
        }
        if column.length > 0 || record.data[at] == 0 {
            at = at.next_multiple_of(column.alignment.into());
        }
        places.push(at as u32);
        at += match column.length {
            -1 if record.data[at] & 1 == 1 => {
                assert!(record.data[at] > 1, "a pointer to somewhere else");
                usize::from(record.data[at] >> 1)
            }
            -1 => {
                assert!(at.is_multiple_of(column.alignment.into()));
                (u32::from_le_bytes(record.data[at..at + 4].try_into().unwrap()) >> 2) as usize
            }
            length => length as usize,
        };
        assert!(at <= record.data.len(), "a value ends behind the row");
    }
    assert_eq!(at, record.data.len());
    places
}

#[test]
fn any_row() {
    let mut random =
        Random(0x9e37_79b9_7f4a_7c15 ^ setting("PGCOPY_TEST_SEED", 0).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
    let (mut accepted, mut refused) = (0u64, 0u64);
    let inputs = setting("PGCOPY_FUZZ_INPUTS", 100_000);
    let mut number = 0;
    while number < inputs {
        let types: Vec<u32> = (0..1 + random.below(12)).map(|_| TYPES[random.below(TYPES.len())]).collect();
        let columns: Vec<Column> = types.iter().map(|oid| Column::of(*oid, -1).unwrap()).collect();
        let mut checker = Checker::new(columns.clone());
        for _ in 0..50 {
            number += 1;
            let mut data = Vec::new();
            let mut bitmap = vec![0u8; columns.len().div_ceil(8)];
            for (number, (column, type_oid)) in columns.iter().zip(&types).enumerate() {
                if random.below(8) > 0 {
                    bitmap[number / 8] |= 1 << (number % 8);
                    append(&mut random, column, *type_oid, &mut data);
                }
            }
            let mut chunk = Vec::new();
            write_header(columns.len(), Some(&bitmap), data.len(), &mut chunk);
            chunk.extend_from_slice(&data);
            let forged = random.below(4) > 0;
            if forged {
                for _ in 0..1 + random.below(3) {
                    let position = random.below(chunk.len());
                    match random.below(8) {
                        0 => chunk[position] = random.next() as u8,
                        1..=3 => chunk[position] ^= 1 << random.below(8),
                        4 => chunk[position] = 0,
                        5 => chunk[position] = 0xff,
                        6 => chunk.truncate(position.max(1)),
                        _ => chunk.insert(position, random.next() as u8),
                    }
                }
            }
            let mut stream = Stream::new(columns.len());
            let outcome = stream.feed(&chunk, |record| {
                let checked = checker.check(&record, &|| ())?;
                accepted += 1;
                let places = deform(&columns, &record);
                assert_eq!(places, checker.places());
                assert_eq!(checked.has_nulls, places.contains(&NULL));
                Ok::<_, Damage>(())
            });
            if let Err(damage) = outcome.and_then(|()| stream.finish()) {
                assert!(forged, "a sound row was refused: {damage:?} {types:?} {chunk:?}");
                refused += 1;
            }
        }
    }
    eprintln!("{accepted} rows were accepted, {refused} refused");
    assert!(accepted > 0 && refused > 0);
}
