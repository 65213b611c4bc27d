//! Rows of a script that are held back, so that they are stored all together: by several processes, and before their indexes
//! are built and their keys are checked.

use super::run::FilledTable;
use crate::error::Result;
use crate::order::{HeldTable, Loaded, ScriptText};

/// Rows that were held back, for tables which the caller's transaction has made and which are empty.
pub struct HeldRows<'a> {
    /// The name of the script's file for people.
    pub name: &'a str,
    pub text: &'a ScriptText,
    pub tables: &'a [HeldTable],
}

/// Stores rows that were held back.
pub trait RowLoader {
    /// Returns whether rows are held back, of a script of about so many bytes.
    fn holds_back(&self, bytes: u64) -> bool;

    /// Stores the rows, builds the indexes that their tables have, and checks their constraints. `watcher` is told now and then
    /// of all that is stored so far.
    ///
    /// # Errors
    /// The error of a row, an index or a constraint. The transaction must then be given up.
    fn store(&self, rows: &HeldRows<'_>, watcher: &dyn Fn(Loaded)) -> Result<Vec<StoredTable>>;
}

/// A table whose rows were stored.
pub struct StoredTable {
    pub schema: String,
    pub name: String,
    pub filled: FilledTable,
}
