use super::parameters::{self, check_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

check_function! {
    /// Starts a check that runs on its own, and returns the job's number at once.
    fn start_check_local(request) -> [i64] {
        or_raise(job::start_check_local(&request))
    }
}
