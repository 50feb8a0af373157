//! A client's connection to the server, over TCP or TLS.
//!
//! The main type is [`StreamEnd`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::wire::ChannelRange;
use crate::wire::stream::{Framing, MAX_FRAME, next_frame_in};

/// How long connecting and the handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much may wait to be sent before no more is taken.
const MAX_WAITING: usize = 256 << 10;

/// A connection with what arrived in part and what could not be sent yet.
pub struct StreamEnd {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    arrived: Vec<u8>,
    filled: usize,
    waiting: Vec<u8>,
}

impl StreamEnd {
    /// Connects; with settings and the server's name over TLS.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub fn connect(
        server: SocketAddr,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    ) -> io::Result<StreamEnd> {
        let mut socket = TcpStream::connect_timeout(&server, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let tls = match tls {
            None => None,
            Some((config, name)) => {
                let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
                while tls.is_handshaking() {
                    tls.complete_io(&mut socket)?;
                }
                Some(tls)
            }
        };
        socket.set_nonblocking(true)?;
        Ok(StreamEnd {
            socket,
            tls,
            arrived: vec![0; MAX_FRAME * 2],
            filled: 0,
            waiting: Vec::new(),
        })
    }

    /// The socket, to be watched.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends a frame with its padding, now or as soon as there is room.
    ///
    /// # Errors
    /// `WouldBlock` where too much waits already, and what the system says.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.flush()?;
        if let Some(tls) = &mut self.tls {
            if self.waiting.len() > MAX_WAITING {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            tls.writer().write_all(frame)?;
            tls.write_tls(&mut self.waiting)?;
            return self.flush();
        }
        if self.waiting.is_empty() {
            let sent = match self.socket.write(frame) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                sent => sent?,
            };
            self.waiting.extend_from_slice(&frame[sent..]);
            return Ok(());
        }
        if self.waiting.len() > MAX_WAITING {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.waiting.extend_from_slice(frame);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        match self.socket.write(&self.waiting) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => {
                self.waiting.drain(..sent?);
            }
        }
        Ok(())
    }

    /// Hands over the frames that have arrived whole, without their padding.
    ///
    /// # Errors
    /// That the connection is over, or that the server sent what is no frame.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        self.flush()?;
        loop {
            let room = &mut self.arrived[self.filled..];
            let got = match &mut self.tls {
                None => self.socket.read(room),
                Some(tls) => read_tls(tls, &mut self.socket, room),
            };
            match got {
                Ok(0) => {
                    let why = "the server closed the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Ok(got) => self.filled += got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            let mut start = 0;
            loop {
                let rest = &self.arrived[start..self.filled];
                match next_frame_in(ChannelRange::Rfc5766, rest) {
                    Framing::Complete { length, consumed } => {
                        take(&rest[..length]);
                        start += consumed;
                    }
                    Framing::Partial { .. } => break,
                    Framing::Invalid => {
                        let why = "the server sent what is neither STUN nor ChannelData";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                }
            }
            self.arrived.copy_within(start..self.filled, 0);
            self.filled -= start;
        }
    }
}

/// Reads decrypted bytes, as far as there are any.
fn read_tls(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    room: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.reader().read(room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        if tls.read_tls(socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
}
