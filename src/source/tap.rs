//! Takes the data of COPY off a connection before the client library sees it.
//!
//! The library hands every row on in a buffer of its own, which costs as much as decoding the row. So its messages pass
//! through here: those that carry COPY data stay, and whoever copies reads them where they lie; all others go on to the
//! library. The message formats are those of the manual's chapter "Frontend/Backend Protocol".

use crate::error::Result;
use conninfo::AllowedAuthentication;
use postgres_openssl::TlsStream as OpensslStream;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// What a source is reached through.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl Socket for TcpStream {}
impl Socket for UnixStream {}
impl Socket for OpensslStream<TappedSocket> {
    fn channel_binding(&self) -> ChannelBinding {
        TlsStream::channel_binding(self)
    }
}

/// Room for what arrives at once; messages that are longer arrive in pieces.
const BUFFER_BYTES: usize = 512 * 1024;
/// Type and length of a message.
const HEADER_BYTES: usize = 5;
/// What an authentication message begins with.
const CODE_BYTES: usize = 4;
/// What a message without content tells as its length.
const EMPTY: usize = 4;

/// How the bytes of a socket are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Messages of the protocol.
    Messages,
    /// One byte first that tells whether encryption follows.
    TlsAnswerFirst,
    /// Encrypted: somebody above taps what is inside.
    Opaque,
}

/// A handle on a socket's COPY data.
#[derive(Clone)]
pub(super) struct Tap {
    state: Arc<Mutex<State>>,
    wakers: Arc<Wakers>,
}

struct State {
    socket: Box<dyn Socket>,
    framing: Framing,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the message in work that are the library's.
    passing: usize,
    /// Bytes of the message in work that are COPY data.
    data_left: usize,
    authentication: Authentication,
}

/// What the server has asked for before it let us in.
#[derive(Default)]
struct Authentication {
    allowed: Option<AllowedAuthentication>,
    password_asked: bool,
    /// Whether anything was asked for.
    anything_asked: bool,
    done: bool,
    /// The way that was asked for although it is not allowed.
    refused: Option<&'static str>,
}

impl Authentication {
    /// Takes note of an authentication message's code.
    fn note(&mut self, code: u32) {
        let method = match code {
            0 if self.done || self.anything_asked => None,
            0 => Some("none"),
            3 => Some("password"),
            5 => Some("md5"),
            7 | 8 => Some("gss"),
            9 => Some("sspi"),
            10 => Some("scram-sha-256"),
            _ => None,
        };
        self.done |= code == 0;
        self.anything_asked |= code != 0;
        self.password_asked |= matches!(code, 3 | 5 | 10);
        if let (Some(method), Some(allowed)) = (method, self.allowed)
            && !allowed.allows(method)
        {
            self.refused = Some(method);
        }
    }
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

/// An ERROR may have unwound through a holder; what it guards is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is at the front of the buffer.
enum Front {
    /// Something that the connection string does not allow.
    Refused(&'static str),
    /// `data_left` tells how much, of which some has arrived.
    Data,
    /// A COPY has ended.
    End,
    /// For the library.
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
            if let Some(method) = self.authentication.refused {
                return Front::Refused(method);
            }
            if self.data_left > 0 {
                return if self.available() > 0 { Front::Data } else { Front::Incomplete };
            }
            if self.passing > 0 || self.framing != Framing::Messages {
                return if self.available() > 0 { Front::Other } else { Front::Incomplete };
            }
            let Some(header) = self.buffer[self.start..self.end].first_chunk::<HEADER_BYTES>() else {
                return Front::Incomplete;
            };
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            match header[0] {
                b'd' => {
                    let data = length.saturating_sub(EMPTY);
                    // A row in one piece needs no putting together; one that is longer than the buffer comes in pieces.
                    if self.available() < HEADER_BYTES + data && data < BUFFER_BYTES / 2 {
                        return Front::Incomplete;
                    }
                    self.start += HEADER_BYTES;
                    self.data_left = data;
                }
                b'c' if length == EMPTY => return Front::End,
                // CopyOutResponse. A length that is not one of its is for the library to refuse.
                b'H' if (EMPTY..BUFFER_BYTES / 2).contains(&length) => {
                    if self.available() < length + 1 {
                        return Front::Incomplete;
                    }
                    self.start += length + 1;
                }
                b'R' if length >= EMPTY + CODE_BYTES => {
                    let message = &self.buffer[self.start..self.end];
                    let Some(code) = message.get(HEADER_BYTES..HEADER_BYTES + CODE_BYTES) else {
                        return Front::Incomplete;
                    };
                    self.authentication.note(code.iter().fold(0, |code, &byte| code << 8 | u32::from(byte)));
                    self.passing = length + 1;
                }
                _ => self.passing = length.max(EMPTY) + 1,
            }
        }
    }

    /// Receives more; the number of bytes, 0 at the end of the stream.
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
                self.end += count;
                Poll::Ready(Ok(count))
            }
        }
    }

    /// Calls `on_data` with the COPY data in the buffer, up to the first message that is something else. Returns whether
    /// that is the end of the COPY, which is taken too.
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
    pub(super) fn new(socket: impl Socket + 'static, framing: Framing, allowed: Option<AllowedAuthentication>) -> Self {
        let state = State {
            socket: Box::new(socket),
            framing,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            passing: 0,
            data_left: 0,
            authentication: Authentication { allowed, ..Authentication::default() },
        };
        Self { state: Arc::new(Mutex::new(state)), wakers: Arc::default() }
    }

    /// Whether the server has asked for a password, of any kind.
    pub(super) fn password_was_asked(&self) -> bool {
        lock(&self.state).authentication.password_asked
    }

    /// The socket as the library gets it.
    pub(super) fn socket(&self) -> TappedSocket {
        TappedSocket(self.clone())
    }

    /// Ready when there is COPY data, or its end. Otherwise it waits for the socket, also on behalf of the library.
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
    /// Whatever `on_data` returns.
    pub(super) fn take_data(&self, on_data: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        lock(&self.state).take_data(on_data)
    }
}

/// What the library reads from and writes to.
pub(super) struct TappedSocket(Tap);

impl fmt::Debug for TappedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TappedSocket")
    }
}

impl AsyncRead for TappedSocket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = &self.0;
        *lock(&tap.wakers.library) = Some(context.waker().clone());
        let mut state = lock(&tap.state);
        loop {
            match state.front() {
                Front::Other => break,
                Front::Refused(method) => {
                    let text = match method {
                        "none" => "the server asks for no authentication, which require_auth forbids".to_owned(),
                        method => format!("the server asks for authentication by {method}, which require_auth forbids"),
                    };
                    return Poll::Ready(Err(io::Error::other(text)));
                }
                Front::Data | Front::End => {
                    let copier = lock(&tap.wakers.copier).take();
                    if let Some(copier) = copier {
                        copier.wake();
                    }
                    return Poll::Pending;
                }
                // Data that is cut off by the end of the stream is the library's to report.
                Front::Incomplete => match state.receive(&tap.wakers) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        let mut count = state.available().min(out.remaining());
        match state.framing {
            Framing::Messages => {
                count = count.min(state.passing);
                state.passing -= count;
            }
            Framing::TlsAnswerFirst => {
                count = count.min(1);
                let accepted = state.buffer[state.start] == b'S';
                state.framing = if accepted { Framing::Opaque } else { Framing::Messages };
            }
            Framing::Opaque => {}
        }
        let from = state.start;
        state.start += count;
        out.put_slice(&state.buffer[from..from + count]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TappedSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut lock(&self.0.state).socket).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0.state).socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0.state).socket).poll_shutdown(context)
    }
}

impl TlsStream for TappedSocket {
    fn channel_binding(&self) -> ChannelBinding {
        lock(&self.0.state).socket.channel_binding()
    }
}

/// Where the tap of an encrypted connection is found once it stands.
pub(super) type TapSlot = Arc<Mutex<Option<Tap>>>;

/// Encrypts, and taps what is inside.
pub(super) struct TappingTls<C> {
    pub(super) connector: C,
    pub(super) slot: TapSlot,
    pub(super) allowed: Option<AllowedAuthentication>,
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl<C> TlsConnect<TappedSocket> for TappingTls<C>
where
    C: TlsConnect<TappedSocket, Stream = OpensslStream<TappedSocket>>,
    C::Future: Send + 'static,
{
    type Stream = TappedSocket;
    type Error = BoxedError;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<TappedSocket, BoxedError>> + Send>>;

    fn connect(self, socket: TappedSocket) -> Self::Future {
        let handshake = self.connector.connect(socket);
        Box::pin(async move {
            let tap = Tap::new(handshake.await.map_err(Into::into)?, Framing::Messages, self.allowed);
            let socket = tap.socket();
            *lock(&self.slot) = Some(tap);
            Ok(socket)
        })
    }
}
