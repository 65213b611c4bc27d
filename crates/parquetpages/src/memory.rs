//! Memory that is asked for before code takes it that ends the process where there is none.

use crate::Limits;
use crate::error::{Error, Result};

/// What decoders take besides what is counted.
const SLACK: usize = 32 << 20;

impl Limits {
    /// Makes sure that so many bytes, and a little more, can be had.
    ///
    /// # Errors
    /// Where there are not so many.
    pub(crate) fn ask(&self, bytes: usize) -> Result<()> {
        if (self.memory)(bytes.saturating_add(SLACK)) {
            return Ok(());
        }
        Err(none_for(bytes))
    }
}

/// Room for so many elements.
pub(crate) fn room<T>(elements: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    match room.try_reserve_exact(elements) {
        Ok(()) => Ok(room),
        Err(_) => Err(none_for(elements.saturating_mul(size_of::<T>()))),
    }
}

pub(crate) fn none_for(bytes: usize) -> Error {
    Error::OutOfMemory(format!("there is no memory for {bytes} bytes"))
}

/// Whether so many bytes can be had: takes them and gives them back. Nothing is written to them, so that this costs two
/// calls of the system, whatever the number.
pub fn can_be_had(bytes: usize) -> bool {
    let mut probe: Vec<u8> = Vec::new();
    let has_room = probe.try_reserve_exact(bytes).is_ok();
    // Or the compiler leaves it out.
    std::hint::black_box(&mut probe);
    has_room
}
