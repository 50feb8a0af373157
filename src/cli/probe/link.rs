//! The way to the server: a connected UDP socket, or a TCP connection, with TLS or without, cut into frames.
//!
//! It moves whole STUN messages and ChannelData and does not look into them. The main type is [`Link`].

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;

use super::trust::Trust;
use super::url::{Host, Transport};
use crate::wire::padded;
use crate::wire::stream::{Framing, next_frame};

/// How much is asked of a TCP connection at a time.
const READ_CHUNK: usize = 16 * 1024;

/// A connection to the server.
pub enum Link {
    /// Connected, so that the kernel reports a closed port and drops what others send.
    Udp(UdpSocket),
    /// A byte stream with frames back to back (RFC 8489 §6.2.2, RFC 8656 §12.5).
    Tcp {
        /// The receiving half, with what it read beyond the last frame.
        reader: Mutex<Reader>,
        /// The sending half.
        writer: Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
        /// This end's address.
        local: SocketAddr,
    },
}

/// The receiving half of a TCP connection.
pub struct Reader {
    half: Box<dyn AsyncRead + Send + Unpin>,
    buffer: Vec<u8>,
}

/// Whom to trust, and as whom the server has to show itself; of use over TLS only.
pub type Tls<'a> = (&'a Trust, &'a Host);

/// Why nothing more comes over a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The system's word on it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server closed the TCP connection.
    #[error("the server closed the connection")]
    Closed,
    /// It did so within what has to be taken for a message; the start of an HTTP answer looks like ChannelData.
    #[error(
        "the server closed the connection within a message, as one that does not speak STUN would"
    )]
    CutShort,
    /// Bytes on a TCP connection that are neither STUN nor ChannelData.
    #[error("what listens there does not speak STUN")]
    NotStun,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Link::Udp(_) => "Link::Udp",
            Link::Tcp { .. } => "Link::Tcp",
        })
    }
}

impl Link {
    /// Connects to `server` over `transport`. Over UDP that sends nothing.
    ///
    /// # Errors
    /// What the system says, for instance that there is no route or that the TCP port is closed; of kind `InvalidData`
    /// where there is no TLS connection for other reasons, such as a certificate that is not trusted.
    pub async fn connect(
        server: SocketAddr,
        transport: Transport,
        tls: Tls<'_>,
    ) -> io::Result<Link> {
        match transport {
            Transport::Udp => {
                let any: SocketAddr = match server {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(server).await?;
                Ok(Link::Udp(socket))
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(server).await?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                let (half, writer) = stream.into_split();
                Ok(Link::stream(half, writer, local))
            }
            Transport::Tls => {
                let (trust, host) = tls;
                let stream = TcpStream::connect(server).await?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                let stream = trust.connect(stream, host).await?;
                let (half, writer) = tokio::io::split(stream);
                Ok(Link::stream(half, writer, local))
            }
        }
    }

    fn stream(
        half: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        local: SocketAddr,
    ) -> Link {
        Link::Tcp {
            reader: Mutex::new(Reader {
                half: Box::new(half),
                buffer: Vec::new(),
            }),
            writer: Mutex::new(Box::new(writer)),
            local,
        }
    }

    /// This end's address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Link::Udp(socket) => socket.local_addr(),
            Link::Tcp { local, .. } => Ok(*local),
        }
    }

    /// Waits for one message, without padding behind ChannelData, and returns its length. Nothing is lost when the
    /// future is dropped before it is ready.
    ///
    /// # Errors
    /// After any error nothing more comes.
    pub async fn receive(&self, into: &mut [u8]) -> Result<usize, LinkError> {
        let reader = match self {
            Link::Udp(socket) => return Ok(socket.recv(into).await?),
            Link::Tcp { reader, .. } => reader,
        };
        let mut reader = reader.lock().await;
        let Reader { half, buffer } = &mut *reader;
        loop {
            match next_frame(buffer) {
                Framing::Complete { length, consumed } => {
                    let (Some(frame), Some(into)) = (buffer.get(..length), into.get_mut(..length))
                    else {
                        return Err(LinkError::Io(io::ErrorKind::InvalidInput.into()));
                    };
                    into.copy_from_slice(frame);
                    buffer.drain(..consumed);
                    return Ok(length);
                }
                Framing::Partial { .. } => {
                    buffer.reserve(READ_CHUNK);
                    if half.read_buf(buffer).await? == 0 {
                        return Err(if buffer.is_empty() {
                            LinkError::Closed
                        } else {
                            LinkError::CutShort
                        });
                    }
                }
                Framing::Invalid => return Err(LinkError::NotStun),
            }
        }
    }

    /// Sends one message, padded to four bytes on a stream.
    ///
    /// Over TCP the future has to be waited for: half a message breaks the stream.
    ///
    /// # Errors
    /// What the system says.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        match self {
            Link::Udp(socket) => socket.send(message).await.map(|_| ()),
            Link::Tcp { writer, .. } => {
                let mut frame = message.to_vec();
                frame.resize(padded(message.len()), 0);
                let mut writer = writer.lock().await;
                writer.write_all(&frame).await?;
                writer.flush().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const BINDING: [u8; 20] = [
        0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];
    const CHANNEL_DATA: [u8; 9] = [0x40, 0, 0, 5, b'h', b'e', b'l', b'l', b'o'];

    const NO_TLS: Tls<'static> = (
        &Trust::Nobody,
        &Host::Ip(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST)),
    );

    async fn tcp_pair() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = Link::connect(address, Transport::Tcp, NO_TLS)
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        server.set_nodelay(true).unwrap();
        (link, server)
    }

    async fn receive(link: &Link) -> Result<Vec<u8>, LinkError> {
        let mut buffer = vec![0; 65535];
        let length = timeout(Duration::from_secs(5), link.receive(&mut buffer))
            .await
            .expect("receive hangs")?;
        buffer.truncate(length);
        Ok(buffer)
    }

    #[tokio::test]
    async fn frames_of_one_segment_come_out_one_by_one_without_padding() {
        let (link, mut server) = tcp_pair().await;
        let mut bytes = CHANNEL_DATA.to_vec();
        bytes.extend([0; 3]);
        bytes.extend(BINDING);
        bytes.extend(CHANNEL_DATA);
        bytes.extend([0; 3]);
        server.write_all(&bytes).await.unwrap();
        assert_eq!(receive(&link).await.unwrap(), CHANNEL_DATA);
        assert_eq!(receive(&link).await.unwrap(), BINDING);
        assert_eq!(receive(&link).await.unwrap(), CHANNEL_DATA);
    }

    #[tokio::test]
    async fn a_frame_that_comes_byte_by_byte_survives_receivers_that_give_up() {
        let (link, mut server) = tcp_pair().await;
        let mut buffer = [0; 100];
        for byte in &BINDING[..19] {
            server.write_all(&[*byte]).await.unwrap();
            let early = timeout(Duration::from_millis(2), link.receive(&mut buffer)).await;
            assert!(early.is_err(), "the frame is not whole yet");
        }
        server.write_all(&BINDING[19..]).await.unwrap();
        assert_eq!(receive(&link).await.unwrap(), BINDING);
    }

    #[tokio::test]
    async fn the_longest_frame_fits() {
        let (link, mut server) = tcp_pair().await;
        let mut frame = vec![0x40, 0, 0xFF, 0xFB];
        frame.resize(4 + 0xFFFB, 7);
        let mut padded = frame.clone();
        padded.push(0);
        let sent = tokio::spawn(async move { server.write_all(&padded).await.map(|()| server) });
        assert_eq!(receive(&link).await.unwrap(), frame);
        sent.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn messages_are_sent_padded_to_four_bytes() {
        let (link, mut server) = tcp_pair().await;
        link.send(&CHANNEL_DATA).await.unwrap();
        link.send(&BINDING).await.unwrap();
        let mut bytes = [0xFF; 32];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[..9], CHANNEL_DATA);
        assert_eq!(bytes[9..12], [0; 3]);
        assert_eq!(bytes[12..], BINDING);
    }

    #[tokio::test]
    async fn another_protocol_and_a_closed_connection_are_told_apart() {
        let (link, mut server) = tcp_pair().await;
        server.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        assert!(matches!(receive(&link).await, Err(LinkError::NotStun)));

        let (link, mut server) = tcp_pair().await;
        server
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        drop(server);
        assert!(matches!(receive(&link).await, Err(LinkError::CutShort)));

        let (link, server) = tcp_pair().await;
        drop(server);
        assert!(matches!(receive(&link).await, Err(LinkError::Closed)));
    }

    #[tokio::test]
    async fn a_closed_udp_port_is_reported() {
        let free = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let link = Link::connect(address, Transport::Udp, NO_TLS)
            .await
            .unwrap();
        link.send(&BINDING).await.unwrap();
        let Err(LinkError::Io(error)) = receive(&link).await else {
            panic!("nobody listens there");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
