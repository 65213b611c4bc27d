//! Dump scripts: the server's own `pg_dump`, and what it writes carried out here.

mod definitions;
mod dump;
mod extension_rows;
mod file;
mod gzip;
mod held;
mod judged;
mod large_objects;
mod pg_dump;
mod run;
mod selection;
mod unpacked;

pub use definitions::{Definitions, Terms};
pub use dump::{DumpTerms, WrittenDump, check_dump_path, dump_origin, write_dump};
pub use extension_rows::{FilledExtensionTable, PlannedRows};
pub use file::{ScriptFile, check_path};
pub use held::{HeldRows, RowLoader, StoredTable};
pub use judged::Object;
pub use large_objects::LargeObjects;
pub use run::{FilledTable, RunReport, RunTerms, SkippedStatement, run_script};
pub use selection::Filter;
