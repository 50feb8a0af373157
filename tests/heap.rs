//! What a relayed packet must not need: memory of the heap. A global allocator counts, in the engine and in a whole
//! server with its threads.

#![allow(clippy::unwrap_used, unsafe_code)]

#[path = "../benches/rig/mod.rs"]
mod rig;

use hairpin::config::{self, Listener};
use hairpin::engine::{Outcome, Summary, Transport};
use hairpin::net::clock::Clock;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::PeerRules;
use hairpin::wire::{Method, Writer};
use rig::{Rig, allocate, channel_bind, frame, nonce, peer, relayed, request, send_indication};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Of all threads, since a server has its own.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Held by each test, so that nobody else counts.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps what `alloc` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, and so from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The harness still tells how the test before went, and needs memory for that.
    std::thread::sleep(Duration::from_millis(50));
    alone
}

/// How often the heap is asked for memory during `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.load(Ordering::Relaxed);
    work();
    COUNT.load(Ordering::Relaxed) - before
}

#[test]
fn the_count_counts() {
    let _alone = alone();
    let mut kept = None;
    assert_eq!(allocations(|| kept = Some(Box::new(7))), 1);
    assert_eq!(kept.as_deref(), Some(&7));
}

#[test]
fn the_engine_relays_a_packet_without_memory_of_the_heap() {
    let _alone = alone();
    let mut rig = Rig::default();
    let udp = rig.connect(1, Transport::Udp);
    let tcp = rig.connect(2, Transport::Tcp);
    let mut alice = rig.allocate(3, Transport::Udp);
    let mut bob = rig.allocate(4, Transport::Udp);
    rig.bind(&mut alice, bob.relayed);
    rig.bind(&mut bob, alice.relayed);
    let mut other = rig.connect(5, Transport::Udp);
    let stranger = ([40, 0, 0, 2], 6000).into();
    rig.permit(&mut other, stranger);

    let channel_data = frame(1200);
    let send = send_indication(peer(), 1200);
    let to_relay = send_indication(bob.relayed, 1200);
    let mut relayed = 0;
    // An operator looks at one of them, which is counted by peer.
    let now = rig.now;
    let sessions = rig.engine.sessions_from(0, 64).sessions;
    let looked_at = |session: &&Summary| session.client == udp.path;
    let looked_at = sessions.iter().find(looked_at).unwrap().id;
    rig.engine.session(now, looked_at).unwrap();
    let count = allocations(|| {
        for _ in 0..100 {
            let outcomes = [
                rig.client_sends(&udp, &channel_data),
                rig.client_sends(&tcp, &channel_data),
                rig.client_sends(&udp, &send),
                rig.client_sends(&tcp, &send),
                rig.client_sends(&alice, &channel_data),
                rig.client_sends(&alice, &to_relay),
                rig.peer_sends(&udp, peer(), 1200),
                rig.peer_sends(&tcp, peer(), 1200),
                // A permission and no channel: a Data indication.
                rig.peer_sends(&other, stranger, 1200),
            ];
            relayed += outcomes
                .iter()
                .filter(|o| matches!(o, Outcome::ToPeer { .. } | Outcome::ToClient(_)))
                .count();
        }
    });
    assert_eq!(relayed, 900);
    assert_eq!(count, 0);
    let rates = rig.engine.session(now, looked_at).unwrap().rates;
    assert_eq!(rates.len(), 1);
}

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

fn server() -> Server {
    let filter = PeerRules {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        ..PeerRules::default()
    };
    let shared = rig::shared(HOST, 47_000..=47_999, filter);
    let listeners = [config::Transport::Udp, config::Transport::Tcp];
    let listeners = listeners.map(|t| Listener::direct(t, SocketAddr::new(HOST, 0)));
    Server::start(NetSettings::new(listeners.into()), &shared, Clock::start()).unwrap()
}

fn udp(to: Option<SocketAddr>) -> UdpSocket {
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    if let Some(to) = to {
        socket.connect(to).unwrap();
    }
    socket
}

/// Allocates and binds a channel, by a way to ask; the relayed address.
fn set_up(peer: Option<SocketAddr>, mut ask: impl FnMut(Vec<u8>) -> Vec<u8>) -> SocketAddr {
    let nonce = nonce(&ask(request(1, b"", Method::ALLOCATE, allocate)));
    let relayed = relayed(&ask(request(2, &nonce, Method::ALLOCATE, allocate)));
    let bind = |writer: &mut Writer<'_>| channel_bind(writer, peer.unwrap_or(relayed));
    let bound = ask(request(3, &nonce, Method::CHANNEL_BIND, bind));
    assert_eq!(bound[..2], [0x01, 0x09]);
    relayed
}

fn ask_udp(socket: &UdpSocket) -> impl FnMut(Vec<u8>) -> Vec<u8> {
    |request| {
        let mut answer = vec![0; 2000];
        socket.send(&request).unwrap();
        let length = socket.recv(&mut answer).unwrap();
        answer.truncate(length);
        answer
    }
}

fn ask_tcp(mut stream: &TcpStream) -> impl FnMut(Vec<u8>) -> Vec<u8> {
    move |request| {
        stream.write_all(&request).unwrap();
        let mut answer = vec![0; 20];
        stream.read_exact(&mut answer).unwrap();
        let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
        answer.resize(20 + length, 0);
        stream.read_exact(&mut answer[20..]).unwrap();
        answer
    }
}

#[test]
fn a_server_relays_packets_without_memory_of_the_heap() {
    let _alone = alone();
    let server = server();
    let [for_udp, for_tcp] = [0, 1].map(|number: usize| server.listeners()[number].address);
    let (peer, other_peer) = (udp(None), udp(None));
    let client = udp(Some(for_udp));
    let relay = set_up(Some(peer.local_addr().unwrap()), ask_udp(&client));
    let stream = TcpStream::connect(for_tcp).unwrap();
    stream.set_read_timeout(PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    let stream_relay = set_up(Some(other_peer.local_addr().unwrap()), ask_tcp(&stream));
    // A client whose channel leads to its own relay: a hairpin.
    let hairpin = udp(Some(for_udp));
    set_up(None, ask_udp(&hairpin));

    let frame = frame(160);
    let send = send_indication(peer.local_addr().unwrap(), 160);
    let (payload, mut buffer) = ([0xAB; 160], [0; 2000]);
    let mut round = || {
        for bytes in [&frame, &send] {
            client.send(bytes).unwrap();
            assert_eq!(peer.recv(&mut buffer).unwrap(), 160);
        }
        peer.send_to(&payload, relay).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 164);
        hairpin.send(&frame).unwrap();
        assert_eq!(hairpin.recv(&mut buffer).unwrap(), 164);
        (&stream).write_all(&frame).unwrap();
        assert_eq!(other_peer.recv(&mut buffer).unwrap(), 160);
        other_peer.send_to(&payload, stream_relay).unwrap();
        (&stream).read_exact(&mut buffer[..164]).unwrap();
    };
    // Buffers grow to what they are used for.
    for _ in 0..300 {
        round();
    }
    let count = allocations(|| {
        for _ in 0..300 {
            round();
        }
    });
    assert_eq!(count, 0);
    server.stop().unwrap();
}
