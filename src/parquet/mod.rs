//! Parquet files: where they are, what they hold, and how that becomes rows; and rows as Parquet files.

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
