//! pgcopy replaces the data of local tables with that of another PostgreSQL server.
//!
//! The rooms below, from the top of the house to its ground; each imports only those below it:
//! - `api`: one file per SQL function, arguments in, rows out
//! - `job`: the processes of a job and what they share
//! - `prepare`: everything before anything is touched; makes an order
//! - `verify`: digests of tables on both sides, and where they differ
//! - `load`: rows to heap
//! - `backup`: physical backups and their restore
//! - `script`: dump scripts, and the program that writes them
//! - `stage`: stage tables, from their making to the swap
//! - `order`: what was decided, as plain data
//! - `parquet`: files, what they hold and where it goes
//! - `source`: the other end
//! - `sending`: rows of this server for a pgcopy elsewhere
//! - `storage`: forms on disk: rows, pages, B-trees
//! - `local`: this end
//! - `compat`: what differs between server versions
//! - `error`: the error that every room returns

mod api;
mod backup;
mod error;
mod order;
mod parquet;
mod prepare;
mod script;
mod sending;
mod source;
mod verify;

// The rooms that may contain `unsafe`; no other compiles with it.
#[allow(unsafe_code)]
mod compat;
#[allow(unsafe_code)]
mod job;
#[allow(unsafe_code)]
mod load;
#[allow(unsafe_code)]
mod local;
#[allow(unsafe_code)]
mod stage;
#[allow(unsafe_code)]
mod storage;

// The guard around foreign functions (see `local::bindings`) looks for it here.
pub(crate) use pgrx::pg_sys::ffi;
use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = [api::live::live_jobs, api::live::live_tables, api::live::live_tasks, api::live::progress_lines]
);
extension_sql_file!(
    "../sql/stores.sql",
    name = "stores",
    requires = [api::store_options_validator::store_options_validator]
);
extension_sql_file!("../sql/foreign_data.sql", name = "foreign_data", requires = [fdw_validator]);
extension_sql_file!("../sql/comments.sql", name = "comments", finalize);

#[allow(unsafe_code, reason = "the environment is changed before there is a second thread")]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // Errors carry facts for the user, never a backtrace, whatever the server's environment says.
    // SAFETY: a backend has one thread when it loads a library.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    error::register_message_route(local::messages::route());
    local::parameters::register();
    parquet::register_copy(job::copy_from);
    local::logging::register();
}
