//! Every difference between server versions. Conditions say since which version something is so (see `build.rs`).

mod definitions;
mod executor;
mod process;
mod relation_files;
mod statistics;

pub use definitions::*;
pub use executor::*;
pub use process::*;
pub use relation_files::*;
pub use statistics::*;
