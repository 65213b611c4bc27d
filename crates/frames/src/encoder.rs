use crate::codec::Compressor;
use crate::{Codec, Form, HEADER_BYTES, LAST, LONGEST_PIECE, MAGIC, VERSION, checksum};

/// Cuts a stream into frames.
pub struct Encoder {
    form: Form,
    frames: u32,
    rows: u64,
    compressor: Compressor,
}

/// The times that a frame tells of, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// The time that it took to make the piece.
    pub making: u32,
    /// The time that the sender waited before it was asked for this frame.
    pub waiting: u32,
}

impl Encoder {
    pub fn new(form: Form) -> Self {
        Self { form, frames: 0, rows: 0, compressor: Compressor::default() }
    }

    /// Appends a frame to `frame`. `rows` is the number of rows that end in the piece. Returns the codec that was used, which
    /// is none where the piece would get no shorter.
    ///
    /// # Panics
    /// When the piece is longer than [`LONGEST_PIECE`].
    pub fn encode(
        &mut self,
        piece: &[u8],
        rows: u64,
        is_last: bool,
        (codec, level): (Codec, i32),
        timing: Timing,
        frame: &mut Vec<u8>,
    ) -> Codec {
        assert!(piece.len() <= LONGEST_PIECE, "a piece of {} bytes", piece.len());
        self.rows += rows;
        let start = frame.len();
        frame.extend_from_slice(MAGIC);
        frame.extend([VERSION, self.form as u8, codec as u8, if is_last { LAST } else { 0 }, 0]);
        frame.extend(self.frames.to_be_bytes());
        frame.extend((piece.len() as u32).to_be_bytes());
        frame.extend(checksum(piece).to_be_bytes());
        frame.extend(self.rows.to_be_bytes());
        frame.extend(timing.making.to_be_bytes());
        frame.extend(timing.waiting.to_be_bytes());
        debug_assert_eq!(frame.len() - start, HEADER_BYTES);
        self.frames = self.frames.wrapping_add(1);
        if self.compressor.compress(codec, level, piece, frame) {
            return codec;
        }
        frame[start + 5] = Codec::None as u8;
        frame.extend_from_slice(piece);
        Codec::None
    }

    /// Returns the number of bytes that a codec would make of a piece.
    pub fn try_codec(&mut self, (codec, level): (Codec, i32), piece: &[u8]) -> usize {
        let mut body = Vec::new();
        if self.compressor.compress(codec, level, piece, &mut body) { body.len() } else { piece.len() }
    }

    /// Returns the number of frames so far.
    pub fn frames(&self) -> u32 {
        self.frames
    }
}
