//! Sorts more entries than fit into memory: sorted runs go to temporary files and are merged.

use crate::compat;
use crate::error::{Error, Result};
use crate::local::interrupts;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Plain integers, of which any bytes are a value, so that they can be written to a file as they are.
///
/// # Safety
/// Every bit pattern is valid, and no byte of a value is uninitialized.
pub(super) unsafe trait Entry: Copy + Ord {}

// SAFETY: an integer.
unsafe impl Entry for u64 {}
// SAFETY: an integer.
unsafe impl Entry for u128 {}
// SAFETY: two integers of the same size, without padding.
unsafe impl Entry for [u128; 2] {}

/// The number of entries of a run that are read from its file at once.
const READ_AT_ONCE: usize = 8 * 1024;

pub(super) struct Sorter<E> {
    entries: Vec<E>,
    most: usize,
    runs: Vec<Run<E>>,
}

struct Run<E> {
    file: *mut pg_sys::BufFile,
    left: usize,
    buffer: Vec<E>,
    next: usize,
}

impl<E: Entry> Sorter<E> {
    pub(super) fn new(memory: usize) -> Self {
        Self { entries: Vec::new(), most: (memory / size_of::<E>()).max(READ_AT_ONCE), runs: Vec::new() }
    }

    #[inline]
    pub(super) fn add(&mut self, entry: E) {
        if self.entries.len() == self.entries.capacity() {
            self.make_room();
        }
        self.entries.push(entry);
    }

    #[cold]
    fn make_room(&mut self) {
        let length = self.entries.len();
        if length >= self.most {
            self.write_run();
            return;
        }
        let more = length.max(READ_AT_ONCE).min(self.most - length);
        if self.entries.try_reserve_exact(more).is_err() {
            if length < READ_AT_ONCE {
                Error::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory").raise();
            }
            self.write_run();
        }
    }

    fn write_run(&mut self) {
        longsort::sort(&mut self.entries, &mut interrupts::check);
        // SAFETY: entries are plain bytes; the file belongs to this transaction, which deletes it at its end.
        unsafe {
            let file = pg_sys::BufFileCreateTemp(false);
            for chunk in self.entries.chunks(READ_AT_ONCE) {
                interrupts::check();
                pg_sys::BufFileWrite(file, chunk.as_ptr().cast_mut().cast(), size_of_val(chunk));
            }
            if pg_sys::BufFileSeek(file, 0, 0, libc::SEEK_SET) != 0 {
                Error::new(PgSqlErrorCode::ERRCODE_IO_ERROR, "could not rewind a temporary file").raise();
            }
            self.runs.push(Run { file, left: self.entries.len(), buffer: Vec::new(), next: 0 });
        }
        self.entries.clear();
    }

    /// Calls `on_entry` with every entry, in order.
    pub(super) fn drain(mut self, mut on_entry: impl FnMut(E) -> Result<()>) -> Result<()> {
        const ENTRIES_BETWEEN_INTERRUPTS: usize = 64 * 1024;
        if self.runs.is_empty() {
            longsort::sort(&mut self.entries, &mut interrupts::check);
            for chunk in self.entries.chunks(ENTRIES_BETWEEN_INTERRUPTS) {
                interrupts::check();
                chunk.iter().try_for_each(|&entry| on_entry(entry))?;
            }
            return Ok(());
        }
        self.write_run();
        self.entries = Vec::new();
        let mut heap = BinaryHeap::with_capacity(self.runs.len());
        for (number, run) in self.runs.iter_mut().enumerate() {
            heap.extend(run.next().map(|entry| Reverse((entry, number))));
        }
        let mut count = 0;
        while let Some(mut top) = heap.peek_mut() {
            let Reverse((entry, number)) = *top;
            on_entry(entry)?;
            match self.runs[number].next() {
                Some(next) => *top = Reverse((next, number)),
                None => drop(std::collections::binary_heap::PeekMut::pop(top)),
            }
            count += 1;
            if count % ENTRIES_BETWEEN_INTERRUPTS == 0 {
                interrupts::check();
            }
        }
        Ok(())
    }
}

impl<E: Entry> Run<E> {
    fn next(&mut self) -> Option<E> {
        if self.next == self.buffer.len() {
            self.buffer.clear();
            self.next = 0;
            let count = self.left.min(READ_AT_ONCE);
            if count == 0 {
                // SAFETY: read to its end and not used after.
                unsafe { pg_sys::BufFileClose(self.file) };
                self.left = 0;
                return None;
            }
            self.buffer.reserve_exact(count);
            // SAFETY: the buffer has room for so many entries, whose bytes were written by `write_run`.
            unsafe {
                compat::read_temporary_file(self.file, self.buffer.as_mut_ptr().cast(), count * size_of::<E>());
                self.buffer.set_len(count);
            }
            self.left -= count;
        }
        let entry = self.buffer[self.next];
        self.next += 1;
        Some(entry)
    }
}
