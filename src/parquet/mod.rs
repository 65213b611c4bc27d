//! Parquet files: finding, describing, reading and writing them.

mod copy_hook;
pub mod credentials;
pub mod data_files;
pub mod describe;
mod embedded;
mod http_client;
pub mod new_table;
pub mod parquet_file;
pub mod provenance;
pub mod schema;
pub mod store;
mod write;

pub use copy_hook::{CopyFrom, register as register_copy};
