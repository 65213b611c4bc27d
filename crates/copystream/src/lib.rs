#![forbid(unsafe_code)]
//! Framing of `COPY … TO STDOUT`: where rows and fields begin and end in a stream that arrives in arbitrary chunks.
//!
//! Nothing here knows what a value means; fields are borrowed from the chunk they arrived in. The formats are those of
//! the chapter "COPY" of PostgreSQL's manual, section "File Formats".

mod binary;
mod carry;
mod text;

pub use binary::{BinaryRow, BinaryStream};
pub use text::{TextRow, TextStream};

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// The stream does not begin with the signature of binary COPY.
    BadSignature,
    /// The header announces a critical feature that this reader does not know.
    UnknownHeaderFlags(u32),
    /// A row announces another number of fields than the table has columns.
    FieldCount { expected: usize, found: i64 },
    /// A field announces a negative length other than -1.
    FieldLength(i32),
    /// Bytes follow the end-of-data marker.
    DataAfterEnd,
    /// The stream ended without its end-of-data marker, or inside a row.
    Truncated,
    /// A backslash ends the stream or the row.
    DanglingEscape,
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadSignature => write!(f, "the COPY stream does not begin with the binary signature"),
            Self::UnknownHeaderFlags(flags) => {
                write!(f, "the COPY stream has unknown header flags {flags:#x}")
            }
            Self::FieldCount { expected, found } => {
                write!(f, "a row of the COPY stream has {found} fields where {expected} were expected")
            }
            Self::FieldLength(length) => write!(f, "a field of the COPY stream has the invalid length {length}"),
            Self::DataAfterEnd => write!(f, "the COPY stream goes on after its end marker"),
            Self::Truncated => write!(f, "the COPY stream ended early"),
            Self::DanglingEscape => write!(f, "a row of the COPY stream ends in a backslash"),
        }
    }
}

impl std::error::Error for StreamError {}
