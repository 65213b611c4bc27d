#![forbid(unsafe_code)]
//! Physical backups as they lie in a directory: their names, manifests and archives, the WAL that they need, and which of them a
//! policy keeps.
//!
//! Nothing here knows a server. What files say is checked where it enters: lines, counts and names are bounded.

pub mod access_file;
pub mod beside_wal;
pub mod manifest;
pub mod name;
pub mod prune;
pub mod record;
pub mod restore_page;
pub mod settings_file;
pub mod shell;
pub mod sums;
pub mod tar;
pub mod wal;
pub mod waldump;
