use crate::error::or_raise;
use crate::source;
use pgrx::prelude::*;

/// Checks the options of an object that belongs to the foreign-data wrapper; `catalog` tells what kind of object it is.
#[pg_extern(volatile)]
fn fdw_validator(options: Vec<Option<String>>, catalog: pg_sys::Oid) {
    or_raise(source::refuse_wrong_options(&options, catalog));
}
