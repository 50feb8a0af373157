//! What carries a stream client's bytes: a TCP connection, or TLS on one.
//!
//! Both are read and written without waiting. Plain TCP goes from and to the system without a stop on the way. Main
//! type: [`Carrier`].

use super::tls::TlsStream;
use std::io::{self, IoSlice};
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

    /// Appends what has come to `into`; 0 at the end of the stream, an error of kind `WouldBlock` where nothing has.
    pub fn try_read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Carrier::Tcp(stream) => stream.try_read_buf(into),
            Carrier::Tls(stream) => stream.try_read(into),
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
