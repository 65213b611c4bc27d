//! This end: catalog queries over SPI, rights, locks, and the small facts about the session that others need.

pub mod catalog;
pub mod identity;
pub mod interrupts;
pub mod locks;
pub mod progress;
pub mod relation_file;
pub mod rights;
pub mod sequences;
pub mod settings;
pub mod spi;
pub mod transaction;
