#![forbid(unsafe_code)]
//! Masks of values, for the functions that pgcopy has on a source: each result is that of the SQL that the crate `selection` writes for
//! sources without pgcopy.
//!
//! A result depends on the arguments alone: on a key, the mask and the value.

mod hash;
mod memory;
mod names;
mod number;
mod numeric;
mod text;
mod time;

pub use hash::hash;
pub use memory::{Calls, Constants, Site};
pub use names::{FIRST_NAMES, LAST_NAMES};
pub use number::{between, near};
pub use numeric::{Counted, count_in, write_count};
pub use text::{TextMask, replace_beyond_ascii, uuid};
pub use time::{date_between, date_near, timestamp_between, timestamp_near};

/// The version of all of this. A mask that gives other results than before, or takes other arguments, has a new one.
pub const VERSION: i32 = 1;

/// The versions that are known here. There is none where the server's hash function, which the SQL calls, gives other numbers.
pub const VERSIONS: &[i32] = if cfg!(target_endian = "little") { &[VERSION] } else { &[] };
