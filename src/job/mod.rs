//! A running pull: the plan that its processes share, their shared memory, and the leader, the workers and the steward.

mod executor;
mod history;
mod leader;
mod prepare;
mod processes;
mod shared;
mod spec;
mod steward;
mod worker;

pub use history::cleanup;
pub use leader::{Request, list_source, plan_pull, pull};
pub use spec::{ForeignKeyCheck, IntegerKeys, JobSpec, TableSpec};
