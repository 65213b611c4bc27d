use super::parameters::{self, pull_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

pull_function! {
    /// Starts a pull that runs on its own, to its own commit, and returns the job's number at once.
    fn start_pull(request) -> [i64] {
        or_raise(job::start_pull(&request))
    }
}
