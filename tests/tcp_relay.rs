//! TCP allocations (RFC 6062) with real sockets on loopback: what becomes of the bytes. Who may have which connection,
//! and for how long, is in `tests/engine/tcp_relay.rs`.

#![allow(clippy::unwrap_used)]

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, User};
use hairpin::config::{Listener, Transport};
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::{Bandwidth, BandwidthLimits, Limits, PeerFilter, PeerRules};
use hairpin::wire::stream::{Framing, next_frame};
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm, TransactionId,
    Writer,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const REALM: &str = "example.org";
const PATIENCE: Duration = Duration::from_secs(20);

/// Each server of this program relays from ports of its own.
static PORTS: AtomicU16 = AtomicU16::new(40_000);

struct Host {
    server: Server,
    shared: Shared,
}

impl Host {
    fn start(workers: usize) -> Self {
        Host::with(workers, BandwidthLimits::default())
    }

    fn with(workers: usize, bandwidth: BandwidthLimits) -> Self {
        let host = Ipv4Addr::LOCALHOST.into();
        let relay = RelayAddress {
            local: host,
            external: host,
        };
        let user = User {
            name: "user".into(),
            credential: Credential::Password("pass".into()),
        };
        let first = PORTS.fetch_add(100, Ordering::Relaxed);
        let mut rules = Rules::new(
            Authenticator::new(AuthSettings {
                realm: REALM.into(),
                users: vec![user],
                ..AuthSettings::default()
            })
            .unwrap(),
            NonceKeys::new([7; 32], 600),
            PeerFilter::new(PeerRules {
                allow: vec!["127.0.0.0/8".parse().unwrap()],
                ..PeerRules::default()
            }),
        );
        rules.tcp.enabled = true;
        let pool = RelayPool::new(&[relay], first..=first + 99, Duration::ZERO);
        let mut shared = Shared::new(rules, Limits::default(), pool);
        shared.bandwidth = Bandwidth::new(bandwidth);
        let address = SocketAddr::new(host, 0);
        let settings = NetSettings {
            workers,
            ..NetSettings::new(vec![Listener::direct(Transport::Tcp, address)])
        };
        let server = Server::start(settings, &shared, Clock::start()).unwrap();
        Host { server, shared }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.server.listeners()[0].address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            input: Vec::new(),
            nonce: Vec::new(),
            transactions: 0,
        }
    }

    /// A client with an allocation.
    fn allocated(&self) -> (Client, SocketAddr) {
        let mut client = self.client();
        let reply = client.ask(Method::ALLOCATE, |w| {
            w.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
        });
        assert_eq!(reply.code(), 0);
        let relayed = reply.address(AttributeType::XOR_RELAYED_ADDRESS);
        (client, relayed)
    }

    /// A new connection bound to `id`, with `pipelined` sent in one write with the request.
    fn bound(&self, id: u32, pipelined: &[u8]) -> Client {
        let mut client = self.client();
        // The nonce first, so that the request with the bytes behind it is the one that succeeds.
        let reply = client.ask_once(Method::CONNECTION_BIND, &[], |_| {});
        client.nonce = reply.value(AttributeType::NONCE).unwrap();
        let reply = client.ask_once(Method::CONNECTION_BIND, pipelined, |w| {
            w.number(AttributeType::CONNECTION_ID, id);
        });
        assert_eq!(reply.code(), 0);
        client
    }

    fn until(&self, what: &str, is_so: impl Fn(&Shared) -> bool) {
        let start = Instant::now();
        while !is_so(&self.shared) {
            assert!(start.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Reply(Vec<u8>);

impl Reply {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => {
                let code = self.message().attribute(AttributeType::ERROR_CODE);
                code.unwrap().error_code().unwrap()
            }
        }
    }

    fn value(&self, kind: AttributeType) -> Option<Vec<u8>> {
        self.message().attribute(kind).map(|a| a.value.to_vec())
    }

    fn id(&self) -> u32 {
        let id = self.message().attribute(AttributeType::CONNECTION_ID);
        id.unwrap().connection_id().unwrap()
    }

    fn address(&self, kind: AttributeType) -> SocketAddr {
        let message = self.message();
        let address = message.attribute(kind).unwrap();
        address.xor_address(message.transaction()).unwrap()
    }
}

struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    nonce: Vec<u8>,
    transactions: u8,
}

impl Client {
    fn ask(&mut self, method: Method, body: impl Fn(&mut Writer<'_>)) -> Reply {
        let reply = self.ask_once(method, &[], &body);
        if !matches!(reply.code(), 401 | 438) {
            return reply;
        }
        self.nonce = reply.value(AttributeType::NONCE).unwrap();
        self.ask_once(method, &[], body)
    }

    fn ask_once(&mut self, method: Method, tail: &[u8], body: impl Fn(&mut Writer<'_>)) -> Reply {
        self.transactions += 1;
        let kind = MessageType::new(method, Class::Request);
        let mut bytes = vec![0; 600];
        let id = TransactionId([self.transactions; 12]);
        let mut writer = Writer::new(&mut bytes, kind, id);
        body(&mut writer);
        if !self.nonce.is_empty() {
            let key = Key::long_term(PasswordAlgorithm::Md5, b"user", REALM, b"pass");
            writer
                .attribute(AttributeType::USERNAME, b"user")
                .attribute(AttributeType::REALM, REALM.as_bytes())
                .attribute(AttributeType::NONCE, &self.nonce)
                .integrity(Mac::Sha1, &key);
        }
        let length = writer.finish().unwrap();
        bytes.truncate(length);
        bytes.extend_from_slice(tail);
        self.stream.write_all(&bytes).unwrap();
        self.receive()
    }

    /// The next message.
    fn receive(&mut self) -> Reply {
        loop {
            if let Framing::Complete { length, consumed } = next_frame(&self.input) {
                let message = self.input[..length].to_vec();
                self.input.drain(..consumed);
                return Reply(message);
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the connection is closed");
            self.input.extend_from_slice(&buffer[..length]);
        }
    }

    fn connect(&mut self, peer: SocketAddr) -> Reply {
        self.ask(Method::CONNECT, |w| {
            w.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    fn permit(&mut self, peer: SocketAddr) {
        let reply = self.ask(Method::CREATE_PERMISSION, |w| {
            w.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        assert_eq!(reply.code(), 0);
    }

    /// So many raw bytes.
    fn read_raw(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.input);
        let rest = bytes.split_off(count.min(bytes.len()));
        self.input = rest;
        let read = bytes.len();
        bytes.resize(count, 0);
        self.stream.read_exact(&mut bytes[read..]).unwrap();
        bytes
    }

    fn expect_end(&mut self) {
        assert_eq!(self.input, b"");
        expect_end(&mut self.stream);
    }
}

fn expect_end(stream: &mut TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

fn peer() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, from) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    (stream, from)
}

fn read_exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Bytes of which each place is told from its neighbours.
fn pattern(start: usize, count: usize) -> Vec<u8> {
    (start..start + count)
        .map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8)
        .collect()
}

#[test]
fn t_tcp_10_17_bytes_flow_both_ways_from_the_relayed_address() {
    let host = Host::start(1);
    let (mut control, relayed) = host.allocated();
    let (listener, address) = peer();
    let id = control.connect(address).id();
    let (mut peer, from) = accept(&listener);
    assert_eq!(from, relayed);
    let mut data = host.bound(id, b"");
    for round in 0..100 {
        let there = pattern(round, 1 + 37 * round);
        data.stream.write_all(&there).unwrap();
        assert_eq!(read_exactly(&mut peer, there.len()), there);
        peer.write_all(&there).unwrap();
        assert_eq!(data.read_raw(there.len()), there);
    }
    // The control connection still is one.
    assert_eq!(control.ask(Method::REFRESH, |_| {}).code(), 0);
}

#[test]
fn t_tcp_17_18_bytes_sent_before_the_bind_is_answered_are_kept_in_order() {
    let host = Host::start(1);
    let (mut control, _) = host.allocated();
    let (listener, address) = peer();
    let id = control.connect(address).id();
    let (mut peer, _) = accept(&listener);
    peer.write_all(b"220 the peer's banner\r\n").unwrap();
    // More than a frame of STUN could be, and with what looks like one in it.
    let mut pipelined = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    pipelined.extend_from_slice(&pattern(0, 100_000));
    let mut data = host.bound(id, &pipelined);
    peer.write_all(b"250 more\r\n").unwrap();
    assert_eq!(data.read_raw(33), b"220 the peer's banner\r\n250 more\r\n");
    assert_eq!(read_exactly(&mut peer, pipelined.len()), pipelined);
}

#[test]
fn t_tcp_20_21_each_direction_ends_for_itself() {
    let host = Host::start(1);
    let (mut control, _) = host.allocated();
    for by_client in [true, false] {
        let (listener, address) = peer();
        let id = control.connect(address).id();
        let (mut peer, _) = accept(&listener);
        let mut data = host.bound(id, b"question");
        assert_eq!(read_exactly(&mut peer, 8), b"question");
        if by_client {
            data.stream.shutdown(Shutdown::Write).unwrap();
            expect_end(&mut peer);
            peer.write_all(&pattern(0, 200_000)).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(data.read_raw(200_000), pattern(0, 200_000));
            data.expect_end();
        } else {
            peer.shutdown(Shutdown::Write).unwrap();
            data.expect_end();
            data.stream.write_all(&pattern(0, 200_000)).unwrap();
            data.stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_exactly(&mut peer, 200_000), pattern(0, 200_000));
            expect_end(&mut peer);
        }
        host.until("the connection is forgotten", |shared| {
            shared.connections.count() == 0
        });
    }
}

#[test]
fn t_tcp_20_who_breaks_off_ends_both_sides() {
    let host = Host::start(1);
    let (mut control, _) = host.allocated();
    for by_client in [true, false] {
        let (listener, address) = peer();
        let id = control.connect(address).id();
        let (mut peer, _) = accept(&listener);
        let mut data = host.bound(id, b"x");
        assert_eq!(read_exactly(&mut peer, 1), b"x");
        if by_client {
            socket2::SockRef::from(&data.stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(data);
            expect_end(&mut peer);
        } else {
            socket2::SockRef::from(&peer)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(peer);
            data.expect_end();
        }
    }
    host.until("both are forgotten", |shared| {
        shared.connections.count() == 0
    });
}

#[test]
fn t_tcp_20_the_end_of_the_allocation_closes_everything() {
    for released in [true, false] {
        let host = Host::start(2);
        let (mut control, relayed) = host.allocated();
        let (listener, address) = peer();
        let id = control.connect(address).id();
        let (mut bound_peer, _) = accept(&listener);
        let mut data = host.bound(id, b"x");
        assert_eq!(read_exactly(&mut bound_peer, 1), b"x");
        let (waiting_listener, waiting_address) = peer();
        control.connect(waiting_address).id();
        let (mut waiting_peer, _) = accept(&waiting_listener);
        if released {
            let reply = control.ask(Method::REFRESH, |w| {
                w.number(AttributeType::LIFETIME, 0);
            });
            assert_eq!(reply.code(), 0);
        } else {
            drop(control);
        }
        expect_end(&mut bound_peer);
        expect_end(&mut waiting_peer);
        data.expect_end();
        host.until("the listener is closed", |_| {
            TcpStream::connect(relayed).is_err()
        });
        assert_eq!(host.shared.connections.count(), 0);
    }
}

#[test]
fn t_tcp_11_a_refusing_peer_is_447_at_once() {
    let host = Host::start(1);
    let (mut control, _) = host.allocated();
    let (listener, address) = peer();
    drop(listener);
    let start = Instant::now();
    assert_eq!(control.connect(address).code(), 447);
    assert!(start.elapsed() < Duration::from_secs(5));
    let (listener, address) = peer();
    control.connect(address).id();
    accept(&listener);
}

#[test]
fn t_tcp_14_a_permitted_peer_reaches_the_client_and_another_is_turned_away() {
    let host = Host::start(2);
    let (mut control, relayed) = host.allocated();
    let mut stranger = TcpStream::connect(relayed).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    expect_end(&mut stranger);
    control.permit("127.0.0.1:0".parse().unwrap());
    let mut peer = TcpStream::connect(relayed).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(b"early").unwrap();
    let attempt = control.receive();
    assert_eq!(attempt.message().method(), Method::CONNECTION_ATTEMPT);
    assert_eq!(attempt.message().class(), Class::Indication);
    let from = attempt.address(AttributeType::XOR_PEER_ADDRESS);
    assert_eq!(from, peer.local_addr().unwrap());
    let mut data = host.bound(attempt.id(), b"hello");
    assert_eq!(data.read_raw(5), b"early");
    assert_eq!(read_exactly(&mut peer, 5), b"hello");
    drop(data);
    expect_end(&mut peer);
}

#[test]
fn t_tcp_17_a_bind_works_on_whichever_worker_it_comes_to() {
    let host = Host::start(3);
    let (mut control, _) = host.allocated();
    // The system spreads connections at random: all on the first worker is one case in 3^12.
    for round in 0..12 {
        let (listener, address) = peer();
        let id = control.connect(address).id();
        let (mut peer, _) = accept(&listener);
        peer.write_all(b"banner").unwrap();
        let mut data = host.bound(id, b"pipelined");
        assert_eq!(data.read_raw(6), b"banner", "round {round}");
        assert_eq!(read_exactly(&mut peer, 9), b"pipelined");
        peer.shutdown(Shutdown::Write).unwrap();
        data.expect_end();
        drop(data);
        expect_end(&mut peer);
    }
    let workers = host.server.counters().iter();
    let served = workers.filter(|w| w.tcp_to_peers.get() > 0).count();
    assert!(served > 1);
    let sum = |of: fn(&hairpin::engine::Counters) -> u64| -> u64 {
        host.server.counters().iter().map(|c| of(c)).sum()
    };
    assert_eq!(sum(|c| c.tcp_to_peers.get()), 12 * 9);
    assert_eq!(sum(|c| c.tcp_to_clients.get()), 12 * 6);
    host.until("all are forgotten", |shared| {
        shared.connections.count() == 0
    });
}

#[test]
fn two_clients_of_the_server_connect_through_both_relays() {
    let host = Host::start(2);
    let (mut one, relayed_one) = host.allocated();
    let (mut other, relayed_other) = host.allocated();
    other.permit(relayed_one);
    let id_one = one.connect(relayed_other).id();
    let attempt = other.receive();
    let from = attempt.address(AttributeType::XOR_PEER_ADDRESS);
    assert_eq!(from, relayed_one);
    let mut data_one = host.bound(id_one, b"ping");
    let mut data_other = host.bound(attempt.id(), b"pong");
    assert_eq!(data_other.read_raw(4), b"ping");
    assert_eq!(data_one.read_raw(4), b"pong");
}

/// What a sender can put into a connection that nobody reads, in the end of it all.
fn flood(stream: &mut TcpStream, most: usize) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    let chunk = pattern(0, 1 << 16);
    let mut sent = 0;
    while sent < most {
        // Whole periods of the pattern, so that the reader can check what it gets.
        match stream.write(&chunk[sent % chunk.len()..]) {
            Ok(length) => sent += length,
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn t_tcp_19_a_flood_before_the_bind_is_held_back() {
    let host = Host::start(1);
    let (mut control, _) = host.allocated();
    let (listener, address) = peer();
    let id = control.connect(address).id();
    let (mut peer, _) = accept(&listener);
    let sent = flood(&mut peer, 100 << 20);
    assert!(sent < 32 << 20, "{sent} bytes were taken from the peer");
    peer.shutdown(Shutdown::Write).unwrap();
    let mut data = host.bound(id, b"");
    let mut got = std::mem::take(&mut data.input);
    data.stream.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent);
}

#[test]
fn t_tcp_19_a_slow_reader_slows_the_sender_and_loses_nothing() {
    const TOTAL: usize = 20 << 20;
    let host = Host::start(2);
    let (mut control, _) = host.allocated();
    let (listener, address) = peer();
    let id = control.connect(address).id();
    let (mut peer, _) = accept(&listener);
    let mut data = host.bound(id, b"");
    // Nobody reads: the server takes what sockets and one buffer hold, and no more.
    let sent = flood(&mut peer, TOTAL);
    assert!(sent < TOTAL, "all {sent} bytes were taken");
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let sender = std::thread::spawn(move || {
        let chunk = pattern(0, 1 << 16);
        let mut sent = sent;
        while sent < TOTAL {
            let start = sent % chunk.len();
            let end = chunk.len().min(start + TOTAL - sent);
            peer.write_all(&chunk[start..end]).unwrap();
            sent += end - start;
        }
        peer
    });
    let expected = pattern(0, 1 << 16);
    let mut received = 0;
    let mut buffer = vec![0; 50_000];
    while received < TOTAL {
        let length = data.stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the end after {received} bytes");
        for (place, byte) in buffer[..length].iter().enumerate() {
            assert_eq!(*byte, expected[(received + place) % expected.len()]);
        }
        received += length;
        if received < TOTAL / 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    drop(sender.join().unwrap());
    data.expect_end();
}

#[test]
fn x_sec_08_bytes_beyond_the_bandwidth_come_later_and_all_of_them() {
    let limits = BandwidthLimits {
        per_allocation: 100_000,
        burst: Duration::from_millis(100),
        ..BandwidthLimits::default()
    };
    let host = Host::with(2, limits);
    let (mut client, _) = host.allocated();
    let (listener, address) = peer();
    let id = client.connect(address).id();
    let (mut peer, _) = accept(&listener);
    let mut data = host.bound(id, &[]);
    let since = std::time::Instant::now();
    // Each way has its own.
    let sent = pattern(0, 200_000);
    let writer = std::thread::spawn({
        let (mut stream, sent) = (data.stream.try_clone().unwrap(), sent.clone());
        move || stream.write_all(&sent).unwrap()
    });
    let other = std::thread::spawn({
        let (mut stream, sent) = (peer.try_clone().unwrap(), sent.clone());
        move || stream.write_all(&sent).unwrap()
    });
    assert!(read_exactly(&mut peer, sent.len()) == sent);
    assert!(data.read_raw(sent.len()) == sent);
    writer.join().unwrap();
    other.join().unwrap();
    let taken = since.elapsed();
    assert!(taken > Duration::from_millis(1500), "{taken:?}");
}
