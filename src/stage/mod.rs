//! Stage tables: they are made like their targets, filled, indexed, checked and analyzed unseen by other sessions, then
//! swapped.

mod analyze;
mod check;
mod create;
mod dependencies;
mod digest;
mod foreign_key;
mod index;
mod integer_keys;
mod key_rows;
mod remove;
mod statistics;
mod swap;

pub use analyze::analyze;
pub use check::check_foreign_keys;
pub use create::{create, create_own_index, give_toast_table};
pub use digest::{RowSum, digest};
pub use foreign_key::foreign_key_check;
pub use index::{build_index, fill_index};
pub use remove::{remove, try_remove};
pub use statistics::{take_over_statistics, take_statistics_targets};
pub use swap::{SwapTable, finish_filled, refuse_table_in_use, swap};

/// The schema of the stage tables.
pub const SCHEMA: &str = "pgcopy_stage";
