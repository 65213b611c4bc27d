use crate::error::Result;
use crate::local::identity::{Role, run_as};
use crate::local::spi;

/// Computes the statistics that the target takes over in the swap: of the given columns, or of all if none is given.
pub fn analyze(job: i64, target: u32, columns: &[&str]) -> Result<()> {
    let names: Vec<_> = columns.iter().map(|name| plan::quote_identifier(name)).collect();
    let list = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    // Nobody else can name the table; the server itself runs what is the owner's as the owner.
    run_as(Role::Extension, || spi::execute(&format!("ANALYZE {}{list}", super::qualified_name(job, target))))
}
