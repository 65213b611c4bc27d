//! Takes the data of COPY off a connection before the client library sees it.
//!
//! The library hands every row on in a buffer of its own, which costs as much as decoding the row. So its messages pass
//! through here: those that carry COPY data stay, and the code that loads rows reads them in place; all others go on to
//! the library. The message formats are those of the manual's chapter "Frontend/Backend Protocol".
//!
//! The library allocates as much memory for a message as the source says that it needs, and keeps settings that it is
//! told. So no long message gets to the library, and no message that is not needed.

mod refusal;
mod tapped_socket;

use super::socket::Ends;
use crate::error::Result;
use conninfo::AllowedAuthentication;
use refusal::{
    Authentication, BEGINNING_BYTES, EMPTY_MESSAGE, FIRST_BYTES, LONGEST_MESSAGE, may_begin, no_process, other_server,
};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::ChannelBinding;

pub(super) use refusal::Refusal;
pub(super) use tapped_socket::{TapSlot, TappedSocket, TappingTls};

/// A connection to a source, encrypted or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// The size of the buffer for data that arrives; longer messages arrive in pieces.
const BUFFER_BYTES: usize = 512 * 1024;
/// The size of the type and the length of a message.
const HEADER_BYTES: usize = 5;
/// The size of the code with which an authentication message begins.
const CODE_BYTES: usize = 4;

/// The meaning of the bytes of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Messages of the protocol.
    Messages,
    /// One byte first that tells whether encryption follows.
    TlsAnswerFirst,
    /// Encrypted data; another tap above reads its content.
    Opaque,
}

/// A handle on a socket's COPY data.
#[derive(Clone)]
pub(super) struct Tap {
    state: Arc<Mutex<State>>,
    wakers: Arc<Wakers>,
    /// Unknown to a tap inside of encryption.
    pub(super) ends: Option<Ends>,
}

struct State {
    socket: Box<dyn Socket>,
    framing: Framing,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The bytes of the current message that are for the library.
    passing: usize,
    /// The bytes of the current message that are COPY data.
    data_left: usize,
    /// The bytes of the current message that are skipped.
    skipping: usize,
    authentication: Authentication,
    /// The reason why nothing more of the source is read.
    refusal: Option<Refusal>,
    /// The beginning of all that the source has sent.
    first_bytes: Vec<u8>,
    /// Whether what the source sends has begun as that of a PostgreSQL server.
    begun: bool,
}

/// Both the library and the one who copies wait for the same socket, which wakes only one.
#[derive(Default)]
struct Wakers {
    library: Mutex<Option<Waker>>,
    copier: Mutex<Option<Waker>>,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_both();
    }
}

impl Wakers {
    fn wake_both(&self) {
        for waker in [&self.library, &self.copier] {
            let waker = lock(waker).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Locks a mutex. An ERROR may have unwound through a holder; the guarded value is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kind of data at the front of the buffer.
enum Front {
    /// Data that is refused.
    Refused(Refusal),
    /// COPY data: `data_left` tells how much, of which some has arrived.
    Data,
    /// A COPY has ended.
    End,
    /// Data for the library.
    Other,
    /// Not yet known, or not yet enough to begin with.
    Incomplete,
}

impl State {
    fn available(&self) -> usize {
        self.end - self.start
    }

    /// Looks at what comes next, past the messages that only mark a copy's beginning and past the headers of data.
    fn front(&mut self) -> Front {
        loop {
            if let Some(refusal) = &self.refusal {
                return Front::Refused(refusal.clone());
            }
            if self.skipping > 0 {
                let skipped = self.skipping.min(self.available());
                self.start += skipped;
                self.skipping -= skipped;
                if self.skipping > 0 {
                    return Front::Incomplete;
                }
            }
            if self.data_left > 0 {
                return if self.available() > 0 { Front::Data } else { Front::Incomplete };
            }
            if !self.begun && self.available() > 0 {
                match self.begins_well() {
                    Ok(true) => self.begun = self.framing != Framing::TlsAnswerFirst,
                    Ok(false) => return Front::Incomplete,
                    Err(refusal) => {
                        self.refusal = Some(refusal);
                        continue;
                    }
                }
            }
            if self.passing > 0 || self.framing != Framing::Messages {
                return if self.available() > 0 { Front::Other } else { Front::Incomplete };
            }
            let Some(header) = self.buffer[self.start..self.end].first_chunk::<HEADER_BYTES>() else {
                return Front::Incomplete;
            };
            let announced = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            let length = announced as usize;
            let longest = match header[0] {
                // Streamed, or skipped.
                b'd' | b'H' | b'S' | b'N' | b'A' => i32::MAX as usize,
                b'c' => EMPTY_MESSAGE,
                _ => LONGEST_MESSAGE,
            };
            if !(EMPTY_MESSAGE..=longest).contains(&length) {
                self.refusal = Some(Refusal::MessageLength(announced));
                continue;
            }
            match header[0] {
                b'd' => {
                    let data = length - EMPTY_MESSAGE;
                    // A row in one piece need not be assembled; one that is longer than the buffer comes in pieces.
                    if self.available() < HEADER_BYTES + data && data < BUFFER_BYTES / 2 {
                        return Front::Incomplete;
                    }
                    self.start += HEADER_BYTES;
                    self.data_left = data;
                }
                b'c' => return Front::End,
                // CopyOutResponse, ParameterStatus, NoticeResponse and NotificationResponse: the library would keep or
                // only log the last three.
                b'H' | b'S' | b'N' | b'A' => self.skipping = length + 1,
                b'R' if length >= EMPTY_MESSAGE + CODE_BYTES => {
                    let message = &self.buffer[self.start..self.end];
                    let Some(code) = message.get(HEADER_BYTES..HEADER_BYTES + CODE_BYTES) else {
                        return Front::Incomplete;
                    };
                    let code = code.iter().fold(0, |code, &byte| code << 8 | u32::from(byte));
                    match self.authentication.note(code) {
                        Ok(()) => self.passing = length + 1,
                        Err(refusal) => self.refusal = Some(refusal),
                    }
                }
                _ => self.passing = length + 1,
            }
        }
    }

    /// Looks at the first bytes that have arrived; false while there are too few. Servers of other kinds speak first, or
    /// answer in a way of their own.
    ///
    /// # Errors
    /// No PostgreSQL server begins like this.
    fn begins_well(&self) -> std::result::Result<bool, Refusal> {
        let arrived = &self.buffer[self.start..self.end];
        let first = arrived[0];
        match self.framing {
            // Nothing follows until the client has spoken.
            Framing::TlsAnswerFirst if matches!(first, b'S' | b'N') && arrived.len() == 1 => Ok(true),
            Framing::TlsAnswerFirst if first == b'E' => Err(no_process(&self.first_bytes)),
            // Records with an alert, and with the handshake.
            Framing::Opaque if matches!(first, 0x15 | 0x16) => Ok(true),
            Framing::Messages if matches!(first, b'R' | b'E') => match arrived.first_chunk::<BEGINNING_BYTES>() {
                None => Ok(false),
                Some(beginning) if may_begin(beginning) => Ok(true),
                Some(_) if first == b'E' => Err(no_process(&self.first_bytes)),
                Some(_) => Err(other_server(&self.first_bytes)),
            },
            _ => Err(other_server(&self.first_bytes)),
        }
    }

    /// Receives more data and returns the number of bytes, 0 at the end of the stream.
    fn receive(&mut self, wakers: &Arc<Wakers>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER_BYTES, 0);
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end > BUFFER_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let waker = Waker::from(Arc::clone(wakers));
        let mut context = Context::from_waker(&waker);
        let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
        match Pin::new(&mut self.socket).poll_read(&mut context, &mut room) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                let missing = FIRST_BYTES - self.first_bytes.len();
                self.first_bytes.extend_from_slice(&room.filled()[..count.min(missing)]);
                self.end += count;
                Poll::Ready(Ok(count))
            }
        }
    }

    /// Calls `on_data` with the COPY data in the buffer, up to the first message of another kind. Returns whether that
    /// is the end of the COPY, which is consumed, too.
    fn take_data(&mut self, on_data: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        loop {
            match self.front() {
                Front::Data => {
                    let (from, count) = (self.start, self.data_left.min(self.available()));
                    self.start += count;
                    self.data_left -= count;
                    on_data(&self.buffer[from..from + count])?;
                }
                Front::End => {
                    self.start += HEADER_BYTES;
                    return Ok(true);
                }
                Front::Other | Front::Incomplete | Front::Refused(_) => return Ok(false),
            }
        }
    }
}

impl Tap {
    pub(super) fn new(
        socket: impl Socket + 'static,
        framing: Framing,
        allowed: Option<AllowedAuthentication>,
        ends: Option<Ends>,
    ) -> Self {
        let state = State {
            socket: Box::new(socket),
            framing,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            passing: 0,
            data_left: 0,
            skipping: 0,
            authentication: Authentication::expecting(allowed),
            refusal: None,
            first_bytes: Vec::new(),
            begun: false,
        };
        Self { state: Arc::new(Mutex::new(state)), wakers: Arc::default(), ends }
    }

    /// Returns whether the server has asked for a password, of any kind.
    pub(super) fn password_was_asked(&self) -> bool {
        lock(&self.state).authentication.password_asked
    }

    /// Returns the reason why nothing more of the source is read, if there is one.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        lock(&self.state).refusal.clone()
    }

    /// Returns whether the server has said anything.
    pub(super) fn has_answered(&self) -> bool {
        !lock(&self.state).first_bytes.is_empty()
    }

    /// Reads the first words of a server that has ended the connection before the library came to read them, so that words
    /// that are not those of a PostgreSQL server are refused.
    pub(super) async fn last_words(&self) {
        const LONGEST: Duration = Duration::from_millis(100);
        let words = std::future::poll_fn(|context| {
            *lock(&self.wakers.copier) = Some(context.waker().clone());
            let mut state = lock(&self.state);
            loop {
                if matches!(state.front(), Front::Refused(_)) || state.begun || state.available() > 0 {
                    return Poll::Ready(());
                }
                match state.receive(&self.wakers) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let _ = tokio::time::timeout(LONGEST, words).await;
    }

    /// Is ready when there is COPY data, or its end. Otherwise it waits for the socket, also on behalf of the library.
    pub(super) fn poll_data(&self, context: &mut Context<'_>) -> Poll<()> {
        *lock(&self.wakers.copier) = Some(context.waker().clone());
        let mut state = lock(&self.state);
        loop {
            match state.front() {
                Front::Data | Front::End => return Poll::Ready(()),
                Front::Other | Front::Refused(_) => break,
                Front::Incomplete => match state.receive(&self.wakers) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Pending => return Poll::Pending,
                    // The library reads again and finds the same end.
                    Poll::Ready(_) => break,
                },
            }
        }
        if let Some(library) = lock(&self.wakers.library).take() {
            library.wake();
        }
        Poll::Pending
    }

    /// Calls `on_data` with the COPY data that has arrived, rows in one piece where they are not huge. Returns whether
    /// the COPY has ended.
    ///
    /// # Errors
    /// The error of `on_data`.
    pub(super) fn take_data(&self, on_data: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        lock(&self.state).take_data(on_data)
    }
}
