//! Values of variable length.

use super::refusal::too_large;
use crate::error::Error;
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::mem;

/// Values of variable length, one after the other.
pub(super) struct Bytes {
    ends: Vec<i32>,
    values: Vec<u8>,
}

impl Default for Bytes {
    fn default() -> Self {
        Self { ends: vec![0], values: Vec::new() }
    }
}

impl Bytes {
    #[inline]
    pub(super) fn append(&mut self, value: &[u8]) -> Result<usize, Error> {
        // Arrays hold a few megabytes and one row, which can be of more only where arrays grow as texts.
        let Ok(end) = i32::try_from(self.values.len() + value.len()) else { return Err(too_large()) };
        self.values.extend_from_slice(value);
        self.ends.push(end);
        Ok(value.len() + mem::size_of::<i32>())
    }

    pub(super) fn append_null(&mut self) {
        self.ends.push(last(&self.ends));
    }

    pub(super) fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let Self { ends, values } = mem::take(self);
        (OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(values))
    }
}

/// Returns the end of the last value.
pub(super) fn last(offsets: &[i32]) -> i32 {
    offsets.last().copied().unwrap_or(0)
}
