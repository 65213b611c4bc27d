#![forbid(unsafe_code)]
//! What the names of data files say: where a file is, which files a pattern means, what columns its folders add, and
//! what of an error about it may be shown.

pub mod hive;
pub mod location;
pub mod pattern;
pub mod redact;
