//! A compressed script, decompressed by a thread of its own: the session does nothing but read while rows are passed over, and
//! the other processors have nothing to do then.
//!
//! The session alone reads the file and looks at interrupts. The thread calls no function of the server.

use super::file::{Raw, read_buffered};
use crate::local::interrupts;
use crate::local::network::HeldSignals;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Makes a decoder of what arrives.
pub(super) type MakeDecoder = fn(Arriving) -> io::Result<Box<dyn Read>>;

/// The bytes of the script, in the session.
pub(super) struct Unpacked {
    file: Raw,
    /// A part of the file for which there was no room.
    waiting: Option<Vec<u8>>,
    /// `None` behind the end of the file.
    to_thread: Option<SyncSender<Vec<u8>>>,
    /// `None` only while this is dropped.
    from_thread: Option<Receiver<io::Result<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
    ready: Vec<u8>,
    used: usize,
}

/// Parts that wait on either side of the thread.
const MOST_WAITING: usize = 4;
const UNPACKED_BYTES: usize = 1 << 20;
/// The longest wait between two looks at the server's interrupt flags.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

impl Unpacked {
    pub(super) fn start(file: Raw, make_decoder: MakeDecoder) -> io::Result<Self> {
        let (to_thread, packed) = sync_channel(MOST_WAITING);
        let (unpacked, from_thread) = sync_channel(MOST_WAITING);
        let work = move || unpack(Arriving { packed, part: Vec::new(), used: 0 }, make_decoder, &unpacked);
        // The thread inherits the blocked signals: the server's handlers run in the session alone.
        let held = HeldSignals::hold();
        let thread = std::thread::Builder::new().name("unpacking".to_owned()).spawn(work)?;
        drop(held);
        Ok(Self {
            file,
            waiting: None,
            to_thread: Some(to_thread),
            from_thread: Some(from_thread),
            thread: Some(thread),
            ready: Vec::new(),
            used: 0,
        })
    }

    /// Hands parts of the file over, as many as there is room for.
    fn supply(&mut self) -> io::Result<()> {
        while let Some(to_thread) = &self.to_thread {
            let part = match self.waiting.take() {
                Some(part) => part,
                None => self.file.take_part()?,
            };
            if part.is_empty() {
                self.to_thread = None;
                return Ok(());
            }
            match to_thread.try_send(part) {
                Ok(()) => {}
                Err(TrySendError::Full(part)) => {
                    self.waiting = Some(part);
                    return Ok(());
                }
                // It has met an error, which it tells.
                Err(TrySendError::Disconnected(_)) => self.to_thread = None,
            }
        }
        Ok(())
    }

    /// Waits for more. Returns whether there is any.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            self.supply()?;
            let Some(from_thread) = &self.from_thread else { return Ok(false) };
            match from_thread.recv_timeout(INTERRUPT_INTERVAL) {
                Ok(part) => {
                    (self.ready, self.used) = (part?, 0);
                    return Ok(true);
                }
                Err(RecvTimeoutError::Timeout) => interrupts::check(),
                Err(RecvTimeoutError::Disconnected) => {
                    // A thread that has panicked has not come to the end.
                    return match self.thread.take().map(JoinHandle::join) {
                        Some(Err(_)) => Err(io::Error::other("decompression failed")),
                        _ => Ok(false),
                    };
                }
            }
        }
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.ready.len() && !self.receive()? {
            return Ok(0);
        }
        let available = &self.ready[self.used..];
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.used += length;
        Ok(length)
    }
}

impl Drop for Unpacked {
    /// Waits for the thread, which ends with the part that it works on: nobody takes what it makes.
    fn drop(&mut self) {
        self.to_thread = None;
        self.from_thread = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unpack(packed: Arriving, make_decoder: MakeDecoder, to_session: &SyncSender<io::Result<Vec<u8>>>) {
    let mut decoder = match make_decoder(packed) {
        Ok(decoder) => decoder,
        Err(error) => {
            let _ = to_session.send(Err(error));
            return;
        }
    };
    loop {
        let (part, end) = next_part(&mut decoder);
        if !part.is_empty() && to_session.send(Ok(part)).is_err() {
            return;
        }
        match end {
            None => {}
            Some(Ok(())) => return,
            Some(Err(error)) => {
                let _ = to_session.send(Err(error));
                return;
            }
        }
    }
}

/// Returns what comes next, and how the text ends, where it ends.
fn next_part(decoder: &mut dyn Read) -> (Vec<u8>, Option<io::Result<()>>) {
    let mut part = Vec::new();
    if part.try_reserve_exact(UNPACKED_BYTES).is_err() {
        return (part, Some(Err(io::ErrorKind::OutOfMemory.into())));
    }
    part.resize(UNPACKED_BYTES, 0);
    let mut length = 0;
    let mut end = None;
    while end.is_none() && length < part.len() {
        match decoder.read(&mut part[length..]) {
            Ok(0) => end = Some(Ok(())),
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => end = Some(Err(error)),
        }
    }
    part.truncate(length);
    (part, end)
}

/// The bytes of the file, in the thread.
pub(super) struct Arriving {
    packed: Receiver<Vec<u8>>,
    part: Vec<u8>,
    used: usize,
}

impl BufRead for Arriving {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.part.len() {
            // The end of the file, or of the session's interest.
            self.part = self.packed.recv().unwrap_or_default();
            self.used = 0;
        }
        Ok(&self.part[self.used..])
    }

    fn consume(&mut self, length: usize) {
        self.used = (self.used + length).min(self.part.len());
    }
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}
