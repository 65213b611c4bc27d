/// The unfinished row at the end of a chunk, kept until the next chunk completes it.
#[derive(Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
}

impl Carry {
    /// The bytes to parse: the chunk itself where nothing is carried, so that the usual case copies nothing.
    pub(crate) fn join<'a>(&'a mut self, chunk: &'a [u8]) -> &'a [u8] {
        if self.bytes.is_empty() {
            chunk
        } else {
            self.bytes.extend_from_slice(chunk);
            &self.bytes
        }
    }

    /// Keeps what stands after `consumed` bytes of what `join` returned for `chunk`.
    pub(crate) fn keep(&mut self, chunk: &[u8], consumed: usize) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&chunk[consumed..]);
        } else {
            self.bytes.drain(..consumed);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
