//! TCP clients: framing, the end of a connection, and how long a useless one is kept.

use crate::client::{Client, Incoming, receive_from, socket};
use crate::server::{PATIENCE, Setup, V4};
use hairpin::wire::{AttributeType, Class, Method};
use std::net::{Shutdown, UdpSocket};
use std::time::{Duration, Instant};

fn binding(client: &mut Client) -> Vec<u8> {
    client.plain(Method::BINDING, Class::Request, |_| {})
}

fn transaction(incoming: Incoming) -> [u8; 12] {
    match incoming {
        Incoming::Response(response) => response.transaction.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn s_tcp_01_frames_arrive_byte_by_byte_and_many_in_one_write() {
    let server = Setup::new().start();
    let peer = socket(V4);
    let mut client = Client::tcp(server.address());
    let relayed = client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());

    let requests: Vec<_> = (0..50).map(|_| binding(&mut client)).collect();
    client.send(&requests.concat());
    for request in &requests {
        assert_eq!(transaction(client.receive()), request[8..20]);
    }
    let mut bytes = client.channel_frame(0x4000, b"hello");
    bytes.extend(&requests[0]);
    bytes.extend(client.channel_frame(0x4000, b""));
    for byte in bytes {
        client.send(&[byte]);
    }
    assert_eq!(transaction(client.receive()), requests[0][8..20]);
    assert_eq!(receive_from(&peer), (b"hello".to_vec(), relayed));
    assert_eq!(receive_from(&peer), (vec![], relayed));
}

#[test]
fn channel_data_is_padded_both_ways() {
    let server = Setup::new().start();
    let peer = socket(V4);
    let mut client = Client::tcp(server.address());
    let relayed = client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    let payloads: Vec<Vec<u8>> = (0..9).map(|length| vec![0xEE; length]).collect();
    let frames: Vec<_> = payloads
        .iter()
        .map(|payload| client.channel_frame(0x4000, payload))
        .collect();
    client.send(&frames.concat());
    for payload in &payloads {
        assert_eq!(receive_from(&peer), (payload.clone(), relayed));
        peer.send_to(payload, relayed).unwrap();
    }
    // The client would lose its place between frames if one was not padded.
    for payload in payloads {
        assert_eq!(client.receive(), Incoming::Channel(0x4000, payload));
    }
}

#[test]
fn s_tcp_05_07_requests_before_the_client_closes_its_side_are_all_answered() {
    let server = Setup::new().start();
    let mut client = Client::tcp(server.address());
    let requests: Vec<_> = (0..200).map(|_| binding(&mut client)).collect();
    client.send(&requests.concat());
    client.stream().shutdown(Shutdown::Write).unwrap();
    for request in &requests {
        assert_eq!(transaction(client.receive()), request[8..20]);
    }
    assert_eq!(client.receive(), Incoming::End);
    server.wait_for_metric("hairpin_connections{transport=\"tcp\"}", 0);
}

#[test]
fn s_tcp_02_04_a_stream_that_is_neither_stun_nor_channel_data_is_closed_at_once() {
    let server = Setup::new().start();
    let mut bad_cookie = vec![0, 1, 0, 0, 0xDE, 0xAD, 0xBE, 0xEF];
    bad_cookie.resize(20, 0);
    let mut odd_length = vec![0, 1, 0, 2, 0x21, 0x12, 0xA4, 0x42];
    odd_length.resize(22, 0);
    let garbage: [&[u8]; 7] = [
        &[0x80; 20],
        &[0xFF],
        &[0x50, 0, 0, 4],
        b"GET / HTTP/1.1\r\nHost: turn.example\r\n\r\n",
        // A TLS client on the wrong port.
        &[
            0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        ],
        &bad_cookie,
        &odd_length,
    ];
    for garbage in garbage {
        let mut client = Client::tcp(server.address());
        let request = binding(&mut client);
        client.send(&[&request, garbage].concat());
        let since = Instant::now();
        // What was asked before is answered all the same.
        assert_eq!(
            transaction(client.receive()),
            request[8..20],
            "{garbage:x?}"
        );
        assert_eq!(client.receive(), Incoming::End, "{garbage:x?}");
        assert!(since.elapsed() < Duration::from_secs(1), "{garbage:x?}");
    }
    server.wait_for_metric("hairpin_connections{transport=\"tcp\"}", 0);
    let drops = server.metrics();
    assert_eq!(
        drops.get("hairpin_dropped_packets_total{reason=\"not_stun\"}"),
        7
    );
}

#[test]
fn s_tcp_03_x_cve_09_lengths_at_the_limit_do_not_wrap() {
    let server = Setup::new().start();
    let stun = [0, 1, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42];
    let channel = [0x40, 0, 0xFF, 0xFF];
    for start in [&stun[..], &channel] {
        // Nobody needs so much before an allocation.
        let mut stranger = Client::tcp(server.address());
        stranger.send(start);
        assert_eq!(stranger.receive(), Incoming::End);

        // With one, all of it is waited for: what looks like requests is part of the frame.
        let mut client = Client::tcp(server.address());
        client.allocate();
        let request = binding(&mut client);
        client.send(start);
        client.send(&request);
        client.send(&request);
        client.assert_silent();
    }
}

#[test]
fn s_tcp_09_a_frame_that_does_not_come_to_its_end_and_silence_end_a_connection() {
    let server = Setup::new().set("tcp", "auth_timeout = \"1s\"").start();
    let mut used = Client::tcp(server.address());
    used.allocate();
    let silent = Client::tcp(server.address());
    let mut half = Client::tcp(server.address());
    let request = binding(&mut half);
    half.send(&request[..19]);
    let mut half_after_whole = Client::tcp(server.address());
    half_after_whole.binding();
    half_after_whole.send(&request[..5]);
    let mut half_of_used = Client::tcp(server.address());
    half_of_used.allocate();
    half_of_used.send(&request[..1]);
    let since = Instant::now();
    for mut client in [silent, half, half_after_whole, half_of_used] {
        assert_eq!(client.receive_within(PATIENCE), Some(Incoming::End));
    }
    assert!(since.elapsed() > Duration::from_millis(500));
    // Who has an allocation may be silent.
    used.binding();
    server.wait_for_metric("hairpin_connections{transport=\"tcp\"}", 1);
}

#[test]
fn s_tcp_09_a_stranger_keeps_no_connection_by_talking() {
    let server = Setup::new().set("tcp", "auth_timeout = \"1s\"").start();
    let mut used = Client::tcp(server.address());
    used.allocate();
    let mut released = Client::tcp(server.address());
    released.allocate();
    released.refresh(0);
    let mut stranger = Client::tcp(server.address());
    let since = Instant::now();
    let request = binding(&mut stranger);
    loop {
        stranger.send(&request);
        match stranger.receive_within(PATIENCE) {
            Some(Incoming::End) => break,
            answer => assert!(answer.is_some()),
        }
        assert!(since.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(since.elapsed() > Duration::from_millis(500));
    // Who had an allocation is known, and may make another.
    released.allocate();
    used.binding();
}

#[test]
fn s_tcp_09_a_stranger_has_so_many_tries_on_a_connection_and_no_more() {
    let server = Setup::new().set("tcp", "max_unproved_requests = 5").start();
    let mut client = Client::tcp(server.address());
    client.allocate();
    for _ in 0..20 {
        client.binding();
    }
    let mut stranger = Client::tcp(server.address());
    let requests: Vec<u8> = (0..20).flat_map(|_| binding(&mut stranger)).collect();
    stranger.send(&requests);
    let mut answers = 0;
    while stranger.receive() != Incoming::End {
        answers += 1;
    }
    assert_eq!(answers, 5);
    let name = "hairpin_refused_connections_total{limit=\"requests\"}";
    assert_eq!(server.metrics().get(name), 1);
    client.binding();
}

#[test]
fn connections_of_strangers_and_of_one_network_are_bounded_and_counted() {
    let server = Setup::new()
        .set("tcp", "max_unproved = 4")
        .set("tcp", "max_unproved_per_prefix = 3")
        .set("tcp", "max_connections_per_prefix = 5")
        .start();
    let refused = |limit: &str| {
        server.metrics().get(&format!(
            "hairpin_refused_connections_total{{limit=\"{limit}\"}}"
        ))
    };
    let mut oldest = Client::tcp(server.address());
    oldest.binding();
    let strangers: Vec<_> = (0..3)
        .map(|_| {
            let mut client = Client::tcp(server.address());
            client.binding();
            client
        })
        .collect();
    // Who has said nothing for longest makes room.
    assert_eq!(oldest.receive(), Incoming::End);
    assert_eq!(refused("unproved_of_prefix"), 1);
    let mut strangers = strangers.into_iter();
    // Who proves a credential makes room for others.
    let mut used = Vec::new();
    for mut client in strangers.by_ref().take(2) {
        client.allocate();
        used.push(client);
    }
    for _ in 0..2 {
        let mut client = Client::tcp(server.address());
        client.allocate();
        used.push(client);
    }
    assert_eq!(Client::tcp(server.address()).receive(), Incoming::End);
    assert_eq!(refused("prefix"), 1);
    // Who leaves, too.
    used.pop();
    server.wait_for_metric("hairpin_connections{transport=\"tcp\"}", 4);
    Client::tcp(server.address()).binding();
}

#[test]
fn connections_beyond_the_limit_are_closed_and_places_come_back() {
    let server = Setup::new()
        .set("tcp", "max_connections = 3")
        .set("server", "workers = 2")
        .start();
    let mut clients: Vec<_> = (0..3).map(|_| Client::tcp(server.address())).collect();
    for client in &mut clients {
        client.binding();
    }
    for _ in 0..5 {
        assert_eq!(Client::tcp(server.address()).receive(), Incoming::End);
    }
    server.wait_for_log("the limit", |line| line.contains("max_connections"));
    clients.pop();
    server.wait_for_metric("hairpin_connections{transport=\"tcp\"}", 2);
    Client::tcp(server.address()).binding();
    for client in &mut clients {
        client.binding();
    }
}

#[test]
fn s_tcp_08_a_connection_that_ends_takes_its_allocation_along() {
    let server = Setup::new().start();
    for abort in [false, true] {
        let peer = socket(V4);
        let mut client = Client::tcp(server.address());
        let relayed = client.allocate();
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        assert_eq!(server.metrics().get("hairpin_allocations"), 1);
        if abort {
            let options = socket2::SockRef::from(client.stream());
            options.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        server.wait_for_metric("hairpin_allocations", 0);
        server.wait_for_metric("hairpin_connections{transport=\"tcp\"}", 0);
        assert_eq!(
            server.metrics().get("hairpin_relay_ports{state=\"used\"}"),
            0
        );
        // Nobody is there any more: the port can be had.
        UdpSocket::bind(relayed).unwrap();
    }
    let closed = server.wait_for_events("allocation closed", 2);
    let reasons: Vec<_> = closed.iter().map(|line| &line["reason"]).collect();
    assert_eq!(reasons, ["disconnected", "disconnected"]);
}

#[test]
fn data_sent_before_a_release_leaves_from_its_own_relay() {
    let server = Setup::new().start();
    let peer = socket(V4);
    let mut client = Client::tcp(server.address());
    let first = client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    // All in one read of the server, so that the release and the new allocation come before anything is sent.
    let data = client.channel_frame(0x4000, b"mine");
    let release = client.signed(Method::REFRESH, |writer| {
        writer.number(AttributeType::LIFETIME, 0);
    });
    let again = client.signed(Method::ALLOCATE, |writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    client.send(&[data, release, again].concat());
    assert_eq!(client.response().code, None);
    let second = client.response().relayed.unwrap();
    assert_ne!(first, second);
    assert_eq!(receive_from(&peer), (b"mine".to_vec(), first));
}

#[test]
fn s_tcp_10_a_client_that_never_reads_costs_little_and_holds_nobody_up() {
    const PAYLOAD: usize = 8000;
    const PACKETS: u64 = 50_000_000 / PAYLOAD as u64;
    let server = Setup::new().start();
    let peer = socket(V4);
    let mut stalled = Client::tcp(server.address());
    let relayed = stalled.allocate();
    stalled.bind_channel(0x4000, peer.local_addr().unwrap());
    let mut other = Client::udp(server.address());
    other.allocate();
    let before = server.memory();
    for number in 0..PACKETS {
        let mut payload = vec![0; PAYLOAD];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        peer.send_to(&payload, relayed).unwrap();
        if number % 64 == 0 {
            // The others are served, and the peer is not faster than the server.
            other.binding();
        }
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");

    // Answers come through, behind what is on its way; frames are whole and in order.
    let request = binding(&mut stalled);
    stalled.send(&request);
    let mut last = None;
    let mut frames = 0;
    loop {
        match stalled.receive() {
            Incoming::Channel(0x4000, payload) => {
                assert_eq!(payload.len(), PAYLOAD);
                let number = u64::from_be_bytes(payload[..8].try_into().unwrap());
                assert!(last < Some(number), "{last:?} before {number}");
                last = Some(number);
                frames += 1;
            }
            other => {
                assert_eq!(transaction(other), request[8..20]);
                break;
            }
        }
    }
    assert!(frames < PACKETS);
    let metrics = server.metrics();
    assert!(metrics.get("hairpin_dropped_packets_total{reason=\"slow_client\"}") > 0);
}

#[test]
fn a_client_beyond_its_bandwidth_is_read_later_and_loses_nothing() {
    let server = Setup::new()
        .set("bandwidth", "per_user = \"800kbit/s\"")
        .set("bandwidth", "burst = \"100ms\"")
        .set("tcp", "auth_timeout = \"1s\"")
        .start();
    let peer = socket(V4);
    let mut client = Client::tcp(server.address());
    client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    let since = Instant::now();
    let frames: Vec<u8> = (0..250_u8)
        .flat_map(|number| client.channel_frame(0x4000, &[number; 1000]))
        .collect();
    client.send(&frames);
    for number in 0..250 {
        assert_eq!(receive_from(&peer).0, [number; 1000]);
    }
    // 250,000 bytes at 100,000 a second, but for the burst and for what one or two reads bring at once.
    assert!(
        since.elapsed() > Duration::from_millis(1200),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(
        server
            .metrics()
            .get("hairpin_dropped_packets_total{reason=\"bandwidth\"}"),
        0
    );
    client.refresh(600);
}
