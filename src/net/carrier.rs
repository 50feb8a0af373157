//! What carries a stream client's bytes: a TCP connection, or TLS on one.
//!
//! Both are read and written without waiting, or by waiting, once the bytes are a peer's. Plain TCP goes from and to the system without a stop on the way. Main
//! type: [`Carrier`].

use super::tls::TlsStream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub(super) enum Carrier {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Carrier {
    /// The socket, to wait for.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Carrier::Tcp(stream) => stream,
            Carrier::Tls(stream) => stream.socket(),
        }
    }

    /// Appends what has come to `into`, which has room for it, and says how much that was and whether there may be more;
    /// 0 at the end of the stream, an error of kind `WouldBlock` where nothing has.
    pub fn try_read(&mut self, into: &mut Vec<u8>) -> io::Result<(usize, bool)> {
        match self {
            Carrier::Tcp(stream) => {
                let room = into.capacity() - into.len();
                let count = stream.try_read_buf(into)?;
                if count < room {
                    nothing_is_left(stream);
                }
                Ok((count, count == room))
            }
            Carrier::Tls(stream) => {
                let count = stream.try_read(into)?;
                Ok((count, stream.has_more()))
            }
        }
    }

    /// Takes the first of these bytes, as many as can leave; an error of kind `WouldBlock` where none can.
    pub fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Carrier::Tcp(stream) => stream.try_write_vectored(slices),
            Carrier::Tls(stream) => stream.try_write(slices),
        }
    }

    /// Whether bytes that were taken have not left yet.
    pub fn wants_write(&self) -> bool {
        match self {
            Carrier::Tcp(_) => false,
            Carrier::Tls(stream) => stream.wants_write(),
        }
    }

    /// Sends bytes that were taken; an error of kind `WouldBlock` where some are left.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Carrier::Tcp(_) => Ok(()),
            Carrier::Tls(stream) => stream.flush(),
        }
    }

    /// Says good-bye where the transport has a word for it.
    pub fn close(&mut self) {
        if let Carrier::Tls(stream) = self {
            stream.close();
        }
    }
}

/// Waits for the system to say that there is more, after a read that got less than it had room for. Asking once more only
/// to hear that there is nothing would cost a system call for each read.
pub(super) fn nothing_is_left(socket: &TcpStream) {
    // An end of the stream is remembered all the same.
    let _ = socket.try_io(Interest::READABLE, || {
        Err::<(), _>(io::ErrorKind::WouldBlock.into())
    });
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = match self.get_mut() {
            Carrier::Tcp(stream) => return Pin::new(stream).poll_read(cx, into),
            Carrier::Tls(stream) => stream,
        };
        loop {
            match stream.try_read_into(into.initialize_unfilled()) {
                Ok(count) => {
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.socket().poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Carrier::Tls(stream) => poll_tls(stream, cx, |stream| {
                stream.try_write(&[IoSlice::new(bytes)])
            }),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tls(stream) => poll_tls(stream, cx, TlsStream::flush),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(stream) => poll_tls(stream, cx, TlsStream::end),
        }
    }
}

/// Writes as soon as the socket takes it.
fn poll_tls<T>(
    stream: &mut TlsStream,
    cx: &mut Context<'_>,
    mut write: impl FnMut(&mut TlsStream) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        match write(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(stream.socket().poll_write_ready(cx))?;
            }
            written => return Poll::Ready(written),
        }
    }
}
