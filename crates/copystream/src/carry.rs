use crate::{LONGEST_ROW, StreamError};

/// The unfinished row at the end of a chunk, kept until the next chunk completes it.
#[derive(Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
}

/// A buffer of more bytes is freed when the row that needed it is complete.
const LARGE: usize = 1 << 20;

impl Carry {
    /// Returns the bytes to parse: the chunk itself where nothing is carried, so that the usual case copies nothing.
    pub(crate) fn join<'a>(&'a mut self, chunk: &'a [u8]) -> Result<&'a [u8], StreamError> {
        if self.bytes.is_empty() {
            return Ok(chunk);
        }
        self.push(chunk)?;
        Ok(&self.bytes)
    }

    /// Keeps the bytes behind the `consumed` ones of those that `join` returned for `chunk`.
    pub(crate) fn keep(&mut self, chunk: &[u8], consumed: usize) -> Result<(), StreamError> {
        if self.bytes.is_empty() {
            return self.push(&chunk[consumed..]);
        }
        if self.bytes.capacity() > LARGE && self.bytes.len() - consumed < LARGE {
            let bytes = std::mem::take(&mut self.bytes);
            return self.push(&bytes[consumed..]);
        }
        self.bytes.drain(..consumed);
        Ok(())
    }

    /// Appends a chunk without looking for the end of the row.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), StreamError> {
        let (length, room) = (self.bytes.len(), self.bytes.capacity());
        if room - length < chunk.len() {
            // The buffer doubles each time, but never grows much beyond the longest row.
            let wanted = length + chunk.len();
            let generous = wanted.max((2 * room).min(LONGEST_ROW));
            let reserved = self.bytes.try_reserve_exact(generous - length);
            if reserved.is_err() && self.bytes.try_reserve_exact(chunk.len()).is_err() {
                return Err(StreamError::OutOfMemory { bytes: wanted });
            }
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
