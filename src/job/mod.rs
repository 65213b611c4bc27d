//! Running jobs: the leader, the workers and the steward, the shared memory of these processes, and the records of
//! jobs.

mod attended;
mod background;
mod backup;
mod check_local;
mod control;
mod dump;
mod enforcement;
mod executor;
mod history;
mod in_place;
mod leader;
mod load_files;
mod load_sql;
mod merge;
mod migrate;
mod processes;
mod progress;
mod quota;
mod shared;
mod steward;
mod worker;

pub use crate::backup::{BackupTerms, PruneTerms, RestoreTerms};
pub use background::{
    start_backup_create, start_check_local, start_dump, start_load_parquet, start_load_sql, start_migrate, start_pull,
};
pub use backup::{ValidateRequest, backup_create, backup_prune, backup_restore, backup_validate};
pub use check_local::check_local;
pub use control::{cancel, prune, wait};
pub use dump::{DumpRequest, dump};
pub use history::cleanup;
pub use leader::{plan_pull, pull, verify};
pub use load_files::{LoadedFile, copy_from, load_parquet};
pub use load_sql::{LoadSqlRequest, load_sql};
pub use migrate::{MigrateRequest, migrate, plan_migrate};
pub use progress::{live_jobs, live_tables, live_tasks, progress_lines};
