//! Does the server answer clients? Asks each listener as a client would, with a Binding request.
//!
//! Findings hold for a second, however many ask, so that nobody makes the server busy with itself. A listener behind a
//! proxy that speaks the PROXY protocol serves nobody else: of one over TCP it is only seen that it takes connections, and
//! one over UDP is not asked. Main type: [`Readiness`].

use super::office::Office;
use crate::config::{Listener, Transport};
use crate::net::authorities;
use crate::wire::stream::{Framing, next_frame};
use crate::wire::{Class, Message, MessageType, Method, TransactionId, Writer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long findings hold.
const FRESH: Duration = Duration::from_secs(1);

/// How long a listener may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a datagram is waited for before it is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// What was found, and when.
type Finding = Mutex<Option<(Instant, Result<(), String>)>>;

/// What was found lately.
#[derive(Default)]
pub(super) struct Readiness {
    workers: Finding,
    listeners: Finding,
}

impl Readiness {
    /// Whether all workers do what they are asked; which do not.
    pub async fn workers(&self, office: &Office) -> Result<(), String> {
        lately(&self.workers, async {
            let silent = office.service.control().silent_workers().await;
            if silent.is_empty() {
                return Ok(());
            }
            let silent: Vec<String> = silent.iter().map(|worker| worker.0.to_string()).collect();
            Err(format!("workers without an answer: {}", silent.join(", ")))
        })
        .await
    }

    /// The same, and whether all listeners answer; which do not.
    pub async fn everything(&self, office: &Office) -> Result<(), String> {
        self.workers(office).await?;
        let listeners = &office.service.control().settings().listeners;
        let has_certificate = office.service.settings().tls.shown().next().is_some();
        lately(&self.listeners, ask_all(listeners, has_certificate)).await
    }
}

/// What was found no longer than a second ago, or is found now. Whoever asks meanwhile waits for the same.
async fn lately(
    finding: &Finding,
    find: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let mut finding = finding.lock().await;
    if let Some((at, found)) = &*finding
        && at.elapsed() < FRESH
    {
        return found.clone();
    }
    let found = find.await;
    *finding = Some((Instant::now(), found.clone()));
    found
}

async fn ask_all(listeners: &[Listener], has_certificate: bool) -> Result<(), String> {
    let mut asked = JoinSet::new();
    for listener in listeners {
        let listener = listener.clone();
        asked.spawn(async move {
            let answer = timeout(PATIENCE, ask(&listener, has_certificate)).await;
            let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            answer.map_err(|error| {
                let why = match error.kind() {
                    io::ErrorKind::TimedOut => "no answer".to_owned(),
                    _ => error.to_string(),
                };
                format!("{} {}: {why}", listener.transport, listener.address)
            })
        });
    }
    let answers = asked.join_all().await;
    let mut silent: Vec<String> = answers.into_iter().filter_map(Result::err).collect();
    if silent.is_empty() {
        return Ok(());
    }
    silent.sort();
    Err(silent.join("\n"))
}

/// Asks a listener. Without a certificate, for which an authority may have to reach it first, one for TLS is only connected
/// to.
async fn ask(listener: &Listener, has_certificate: bool) -> io::Result<()> {
    let at = reached_at(listener.address);
    let is_proxied = !listener.proxy_protocol_from.is_empty();
    match listener.transport {
        Transport::Udp | Transport::Dtls if is_proxied => Ok(()),
        Transport::Udp => {
            let (id, request) = binding()?;
            ask_datagram(at, &request, |answer| is_answer(answer, id)).await
        }
        Transport::Dtls => {
            let hello = client_hello();
            // A handshake message: the cookie, which is as far as an unknown client gets without any state.
            ask_datagram(at, &hello, |answer| answer.first() == Some(&22)).await
        }
        Transport::Tcp | Transport::Auto | Transport::Tls => {
            let stream = TcpStream::connect(at).await?;
            if is_proxied {
                return Ok(());
            }
            if listener.transport == Transport::Tls && !has_certificate {
                return Ok(());
            }
            if listener.transport != Transport::Tls {
                return ask_stream(stream).await;
            }
            let name = ServerName::from(at.ip());
            let tls = TlsConnector::from(trusting()?);
            ask_stream(tls.connect(name, stream).await?).await
        }
    }
}

/// Where this very host reaches a listener.
fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask_datagram(
    at: SocketAddr,
    request: &[u8],
    is_answer: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let any: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(at).await?;
    let mut buffer = [0; 2048];
    loop {
        socket.send(request).await?;
        if let Ok(length) = timeout(AGAIN, socket.recv(&mut buffer)).await
            && is_answer(buffer.get(..length?).unwrap_or_default())
        {
            return Ok(());
        }
    }
}

async fn ask_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let (id, request) = binding()?;
    stream.write_all(&request).await?;
    let mut received = Vec::new();
    loop {
        if let Framing::Complete { length, .. } = next_frame(&received) {
            let frame = received.get(..length).unwrap_or_default();
            return match is_answer(frame, id) {
                true => Ok(()),
                false => Err(io::Error::other("something else answers there")),
            };
        }
        if received.len() > 2048 || stream.read_buf(&mut received).await? == 0 {
            return Err(io::Error::other("the connection was closed"));
        }
    }
}

fn binding() -> io::Result<(TransactionId, Vec<u8>)> {
    let id = TransactionId(rand::random());
    let mut buffer = vec![0; 64];
    let kind = MessageType::new(Method::BINDING, Class::Request);
    let length = Writer::new(&mut buffer, kind, id)
        .finish()
        .map_err(io::Error::other)?;
    buffer.truncate(length);
    Ok((id, buffer))
}

fn is_answer(bytes: &[u8], id: TransactionId) -> bool {
    Message::parse(bytes).is_ok_and(|message| {
        message.class() == Class::Success
            && message.method() == Method::BINDING
            && message.transaction() == id
    })
}

/// A first ClientHello of DTLS 1.2 (RFC 6347, section 4.2), with a cipher suite or two and without a cookie.
fn client_hello() -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend(rand::random::<[u8; 32]>());
    // No session, no cookie, two suites, no compression, extensions: groups and signatures.
    body.extend([0, 0, 0, 4, 0xC0, 0x2B, 0xC0, 0x2C, 1, 0]);
    body.extend([0, 16]);
    body.extend([0, 10, 0, 4, 0, 2, 0, 0x17]);
    body.extend([0, 13, 0, 4, 0, 2, 4, 3]);
    let length = (body.len() as u32).to_be_bytes();
    let length = [length[1], length[2], length[3]];
    let mut message = vec![1];
    message.extend(length);
    message.extend([0, 0, 0, 0, 0]);
    message.extend(length);
    message.extend(body);
    let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

/// TLS that takes any certificate: whose it is does not matter to the one who shows it.
fn trusting() -> io::Result<Arc<ClientConfig>> {
    let mut config = authorities::anybody().map_err(io::Error::other)?;
    config.enable_sni = false;
    Ok(Arc::new(config))
}
