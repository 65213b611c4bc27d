//! Dump scripts: the server's own `pg_dump`, and what it writes carried out here.

mod definitions;
mod pg_dump;

pub use definitions::{Definitions, Object, Terms};
