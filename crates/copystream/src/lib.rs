#![forbid(unsafe_code)]
//! Framing of `COPY … TO STDOUT`: where rows and fields begin and end in a stream that arrives in arbitrary chunks.
//!
//! Nothing here knows what a value means; fields are borrowed from the chunk they arrived in. The formats are those of
//! the chapter "COPY" of PostgreSQL's manual, section "File Formats".

mod binary;
mod carry;
mod text;

pub use binary::{BinaryRow, BinaryStream};
pub use text::{TextField, TextRow, TextStream};

/// The bytes of the longest field: a server allocates no more for a value (`MaxAllocSize`, `utils/memutils.h`),
/// including its length word.
pub const LONGEST_FIELD: usize = 0x3fff_ffff - 4;
/// The bytes of the longest row: a server sends each row in one message, which it assembles in memory of that size.
pub const LONGEST_ROW: usize = 0x3fff_ffff - 1;

/// The reason why a stream cannot be read on. Columns are positions in the stream, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// The stream does not begin with the signature of binary COPY.
    BadSignature,
    /// The header announces a critical feature that this reader does not know.
    UnknownHeaderFlags(u32),
    /// A row announces another number of fields than the table has columns.
    FieldCount { expected: usize, found: i64 },
    /// The header announces a negative number of bytes behind it, or more than any server has use for.
    HeaderLength(i32),
    /// A field announces a negative length other than -1.
    FieldLength { column: usize, length: i32 },
    /// A field announces more than [`LONGEST_FIELD`] bytes.
    FieldTooLong { column: usize, length: usize },
    /// A row has more bytes than rows of the stream may have. The column that is too much is known where fields tell their length.
    RowTooLong { column: Option<usize>, longest: usize },
    /// There is no memory for an unfinished row of that many bytes.
    OutOfMemory { bytes: usize },
    /// Bytes follow the end-of-data marker.
    DataAfterEnd,
    /// The stream ended without its end-of-data marker, or inside a row.
    Truncated,
    /// A backslash ends the stream or the row.
    DanglingEscape,
    /// A carriage return stands in a row as it is.
    CarriageReturn,
    /// The mark that ends rows stands within a row.
    EndMarker,
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
            Self::HeaderLength(length) => {
                write!(f, "the header of the COPY stream has an extension of the invalid length {length}")
            }
            Self::FieldLength { length, .. } => {
                write!(f, "a field of the COPY stream has the invalid length {length}")
            }
            Self::FieldTooLong { length, .. } => {
                write!(
                    f,
                    "a field of the COPY stream is too long: {length} bytes, at most {LONGEST_FIELD} are possible"
                )
            }
            Self::RowTooLong { longest, .. } => {
                write!(f, "a row of the COPY stream is too long: at most {longest} bytes are possible")
            }
            Self::OutOfMemory { bytes } => write!(f, "out of memory for a row of {bytes} bytes"),
            Self::DataAfterEnd => write!(f, "the COPY stream goes on after its end marker"),
            Self::Truncated => write!(f, "the COPY stream ended early"),
            Self::DanglingEscape => write!(f, "a row of the COPY stream ends in a backslash"),
            Self::CarriageReturn => write!(f, "literal carriage return found in data"),
            Self::EndMarker => write!(f, "end-of-copy marker is not alone on its line"),
        }
    }
}

impl StreamError {
    /// Returns the column that the error is about, where it is about one.
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::FieldLength { column, .. } | Self::FieldTooLong { column, .. } => Some(*column),
            Self::RowTooLong { column, .. } => *column,
            _ => None,
        }
    }
}

impl std::error::Error for StreamError {}
