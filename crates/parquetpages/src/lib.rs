#![forbid(unsafe_code)]
//! The outer layers of a Parquet file, its footer and its pages, read with bounds whatever the file claims.
//!
//! The `parquet` crate decodes what these layers enclose. It trusts many of the numbers that it reads, and a number that
//! asks for a terabyte ends the process that asked. So the footer is walked here before that crate sees it, and pages
//! are found, decompressed and checked here: what reaches its decoders is a page of bounded size, whose declared counts
//! are possible.
//!
//! Not bounded here is what the values of one page become in a batch of rows: see the notes at [`ColumnPages`].

mod codec;
mod delta;
mod error;
mod footer;
mod header;
mod outline;
mod pages;
mod records;
mod source;
mod thrift;
mod window;

pub use error::Error;
pub use footer::read_metadata;
pub use pages::{ColumnPages, Reports};
pub use source::Source;

/// How much a file may ask for. What is within the format but beyond these is [`Error::TooLarge`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the footer as stored.
    pub footer_bytes: usize,
    /// Bytes of the footer as decoded, estimated before it is decoded.
    pub metadata_bytes: usize,
    /// Columns, groups and their fields together.
    pub schema_elements: usize,
    pub schema_depth: usize,
    /// Bytes of a fixed-length value; a null of the type takes as much in an Arrow array.
    pub fixed_bytes: usize,
    /// Bytes of the header of a page; writers put the smallest and the largest value into it.
    pub header_bytes: usize,
    /// Bytes of a page, decompressed.
    pub page_bytes: usize,
    /// Values of a page, nulls included.
    pub page_values: usize,
    /// Values of a repeated column in one row, nulls included.
    pub record_values: usize,
    /// Bytes that are read ahead of a column at once. Bigger pages are read whole all the same.
    pub window_bytes: usize,
}

const MB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            footer_bytes: 256 * MB,
            metadata_bytes: 1024 * MB,
            schema_elements: 100_000,
            schema_depth: 64,
            fixed_bytes: MB,
            header_bytes: 16 * MB,
            page_bytes: 256 * MB,
            page_values: 64 * MB,
            record_values: 16 * MB,
            window_bytes: 4 * MB,
        }
    }
}
