use super::Session;
use super::session::RunningCopy;
use crate::error::Result;
use plan::{Part, Wire};
use std::rc::Rc;

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

    /// Calls `on_chunk` with each piece of the stream, in order: one row each, unless it is huge. Returns the number of
    /// rows that the source says it sent.
    ///
    /// # Errors
    /// What the source reports, a lost connection, or whatever `on_chunk` returns.
    pub fn read(&self, session: &Session, on_chunk: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        session.copy(&self.statement(), on_chunk)
    }

    /// Starts the stream for somebody who asks for bytes.
    pub fn start(&self, session: &Rc<Session>) -> CopyReader {
        CopyReader {
            copy: session.start_copy(self.statement()),
            arrived: Vec::new(),
            position: 0,
            rows: None,
            bytes: 0,
        }
    }
}

/// A stream of COPY to read from.
pub struct CopyReader {
    copy: RunningCopy,
    arrived: Vec<u8>,
    /// Of the next byte in `arrived`.
    position: usize,
    /// Known at the end.
    rows: Option<u64>,
    bytes: u64,
}

impl CopyReader {
    /// Fills `buffer` with at least `least` bytes unless the stream ends before; returns how many.
    pub fn read(&mut self, buffer: &mut [u8], least: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < least.max(1) {
            if self.position == self.arrived.len() {
                if self.rows.is_some() {
                    break;
                }
                self.arrived.clear();
                self.position = 0;
                let arrived = &mut self.arrived;
                self.rows = self.copy.next(&mut |data| {
                    arrived.extend_from_slice(data);
                    Ok(())
                })?;
                continue;
            }
            let count = (self.arrived.len() - self.position).min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&self.arrived[self.position..self.position + count]);
            filled += count;
            self.position += count;
        }
        self.bytes += filled as u64;
        Ok(filled)
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Rows that the source says it sent; `None` before the end.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }
}
