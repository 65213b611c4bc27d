#![forbid(unsafe_code)]
//! Throw-away servers with the extension installed, and data for them: what the commands and the tests share.

pub mod build;
pub mod data;
pub mod packages;
pub mod prerequisites;
pub mod python;
pub mod rooms;
pub mod server;

use std::path::{Path, PathBuf};

/// Any error, as a text for the terminal.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is inside the workspace")
}

/// Everything that the commands make is in here.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
