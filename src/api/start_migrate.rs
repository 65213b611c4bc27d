use super::parameters::{self, migrate_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

migrate_function! {
    /// Starts a migration that runs on its own, to its own commit, and returns the job's number at once.
    fn start_migrate(request)[] -> [i64] {
        or_raise(job::start_migrate(&request))
    }
}
