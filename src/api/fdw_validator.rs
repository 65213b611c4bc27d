use crate::error::or_raise;
use crate::local::logging;
use crate::source;
use pgrx::prelude::*;

/// Checks the options of an object that belongs to the foreign-data wrapper; `catalog` tells what kind of object it is.
#[pg_extern(volatile)]
fn fdw_validator(options: Vec<Option<String>>, catalog: pg_sys::Oid) {
    // There may be a password among the options, also where none belongs.
    logging::hide_statement("");
    or_raise(source::refuse_wrong_options(&options, catalog));
}
