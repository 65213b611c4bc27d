//! The rows of a COPY block, as they come out of the script.

use super::{Run, Step};
use crate::error::{Error, Result};

/// The rows of one COPY, on their way.
#[derive(Default)]
pub(super) struct RowsOfCopy {
    pub(super) pending: Vec<u8>,
    pub(super) used: usize,
    /// The line of the first row.
    pub(super) first_line: Option<usize>,
    pub(super) bytes: u64,
    pub(super) ended: bool,
    /// Whether the script could not be read on.
    pub(super) failed: bool,
}

impl RowsOfCopy {
    /// Fills `buffer` with at least `least` bytes, unless the rows end before.
    pub(super) fn read(&mut self, run: &mut Run<'_>, buffer: &mut [u8], least: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < least.max(1) {
            if self.left() == 0 {
                if self.ended || !self.read_on(run).inspect_err(|_| self.failed = true)? {
                    break;
                }
                continue;
            }
            let length = (self.pending.len() - self.used).min(buffer.len() - filled);
            if length == 0 {
                break;
            }
            buffer[filled..filled + length].copy_from_slice(&self.pending[self.used..self.used + length]);
            self.used += length;
            filled += length;
        }
        Ok(filled)
    }

    pub(super) fn left(&self) -> u64 {
        (self.pending.len() - self.used) as u64
    }

    pub(super) fn read_on(&mut self, run: &mut Run<'_>) -> Result<bool> {
        self.pending.clear();
        self.used = 0;
        match run.next_step(&mut self.pending)? {
            Step::Rows { line, .. } => {
                self.first_line.get_or_insert(line);
                self.bytes += self.pending.len() as u64;
                Ok(true)
            }
            Step::EndOfRows => {
                self.ended = true;
                Ok(false)
            }
            _ => Err(Error::internal("a statement within rows")),
        }
    }

    pub(super) fn line_of(&self, row: u64) -> usize {
        self.first_line.unwrap_or_default() + row.saturating_sub(1) as usize
    }
}
