//! Pieces to bodies and back, with the contexts that the libraries keep between two of them.

use crate::{Codec, FrameError};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Compresses fast rather than well: a link is waited for, and so is the processor.
const GZIP_LEVEL: u32 = 3;

/// The contexts of compression, each made when it is first needed.
#[derive(Default)]
pub(crate) struct Compressor {
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
    gzip: Option<Compress>,
}

impl Compressor {
    /// Appends the compressed piece to `body`. Returns false, with `body` as it was, where that is no shorter or not possible.
    pub(crate) fn compress(&mut self, codec: Codec, level: i32, piece: &[u8], body: &mut Vec<u8>) -> bool {
        let start = body.len();
        let room = match codec {
            Codec::None => return false,
            // A block needs that much room whatever comes of it.
            Codec::Lz4 => lz4_flex::block::get_maximum_output_size(piece.len()),
            // What does not get shorter travels as it is.
            Codec::Gzip | Codec::Zstd => piece.len(),
        };
        if body.try_reserve(room).is_err() {
            return false;
        }
        body.resize(start + room, 0);
        let written = match codec {
            Codec::None => None,
            Codec::Lz4 => lz4_flex::block::compress_into(piece, &mut body[start..]).ok(),
            Codec::Gzip => self.deflate(piece, &mut body[start..]),
            Codec::Zstd => self.zstd(level, piece, &mut body[start..]),
        };
        match written.filter(|&written| written < piece.len()) {
            Some(written) => {
                body.truncate(start + written);
                true
            }
            None => {
                body.truncate(start);
                false
            }
        }
    }

    fn deflate(&mut self, piece: &[u8], room: &mut [u8]) -> Option<usize> {
        let context = self.gzip.get_or_insert_with(|| Compress::new(Compression::new(GZIP_LEVEL), true));
        context.reset();
        match context.compress(piece, room, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => usize::try_from(context.total_out()).ok(),
            _ => None,
        }
    }

    fn zstd(&mut self, level: i32, piece: &[u8], room: &mut [u8]) -> Option<usize> {
        if self.zstd.as_ref().is_none_or(|(made_for, _)| *made_for != level) {
            self.zstd = Some((level, zstd::bulk::Compressor::new(level).ok()?));
        }
        let (_, context) = self.zstd.as_mut()?;
        context.compress_to_buffer(piece, room).ok()
    }
}

/// The contexts of decompression.
#[derive(Default)]
pub(crate) struct Decompressor {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    gzip: Option<Decompress>,
}

impl Decompressor {
    /// Fills `piece`, whose length the header has announced, from a body of that codec.
    pub(crate) fn decompress(&mut self, codec: Codec, body: &[u8], piece: &mut [u8]) -> Result<(), FrameError> {
        let damaged = FrameError::Body { codec };
        let written = match codec {
            Codec::None => return Err(damaged),
            Codec::Lz4 => lz4_flex::block::decompress_into(body, piece).ok(),
            Codec::Gzip => self.inflate(body, piece),
            // Into a buffer, no window is allocated, whatever size of one the body announces.
            Codec::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Decompressor::new().ok();
                }
                self.zstd.as_mut().and_then(|context| context.decompress_to_buffer(body, piece).ok())
            }
        };
        if written == Some(piece.len()) { Ok(()) } else { Err(damaged) }
    }

    fn inflate(&mut self, body: &[u8], piece: &mut [u8]) -> Option<usize> {
        let context = self.gzip.get_or_insert_with(|| Decompress::new(true));
        context.reset(true);
        match context.decompress(body, piece, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) if context.total_in() == body.len() as u64 => {
                usize::try_from(context.total_out()).ok()
            }
            _ => None,
        }
    }
}
