//! Frames there and back, and damaged ones.

use frames::{Codec, Decoder, Encoder, Form, FrameError, LONGEST_PIECE, Timing};

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn seed(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn text(bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(77);
    let words = ["alpha ", "beta ", "gamma ", "1996-03-13\t", "TRUCK\n"];
    let mut text = Vec::new();
    while text.len() < bytes {
        text.extend_from_slice(words[numbers.below(words.len())].as_bytes());
    }
    text.truncate(bytes);
    text
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(5);
    (0..bytes).map(|_| numbers.next() as u8).collect()
}

fn framed(stream: &[u8], piece: usize, codec: Codec) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Form::Binary);
    let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
    let mut frames = Vec::new();
    for (position, piece) in pieces.iter().enumerate() {
        let mut frame = Vec::new();
        let is_last = position + 1 == pieces.len();
        encoder.encode(piece, 3, is_last, (codec, 1), Timing { making: 7, waiting: 9 }, &mut frame);
        frames.push(frame);
    }
    frames
}

fn read(frames: &[Vec<u8>]) -> Result<(Vec<u8>, u64), FrameError> {
    let mut decoder = Decoder::new(Form::Binary);
    let mut stream = Vec::new();
    for frame in frames {
        stream.extend_from_slice(decoder.open(frame)?.piece);
    }
    Ok((stream, decoder.finish()?))
}

#[test]
fn streams_come_out_as_they_went_in() {
    for codec in Codec::ALL {
        for stream in [text(1), text(100_000), noise(100_000), text(3 * LONGEST_PIECE)] {
            for piece in [1000, 65_536, LONGEST_PIECE] {
                let frames = framed(&stream, piece, codec);
                let (read, rows) = read(&frames).unwrap();
                assert!(read == stream, "{codec:?} {piece}");
                assert_eq!(rows, 3 * frames.len() as u64);
            }
        }
    }
}

#[test]
fn an_empty_stream_has_one_frame() {
    for codec in Codec::ALL {
        let mut frame = Vec::new();
        Encoder::new(Form::Binary).encode(&[], 0, true, (codec, 1), Timing::default(), &mut frame);
        assert_eq!(read(&[frame]).unwrap(), (Vec::new(), 0));
    }
}

#[test]
fn compressed_frames_are_shorter_and_noise_is_not_compressed() {
    let length = |stream: &[u8], codec| framed(stream, 65_536, codec).iter().map(Vec::len).sum::<usize>();
    let stream = text(1 << 20);
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        assert!(length(&stream, codec) < stream.len() / 2, "{codec:?}");
        assert_eq!(length(&noise(65_536), codec), 65_536 + 36, "{codec:?}");
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    for codec in Codec::ALL {
        let stream = text(5000);
        let frames = framed(&stream, 1000, codec);
        // The times are for measuring alone.
        let positions = (0..frames[2].len()).filter(|position| !(28..36).contains(position));
        for position in positions {
            for bit in 0..8 {
                let mut damaged = frames.clone();
                damaged[2][position] ^= 1 << bit;
                // More rows than there are are found by those who count them. Some bits of compressed bytes mean nothing, or the
                // same.
                let may_pass = (20..28).contains(&position) || codec != Codec::None && position >= 36;
                if let Ok((read, _)) = read(&damaged) {
                    assert!(may_pass && read == stream, "{codec:?}: bit {bit} of byte {position}");
                }
            }
        }
    }
}

#[test]
fn frames_that_are_missing_repeated_or_exchanged_are_errors() {
    let frames = framed(&text(5000), 1000, Codec::Zstd);
    let order = |expected, found| Err(FrameError::Order { expected, found });
    let chosen = |positions: &[usize]| read(&positions.iter().map(|&at| frames[at].clone()).collect::<Vec<_>>());
    assert!(chosen(&[0, 1, 2, 3, 4]).is_ok());
    assert_eq!(chosen(&[0, 2, 3, 4]), order(1, 2));
    assert_eq!(chosen(&[0, 1, 1, 2, 3, 4]), order(2, 1));
    assert_eq!(chosen(&[1, 0, 2, 3, 4]), order(0, 1));
    assert_eq!(chosen(&[0, 1, 2, 3]), Err(FrameError::NoLast { frames: 4 }));
    assert_eq!(chosen(&[]), Err(FrameError::NoLast { frames: 0 }));
    assert_eq!(chosen(&[0, 1, 2, 3, 4, 4]), Err(FrameError::AfterLast));
}

#[test]
fn short_frames_are_errors() {
    for codec in Codec::ALL {
        let frame = &framed(&text(3000), 3000, codec)[0];
        for end in 0..frame.len() {
            assert!(read(&[frame[..end].to_vec()]).is_err(), "{codec:?} cut at {end}");
        }
    }
}

#[test]
fn what_is_announced_is_capped_before_memory_is_taken() {
    let mut frame = framed(&text(3000), 3000, Codec::Zstd).remove(0);
    for bytes in [LONGEST_PIECE as u32 + 1, u32::MAX] {
        frame[12..16].copy_from_slice(&bytes.to_be_bytes());
        assert_eq!(read(std::slice::from_ref(&frame)), Err(FrameError::TooLong { bytes }));
    }
    // A body that would become longer than it says ends at what it says.
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let mut bomb = framed(&vec![0; LONGEST_PIECE], LONGEST_PIECE, codec).remove(0);
        bomb[12..16].copy_from_slice(&100_000u32.to_be_bytes());
        assert_eq!(read(&[bomb]), Err(FrameError::Body { codec }));
    }
}

#[test]
fn headers_of_zstandard_that_lie_take_no_memory() {
    // They announce a window of 512 MB, and a content of a terabyte.
    for body in [&b"\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00"[..], b"\x28\xb5\x2f\xfd\xe0\x6c\x06\x06\x06\x63\x63\x63\x63"]
    {
        let mut frame = framed(&text(3000), 3000, Codec::Zstd).remove(0);
        frame.truncate(36);
        frame.extend_from_slice(body);
        assert_eq!(read(&[frame]), Err(FrameError::Body { codec: Codec::Zstd }));
    }
}

#[test]
fn other_versions_forms_codecs_and_flags_are_refused() {
    let frame = framed(&text(100), 100, Codec::None).remove(0);
    let with = |position: usize, value: u8| {
        let mut frame = frame.clone();
        frame[position] = value;
        read(&[frame])
    };
    assert_eq!(with(0, b'p'), Err(FrameError::NoFrame));
    assert_eq!(with(3, 2), Err(FrameError::Version(2)));
    assert_eq!(with(4, 9), Err(FrameError::UnknownForm(9)));
    assert_eq!(with(4, 2), Err(FrameError::OtherForm { expected: Form::Binary, found: Form::Text }));
    assert_eq!(with(5, 4), Err(FrameError::UnknownCodec(4)));
    assert_eq!(with(6, 3), Err(FrameError::UnknownFlags(3)));
    assert_eq!(with(7, 1), Err(FrameError::UnknownFlags(1)));
}

/// Damages frames in many ways. None of them may panic, and what is read without an error is what was sent, but for the
/// number of rows. `PGCOPY_FUZZ_FRAMES` is the number of tries.
#[test]
fn damaged_frames_are_errors_and_nothing_else() {
    let mut numbers = Numbers(seed("PGCOPY_TEST_SEED", 4711).max(1));
    let streams = [text(20_000), noise(3000), vec![0; 50_000]];
    let samples: Vec<(Codec, usize, Vec<Vec<u8>>)> = Codec::ALL
        .into_iter()
        .flat_map(|codec| (0..streams.len()).map(move |stream| (codec, stream)))
        .map(|(codec, stream)| (codec, stream, framed(&streams[stream], 5000, codec)))
        .collect();
    for _ in 0..seed("PGCOPY_FUZZ_FRAMES", 20_000) {
        let (codec, stream, frames) = &samples[numbers.below(samples.len())];
        let mut damaged = frames.clone();
        for _ in 0..=numbers.below(3) {
            let frame = numbers.below(damaged.len());
            let length = damaged[frame].len();
            match numbers.below(6) {
                0 => damaged[frame].truncate(numbers.below(length + 1)),
                1 => damaged[frame].extend((0..numbers.below(40)).map(|byte| byte as u8)),
                2 if length > 0 => {
                    let at = numbers.below(length);
                    damaged[frame][at] = numbers.next() as u8;
                }
                3 if length > 36 => {
                    let (from, to) = (36 + numbers.below(length - 36), 36 + numbers.below(length - 36));
                    damaged[frame][to] = damaged[frame][from];
                }
                4 => {
                    let other = numbers.below(damaged.len());
                    damaged.swap(frame, other);
                }
                _ if length > 36 => {
                    let at = numbers.below(length.min(36));
                    damaged[frame][at] ^= 1 << numbers.below(8);
                }
                _ => {}
            }
            if damaged.is_empty() {
                break;
            }
        }
        if let Ok((read, _)) = read(&damaged) {
            assert!(read == streams[*stream], "{codec:?}: other bytes without an error");
        }
    }
}
