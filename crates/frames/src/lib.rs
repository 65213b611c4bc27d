#![forbid(unsafe_code)]
//! Frames: the form in which one pgcopy sends rows to another.
//!
//! The rows of a part are a stream of bytes, whose form the frames name and do not look into. The stream is cut into pieces,
//! and each piece travels in a frame: a header, and the piece as it is or compressed by itself. A row may lie in several
//! frames, so that the size of a frame does not depend on that of the rows. Numbers are big-endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | 3 | `PGF` |
//! | 1 | the wire version |
//! | 1 | the form of the stream |
//! | 1 | the codec of the body |
//! | 1 | flags: 1 for the last frame |
//! | 1 | 0 |
//! | 4 | the number of frames before this one |
//! | 4 | the bytes of the piece |
//! | 4 | their CRC-32C |
//! | 8 | the number of rows that have ended with this piece, from the beginning of the stream |
//! | 4 | the microseconds that it took to make the frame |
//! | 4 | the microseconds that the sender then waited before the one before this was gone |
//! | … | the body, to the end of the message |

mod adaptive;
mod codec;
mod decoder;
mod encoder;

pub use adaptive::{Adaptive, Choice, Sent};
pub use decoder::{Decoder, FrameError, Opened};
pub use encoder::{Encoder, Timing};
use serde::{Deserialize, Serialize};

/// The version that is described here.
pub const VERSION: u8 = 1;

/// The bytes of a piece that senders aim at: with the header, a message of that size arrives without being assembled.
pub const PIECE_BYTES: usize = 240 * 1024;

/// The most bytes of a piece. A decoder takes no more memory for one, and refuses longer ones.
pub const LONGEST_PIECE: usize = 4 * 1024 * 1024;

/// The most bytes of a frame: one that is not compressed.
pub const LONGEST_FRAME: usize = LONGEST_PIECE + HEADER_BYTES;

const MAGIC: &[u8; 3] = b"PGF";
const HEADER_BYTES: usize = 36;
const LAST: u8 = 1;

/// The form of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Form {
    /// As `COPY … (FORMAT binary)` has it.
    Binary = 1,
    /// As `COPY … (FORMAT text)` has it.
    Text = 2,
    /// As the heap stores them: the records of the crate `heapform`.
    Heap = 3,
}

impl Form {
    /// The forms that the rows of every query can have.
    pub const ALL: [Self; 2] = [Self::Binary, Self::Text];

    pub(crate) fn of_number(number: u8) -> Option<Self> {
        [Self::Binary, Self::Text, Self::Heap].into_iter().find(|form| *form as u8 == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
            Self::Heap => "heap",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }
}

/// The way that bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Codec {
    None = 0,
    /// Deflate, in the wrapping of zlib.
    Gzip = 1,
    /// A block of LZ4 without its length.
    Lz4 = 2,
    /// Frames of Zstandard.
    Zstd = 3,
}

impl Codec {
    pub const ALL: [Self; 4] = [Self::None, Self::Gzip, Self::Lz4, Self::Zstd];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// What a receiver asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Compression {
    /// The sender chooses a codec for each frame.
    Auto,
    Named(Codec),
}

impl Compression {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Named(codec) => codec.name(),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        if name == Self::Auto.name() { Some(Self::Auto) } else { Codec::parse(name).map(Self::Named) }
    }
}

fn checksum(piece: &[u8]) -> u32 {
    // The algorithm has 32 bits.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, piece) as u32
}
