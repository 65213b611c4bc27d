use super::parameters::{self, dump_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

dump_function! {
    /// Starts a dump that runs on its own, and returns the job's number at once.
    fn start_dump(request) -> [i64] {
        or_raise(job::start_dump(&request))
    }
}
