use super::parameters::{self, load_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job::{self, LoadedFile};
use pgrx::prelude::*;

load_function! {
    /// Loads Parquet files into a table; one row for each file.
    fn load_parquet, load_parquet_list as "load_parquet"(request) -> [TableIterator<
        'static,
        (name!(target, Text), name!(file, Text), name!(rows, i64), name!(bytes, i64), name!(seconds, f64)),
    >] {
        let files = or_raise(job::load_parquet(&request));
        TableIterator::new(files.into_iter().map(|LoadedFile { target, file, rows, bytes, seconds }| {
            (target.into(), file.into(), rows as i64, bytes as i64, seconds)
        }))
    }
}
