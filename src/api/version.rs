use pgrx::prelude::*;

/// Returns the version of the library that the server has loaded.
#[pg_extern(stable, parallel_safe)]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
