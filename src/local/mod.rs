//! This end: catalog queries over SPI, rights, locks, and the small facts about the session that others need.

pub mod catalog;
pub mod copy_statement;
pub mod datum;
pub mod encoding;
pub mod files;
pub mod foreign_server;
pub mod identity;
pub mod interrupts;
pub mod locks;
pub mod logging;
pub mod names;
pub mod network;
pub mod new_file;
pub mod progress;
pub mod query;
pub mod relation_file;
pub mod rights;
pub mod rows;
pub mod sequences;
pub mod settings;
pub mod spi;
pub mod text;
pub mod transaction;
pub mod transient;
pub mod types;
pub mod utility_hook;
