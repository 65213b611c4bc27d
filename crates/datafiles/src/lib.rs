#![forbid(unsafe_code)]
//! Names of data files: locations, patterns, columns that folders add, and the parts of errors that may be shown.

pub mod hive;
pub mod location;
pub mod pattern;
pub mod redact;
