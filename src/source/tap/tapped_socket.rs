//! The socket as the client library gets it: the messages that the tap leaves, with or without encryption beneath.

use super::{Framing, Front, Socket, Tap, lock};
use conninfo::AllowedAuthentication;
use postgres_openssl::TlsStream as OpensslStream;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

impl Socket for OpensslStream<TappedSocket> {
    fn channel_binding(&self) -> ChannelBinding {
        TlsStream::channel_binding(self)
    }
}

/// The socket that the library reads from and writes to.
pub(in crate::source) struct TappedSocket(Tap);

impl Tap {
    /// Returns the socket for the library.
    pub(in crate::source) fn socket(&self) -> TappedSocket {
        TappedSocket(self.clone())
    }
}

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
                Front::Refused(refusal) => return Poll::Ready(Err(io::Error::other(refusal.to_string()))),
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

/// The place of the tap of an encrypted connection, once it is established.
pub(in crate::source) type TapSlot = Arc<Mutex<Option<Tap>>>;

/// Encrypts a connection, and taps its content.
pub(in crate::source) struct TappingTls<C> {
    pub(in crate::source) connector: C,
    pub(in crate::source) slot: TapSlot,
    pub(in crate::source) allowed: Option<AllowedAuthentication>,
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
            let tap = Tap::new(handshake.await.map_err(Into::into)?, Framing::Messages, self.allowed, None);
            let socket = tap.socket();
            *lock(&self.slot) = Some(tap);
            Ok(socket)
        })
    }
}
