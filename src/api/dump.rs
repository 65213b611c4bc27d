use super::parameters::{self, dump_function};
use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

dump_function! {
    /// Has pg_dump write a script into a file of the server; one row with the file's size.
    fn dump(request) -> [TableIterator<'static, (name!(file, Text), name!(bytes, i64), name!(script_bytes, i64))>] {
        let written = or_raise(job::dump(&request));
        TableIterator::once((request.path.clone().into(), written.bytes as i64, written.script_bytes as i64))
    }
}
