use super::parameters::{self, load_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

load_function! {
    /// Starts a load that runs on its own, to its own commit, and returns the job's number at once.
    fn start_load_parquet, start_load_parquet_list as "start_load_parquet"(request) -> [i64] {
        or_raise(job::start_load_parquet(&request))
    }
}
