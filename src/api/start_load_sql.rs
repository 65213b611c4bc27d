use super::parameters::{self, load_sql_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

load_sql_function! {
    /// Starts a load of a script that runs on its own, to its own commit, and returns the job's number at once.
    fn start_load_sql(request) -> [i64] {
        or_raise(job::start_load_sql(&request))
    }
}
