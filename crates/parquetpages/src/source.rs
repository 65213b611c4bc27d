use crate::error::Result;
use bytes::Bytes;
use std::io;

/// Where the bytes of a file come from. Reading blocks.
pub trait Source: Send + Sync {
    fn length(&self) -> u64;

    /// Exactly so many bytes; only ranges within the file are asked for. To give up waiting because of the user, fail
    /// with [`io::ErrorKind::Interrupted`].
    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// A file in memory.
impl Source for Bytes {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).ok().filter(|start| length <= self.len().saturating_sub(*start));
        start.map(|start| self.slice(start..start + length)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Holds a source to its promise.
pub(crate) fn read(source: &dyn Source, offset: u64, length: usize) -> Result<Bytes> {
    let bytes = source.read(offset, length)?;
    if bytes.len() != length {
        let text = format!("{} bytes were read at offset {offset} where {length} were asked for", bytes.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
    }
    Ok(bytes)
}
