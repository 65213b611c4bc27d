//! Before a load of files: which files, which table, which way.

pub mod arguments;
pub mod found;
pub mod mapping;
pub mod target;

pub use arguments::{Arguments, LoadRequest, check_arguments};
pub use found::FoundFiles;
