//! One file per SQL function: arguments in, rows out, no logic.

mod cleanup;
mod list;
mod plan;
mod pull;
mod version;
