//! Every difference between server versions. Conditions say since which version something is so (see `build.rs`).

mod definitions;
mod executor;
mod files;
mod process;
mod statistics;

pub use definitions::*;
pub use executor::*;
pub use files::*;
pub use process::*;
pub use statistics::*;
