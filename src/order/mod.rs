//! Orders: decisions that are now carried out. They are plain data, made by `prepare`, read by every room above, and
//! changed by none.

mod files_input;
mod foreign_key;
mod input;
mod job;
mod local_input;
mod mode;
mod script_input;
mod table;

pub use files_input::{ColumnSource, FilesSpec, Found, OnInvalidText, OnLossy, RowGroup, kept};
pub use foreign_key::{ForeignKeyCheck, IntegerKeys, KeyColumn, KeyColumns, KeyEnd, group_foreign_keys};
pub use input::{ChosenRows, Input, ServerInput, SourceTable};
pub use job::JobSpec;
pub use local_input::{Amcheck, CheckKind, LocalCheck, LocalInput};
pub use mode::Mode;
pub use script_input::{HeldTable, RowBlock, RowRange, RowsOfTable, ScriptInput, ScriptRows, ScriptText};
pub use table::{Changes, InPlaceTable, LeaderWork, Loaded, Stage, TableSpec};

/// Returns the unqualified name of a target's stage table.
pub fn stage_name(job: i64, target: u32) -> String {
    format!("job_{job}_{target}")
}

pub fn stage_index_name(job: i64, index: u32) -> String {
    format!("job_{job}_index_{index}")
}
