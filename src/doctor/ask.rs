//! A Binding request from an address of one's choice, and what came of it.
//!
//! Of a listener over TLS the certificate is taken as it comes, to be compared with the file's: whether clients trust it
//! is found out without the network. Main items: [`binding`], [`Answer`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::authorities;
use crate::wire::stream::{Framing, next_frame};
use crate::wire::{AttributeType, Class, Message, MessageType, Method, TransactionId, Writer};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(700);

/// How often a datagram is sent.
const TRIES: usize = 3;

/// How a listener is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Udp,
    Tcp,
    Tls,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The server sees the client there; over TLS with the certificate it showed.
    Mapped {
        to: SocketAddr,
        from: SocketAddr,
        certificate: Option<Vec<u8>>,
    },
    /// Nobody listens.
    Refused,
    /// Nothing came.
    Silent,
    /// Something else went wrong, in words.
    Failed(String),
}

/// Asks a server, from any port of an address, or from whatever address leads there.
pub(super) fn binding(
    way: Way,
    server: SocketAddr,
    from: Option<SocketAddr>,
    name: Option<&str>,
) -> Answer {
    let from = from.unwrap_or_else(|| {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(any, 0)
    });
    let answer = match way {
        Way::Udp => over_udp(server, from),
        Way::Tcp => connect(server, from).and_then(|(mut stream, local)| {
            let to = over_stream(&mut stream)?;
            Ok(Answer::Mapped {
                to,
                from: local,
                certificate: None,
            })
        }),
        Way::Tls => over_tls(server, from, name),
    };
    answer.unwrap_or_else(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Answer::Refused,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Answer::Silent,
        _ => Answer::Failed(error.to_string()),
    })
}

fn request() -> ([u8; 20], TransactionId) {
    let transaction = TransactionId(rand::random());
    let mut bytes = [0; 20];
    let kind = MessageType::new(Method::BINDING, Class::Request);
    // A header alone fits.
    let _ = Writer::new(&mut bytes, kind, transaction).finish();
    (bytes, transaction)
}

/// The address in an answer to this request, if it is one.
fn mapped(answer: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let message = Message::parse(answer).ok()?;
    if message.transaction() != transaction || message.class() != Class::Success {
        return None;
    }
    let attribute = message.attribute(AttributeType::XOR_MAPPED_ADDRESS)?;
    attribute.xor_address(transaction).ok()
}

fn over_udp(server: SocketAddr, from: SocketAddr) -> io::Result<Answer> {
    let socket = UdpSocket::bind(from)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (request, transaction) = request();
    let mut buffer = [0; 1500];
    let mut is_stun = true;
    for _ in 0..TRIES {
        socket.send(&request)?;
        match socket.recv(&mut buffer) {
            Ok(length) => match mapped(&buffer[..length], transaction) {
                Some(to) => {
                    return Ok(Answer::Mapped {
                        to,
                        from: socket.local_addr()?,
                        certificate: None,
                    });
                }
                None => is_stun = false,
            },
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(if is_stun {
        Answer::Silent
    } else {
        Answer::Failed("what listens there does not speak STUN".to_owned())
    })
}

fn connect(server: SocketAddr, from: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(server),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&server.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let local = stream.local_addr()?;
    Ok((stream, local))
}

fn over_stream(stream: &mut (impl Read + Write)) -> io::Result<SocketAddr> {
    let (request, transaction) = request();
    stream.write_all(&request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1500];
    let stranger = || io::Error::other("what listens there does not speak STUN");
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(io::Error::other(
                "the connection was closed without an answer",
            ));
        }
        answer.extend_from_slice(&buffer[..length]);
        match next_frame(&answer) {
            Framing::Complete { length, .. } => {
                return mapped(&answer[..length], transaction).ok_or_else(stranger);
            }
            Framing::Partial { .. } if answer.len() < 4096 => {}
            _ => return Err(stranger()),
        }
    }
}

fn over_tls(server: SocketAddr, from: SocketAddr, name: Option<&str>) -> io::Result<Answer> {
    let (stream, local) = connect(server, from)?;
    let mut config = authorities::anybody().map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"stun.turn".to_vec()];
    let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    let name = name.unwrap_or_else(|| ServerName::from(server.ip()));
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let to = over_stream(&mut stream)?;
    let shown = stream.conn.peer_certificates();
    let certificate = shown.and_then(|shown| shown.first()).map(|of| of.to_vec());
    Ok(Answer::Mapped {
        to,
        from: local,
        certificate,
    })
}
