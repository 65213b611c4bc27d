use crate::error::Result;
use crate::local::spi;

/// Computes the statistics that the target takes over in the swap.
pub fn analyze(job: i64, target: u32) -> Result<()> {
    spi::execute(&format!("ANALYZE {}", super::qualified_name(job, target)))
}
