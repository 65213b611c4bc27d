//! Decompression that gives exactly the declared number of bytes, or an error. Memory is taken as output appears where
//! the codec allows that, and otherwise only when the input could possibly become so much.

use crate::error::{Error, Result, malformed};
use crate::memory::none_for;
use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use parquet::basic::Compression;
use std::io::{Cursor, Read};

/// What is taken at first for output that nothing but its header speaks for.
const FIRST_BYTES: usize = 8 << 20;

pub(crate) enum Codec {
    Uncompressed,
    Snappy(snap::raw::Decoder),
    Gzip,
    Brotli,
    Zstd(zstd::bulk::Decompressor<'static>),
    Lz4Raw,
    Lz4,
}

impl Codec {
    pub fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::UNCOMPRESSED => Codec::Uncompressed,
            Compression::SNAPPY => Codec::Snappy(snap::raw::Decoder::new()),
            Compression::GZIP(_) => Codec::Gzip,
            Compression::BROTLI(_) => Codec::Brotli,
            Compression::ZSTD(_) => Codec::Zstd(zstd::bulk::Decompressor::new()?),
            Compression::LZ4_RAW => Codec::Lz4Raw,
            Compression::LZ4 => Codec::Lz4,
            Compression::LZO => return Err(Error::Unsupported("compression codec lzo".into())),
        })
    }

    pub fn compresses(&self) -> bool {
        !matches!(self, Codec::Uncompressed)
    }

    /// Appends `length` decompressed bytes to `prefix`.
    pub fn decompress(&mut self, prefix: &[u8], input: &[u8], length: usize) -> Result<Vec<u8>> {
        if length == 0 {
            // A page of nulls alone. Its compressed form is the codec's idea of nothing, or nothing at all.
            return output(prefix, 0);
        }
        match self {
            Codec::Uncompressed if input.len() == length => {
                let mut output = output(prefix, length)?;
                output.extend_from_slice(input);
                Ok(output)
            }
            Codec::Uncompressed => malformed(format!("{} bytes instead of {length}", input.len())),
            Codec::Snappy(decoder) => snappy(decoder, prefix, input, length),
            Codec::Gzip => {
                possible(input, length, 1032)?;
                match input {
                    // The format of zlib, which some writers take for that of gzip: its method, and a multiple of 31.
                    [first, second, ..]
                        if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31) =>
                    {
                        read("gzip", ZlibDecoder::new(input), prefix, length)
                    }
                    _ => read("gzip", MultiGzDecoder::new(input), prefix, length),
                }
            }
            Codec::Brotli => brotli(prefix, input, length),
            Codec::Zstd(decoder) => zstd(decoder, prefix, input, length),
            Codec::Lz4Raw => lz4_block(prefix, input, length),
            Codec::Lz4 => lz4(prefix, input, length),
        }
    }
}

/// Refuses what no input of this size can become.
fn possible(input: &[u8], length: usize, ratio: usize) -> Result<()> {
    if length > input.len().saturating_mul(ratio) {
        return malformed(format!("{} compressed bytes cannot become {length}", input.len()));
    }
    Ok(())
}

fn garbled(codec: &str, error: impl std::fmt::Display) -> Error {
    Error::Malformed(format!("the {codec} data is invalid: {error}"))
}

/// Room for what follows the prefix.
fn output(prefix: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    reserve(&mut output, prefix.len() + length)?;
    output.extend_from_slice(prefix);
    Ok(output)
}

fn reserve(output: &mut Vec<u8>, additional: usize) -> Result<()> {
    match output.try_reserve_exact(additional) {
        Ok(()) => Ok(()),
        Err(_) => Err(none_for(additional)),
    }
}

/// The same, as bytes to be overwritten.
fn zeroed(prefix: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut output = output(prefix, length)?;
    output.resize(prefix.len() + length, 0);
    Ok(output)
}

fn exactly(output: Vec<u8>, written: usize, length: usize) -> Result<Vec<u8>> {
    if written != length {
        return malformed(format!("decompressed to {written} bytes instead of {length}"));
    }
    Ok(output)
}

fn snappy(decoder: &mut snap::raw::Decoder, prefix: &[u8], input: &[u8], length: usize) -> Result<Vec<u8>> {
    let said = snap::raw::decompress_len(input).map_err(|error| garbled("snappy", error))?;
    if said != length {
        return malformed(format!("the snappy data has {said} bytes instead of {length}"));
    }
    // Three bytes repeat 64.
    possible(input, length, 22)?;
    let mut output = zeroed(prefix, length)?;
    let written = decoder.decompress(input, &mut output[prefix.len()..]).map_err(|error| garbled("snappy", error))?;
    exactly(output, written, length)
}

fn zstd(
    decoder: &mut zstd::bulk::Decompressor<'static>,
    prefix: &[u8],
    input: &[u8],
    length: usize,
) -> Result<Vec<u8>> {
    // A block of four bytes repeats one 131072 times.
    possible(input, length, 32_768)?;
    let mut output = output(prefix, length)?;
    let mut cursor = Cursor::new(&mut output);
    cursor.set_position(prefix.len() as u64);
    let written = decoder.decompress_to_buffer(input, &mut cursor).map_err(|error| garbled("zstd", error))?;
    exactly(output, written, length)
}

fn lz4_block(prefix: &[u8], input: &[u8], length: usize) -> Result<Vec<u8>> {
    possible(input, length, 255)?;
    let mut output = zeroed(prefix, length)?;
    let written =
        lz4_flex::block::decompress_into(input, &mut output[prefix.len()..]).map_err(|error| garbled("lz4", error))?;
    exactly(output, written, length)
}

/// What is called LZ4 in a file is one of three things: blocks in Hadoop's frames, LZ4's own frames, or a bare block.
fn lz4(prefix: &[u8], input: &[u8], length: usize) -> Result<Vec<u8>> {
    const FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
    possible(input, length, 255)?;
    let mut output = zeroed(prefix, length)?;
    if hadoop(input, &mut output[prefix.len()..]).is_some() {
        return Ok(output);
    }
    drop(output);
    if input.starts_with(&FRAME)
        && let Ok(output) = read("lz4", lz4_flex::frame::FrameDecoder::new(input), prefix, length)
    {
        return Ok(output);
    }
    lz4_block(prefix, input, length)
}

/// Each frame is a size when decompressed, then one block or more, each after its size, which together become so much.
fn hadoop(mut input: &[u8], mut output: &mut [u8]) -> Option<()> {
    fn size(input: &mut &[u8]) -> Option<usize> {
        let (size, rest) = input.split_first_chunk()?;
        *input = rest;
        usize::try_from(u32::from_be_bytes(*size)).ok()
    }
    while !input.is_empty() {
        let (mut frame, rest) = output.split_at_mut_checked(size(&mut input)?)?;
        output = rest;
        loop {
            let size = size(&mut input)?;
            let (block, rest) = input.split_at_checked(size)?;
            input = rest;
            let written = if block.is_empty() { 0 } else { lz4_flex::block::decompress_into(block, frame).ok()? };
            if written == 0 && !frame.is_empty() {
                return None;
            }
            frame = &mut frame[written..];
            if frame.is_empty() {
                break;
            }
        }
    }
    output.is_empty().then_some(())
}

/// Memory for the next output, when what there is has been filled: more of it each time.
fn grow(output: &mut Vec<u8>, end: usize) -> Result<()> {
    let filled = output.len();
    let more = filled.max(FIRST_BYTES).min(end - filled);
    reserve(output, more)?;
    output.resize(filled + more, 0);
    Ok(())
}

fn read(codec: &str, mut decoder: impl Read, prefix: &[u8], length: usize) -> Result<Vec<u8>> {
    let end = prefix.len() + length;
    let mut output = output(prefix, length.min(FIRST_BYTES))?;
    let mut filled = prefix.len();
    while filled < end {
        if filled == output.len() {
            grow(&mut output, end)?;
        }
        match decoder.read(&mut output[filled..]).map_err(|error| garbled(codec, error))? {
            0 => return malformed(format!("decompressed to {} bytes instead of {length}", filled - prefix.len())),
            read => filled += read,
        }
    }
    // The end of the stream is where its checksum is.
    match decoder.read(&mut [0]).map_err(|error| garbled(codec, error))? {
        0 => Ok(output),
        _ => malformed(format!("decompressed to more than {length} bytes")),
    }
}

fn brotli(prefix: &[u8], input: &[u8], length: usize) -> Result<Vec<u8>> {
    let end = prefix.len() + length;
    let mut output = output(prefix, length.min(FIRST_BYTES))?;
    // Strict: windows of the size that the format allows, not those of up to a gigabyte of its extension.
    let mut state =
        BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
    let (mut available_in, mut input_offset) = (input.len(), 0);
    let (mut filled, mut total) = (prefix.len(), 0);
    loop {
        if filled == output.len() && filled < end {
            grow(&mut output, end)?;
        }
        let mut available_out = output.len() - filled;
        let result = BrotliDecompressStream(
            &mut available_in,
            &mut input_offset,
            input,
            &mut available_out,
            &mut filled,
            &mut output,
            &mut total,
            &mut state,
        );
        match result {
            BrotliResult::ResultSuccess if available_in > 0 => {
                return malformed(format!("{available_in} bytes follow the brotli data"));
            }
            BrotliResult::ResultSuccess => {
                let written = filled - prefix.len();
                return exactly(output, written, length);
            }
            BrotliResult::NeedsMoreOutput if filled < end => {}
            BrotliResult::NeedsMoreOutput => return malformed(format!("decompressed to more than {length} bytes")),
            BrotliResult::NeedsMoreInput => return malformed("the brotli data ends too early"),
            BrotliResult::ResultFailure => return malformed("the brotli data is invalid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lz4_of(data: &[u8]) -> Vec<u8> {
        lz4_flex::block::compress(data)
    }

    fn framed(decompressed: usize, blocks: &[&[u8]]) -> Vec<u8> {
        let mut frame = (decompressed as u32).to_be_bytes().to_vec();
        for block in blocks {
            frame.extend((block.len() as u32).to_be_bytes());
            frame.extend_from_slice(block);
        }
        frame
    }

    #[test]
    fn lz4_in_all_its_forms() {
        let (a, b) = (vec![b'a'; 5000], (0..3000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        let whole = [a.clone(), b.clone()].concat();
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut frame, &whole).unwrap();
        let forms = [
            framed(whole.len(), &[&lz4_of(&whole)]),
            framed(whole.len(), &[&lz4_of(&a), &lz4_of(&b)]),
            [framed(a.len(), &[&lz4_of(&a)]), framed(b.len(), &[&lz4_of(&b)])].concat(),
            frame.finish().unwrap(),
            lz4_of(&whole),
        ];
        for (index, form) in forms.iter().enumerate() {
            let output = Codec::Lz4.decompress(b"levels", form, whole.len()).unwrap();
            assert_eq!((&output[..6], &output[6..]), (&b"levels"[..], &whole[..]), "form {index}");
            for length in [whole.len() - 1, whole.len() + 1] {
                assert!(Codec::Lz4.decompress(&[], form, length).is_err(), "form {index}");
            }
            // Not by a byte: the mark at the end of a frame may be missing.
            assert!(Codec::Lz4.decompress(&[], &form[..form.len() - 10], whole.len()).is_err(), "form {index}");
        }
    }

    #[test]
    fn gzip_of_several_members() {
        let member = |data: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, data).unwrap();
            encoder.finish().unwrap()
        };
        let mut data = [member(b"one "), member(b"two")].concat();
        assert_eq!(Codec::Gzip.decompress(&[], &data, 7).unwrap(), b"one two");
        assert!(Codec::Gzip.decompress(&[], &data, 4).is_err());
        let last = data.len() - 5;
        data[last] ^= 1;
        assert!(Codec::Gzip.decompress(&[], &data, 7).is_err(), "the checksum counts");
    }

    #[test]
    fn zlib_in_the_place_of_gzip() {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, b"one two").unwrap();
        let mut data = encoder.finish().unwrap();
        assert_eq!(Codec::Gzip.decompress(&[], &data, 7).unwrap(), b"one two");
        assert!(Codec::Gzip.decompress(&[], &data, 6).is_err());
        *data.last_mut().unwrap() ^= 1;
        assert!(Codec::Gzip.decompress(&[], &data, 7).is_err(), "the checksum counts");
    }

    #[test]
    fn output_larger_than_the_first_memory() {
        let data = vec![7_u8; 3 * FIRST_BYTES + 5];
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &data).unwrap();
        let gzip = encoder.finish().unwrap();
        let mut brotli = Vec::new();
        let parameters = brotli::enc::BrotliEncoderParams { quality: 1, ..Default::default() };
        brotli::BrotliCompress(&mut &data[..], &mut brotli, &parameters).unwrap();
        for (mut codec, input) in [(Codec::Gzip, gzip), (Codec::Brotli, brotli)] {
            let output = codec.decompress(b"l", &input, data.len()).unwrap();
            assert!(output[1..] == data);
            assert!(codec.decompress(b"l", &input, data.len() - 1).is_err());
            assert!(codec.decompress(b"l", &input, data.len() + 1).is_err());
            assert!(codec.decompress(b"l", &input[..input.len() - 1], data.len()).is_err());
        }
    }

    #[test]
    fn brotli_windows_beyond_the_format() {
        assert!(Codec::Brotli.decompress(&[], &[0x11, 0x1e, 0, 0, 0, 0, 0, 0], 1 << 20).is_err());
    }
}
