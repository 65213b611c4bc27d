use super::Session;
use crate::error::Result;
use plan::{Part, Wire};
use std::pin::pin;

/// One part of a source table, as `COPY … TO STDOUT` sends it.
pub struct CopyOut<'a> {
    /// Schema-qualified.
    pub table: &'a str,
    /// A partitioned table is read with all its partitions; any other one without its children.
    pub partitioned: bool,
    pub columns: Vec<&'a str>,
    pub part: Part,
    pub wire: Wire,
}

impl CopyOut<'_> {
    /// The cheapest form: the plain relation where it can be, a query for a part.
    pub fn statement(&self) -> String {
        let columns = self.columns.iter().map(|name| plan::quote_identifier(name)).collect::<Vec<_>>().join(", ");
        let what = if self.part.is_whole() && !self.partitioned && !self.columns.is_empty() {
            format!("{} ({columns})", self.table)
        } else {
            let only = if self.partitioned { "" } else { "ONLY " };
            let condition =
                if self.part.is_whole() { String::new() } else { format!(" WHERE {}", self.part.condition()) };
            format!("(SELECT {columns} FROM {only}{}{condition})", self.table)
        };
        format!("COPY {what} TO STDOUT (FORMAT {})", self.wire.name())
    }

    /// Calls `on_chunk` with each piece of the stream, in order.
    ///
    /// # Errors
    /// What the source reports, a lost connection, or whatever `on_chunk` returns.
    pub fn read(&self, session: &Session, on_chunk: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let stream = pin!(session.start_copy(&self.statement())?);
        session.drain_copy(stream, on_chunk)
    }
}
