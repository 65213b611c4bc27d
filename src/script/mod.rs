//! Dump scripts: the server's own `pg_dump`, and what it writes carried out here.

mod definitions;
mod large_objects;
mod pg_dump;
mod selection;

pub use definitions::{Definitions, Object, Terms};
pub use large_objects::LargeObjects;
pub use selection::Filter;
