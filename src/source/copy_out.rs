use super::Session;
use crate::error::Result;
use bytes::Bytes;
use plan::{Part, Wire};
use std::pin::{Pin, pin};
use std::rc::Rc;
use tokio_postgres::CopyOutStream;

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
    pub fn read(&self, session: &Session, mut on_chunk: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut stream = pin!(session.start_copy(&self.statement())?);
        let mut chunks = Vec::new();
        loop {
            let more = session.next_chunks(stream.as_mut(), &mut chunks)?;
            for chunk in chunks.drain(..) {
                on_chunk(&chunk)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Starts the stream for somebody who asks for bytes.
    pub fn start(&self, session: &Rc<Session>) -> Result<CopyReader> {
        let stream = Box::pin(session.start_copy(&self.statement())?);
        Ok(CopyReader {
            session: Rc::clone(session),
            stream,
            chunks: Vec::new(),
            position: (0, 0),
            ended: false,
            bytes: 0,
        })
    }
}

/// A stream of COPY to read from.
pub struct CopyReader {
    session: Rc<Session>,
    stream: Pin<Box<CopyOutStream>>,
    chunks: Vec<Bytes>,
    /// The next byte: which chunk, and where in it.
    position: (usize, usize),
    ended: bool,
    bytes: u64,
}

impl CopyReader {
    /// Fills `buffer` with at least `least` bytes unless the stream ends before; returns how many.
    pub fn read(&mut self, buffer: &mut [u8], least: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < least.max(1) {
            let (chunk, offset) = self.position;
            let Some(bytes) = self.chunks.get(chunk) else {
                if self.ended {
                    break;
                }
                self.chunks.clear();
                self.position = (0, 0);
                self.ended = !self.session.next_chunks(self.stream.as_mut(), &mut self.chunks)?;
                continue;
            };
            let count = (bytes.len() - offset).min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&bytes[offset..offset + count]);
            filled += count;
            self.position = if offset + count == bytes.len() { (chunk + 1, 0) } else { (chunk, offset + count) };
        }
        self.bytes += filled as u64;
        Ok(filled)
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
