use crate::error::or_raise;
use crate::local::logging;
use crate::parquet::credentials::{Place, validate};
use pgrx::prelude::*;

/// Checks the options of object stores and of their users; `catalog` says what they are given for.
#[pg_extern(volatile)]
fn store_options_validator(options: Vec<Option<String>>, catalog: pg_sys::Oid) {
    let place = match catalog {
        pg_sys::ForeignServerRelationId => Place::Server,
        pg_sys::UserMappingRelationId => Place::UserMapping,
        _ => Place::Elsewhere,
    };
    // There may be a password among the options, also where none belongs.
    logging::hide_statement("");
    or_raise(validate(&options, place));
}
