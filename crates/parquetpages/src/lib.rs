#![forbid(unsafe_code)]
//! The outer layers of a Parquet file, its footer and its pages, read with bounds whatever the file claims.
//!
//! The `parquet` crate decodes what these layers enclose. It trusts many of the numbers that it reads, and a number that
//! asks for a terabyte ends the process that asked. So the footer is walked here before that crate sees it, and pages
//! are found, decompressed and checked here: what reaches its decoders is a page of bounded size, whose declared counts
//! are possible.
//!
//! What the values of all these pages become in a batch of rows is counted by [`Batches`], before the decoders take it.

mod annotation;
mod batches;
mod codec;
mod delta;
mod error;
mod footer;
mod header;
mod memory;
mod metadata;
mod nesting;
mod pages;
mod records;
mod source;
mod thrift;
mod window;

pub use batches::{Batches, guarded};
pub use error::Error;
pub use footer::read_metadata;
pub use memory::can_be_had;
pub use nesting::canonical;
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
    /// Bytes that all columns of one row take when they are decoded.
    pub row_bytes: u64,
    /// Bytes of the pages and dictionaries that are held at once for all columns of a row group.
    pub held_bytes: u64,
    /// Bytes that are read ahead of a column at once. Bigger pages are read whole all the same.
    pub window_bytes: usize,
    /// Whether the process can have so many bytes. The decoders end it where it cannot.
    pub memory: fn(usize) -> bool,
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
            row_bytes: 1024 * MB as u64,
            held_bytes: 2048 * MB as u64,
            window_bytes: 4 * MB,
            memory: can_be_had,
        }
    }
}
