#![forbid(unsafe_code)]
//! Rows as PostgreSQL's heap stores them, on their way from one server to another: the records in which they travel, and
//! the check of a record against the columns that it is to have.
//!
//! The server does not look into stored values before it uses them: a length that is wrong makes it read beyond a row. So
//! nothing is stored before [`Checker::check`] has walked it as the server would, to the last byte of every value.
//! All numbers are little-endian, as both servers are.

mod array;
mod check;
mod column;
mod compression;
mod content;
mod json_container;
mod labels;
mod record;

pub use check::{Checked, Checker, NULL};
pub use column::{Column, travels_as_stored};
pub use content::is_ascii_text;
pub use labels::Labels;
pub use record::{LONGEST_HEADER, Record, Stream, write_header};

use std::fmt;

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The position of the column that is damaged; `None` where the row as a whole is.
    pub column: Option<usize>,
    pub reason: &'static str,
}

impl Damage {
    pub(crate) const fn of_row(reason: &'static str) -> Self {
        Self { column: None, reason }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}
