//! Setting sequences so that a rollback undoes it.

use super::spi;
use crate::error::Result;
use crate::source::SequenceValue;

/// Makes a sequence continue where the source's stands.
///
/// RESTART gives the sequence new storage, which a rollback takes away again; only into that storage does `setval`
/// write, so that it is undone as well. `setval` alone would not be.
pub fn continue_at(sequence: &str, value: SequenceValue) -> Result<()> {
    spi::execute(&format!("ALTER SEQUENCE {sequence} RESTART"))?;
    spi::execute(&format!(
        "SELECT pg_catalog.setval({}, {}, {})",
        plan::quote_literal(sequence),
        value.last_value,
        value.is_called
    ))
}
