use crate::codec::Decompressor;
use crate::{Codec, Form, HEADER_BYTES, LAST, LONGEST_PIECE, MAGIC, Timing, VERSION, checksum};

/// The reason why frames cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// A message is too short for a header, or does not begin like one.
    NoFrame,
    /// The sender has another wire version.
    Version(u8),
    UnknownForm(u8),
    /// The frames hold another form than was asked for.
    OtherForm {
        expected: Form,
        found: Form,
    },
    UnknownCodec(u8),
    UnknownFlags(u8),
    /// A frame is missing, comes again, or comes too early.
    Order {
        expected: u32,
        found: u32,
    },
    /// A header announces more than [`LONGEST_PIECE`] bytes.
    TooLong {
        bytes: u32,
    },
    /// The body does not have the announced length, or is no compressed data.
    Body {
        codec: Codec,
    },
    /// The bytes are not those that were sent.
    Checksum {
        frame: u32,
    },
    /// The number of rows so far has become smaller.
    Rows {
        before: u64,
        now: u64,
    },
    /// A frame follows the last one.
    AfterLast,
    /// The last frame has not come.
    NoLast {
        frames: u32,
    },
    OutOfMemory {
        bytes: usize,
    },
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoFrame => write!(f, "the source sent something else than a frame of rows"),
            Self::Version(version) => {
                write!(f, "the source sent a frame of wire version {version}, where {VERSION} was asked for")
            }
            Self::UnknownForm(form) => write!(f, "the source sent a frame with rows in the unknown form {form}"),
            Self::OtherForm { expected, found } => write!(
                f,
                "the source sent a frame with rows in form {}, where {} was asked for",
                found.name(),
                expected.name()
            ),
            Self::UnknownCodec(codec) => write!(f, "the source sent a frame in the unknown codec {codec}"),
            Self::UnknownFlags(flags) => write!(f, "the source sent a frame with the unknown flags {flags:#x}"),
            Self::Order { expected, found } => {
                write!(f, "the source sent frame {found} where frame {expected} was expected")
            }
            Self::TooLong { bytes } => {
                write!(f, "the source announced a frame of {bytes} bytes, at most {LONGEST_PIECE} are possible")
            }
            Self::Body { codec: Codec::None } => {
                write!(f, "a frame of the source does not have the length that it announces")
            }
            Self::Body { codec } => {
                write!(f, "a frame of the source is not the {} data that it announces", codec.name())
            }
            Self::Checksum { frame } => {
                write!(f, "frame {frame} of the source was damaged on the way: its checksum differs")
            }
            Self::Rows { before, now } => write!(f, "a frame of the source counts {now} rows after {before}"),
            Self::AfterLast => write!(f, "the source sent a frame after the last one"),
            Self::NoLast { frames } => write!(f, "the source ended after {frames} frames without a last one"),
            Self::OutOfMemory { bytes } => write!(f, "out of memory for a frame of {bytes} bytes"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Takes the pieces of a stream out of their frames.
pub struct Decoder {
    form: Form,
    frames: u32,
    rows: u64,
    has_ended: bool,
    decompressor: Decompressor,
    /// Holds the current piece, where it was compressed.
    piece: Vec<u8>,
}

/// An opened frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    pub piece: &'a [u8],
    pub codec: Codec,
    pub timing: Timing,
}

impl Decoder {
    pub fn new(form: Form) -> Self {
        Self { form, frames: 0, rows: 0, has_ended: false, decompressor: Decompressor::default(), piece: Vec::new() }
    }

    /// Opens the next frame.
    ///
    /// # Errors
    /// A [`FrameError`] for all that is not the next frame as it was sent.
    pub fn open<'a>(&'a mut self, frame: &'a [u8]) -> Result<Opened<'a>, FrameError> {
        let (header, body) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::NoFrame)?;
        if &header[..3] != MAGIC {
            return Err(FrameError::NoFrame);
        }
        let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[3] != VERSION {
            return Err(FrameError::Version(header[3]));
        }
        let form = Form::of_number(header[4]).ok_or(FrameError::UnknownForm(header[4]))?;
        if form != self.form {
            return Err(FrameError::OtherForm { expected: self.form, found: form });
        }
        let codec = Codec::ALL.into_iter().find(|codec| *codec as u8 == header[5]);
        let codec = codec.ok_or(FrameError::UnknownCodec(header[5]))?;
        if header[6] & !LAST != 0 || header[7] != 0 {
            return Err(FrameError::UnknownFlags(header[6] | header[7]));
        }
        if self.has_ended {
            return Err(FrameError::AfterLast);
        }
        let (sequence, bytes, sum) = (number(8), number(12), number(16));
        if sequence != self.frames {
            return Err(FrameError::Order { expected: self.frames, found: sequence });
        }
        let length = usize::try_from(bytes).ok().filter(|&length| length <= LONGEST_PIECE);
        let length = length.ok_or(FrameError::TooLong { bytes })?;
        let rows = u64::from(number(20)) << 32 | u64::from(number(24));
        if rows < self.rows {
            return Err(FrameError::Rows { before: self.rows, now: rows });
        }
        let piece = if codec == Codec::None {
            if body.len() != length {
                return Err(FrameError::Body { codec });
            }
            body
        } else {
            // A sender does not compress what gets no shorter by it.
            if body.len() >= length {
                return Err(FrameError::Body { codec });
            }
            if self.piece.len() < length {
                let missing = length - self.piece.len();
                self.piece.try_reserve_exact(missing).map_err(|_| FrameError::OutOfMemory { bytes: length })?;
                self.piece.resize(length, 0);
            }
            self.decompressor.decompress(codec, body, &mut self.piece[..length])?;
            &self.piece[..length]
        };
        if checksum(piece) != sum {
            return Err(FrameError::Checksum { frame: sequence });
        }
        self.frames = self.frames.wrapping_add(1);
        self.rows = rows;
        self.has_ended = header[6] & LAST != 0;
        Ok(Opened { piece, codec, timing: Timing { making: number(28), waiting: number(32) } })
    }

    /// Ends the reading. Returns the number of rows that the sender says it sent.
    ///
    /// # Errors
    /// [`FrameError::NoLast`] when the last frame has not come.
    pub fn finish(&self) -> Result<u64, FrameError> {
        if self.has_ended { Ok(self.rows) } else { Err(FrameError::NoLast { frames: self.frames }) }
    }

    /// Returns the number of frames that have come.
    pub fn frames(&self) -> u32 {
        self.frames
    }
}
