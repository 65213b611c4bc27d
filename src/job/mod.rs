//! A running pull: the plan that its processes share, their shared memory, and the leader, the workers and the steward.

mod background;
mod control;
mod enforcement;
mod executor;
mod files;
mod history;
mod leader;
mod prepare;
mod processes;
mod progress;
mod quota;
mod shared;
mod spec;
mod steward;
mod worker;

pub use background::{start_load_parquet, start_pull};
pub use control::{cancel, prune, wait};
pub use files::{CopyFrom, LoadRequest, LoadedFile, copy_from, load_parquet, parquet_schema};
pub use history::cleanup;
pub use leader::{Request, list_source, plan_pull, pull};
pub use progress::{live_jobs, live_tables, live_tasks, progress_lines};
pub use spec::{ForeignKeyCheck, IntegerKeys, JobSpec, NewTable, TableSpec};
