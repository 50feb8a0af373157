//! Drives a client over real sockets and notes what passes.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use hairpin::wire::{Class, Message, Method};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use turn_client_proto::api::{TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::client::TurnClient;
use turn_client_proto::prelude::*;
use turn_client_proto::stun::Instant;
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::stun::types::TransportType;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::TurnCredentials;
use turn_client_proto::udp::TurnClientUdp;

use crate::server::LOOPBACK;

pub const PATIENCE: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_millis(5);

pub fn alice() -> TurnCredentials {
    TurnCredentials::new("alice", "s3cret")
}

/// A way to the server.
enum Way {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Way {
    fn local(&self) -> SocketAddr {
        match self {
            Way::Udp(socket, _) => socket.local_addr(),
            Way::Tcp(stream) => stream.local_addr(),
            Way::Tls(stream) => stream.sock.local_addr(),
        }
        .unwrap()
    }

    fn send(&mut self, data: &[u8]) {
        match self {
            Way::Udp(socket, server) => socket.send_to(data, *server).map(|_| ()),
            Way::Tcp(stream) => stream.write_all(data),
            Way::Tls(stream) => stream.write_all(data),
        }
        .unwrap();
    }

    /// What comes within a moment; empty at the end of a stream, `None` where nothing came.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4000];
        let read: io::Result<usize> = match self {
            Way::Udp(socket, _) => socket.recv(&mut buffer),
            Way::Tcp(stream) => stream.read(&mut buffer),
            Way::Tls(stream) => stream.read(&mut buffer),
        };
        match read {
            Ok(length) => Some(buffer[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn tcp(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TURN)).unwrap();
    stream
}

/// How streams to the server are made.
type Connect = Box<dyn Fn() -> Way>;

/// A client, its ways to the server, and what passed over them.
pub struct Driver {
    pub client: TurnClient,
    control: Way,
    /// Data connections of RFC 6062, by their local address.
    connections: HashMap<SocketAddr, Way>,
    connect: Connect,
    server: SocketAddr,
    started: StdInstant,
    pub sent: Vec<Vec<u8>>,
    pub received: Vec<Vec<u8>>,
    /// What peers sent, and which of them.
    pub relayed: Vec<(SocketAddr, Vec<u8>)>,
}

impl Driver {
    pub fn udp(server: SocketAddr, config: TurnConfig) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        let local = socket.local_addr().unwrap();
        let client = TurnClientUdp::allocate(local, server, config).into();
        let none: Connect = Box::new(|| panic!("no streams over UDP"));
        Driver::over(Way::Udp(socket, server), none, server, client)
    }

    pub fn tcp(server: SocketAddr, config: TurnConfig) -> Self {
        Driver::stream(Box::new(move || Way::Tcp(tcp(server))), server, config)
    }

    /// Over TLS, trusting this certificate for `localhost`.
    pub fn tls(
        server: SocketAddr,
        certificate: CertificateDer<'static>,
        config: TurnConfig,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let settings = Arc::new(settings);
        let connect = move || {
            let name = ServerName::try_from("localhost").unwrap();
            let mut session = ClientConnection::new(Arc::clone(&settings), name).unwrap();
            let mut stream = tcp(server);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            while session.is_handshaking() {
                session.complete_io(&mut stream).unwrap();
            }
            stream.set_read_timeout(Some(TURN)).unwrap();
            Way::Tls(Box::new(StreamOwned::new(session, stream)))
        };
        Driver::stream(Box::new(connect), server, config)
    }

    fn stream(connect: Connect, server: SocketAddr, config: TurnConfig) -> Self {
        let control = connect();
        let client = TurnClientTcp::allocate(control.local(), server, config).into();
        Driver::over(control, connect, server, client)
    }

    fn over(control: Way, connect: Connect, server: SocketAddr, client: TurnClient) -> Self {
        Driver {
            client,
            control,
            connections: HashMap::new(),
            connect,
            server,
            started: StdInstant::now(),
            sent: Vec::new(),
            received: Vec::new(),
            relayed: Vec::new(),
        }
    }

    pub fn now(&self) -> Instant {
        Instant::from_std(self.started)
    }

    /// Until `wanted` finds what it looks for in an event or, with `None`, in what passed. `None` when the client gives up.
    pub fn until<T>(
        &mut self,
        mut wanted: impl FnMut(&Self, Option<&TurnEvent>) -> Option<T>,
    ) -> Option<T> {
        let end = StdInstant::now() + PATIENCE;
        while StdInstant::now() < end {
            let is_closed = self.poll();
            while let Some(transmit) = self.client.poll_transmit(self.now()) {
                self.send(transmit.from, transmit.data.as_ref());
            }
            while let Some(event) = self.client.poll_event() {
                if let Some(found) = wanted(self, Some(&event)) {
                    return Some(found);
                }
            }
            if let Some(found) = wanted(self, None) {
                return Some(found);
            }
            if is_closed {
                return None;
            }
            self.receive();
        }
        let passed = |all: &[Vec<u8>]| {
            let messages = all.iter().filter_map(|bytes| Message::parse(bytes).ok());
            messages
                .map(|m| {
                    let kinds: Vec<_> = m.attributes().map(|a| a.kind).collect();
                    format!("{:?} {:?} {kinds:?} {:?}\n", m.method(), m.class(), m.mac())
                })
                .collect::<String>()
        };
        panic!(
            "nothing came of it; sent\n{}received\n{}",
            passed(&self.sent),
            passed(&self.received)
        );
    }

    /// Does what the client asks for; true when it is done with everything.
    fn poll(&mut self) -> bool {
        let now = self.now();
        match self.client.poll(now) {
            TurnPollRet::Closed => return true,
            TurnPollRet::AllocateTcpSocket {
                id,
                socket,
                peer_addr,
            } => {
                let way = (self.connect)();
                let local = way.local();
                self.connections.insert(local, way);
                let now = self.now();
                self.client
                    .allocated_tcp_socket(id, socket, peer_addr, Some(local), now)
                    .unwrap();
            }
            TurnPollRet::TcpClose { local_addr, .. } => {
                self.connections.remove(&local_addr);
            }
            TurnPollRet::WaitUntil(_) => {}
        }
        false
    }

    fn send(&mut self, from: SocketAddr, data: &[u8]) {
        self.sent.push(data.to_vec());
        self.connections
            .get_mut(&from)
            .unwrap_or(&mut self.control)
            .send(data);
    }

    /// Hands over whatever came on any way.
    fn receive(&mut self) {
        let transport = self.client.transport();
        let ways = std::iter::once(&mut self.control).chain(self.connections.values_mut());
        let came: Vec<(SocketAddr, Vec<u8>)> = ways
            .filter_map(|way| Some((way.local(), way.receive()?)))
            .collect();
        for (local, data) in came {
            self.received.push(data.clone());
            let now = self.now();
            let transmit = Transmit::new(data, transport, self.server, local);
            if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
                self.relayed.push((data.peer, data.data().to_vec()));
            }
            while let Some(data) = self.client.poll_recv(now) {
                self.relayed.push((data.peer, data.data().to_vec()));
            }
        }
    }

    /// The relayed address, or `None` where there is to be none.
    pub fn allocate(&mut self) -> Option<SocketAddr> {
        self.until(|_, event| match event {
            Some(TurnEvent::AllocationCreated(_, address)) => Some(Some(*address)),
            Some(TurnEvent::AllocationCreateFailed(_)) => Some(None),
            _ => None,
        })
        .flatten()
    }

    pub fn permit(&mut self, transport: TransportType, peer: IpAddr) {
        let now = self.now();
        self.client.create_permission(transport, peer, now).unwrap();
        self.until(|_, event| match event {
            Some(TurnEvent::PermissionCreated(..)) => Some(()),
            Some(TurnEvent::PermissionCreateFailed(..)) => panic!("{event:?}"),
            _ => None,
        })
        .unwrap();
    }

    /// Sends to a peer, over whatever the client has for that.
    pub fn send_to(&mut self, transport: TransportType, peer: SocketAddr, data: &[u8]) {
        let now = self.now();
        let transmit = self.client.send_to(transport, peer, data, now).unwrap();
        let transmit = transmit.unwrap().build();
        self.send(transmit.from, &transmit.data);
    }

    /// Sends to a peer at this address that answers, and takes the answer.
    pub fn echo_at(&mut self, host: IpAddr, bind_channel: bool) {
        let peer = UdpSocket::bind(SocketAddr::new(host, 0)).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let to = peer.local_addr().unwrap();
        if bind_channel {
            let now = self.now();
            self.client
                .bind_channel(TransportType::Udp, to, now)
                .unwrap();
            self.until(|_, event| match event {
                Some(TurnEvent::ChannelCreated(..)) => Some(()),
                Some(TurnEvent::ChannelCreateFailed(..)) => panic!("{event:?}"),
                _ => None,
            })
            .unwrap();
        } else {
            self.permit(TransportType::Udp, host);
        }
        // A multiple of four bytes: over streams the library leaves out the padding of ChannelData (RFC 8656 §12.5).
        self.send_to(TransportType::Udp, to, b"out here");
        let mut buffer = [0; 100];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"out here");
        peer.send_to(b"and back", from).unwrap();
        let before = self.relayed.len();
        let relayed = self.until(|driver, _| driver.relayed.get(before).cloned());
        assert_eq!(relayed.unwrap(), (to, b"and back".to_vec()));
    }

    pub fn echo(&mut self, bind_channel: bool) {
        self.echo_at(LOOPBACK, bind_channel);
    }

    /// Gives the allocation back, and waits until the server agrees.
    pub fn free(&mut self) {
        let now = self.now();
        self.client.delete(now).unwrap();
        self.until(|driver, _| {
            let is_freed = |bytes: &Vec<u8>| {
                Message::parse(bytes)
                    .is_ok_and(|m| m.method() == Method::REFRESH && m.class() == Class::Success)
            };
            driver.received.iter().any(is_freed).then_some(())
        });
    }

    /// The last request of a method and the last success.
    pub fn last(&self, method: Method) -> (Message<'_>, Message<'_>) {
        let last = |all: &'_ [Vec<u8>], class| {
            all.iter()
                .rposition(|bytes| {
                    Message::parse(bytes).is_ok_and(|m| m.method() == method && m.class() == class)
                })
                .unwrap()
        };
        let sent = &self.sent[last(&self.sent, Class::Request)];
        let received = &self.received[last(&self.received, Class::Success)];
        (
            Message::parse(sent).unwrap(),
            Message::parse(received).unwrap(),
        )
    }
}
