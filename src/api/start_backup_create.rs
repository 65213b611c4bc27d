use super::parameters::backup_function;
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

backup_function! {
    /// Starts a backup that is taken on its own, and returns the job's number at once.
    fn start_backup_create(request) -> [i64] {
        or_raise(job::start_backup_create(&request))
    }
}
